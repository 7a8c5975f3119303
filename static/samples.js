/* Texts grow in place while they are written; what is new as a whole is drawn by fragments.js. */
import { live } from "./live.js";

live.addEventListener("sample", ({ detail }) => {
  for (const one of detail.samples) {
    one.texts.forEach((text, index) => {
      const shown = document.querySelector(`[data-text="${one.id}/${index}"] > span`);
      if (!shown) return;
      const written = text.slice(one.settings.prompt.length);
      if (shown.textContent !== written) shown.textContent = written;
    });
  }
});
