/* The runs list: selection that survives redraws, j k x Enter, filter while typing, rows as links. */
import { typing } from "./keys.js";
import { number } from "./format.js";
import { t } from "./messages.js";

const table = document.getElementById("table");
const bar = document.getElementById("selected");
const filter = document.getElementById("filter");
const chosen = new Set();
let cursor = null;

const rows = () => [...table.querySelectorAll("tbody tr[data-run]")];
const box = (row) => row.querySelector("input[type=checkbox]");

function paint() {
  const present = rows();
  for (const row of present) {
    box(row).checked = chosen.has(row.dataset.run);
    row.classList.toggle("sel", box(row).checked);
    row.classList.toggle("cur", row.dataset.run === cursor);
  }
  for (const run of chosen) if (!present.some((row) => row.dataset.run === run)) chosen.delete(run);
  const all = document.getElementById("select-all");
  if (all) {
    all.checked = chosen.size > 0 && chosen.size === present.length;
    all.indeterminate = chosen.size > 0 && chosen.size < present.length;
  }
  bar.classList.toggle("on", chosen.size > 0);
  const matching = document.getElementById("all-matching");
  const more = all && Number(all.dataset.total) > present.length && all.checked;
  matching.hidden = !more;
  if (!more) matching.firstElementChild.checked = false;
  const whole = matching.firstElementChild.checked;
  document.getElementById("selected-count").textContent = t("selected", { n: number(whole ? Number(all.dataset.total) : chosen.size) });
  const stoppable = present.filter((row) => chosen.has(row.dataset.run) && ["queued", "starting", "running", "paused", "lost"].includes(row.dataset.state));
  for (const button of bar.querySelectorAll("button[name=action]")) {
    if (button.value === "compare") button.disabled = chosen.size < 2 || whole;
    if (button.value === "baseline") button.disabled = chosen.size !== 1;
    if (button.value === "stop") button.disabled = stoppable.length === 0 && !whole;
  }
}

function choose(run, on) {
  if (on) chosen.add(run);
  else chosen.delete(run);
  paint();
}

table.addEventListener("change", (event) => {
  if (event.target.id === "select-all") for (const row of rows()) chosen[event.target.checked ? "add" : "delete"](row.dataset.run);
  else if (event.target.name === "run") return choose(event.target.value, event.target.checked);
  paint();
});
table.addEventListener("click", (event) => {
  const row = event.target.closest("tr[data-href]");
  if (row && !event.target.closest("a, input, button, label") && !getSelection().toString()) location.href = row.dataset.href;
});
table.addEventListener("drawn", paint);
document.getElementById("clear").addEventListener("click", clear);
document.getElementById("all-matching").addEventListener("change", paint);
for (const drop of document.querySelectorAll("details.drop")) {
  drop.addEventListener("toggle", () => drop.open && document.querySelectorAll("details.drop").forEach((other) => { if (other !== drop) other.open = false; }));
}
addEventListener("click", (event) => {
  if (!event.target.closest("details.drop")) document.querySelectorAll("details.drop[open]").forEach((drop) => { drop.open = false; });
});

function clear() {
  chosen.clear();
  paint();
}

addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || typing(event.target) || document.querySelector("dialog[open]")) return;
  const all = rows();
  const at = all.findIndex((row) => row.dataset.run === cursor);
  if (event.key === "j" || event.key === "k") {
    const row = all[Math.min(all.length - 1, Math.max(0, at + (event.key === "j" ? 1 : -1)))];
    cursor = row?.dataset.run ?? null;
    row?.scrollIntoView({ block: "nearest" });
    paint();
  } else if (event.key === "x" && at >= 0) choose(cursor, !chosen.has(cursor));
  else if (event.key === "Enter" && at >= 0 && !event.target.closest("a, button, input")) location.href = all[at].dataset.href;
  else if (event.key === "Escape") clear();
});

let pause = 0;
filter?.addEventListener("input", () => {
  clearTimeout(pause);
  pause = setTimeout(search, 250);
});

/** The same address the form would lead to, without leaving the page. */
async function search() {
  const query = new URLSearchParams(new FormData(filter.form));
  if (!query.get("q")) query.delete("q");
  bar.querySelector("[data-now=q]").value = filter.value;
  history.replaceState(null, "", `/runs${query.size ? `?${query}` : ""}`);
  const address = `/runs/fragments/table?${query}`;
  table.dataset.fragment = address;
  const answer = await fetch(address);
  if (table.dataset.fragment !== address || !answer.ok) return;
  const fresh = document.createElement("template");
  fresh.innerHTML = await answer.text();
  table.replaceChildren(fresh.content);
  paint();
}
paint();
