/* The run page: loads the points, draws, follows the stream, answers the controls. */
import { metrics, unit } from "./axes.js";
import { badge } from "./badge.js";
import { chart } from "./charts.js";
import { number } from "./format.js";
import { crosshair } from "./hover.js";
import { live } from "./live.js";
import { contextFigure, lossFigure } from "./loss.js";
import { MACHINE } from "./machine.js";
import { menu, told } from "./menu.js";
import { t } from "./messages.js";
import { PANELS } from "./panels.js";
import { Points } from "./points.js";
import { controls, keep, offered, viewed } from "./view.js";
import { zoomable } from "./zoom.js";
import "./log.js";
import "./samples.js";

const LOSS_KEYS = ["train/loss", "val/loss", "val/loss_se"];
const PANEL_KEYS = ["train/lr", "train/grad_norm", "train/tok_per_s", "train/mfu", "decay/effective", "rms/", "update_ratio/", "system/"];
/** The series that each axis is joined to. */
const X_KEYS = { step: [], tokens: ["x/tokens"], epochs: ["x/tokens"], wall_s: ["x/wall_s"], clock: ["x/wall_s"], flops: ["x/flops"] };
const SMOOTHED = ["train/loss", "train/grad_norm"];
const MARKED = ["resume", "alarm", "note"];
const PANEL_POINTS = 800;
const plan = JSON.parse(document.getElementById("page-data").textContent);
const defaults = { axis: "tokens", scale: "linear", xscale: "linear", smoothing: 0.9, outliers: true, smoothVal: false, checkpoints: false, window: null };
const view = { ...viewed(defaults, { address: false }), active: plan.active && plan.state !== "queued" };
const at = (id) => document.getElementById(id);
let points = new Points(plan);
let u = null;
const past = []; // a fork's ancestors, oldest first

const loss = chart(at("loss"), (p, yrange) => lossFigure(p, points, plan, view, u, { past, yrange, width: at("loss").clientWidth }));
const context = chart(at("context"), (p) => contextFigure(p, points, plan, view, u, () => loss.shown()));
const panels = Object.entries({ ...PANELS, ...MACHINE }).map(([id, panel]) => ({ id, panel, chart: chart(at(id), (p, yrange) => panel.figure(p, points, plan, view, u, yrange)) }));

function draw(soon = false) {
  const has = (key) => (key.endsWith("/") ? points.keys(key).some((one) => points.has(one)) : points.has(key));
  if (!points.series.size) return;
  view.axis = offered(view, (axis) => points.x(axis, [points.lastStep])[0] !== null);
  u = unit(view.axis, [{ points, plan }]);
  at("strip").hidden = !has("train/loss");
  loss.draw(soon);
  context.draw(soon);
  for (const { id, panel, chart: one } of panels) {
    at(`panel-${id}`).hidden = !panel.keys.some(has);
    if (!panel.keys.some(has)) continue;
    one.draw(soon);
    at(`${id}-value`).textContent = panel.value(points, plan);
  }
  told(at("merged"), LOSS_KEYS.slice(0, 1).map((key) => points.fine(key)));
}

async function asked(keys, width, window) {
  const bounds = window ? { x: view.axis, lo: window[0], hi: window[1] } : {};
  return (await metrics([plan.run], keys, { ...bounds, width, mean: SMOOTHED.filter((key) => keys.includes(key)) })).runs[plan.run] ?? {};
}

/** About a bucket of two points for each pixel, so that spikes stay apart. */
const curves = (keys, window) => asked([...LOSS_KEYS, ...keys], Math.min(4000, Math.max(300, 3 * at("loss").clientWidth)), window);
const small = (keys, window) => asked([...PANEL_KEYS, ...keys], PANEL_POINTS, window);

async function load() {
  const fresh = new Points(plan);
  const { window } = view;
  const [whole, part] = await Promise.all([
    Promise.all([curves([]), small(["x/"])]),
    window && Promise.all([curves(X_KEYS[view.axis], window), small([], window)]),
  ]);
  fresh.load(Object.assign({}, ...whole));
  if (part) fresh.zoom(Object.assign({}, ...part));
  points = fresh;
  draw(true);
}

/** The curves that lead to a fork's own; they are over, so once is enough. */
async function remember(theirs) {
  const { run, lo, hi } = theirs;
  const one = new Points(theirs);
  one.load((await metrics([run], ["train/loss", "val/loss", "x/"], { x: "step", lo, hi: hi ?? undefined, width: 1000 })).runs[run] ?? {});
  return one;
}

const { whole } = zoomable(view, {
  unit: () => u,
  async ask(window, news) {
    if (!window) return news(() => points.zoom(null));
    // one after the other: a server that works for the panels meanwhile keeps the loss waiting
    const first = await curves(X_KEYS[view.axis], window);
    news(() => { points.zoom(first); told(at("merged"), [points.fine("train/loss")]); }, [loss]);
    await new Promise((drawn) => setTimeout(drawn, 0));
    const rest = await small([], window);
    news(() => points.zoom({ ...first, ...rest }), panels.map((one) => one.chart));
  },
});
crosshair({ unit: () => u, head: (x) => (view.axis === "step" ? "" : t("step-at", { n: number(points.stepAt(view.axis, u.read(x))) })) });
loss.element.addEventListener("drawn", () => context.draw());
for (const [one, keys] of [[loss, LOSS_KEYS], ...panels.map(({ chart: small, panel }) => [small, panel.keys])]) menu(one, { runs: [plan.run], keys: () => keys, file: plan.run, whole });

live.addEventListener("points", ({ detail }) => (points.append(detail.columns) ? load() : draw()));
live.addEventListener("truncate", ({ detail }) => {
  points.truncate(detail.after);
  plan.clock = plan.clock.filter(([after]) => after < detail.after);
  draw();
});
live.addEventListener("resync", load);
live.addEventListener("state", ({ detail }) => {
  plan.state = detail.state;
  view.active = ["starting", "running", "stopping"].includes(detail.state);
  badge(detail);
  draw();
});
live.addEventListener("event", ({ detail }) => {
  for (const one of detail.events) {
    if (one.step === null) continue;
    if (MARKED.includes(one.kind)) plan.marks.push({ ...one, kind: one.kind === "alarm" && "before" in (one.data ?? {}) ? "oom" : one.kind });
    if (one.kind === "checkpoint") plan.saved.push(one.step);
    // the clock of this attempt: its training time and the server's, at one step
    if (one.kind === "resume") plan.clock.push([one.step, one.at - (points.x("wall_s", [one.step])[0] ?? 0)]);
  }
  draw();
});

/** What the diagnosis says of the curve: {forecast: {step, mean, low, high} or null, evidence: [{first, last, text, level}]}. */
function diagnosed() {
  const said = at("diagnosis-data");
  if (said) Object.assign(plan, JSON.parse(said.textContent));
}
at("diagnosis")?.addEventListener("drawn", () => { diagnosed(); draw(); });

controls(view, (field) => {
  keep(view, defaults, { address: false });
  if (field === "axis") whole();
  if (field === "scale" || field === "outliers") loss.yrange = null;
  draw(true);
});

badge(plan);
diagnosed();
past.push(...(await Promise.all(plan.past.map(remember))));
await load();
