/* The compare page: loads every run's points, draws them on one axis, follows the stream; the address holds the whole view. */
import { metrics, unit } from "./axes.js";
import { all, chart } from "./charts.js";
import { crosshair } from "./hover.js";
import { live } from "./live.js";
import { menu, told } from "./menu.js";
import { lossFigure, rmsFigure } from "./overlay.js";
import { Points } from "./points.js";
import { controls, keep, offered, viewed } from "./view.js";
import { zoomable } from "./zoom.js";

const LOSS_KEYS = ["train/loss", "val/loss", "val/loss_se"];
const SIZE_KEYS = ["train/lr", "rms/"];
const MOST_POINTS = 60_000;
const X_POINTS = 200;
const { runs } = JSON.parse(document.getElementById("page-data").textContent);
const defaults = { axis: "tokens", scale: "linear", xscale: "linear", smoothing: 0.95, outliers: true, smoothVal: false, group: "mlp.fc", window: null };
export const view = viewed(defaults, { address: true });
const at = (id) => document.getElementById(id);
/** What every figure of this page takes. */
export const subjects = runs.map((plan) => ({ plan, points: new Points(plan) }));
export const ids = runs.map((plan) => plan.run);
let u = unit(view.axis, subjects);
export const currentUnit = () => u;

const loss = chart(at("loss"), (t, yrange) => lossFigure(t, subjects, view, u, yrange, at("loss").clientWidth));
const rms = chart(at("rms"), (t, yrange) => rmsFigure(t, subjects, view, u, yrange));

function draw(soon = false) {
  view.axis = offered(view, (axis) => subjects.some(({ points }) => points.x(axis, [points.lastStep])[0] !== null));
  u = unit(view.axis, subjects);
  choices();
  for (const one of all) one.draw(soon);
  told(at("merged"), subjects.map(({ points }) => points.fine("train/loss")));
}

/** One answer for all runs and each kind of curve, as fine as the chart's pixels and the number of runs call for. */
async function asked(window = null) {
  const bounds = window ? { x: view.axis, lo: window[0], hi: window[1] } : {};
  const width = Math.round(Math.max(100, Math.min(4000, 3 * at("loss").clientWidth, MOST_POINTS / runs.length)));
  const parts = await Promise.all([
    metrics(ids, LOSS_KEYS, { ...bounds, width, mean: ["train/loss"] }),
    metrics(ids, SIZE_KEYS, { ...bounds, width: Math.min(width, 400) }),
    metrics(ids, ["x/"], { ...bounds, width: X_POINTS }),
  ]);
  return new Map(ids.map((id) => [id, Object.assign({}, ...parts.map((part) => part.runs[id] ?? {}))]));
}

async function load() {
  const found = await asked();
  const fine = view.window && (await asked(view.window));
  for (const one of subjects) {
    one.points = new Points(one.plan);
    one.points.load(found.get(one.plan.run));
    if (fine) one.points.zoom(fine.get(one.plan.run));
  }
  draw(true);
}

/** The parameter groups that the runs report. */
function choices() {
  const select = at("group");
  const found = [...new Set(subjects.flatMap(({ points }) => points.keys("rms/")))].map((key) => key.slice(4));
  if (found.length === select.options.length) return;
  if (!found.includes(view.group) && found.length) view.group = found[0];
  select.replaceChildren(...found.map((group) => new Option(group, group, false, group === view.group)));
}

const zoom = zoomable(view, {
  unit: () => u,
  changed: () => keep(view, defaults, { address: true }),
  async ask(window, news) {
    const found = window && (await asked(window));
    news(() => {
      for (const { plan, points } of subjects) points.zoom(found && found.get(plan.run));
      told(at("merged"), subjects.map(({ points }) => points.fine("train/loss")));
    });
  },
});
const { whole } = zoom;
const hover = crosshair({ unit: () => u, sorted: true });
/** A chart of the same axis that another module draws: zoomed and crossed with the others. Returns what shows the whole. */
export function joined(one) {
  zoom.join(one);
  hover.join(one);
  return whole;
}
menu(loss, { runs: ids, keys: () => LOSS_KEYS, file: "compare", whole });
menu(rms, { runs: ids, keys: () => [`rms/${view.group}`, "train/lr"], file: "compare", whole });

const of = (detail) => subjects.find(({ plan }) => plan.run === detail.run);
live.addEventListener("points", ({ detail }) => { if (of(detail)?.points.append(detail.columns)) load(); else draw(); });
live.addEventListener("truncate", ({ detail }) => { of(detail)?.points.truncate(detail.after); draw(); });
live.addEventListener("resync", load);
// what was written between the page and the first message
live.addEventListener("hello", load, { once: true });

controls(view, (field) => {
  if (field === "axis") whole();
  if (field === "scale" || field === "outliers") loss.yrange = null;
  keep(view, defaults, { address: true });
  draw(true);
});
at("group").addEventListener("change", (event) => { view.group = event.target.value; rms.yrange = null; keep(view, defaults, { address: true }); rms.draw(true); });
await load();
