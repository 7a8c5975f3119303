/* One vertical line across all charts of the page, and a box with every curve's value there. */
import { written } from "./axes.js";
import { all } from "./charts.js";
import { lowerBound } from "./columns.js";

const MOST = 24;
const box = Object.assign(document.createElement("div"), { className: "hover", hidden: true });
box.setAttribute("role", "status");

/** Lines follow the pointer or the arrow keys. `unit()`: the axis of now; `head(x)`: more words for the box's first line;
 * `sorted`: rows by value, the lowest first. */
export function crosshair({ unit, head = () => "", sorted = false }) {
  let at = null; // {chart, x} in drawn units
  let frame = 0;
  const paint = () => {
    frame = 0;
    for (const one of joined) line(one, at?.x);
    box.hidden = !at;
    if (at) { fill(at.chart, at.x, unit(), head, sorted); place(at.chart, at.x); }
  };
  const show = (next) => { at = next; frame ||= requestAnimationFrame(paint); };
  const joined = [];
  function join(one) {
    joined.push(one);
    one.element.addEventListener("pointermove", (event) => {
      const f = one.frame();
      if (!f || event.buttons) return show(null);
      const x = event.clientX - one.element.getBoundingClientRect().left - f.left;
      show(x < 0 || x > f.width ? null : { chart: one, x: one.value(x) });
    });
    for (const gone of ["pointerleave", "blur"]) one.element.addEventListener(gone, () => show(null));
    one.element.addEventListener("keydown", (event) => {
      const way = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      const f = one.frame();
      if (event.key === "Escape") show(null);
      if (!way || !f || event.shiftKey) return;
      event.preventDefault();
      const from = at ? one.pixel(at.x) : way > 0 ? 0 : f.width;
      show({ chart: one, x: one.value(Math.min(f.width, Math.max(0, from + way * Math.max(1, f.width / 120)))) });
    });
  }
  all.forEach(join);
  return { at: () => at?.x ?? null, join };
}

function line(one, x) {
  const f = x === undefined ? null : one.frame();
  const pixel = f ? one.pixel(x) : -1;
  const outside = !(pixel >= 0 && pixel <= f?.width);
  if (!one.hair) {
    if (outside) return;
    one.hair = document.createElement("i");
    one.hair.className = "hair";
  }
  if (!one.hair.isConnected) one.element.append(one.hair);
  one.hair.hidden = outside;
  if (!outside) Object.assign(one.hair.style, { insetBlockStart: `${f.top}px`, blockSize: `${f.height}px`, transform: `translateX(${f.left + pixel}px)` });
}

/** The value of a curve at x: its nearest point, or of sparse ones the last before; null beyond its ends. */
function valueAt({ x, y, sparse }, at) {
  const apart = (x.at(-1) - x[0]) / Math.max(1, x.length - 1);
  if (!x.length || at < x[0] - apart || (!sparse && at > x.at(-1) + apart)) return null;
  let i = lowerBound(x, at);
  if (i === x.length || (i > 0 && (sparse ? x[i] > at : at - x[i - 1] < x[i] - at))) i -= 1;
  while (i > 0 && y[i] === null) i -= 1;
  return i < 0 || y[i] == null || (sparse && x[i] > at) ? null : { i, y: y[i] };
}

function fill(one, at, u, head, sorted) {
  const rows = new Map();
  const filled = new Set();
  for (const probe of one.probes) {
    const found = valueAt(probe, at);
    if (!found) continue;
    const column = probe.column ?? "";
    filled.add(column);
    if (!rows.has(probe.row)) rows.set(probe.row, { probe, cells: new Map(), order: found.y });
    rows.get(probe.row).cells.set(column, probe.write(found.y, found.i));
  }
  const columns = [...new Set(one.probes.map((probe) => probe.column ?? ""))].filter((column) => filled.has(column));
  const listed = [...rows];
  if (sorted) listed.sort(([, a], [, b]) => a.order - b.order);
  const cell = (text, tag = "td") => Object.assign(document.createElement(tag), { textContent: text });
  const table = document.createElement("table");
  if (columns.length > 1) table.createTHead().insertRow().append(cell("", "th"), ...columns.map((word) => cell(word, "th")));
  for (const [name, { probe, cells }] of listed.slice(0, MOST)) {
    const row = table.insertRow();
    const first = cell("");
    const sign = document.createElement("i");
    sign.className = `sign ${probe.dash ?? ""}`;
    sign.style.setProperty("--k", probe.colour);
    first.append(sign, name);
    row.append(first, ...columns.map((column) => cell(cells.get(column) ?? "")));
  }
  const title = cell(`${written(u, at)} ${u.suffix || u.type ? "" : u.name}`, "b");
  const more = head(at);
  const rest = listed.length > MOST ? [cell(`+ ${listed.length - MOST}`, "small")] : [];
  box.replaceChildren(title, ...(more ? [cell(more, "small")] : []), table, ...rest);
}

function place(one, x) {
  const parent = document.fullscreenElement ?? document.body;
  if (box.parentElement !== parent) parent.append(box);
  const area = one.element.getBoundingClientRect();
  const f = one.frame();
  const middle = area.left + f.left + one.pixel(x);
  const width = box.offsetWidth;
  const left = middle + 14 + width < innerWidth ? middle + 14 : Math.max(4, middle - 14 - width);
  const top = Math.min(Math.max(4, area.top + f.top + 8), Math.max(4, innerHeight - box.offsetHeight - 8));
  box.style.transform = `translate(${left}px, ${top}px)`;
}
