/* What every page loads: theme, keys, times, confirmations, the stream and the parts it draws again. */
import "./theme.js";
import "./keys.js";
import "./times.js";
import "./confirm.js";
import "./fragments.js";
