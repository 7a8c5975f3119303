/* The run page: loads the points, draws, follows the stream, answers the controls. */
import { metrics, segments } from "./axes.js";
import { chart } from "./charts.js";
import { number } from "./format.js";
import { live } from "./live.js";
import { contextFigure, lossFigure } from "./loss.js";
import { t } from "./messages.js";
import { PANELS } from "./panels.js";
import { Points } from "./points.js";
import { badge } from "./badge.js";
import "./log.js";
import "./samples.js";

const KEYS = ["train/", "val/loss", "val/loss_se", "eval/", "rms/", "update_ratio/", "system/", "x/", "decay/"];
const LOSS_KEYS = ["train/loss", "val/loss", "val/loss_se"];
const plan = JSON.parse(document.getElementById("page-data").textContent);
const stored = Number(localStorage.getItem("plateau-smoothing") ?? 0.9);
const view = { axis: "tokens", scale: "linear", smoothing: stored, outliers: true, active: plan.active && plan.state !== "queued", turn: 0 };
const at = (id) => document.getElementById(id);
let points = new Points(plan.steps);
const past = []; // a fork's ancestors, oldest first

const loss = chart(at("loss"), (p) => lossFigure(p, points, plan, view, past));
const context = chart(at("context"), (p) => contextFigure(p, points, plan, view, above));
const panels = Object.entries(PANELS).map(([id, panel]) => ({ id, panel, chart: chart(at(id), (p) => panel.figure(p, points, plan, view)) }));

/** What the big chart shows now, for the box in the strip. */
function above() {
  const shown = at("loss").layout;
  if (!shown?.xaxis?.range || !shown.yaxis?.range) return null;
  const y = view.scale === "log" ? shown.yaxis.range.map((v) => 10 ** v) : shown.yaxis.range;
  return { x: shown.xaxis.range.map(Number), y };
}

function draw() {
  if (!points.get("train/loss").step.length && !points.get("val/loss").step.length) return;
  at("strip").hidden = false;
  loss.draw();
  context.draw();
  for (const { id, panel, chart: one } of panels) {
    const has = panel.keys.some((key) => (key.endsWith("/") ? points.keys(key).length : points.get(key).step.length));
    at(`panel-${id}`).hidden = !has;
    if (!has) continue;
    one.draw();
    at(`${id}-value`).textContent = panel.value(points, plan);
  }
  const merged = at("merged");
  merged.hidden = !points.merged || points.detail !== null;
  merged.textContent = t("merged");
}

async function load() {
  const fresh = new Points(plan.steps);
  fresh.load((await metrics([plan.run], KEYS, { width: 2400 })).runs[plan.run] ?? {});
  points = fresh;
  draw();
}

/** The curves that lead to a fork's own; they are over, so once is enough. */
async function remember({ run, lo, hi }) {
  const one = new Points(plan.steps);
  one.load((await metrics([run], ["train/loss", "val/loss", "x/"], { x: "step", lo, hi, width: 1000 })).runs[run] ?? {});
  return one;
}

live.addEventListener("points", ({ detail }) => (points.append(detail.columns) ? load() : draw()));
live.addEventListener("truncate", ({ detail }) => {
  points.truncate(detail.after);
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
  for (const one of detail.events) if (["resume", "alarm", "note"].includes(one.kind) && one.step !== null) plan.marks.push(one);
  draw();
});

segments(at("x-axis"), (value) => { view.axis = value; whole(); });
segments(at("y-axis"), (value) => { view.scale = value; draw(); });
at("outliers").addEventListener("change", (event) => { view.outliers = event.target.checked; draw(); });
const slider = at("smoothing");
slider.value = stored;
const written = () => { at("smoothing-value").textContent = number(view.smoothing, view.smoothing > 0.99 ? 3 : 2); };
slider.addEventListener("input", () => {
  view.smoothing = Number(slider.value);
  localStorage.setItem("plateau-smoothing", view.smoothing);
  written();
  loss.draw();
});
written();

/** Back to the whole run. */
function whole() {
  points.detail = null;
  view.turn += 1;
  draw();
}

/** After a zoom the server sends the window's own points. */
async function zoomed(changes) {
  context.draw();
  if (changes["xaxis.autorange"] || !loss.range() || !("xaxis.range[0]" in changes)) return;
  const xs = at("loss").data[0].x;
  const steps = points.fine("train/loss").step;
  const [first, end] = loss.range().map((x) => xs.findIndex((v) => v >= x));
  // one point more on either side, so that the lines reach the edges
  const lo = steps[Math.max(0, first - 1)];
  const hi = steps[end < 0 ? steps.length - 1 : end];
  if (!points.merged || !(hi > lo)) return;
  const answer = await metrics([plan.run], LOSS_KEYS, { x: "step", lo, hi, width: 2000 });
  points.detail = { lo, hi, columns: answer.runs[plan.run] };
  draw();
}
loss.on("plotly_relayout", zoomed);
loss.on("plotly_doubleclick", whole);
loss.on("plotly_afterplot", () => context.draw());
context.on("plotly_relayout", (changes) => {
  if (!("xaxis.range[0]" in changes)) return;
  loss.relayout({ "xaxis.range": [changes["xaxis.range[0]"], changes["xaxis.range[1]"]] }).then(() => zoomed({ "xaxis.range[0]": 0 }));
});

badge(plan);
past.push(...(await Promise.all(plan.past.map(remember))));
await load();
