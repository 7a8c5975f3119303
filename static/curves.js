/* Train and validation loss of one run as curves, for the run page and the compare page alike. */
import { narrow, rgba } from "./charts.js";
import { number } from "./format.js";
import { lowerBound } from "./columns.js";
import { fullRange, livingRange, smooth } from "./smoothing.js";
import { spikes } from "./spikes.js";

const APART = 8; // pixels that an evaluation with its bar takes

/** Indices at which smoothing starts afresh: the first point after each resume. */
const starts = (steps, resumes) => new Set(resumes.map((after) => lowerBound(steps, after + 1)));
export const showing = (points, axis, u) => (steps) => points.x(axis, steps).map((v) => (v === null ? null : u.show(v)));

/** One series, raw and smoothed: {back, traces, probes, raw, calm}. `look`: {colour, name, row, column,
 * dash, write, and `faint`: how much of the raw curve is seen behind the smoothed one}. */
export function noisy(points, key, view, u, look) {
  const x = showing(points, view.axis, u);
  const raw = points.fine(key);
  const quiet = points.calm(key);
  const weight = look.weight ?? view.smoothing;
  const y = smooth(quiet.y, weight, starts(quiet.step, look.resumes ?? []), quiet.gaps);
  const [rawX, calmX] = [x(raw.step), x(quiet.step)];
  const traces = [];
  const back = [];
  const smoothed = weight > 0;
  if (!smoothed || look.faint) (smoothed ? back : traces).push({ x: rawX, y: raw.y, mode: "lines", line: { color: rgba(look.colour, smoothed ? look.faint * (raw.merged ? 0.75 : 1) : 1), width: smoothed ? 1 : 1.5, dash: smoothed ? "solid" : look.dash }, name: look.name, showlegend: !smoothed });
  if (smoothed) traces.push({ x: calmX, y, mode: "lines", line: { color: look.colour, width: 2, dash: look.dash }, name: look.name });
  const write = look.write ?? ((v) => number(v, 3));
  const probes = [{ row: look.row ?? look.name, column: look.column, colour: look.colour, dash: look.dash, x: smoothed ? calmX : rawX, y: smoothed ? y : raw.y, write }];
  if (smoothed && look.rawRow) probes.push({ row: look.rawRow, column: look.column, colour: look.colour, dash: "faint", x: rawX, y: raw.y, write });
  return { back, traces, probes, raw: { ...raw, x: rawX }, calm: { step: quiet.step, x: calmX, y: smoothed ? y : quiet.y }, quiet };
}

/** The area between two curves, without a line. */
export function between(x, low, high, colour) {
  const edge = { x, mode: "lines", line: { width: 0 }, showlegend: false, hoverinfo: "skip" };
  return [{ ...edge, y: low }, { ...edge, y: high, fill: "tonexty", fillcolor: colour }];
}

/** Validation: points with two standard errors either way, a band where they stand too close for bars; a line only where it is asked for. */
export function scored(points, view, u, look) {
  const val = points.fine("val/loss");
  const se = points.fine("val/loss_se");
  const at = new Map(se.step.map((step, i) => [step, se.y[i]]));
  const error = val.step.map((step) => 2 * (at.get(step) ?? 0));
  const x = showing(points, view.axis, u)(val.step);
  const dense = inside({ x, y: val.y }, view, u).length * APART > look.width;
  const marker = { color: look.colour, symbol: look.symbol, size: dense ? 3.5 : narrow() ? 5 : look.size, line: { color: look.edge, width: dense ? 0 : 1 } };
  const near = reachable(x, view, u);
  const of = (list) => near.map((i) => list[i]);
  const traces = [{ x: of(x), y: of(val.y), mode: "markers", marker, name: look.name, ...(dense ? {} : { error_y: { type: "data", array: of(error), thickness: 1.2, width: 2, color: look.colour } }) }];
  if (dense && se.step.length) traces.unshift(...between(x, val.y.map((v, i) => v - error[i]), val.y.map((v, i) => v + error[i]), rgba(look.colour, 0.14)));
  if (view.smoothVal && view.smoothing > 0) traces.push({ x, y: smooth(val.y, view.smoothing), mode: "lines", line: { color: look.colour, width: 1.5, dash: look.dash }, name: look.name, showlegend: false });
  const write = (v, i) => (error[i] ? `${number(v, 4)} ± ${number(error[i], 4)}` : number(v, 4));
  return { traces, probes: [{ row: look.row ?? look.name, column: look.column, colour: look.colour, dash: look.row ? look.dash : "point", x, y: val.y, write, sparse: true }], x, y: val.y, error };
}

/** Indices of what a drag along the axis can bring into the page's window: each marker is an element of its own, dear to draw. */
function reachable(x, view, u) {
  const [low, high] = view.window?.map(u.show) ?? [];
  const all = [...x.keys()];
  return view.window && view.xscale !== "log" ? all.filter((i) => x[i] !== null && x[i] >= 2 * low - high && x[i] <= 2 * high - low) : all;
}

/** The values of `{x, y}` inside the page's window. */
export function inside({ x, y }, view, u) {
  if (!view.window) return y;
  const [low, high] = view.window.map(u.show);
  return y.filter((_, i) => x[i] !== null && x[i] >= low && x[i] <= high);
}

/** The y range in drawn units: without outliers where the reader asked for that, all of it otherwise; null for Plotly's own. */
export function bounds(view, u, { calm = [], raw = [], val = [] }) {
  const of = (list, skip = 0) => list.flatMap((one) => inside(one, view, u).slice(view.window ? 0 : skip));
  const log = view.scale === "log";
  if (!view.outliers) return fullRange([...of(raw), ...of(val)], log);
  return livingRange([...of(calm), ...of(val, 1)], { log, zoomed: view.window !== null || view.xscale === "log", loud: of(raw) }) ?? fullRange([...of(raw), ...of(val)], log);
}

/** A triangle at each spike: on it, or at the edge of the plot with its value where it lies beyond. */
export function spiked(t, curve, range, view, u, colour, named = narrow() ? 4 : 12) {
  const found = spikes(curve.raw, curve.quiet);
  if (!range || !found.length) return [];
  const log = view.scale === "log";
  const reach = range[1] - range[0];
  const [low, high] = view.window ? view.window.map(u.show) : [-Infinity, Infinity];
  const drawn = found.map(({ i, up }) => ({ x: curve.raw.x[i], y: curve.raw.y[i], up })).filter((one) => one.x >= low && one.x <= high && one.x !== null && (!log || one.y > 0));
  const place = (y) => Math.min(range[1] - 0.025 * reach, Math.max(range[0] + 0.025 * reach, log ? Math.log10(y) : y));
  const beyond = (y) => { const v = log ? Math.log10(y) : y; return v > range[1] || v < range[0]; };
  const many = drawn.filter((one) => beyond(one.y)).length > named;
  return [{
    x: drawn.map((one) => one.x), y: drawn.map((one) => (log ? 10 ** place(one.y) : place(one.y))), mode: many ? "markers" : "markers+text", cliponaxis: false,
    text: drawn.map((one) => (beyond(one.y) ? number(one.y, 2) : "")), textposition: drawn.map((one) => (one.up ? "bottom center" : "top center")), textfont: { size: 11, color: t["text-2"] },
    marker: { color: colour, size: 7, symbol: drawn.map((one) => (one.up ? "triangle-up" : "triangle-down")), line: { color: t.surface, width: 1 } }, showlegend: false, hoverinfo: "skip", meta: "spikes",
  }];
}
