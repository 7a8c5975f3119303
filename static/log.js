/* The log's tail: new lines at the end, following until someone scrolls up. */
import { live } from "./live.js";
import { clockTime } from "./times.js";

const MOST = 1000;
const log = document.getElementById("log");
const follow = document.getElementById("follow");
const toEnd = () => { if (follow.checked) log.scrollTop = log.scrollHeight; };

live.addEventListener("log", ({ detail }) => {
  for (const line of detail.lines) {
    const row = document.createElement("div");
    row.className = line.level;
    row.textContent = `${clockTime(line.at)}  ${line.text}`;
    log.append(row);
  }
  while (log.childElementCount > MOST) log.firstElementChild.remove();
  toEnd();
});
log.addEventListener("scroll", () => { follow.checked = log.scrollTop + log.clientHeight >= log.scrollHeight - 24; });
follow.addEventListener("change", toEnd);
toEnd();
