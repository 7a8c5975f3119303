/* The loss chart and the strip below it: train raw and smoothed, val with its error, where the run was resumed. */
import { axis, hline, label, narrow, rgba, vline } from "./charts.js";
import { unit } from "./axes.js";
import { number } from "./format.js";
import { t as say } from "./messages.js";
import { livingRange, smooth } from "./smoothing.js";

const timesTwo = (se, steps, at) => steps.map((step) => 2 * (se[at.indexOf(step)] ?? 0));

/** Everything both drawings need, from the points and the state of the controls. */
function curves(points, plan, view) {
  const u = unit(view.axis, points, plan);
  const train = points.fine("train/loss");
  const val = points.fine("val/loss");
  const se = points.fine("val/loss_se");
  const breaks = new Set(plan.marks.filter((m) => m.kind === "resume").map((m) => train.step.findIndex((s) => s > m.step)));
  const x = (steps) => points.x(view.axis, steps).map((v) => (v === null ? null : v * u.factor));
  return { u, x, train, val, trainX: x(train.step), valX: x(val.step), smoothed: smooth(train.y, view.smoothing, breaks), error: timesTwo(se.y, val.step, se.step) };
}

/** The curves of a fork's ancestors, faint, up to where the fork begins. */
function lineage(t, past, view, factor) {
  const drawn = (one, key, more) => {
    const { step, y } = one.get(key);
    return { x: one.x(view.axis, step).map((v) => (v === null ? null : v * factor)), y, hoverinfo: "skip", ...more };
  };
  return past.flatMap((one) => [
    drawn(one, "train/loss", { mode: "lines", line: { color: rgba(t["text-3"], 0.35), width: 1 } }),
    drawn(one, "val/loss", { mode: "markers", marker: { color: rgba(t["text-3"], 0.6), size: 4 } }),
  ]);
}

export function lossFigure(t, points, plan, view, past = []) {
  const { u, x, train, val, trainX, valX, smoothed, error } = curves(points, plan, view);
  const log = view.scale === "log";
  const before = past.at(-1)?.get("train/loss").y ?? []; // a fork is seen against the later half of what it came from
  const range = view.outliers ? livingRange([...before.slice(before.length / 2), ...smoothed.filter((_, i) => i % 3 === 0 || smoothed.length < 200), ...val.y.slice(1)], log) : null;
  const now = x([points.lastStep])[0];
  const shapes = [];
  const notes = [];
  const shown = references(plan, range, [...train.y, ...val.y], log);
  for (const [value, text, dash] of shown.marks) {
    const at = log ? Math.log10(value) : value;
    shapes.push(hline(t, value, { line: { color: t["text-3"], width: 1, dash } }));
    notes.push(label(t, 1, at, `${text} <b>${number(value, 2)}</b>`, { xref: "paper", xanchor: "right", yanchor: "bottom", bgcolor: rgba(t.surface, 0.8), font: { size: 11, color: t["text-3"] } }));
  }
  const top = (at, text, colour) => notes.push(label(t, at, 1, text, { yref: "paper", xanchor: "center", yanchor: "bottom", font: { size: 11, color: colour } }));
  if (plan.warmup) {
    const end = (u.end * plan.warmup) / plan.steps;
    shapes.push({ type: "rect", xref: "x", yref: "paper", x0: 0, x1: end, y0: 0, y1: 1, fillcolor: t.sunken, opacity: 0.6, line: { width: 0 }, layer: "below" });
    if (end > 0.06 * u.end && !narrow()) top(end / 2, say("warm-up"), t["text-3"]);
  }
  for (const mark of plan.marks) {
    const [at] = x([mark.step]);
    if (at === null) continue;
    shapes.push(vline(t, at, mark.kind === "alarm" ? { line: { color: t.warn, width: 1, dash: "dot" } } : {}));
    const [sign, word] = { resume: ["↻", say("resume")], alarm: ["▲", say("alarm")], note: ["◆", ""] }[mark.kind];
    top(at, narrow() ? sign : `${sign} ${word}`, mark.kind === "alarm" ? t.warn : t["text-2"]);
  }
  for (const bad of train.bad.slice(0, 20)) {
    const [at] = x([bad.step]);
    shapes.push(vline(t, at, { line: { color: t.bad, width: 1 } }));
    top(at, `✕ ${bad.value}`, t.bad);
  }
  if (view.active && now) {
    shapes.push(vline(t, now, { line: { color: t.run, width: 1 } }));
    top(now, say("now"), t.run);
  }
  const lastVal = val.y.at(-1);
  const lastTrain = smoothed.at(-1);
  const y = (v) => (log ? Math.log10(v) : v);
  const ends = [];
  if (lastVal != null) ends.push([now, lastVal, `${say("val")} <b>${number(lastVal, 3)}</b>`, t.c[1]]);
  if (lastTrain != null) ends.push([now, lastTrain, `${say("train")} <b>${number(lastTrain, 3)}</b>`, t.c[0]]);
  const room = now < 0.8 * u.end;
  ends.forEach(([at, value, text, colour], i) => {
    const up = i === 0 ? value >= (lastTrain ?? -Infinity) : value > lastVal;
    const beside = room ? [at, {}] : [1, { xref: "paper" }]; // near its end the run's labels stand beside the plot, not on it
    notes.push(label(t, beside[0], y(value), text, { font: { size: 12, color: colour }, yanchor: up ? "bottom" : "top", xshift: 8, yshift: up ? -2 : 2, ...beside[1] }));
  });
  return {
    data: [
      { x: trainX, y: train.y, mode: "lines", line: { color: rgba(t.c[0], view.smoothing ? 0.3 : 1), width: view.smoothing ? 1 : 1.5 }, name: say("train-raw"), hovertemplate: "%{y:.3f}" },
      { x: trainX, y: smoothed, mode: "lines", line: { color: t.c[0], width: 2 }, name: say("train"), hovertemplate: "<b>%{y:.3f}</b>", visible: view.smoothing > 0 },
      { x: valX, y: val.y, mode: "markers", marker: { color: t.c[1], size: narrow() ? 4 : 6, line: { color: t.surface, width: 1 } }, error_y: { type: "data", array: error, thickness: 1.2, width: 2, color: t.c[1] }, name: say("val"), customdata: error, hovertemplate: "<b>%{y:.3f}</b> ± %{customdata:.3f}" },
      ...lineage(t, past, view, u.factor),
    ],
    layout: {
      margin: { l: 48, r: room ? 22 : 80, t: 28, b: 30 }, uirevision: `${view.axis} ${view.scale} ${view.outliers} ${view.turn}`,
      xaxis: axis(t, { range: [0, u.end * 1.005 || 1], ticksuffix: u.suffix, showgrid: false, ticks: "outside", ticklen: 4, tickcolor: t.line, nticks: narrow() ? 5 : 10, hoverformat: u.format ?? ".4~s", tickformat: u.format }),
      yaxis: axis(t, { type: view.scale, ...(shown.range ? { range: shown.range } : { autorange: true }), nticks: 8 }),
      shapes, annotations: notes,
    },
  };
}

/** What a model that learned nothing (ln V) or only frequencies (unigram entropy) would score, where the chart shows losses like it.
 * Within the drawn range, or so near that the range is let out to it (in drawn units: log10 on a log axis). */
function references(plan, range, values, log) {
  const y = (value) => (log ? Math.log10(value) : value);
  let [low, high] = range ?? values.filter((v) => v !== null && Number.isFinite(v) && (!log || v > 0)).reduce(([a, b], v) => [Math.min(a, y(v)), Math.max(b, y(v))], [Infinity, -Infinity]);
  if (!(high > low)) return { marks: [], range };
  const near = 0.2 * (high - low);
  const marks = [[plan.uniform, say("uniform"), "dash"], [plan.unigram, say("unigram"), "dot"]].filter(([value]) => value > 0 && y(value) >= low - near && y(value) <= high + near);
  for (const [value] of marks) [low, high] = [Math.min(low, y(value) - 0.2 * near), Math.max(high, y(value) + 0.4 * near)];
  return { marks, range: range && marks.length ? [low, high] : range };
}

/** The whole run with ln V and the unigram entropy; a box for what the chart above shows. */
export function contextFigure(t, points, plan, view, above) {
  const { u, trainX, train } = curves(points, plan, { ...view, smoothing: 0 });
  const shapes = [];
  const notes = [];
  const marks = [[plan.uniform, say("uniform"), "dash"], [plan.unigram, say("unigram"), "dot"]];
  for (const [value, text, dash] of marks) {
    if (value === null) continue;
    shapes.push(hline(t, value, { line: { color: t["text-3"], width: 1, dash } }));
    notes.push(label(t, u.end, value, `${text} = <b>${number(value, 2)}</b>`, { xanchor: "right", bgcolor: t.surface }));
  }
  const box = above();
  if (box) shapes.push({ type: "rect", xref: "x", yref: "y", x0: Math.max(0, box.x[0]), x1: box.x[1], y0: box.y[0], y1: box.y[1], fillcolor: rgba(t.accent, 0.1), line: { color: rgba(t.accent, 0.55), width: 1 } });
  const top = Math.max(plan.uniform ?? 0, ...train.y.filter((v) => v !== null).slice(0, 50), 1);
  return {
    data: [{ x: trainX, y: train.y, mode: "lines", line: { color: t.c[0], width: 1.2 }, hoverinfo: "skip" }],
    layout: { hovermode: false, uirevision: "no", margin: { l: 48, r: 22, t: 6, b: 22 }, xaxis: axis(t, { range: [0, u.end * 1.005 || 1], ticksuffix: u.suffix, showgrid: false, nticks: 6, tickformat: u.format }), yaxis: axis(t, { range: [0, top * 1.12], nticks: 4, fixedrange: true }), shapes, annotations: notes },
  };
}
