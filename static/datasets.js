/* The datasets list: rows as links, j k Enter, the cursor kept over redraws. */
import { typing } from "./keys.js";

const list = document.getElementById("list");
let cursor = null;

const rows = () => [...list.querySelectorAll("tr[data-href]")];
const paint = () => rows().forEach((row) => row.classList.toggle("cur", row.dataset.href === cursor));

list.addEventListener("click", (event) => {
  const row = event.target.closest("tr[data-href]");
  if (row && !event.target.closest("a, button") && !getSelection().toString()) location.href = row.dataset.href;
});
list.addEventListener("drawn", paint);

addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || typing(event.target) || document.querySelector("dialog[open]")) return;
  const all = rows();
  const at = all.findIndex((row) => row.dataset.href === cursor);
  if (event.key === "j" || event.key === "k") {
    const row = all[Math.min(all.length - 1, Math.max(0, at + (event.key === "j" ? 1 : -1)))];
    cursor = row?.dataset.href ?? null;
    row?.scrollIntoView({ block: "nearest" });
    paint();
  } else if (event.key === "Enter" && at >= 0 && !event.target.closest("a, button, input")) location.href = cursor;
});
