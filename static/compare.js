/* The compare page: every run's train and val on one chart, weight sizes on another; colours belong to runs. */
import { metrics, segments, unit } from "./axes.js";
import { axis, chart, label, narrow, rgba } from "./charts.js";
import { number } from "./format.js";
import { live } from "./live.js";
import { t as say } from "./messages.js";
import { Points } from "./points.js";
import { livingRange, smooth } from "./smoothing.js";

const KEYS = ["train/loss", "train/lr", "val/loss", "val/loss_se", "rms/", "x/"];
const DASHES = ["solid", "dash", "dot"];
const SYMBOLS = ["circle", "diamond", "square", "triangle-up", "cross", "star", "x", "triangle-down"];
const { runs } = JSON.parse(document.getElementById("page-data").textContent);
const NAMES_WIDTH = 88;
const view = { axis: "tokens", scale: "linear", smoothing: 0.95, outliers: true, group: "mlp.fc" };
const points = new Map(runs.map((run) => [run.run, new Points(run.steps)]));
const at = (id) => document.getElementById(id);

/** The unit of the run that reaches farthest, so that all share one axis. */
function shared() {
  const units = runs.map((run) => unit(view.axis, points.get(run.run), run));
  const coarse = units.find((u) => u.suffix === " h") ?? units[0];
  return { ...coarse, end: Math.max(...units.map((u) => (u.end * coarse.factor) / u.factor).filter(Number.isFinite), 0) || 1 };
}

const xs = (run, u, steps) => points.get(run.run).x(view.axis, steps).map((v) => (v === null ? null : v * u.factor));
const frame = (t, u) => axis(t, { range: [0, u.end * 1.005], ticksuffix: u.suffix, showgrid: false, ticks: "outside", ticklen: 4, tickcolor: t.line, nticks: narrow() ? 5 : 10, tickformat: u.format, hoverformat: u.format ?? ".4~s" });

function lossFigure(t) {
  const u = shared();
  const data = [];
  const seen = [];
  runs.forEach((run, i) => {
    const p = points.get(run.run);
    const colour = t.c[run.colour - 1];
    const [train, val, se] = [p.get("train/loss"), p.get("val/loss"), p.get("val/loss_se")];
    const y = smooth(train.y, view.smoothing);
    const error = val.step.map((step) => 2 * (se.y[se.step.indexOf(step)] ?? 0));
    seen.push(...y.filter((_, k) => k % 3 === 0), ...val.y.slice(1));
    data.push({ x: xs(run, u, train.step), y, mode: "lines", line: { color: colour, width: 2, dash: DASHES[run.dash % 3] }, name: `${run.name} · ${say("train")}`, hovertemplate: "%{y:.3f}" });
    data.push({ x: xs(run, u, val.step), y: val.y, mode: "markers", marker: { color: colour, size: narrow() ? 5 : 7, symbol: SYMBOLS[i % SYMBOLS.length], line: { color: t.surface, width: 1 } }, error_y: { type: "data", array: error, thickness: 1.2, width: 2, color: colour }, name: `${run.name} · ${say("val")}`, hovertemplate: "<b>%{y:.4f}</b>" });
  });
  const log = view.scale === "log";
  const range = view.outliers ? livingRange(seen, log) : null;
  return { data, layout: { uirevision: JSON.stringify([view.axis, view.scale, view.outliers]), margin: { l: 48, r: NAMES_WIDTH, t: 12, b: 30 }, xaxis: frame(t, u), yaxis: axis(t, { type: view.scale, ...(range ? { range } : { autorange: true }), nticks: 8 }), annotations: names(t, "val/loss", 3, log, range ? range[1] - range[0] : 0) } };
}

function rmsFigure(t) {
  const u = shared();
  const data = [];
  let most = 0.001;
  for (const run of runs) {
    const p = points.get(run.run);
    const colour = t.c[run.colour - 1];
    const rms = p.get(`rms/${view.group}`);
    most = Math.max(most, ...rms.y.filter((v) => v !== null));
    data.push({ x: xs(run, u, rms.step), y: rms.y, mode: "lines+markers", line: { color: colour, width: 2, dash: DASHES[run.dash % 3] }, marker: { size: 4 }, name: run.name, hovertemplate: "%{y:.4f}" });
    if (!run.weightDecay) continue;
    const lr = p.get("train/lr");
    const some = lr.step.map((_, k) => k).filter((k) => k % Math.max(1, Math.floor(lr.step.length / 200)) === 0);
    data.push({ x: xs(run, u, some.map((k) => lr.step[k])), y: some.map((k) => Math.sqrt(lr.y[k] / (2 * run.weightDecay))), mode: "lines", line: { color: rgba(colour, 0.8), width: 1.2, dash: "dash" }, name: `${run.name} · ${say("equilibrium")}`, hovertemplate: "%{y:.4f}" });
  }
  return { data, layout: { uirevision: view.axis + view.group, margin: { l: 52, r: NAMES_WIDTH, t: 8, b: 30 }, xaxis: frame(t, u), yaxis: axis(t, { range: [0, 1.3 * most], nticks: 6 }), annotations: names(t, `rms/${view.group}`, 4, false, 1.3 * most) } };
}

/** λ and the newest value of each curve beside the plot, moved apart so that none covers another. */
function names(t, key, decimals, log, span) {
  const found = runs.map((run) => ({ run, y: points.get(run.run).get(key).y.at(-1) })).filter((one) => one.y > 0).sort((a, b) => a.y - b.y);
  let low = -Infinity;
  const gap = span / 16;
  return found.map(({ run, y }) => {
    low = Math.max(low + gap, log ? Math.log10(y) : y);
    return label(t, 1, low, `λ ${run.weightDecay} <b>${number(y, decimals)}</b>`, { xref: "paper", xshift: 8, font: { size: 12, color: t.c[run.colour - 1] } });
  });
}

const charts = [chart(at("loss"), lossFigure), chart(at("rms"), rmsFigure)];
const draw = () => charts.forEach((one) => one.draw());

async function load() {
  const answer = await metrics(runs.map((run) => run.run), KEYS, { width: 1600 });
  for (const run of runs) {
    const fresh = new Points(run.steps);
    fresh.load(answer.runs[run.run] ?? {});
    points.set(run.run, fresh);
  }
  choices();
  draw();
}

/** The parameter groups that the runs report. */
function choices() {
  const select = at("group");
  const found = [...new Set([...points.values()].flatMap((p) => p.keys("rms/")))].map((key) => key.slice(4));
  if (found.length === select.options.length) return;
  select.replaceChildren(...found.map((group) => new Option(group, group, false, group === view.group)));
  if (!found.includes(view.group) && found.length) view.group = found[0];
}

live.addEventListener("points", ({ detail }) => {
  const p = points.get(detail.run);
  if (p?.append(detail.columns)) load();
  choices();
  draw();
});
live.addEventListener("truncate", ({ detail }) => { points.get(detail.run)?.truncate(detail.after); draw(); });
live.addEventListener("resync", load);
// what was written between the page and the first message
live.addEventListener("hello", load, { once: true });
segments(at("x-axis"), (value) => { view.axis = value; draw(); });
segments(at("y-axis"), (value) => { view.scale = value; draw(); });
at("outliers").addEventListener("change", (event) => { view.outliers = event.target.checked; draw(); });
at("group").addEventListener("change", (event) => { view.group = event.target.value; draw(); });
at("smoothing").addEventListener("input", (event) => {
  view.smoothing = Number(event.target.value);
  at("smoothing-value").textContent = number(view.smoothing, view.smoothing > 0.99 ? 3 : 2);
  charts[0].draw();
});
await load();
