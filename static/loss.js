/* The run page's loss chart and the strip below it: train, val, what happened, what it is measured against, what is foreseen. */
import { across, axis, hline, label, narrow, plain, rgba, vline } from "./charts.js";
import { between, bounds, inside, noisy, scored, showing, spiked } from "./curves.js";
import { number } from "./format.js";
import { t as say } from "./messages.js";
import { fullRange } from "./smoothing.js";

const SIGNS = { resume: "↻", alarm: "▲", oom: "▲", note: "◆" };
const MOST_BAD = 20;

/** The curves of a fork's ancestors, faint, up to where the fork begins. */
function lineage(t, past, view, u) {
  const drawn = (one, key, more) => {
    const { step, y } = one.get(key);
    return { x: showing(one, view.axis, u)(step), y, showlegend: false, ...more };
  };
  return past.flatMap((one) => [
    drawn(one, "train/loss", { mode: "lines", line: { color: rgba(t["text-3"], 0.35), width: 1 } }),
    drawn(one, "val/loss", { mode: "markers", marker: { color: rgba(t["text-3"], 0.6), size: 4 } }),
  ]);
}

export function lossFigure(t, points, plan, view, u, { past = [], yrange = null, width = 800 } = {}) {
  const x = showing(points, view.axis, u);
  const resumes = plan.marks.filter((m) => m.kind === "resume").map((m) => m.step);
  const train = noisy(points, "train/loss", view, u, { colour: t.c[0], name: say("train"), rawRow: say("train-raw"), faint: 0.3, resumes });
  const val = scored(points, view, u, { colour: t.c[1], name: say("val"), size: 6, edge: t.surface, width });
  const log = view.scale === "log";
  const band = foreseen(t, plan.forecast, x);
  const before = past.map((one) => { const { step, y } = one.get("train/loss"); return { x: showing(one, view.axis, u)(step), y: y.slice(y.length / 2) }; });
  let range = bounds(view, u, { calm: [train.calm, ...(view.window ? [] : before)], raw: [train.raw], val: [val, ...band.probes] });
  const shown = references(plan, range, log);
  range = yrange ?? shown.range;
  const { shapes, notes } = happened(t, points, plan, view, u, train);
  for (const [value, text, dash] of shown.marks) {
    shapes.push(hline(t, value, { line: { color: t["text-3"], width: 1, dash } }));
    notes.push(label(t, 1, log ? Math.log10(value) : value, `${text} <b>${number(value, 2)}</b>`, { xref: "paper", xanchor: "right", yanchor: "bottom", bgcolor: rgba(t.surface, 0.8), font: { size: 11, color: t["text-3"] } }));
  }
  const room = !view.window && u.axis !== "clock" && x([points.lastStep])[0] < 0.8 * u.end;
  notes.push(...ends(t, x([points.lastStep])[0], inside(val, view, u).at(-1), inside(train.calm, view, u).at(-1), log, room));
  return {
    data: [...band.traces, ...lineage(t, past, view, u), ...train.back, ...train.traces, ...val.traces, ...spiked(t, train, range, view, u, t.warn)],
    probes: [...train.probes, ...val.probes, ...band.probes],
    layout: {
      margin: { l: 48, r: room ? 22 : 80, t: 28, b: 30 },
      xaxis: across(t, u, view, { ticks: "outside", ticklen: 4, tickcolor: t.line, nticks: narrow() ? 5 : 10 }),
      yaxis: axis(t, { type: view.scale, ...(range ? { range } : { autorange: true }), nticks: 8 }), shapes, annotations: notes,
    },
  };
}

/** Resumes, alarms, notes, checkpoints, what is not finite, the diagnosis's evidence: verticals with a shape and a word. */
function happened(t, points, plan, view, u, train) {
  const x = showing(points, view.axis, u);
  const [shapes, notes] = [[], []];
  const [low, high] = view.window ? view.window.map(u.show) : [-Infinity, Infinity];
  const seen = (at) => at !== null && at >= low && at <= high;
  const top = (at, text, colour) => notes.push(label(t, at, 1, text, { yref: "paper", xanchor: "center", yanchor: "bottom", font: { size: 11, color: colour } }));
  const warmed = plan.warmup ? x([plan.warmup])[0] : null;
  if (warmed !== null && warmed > u.start) {
    shapes.push({ type: "rect", xref: "x", yref: "paper", x0: u.start, x1: warmed, y0: 0, y1: 1, fillcolor: t.sunken, opacity: 0.6, line: { width: 0 }, layer: "below" });
    if (!view.window && warmed - u.start > 0.06 * (u.end - u.start) && !narrow()) top((u.start + warmed) / 2, say("warm-up"), t["text-3"]);
  }
  let written = -Infinity; // where the last text of the evidence begins: the next one must not cover it
  for (const { first, last, text, level } of [...(plan.evidence ?? [])].sort((a, b) => a.first - b.first)) {
    const [from, to] = x([first, last]);
    if (from === null || to < low || from > high) continue;
    const colour = { critical: t.bad, warn: t.warn }[level] ?? t.accent;
    shapes.push({ type: "rect", xref: "x", yref: "paper", x0: from, x1: to, y0: 0, y1: 1, fillcolor: rgba(colour, 0.07), line: { color: rgba(colour, 0.4), width: 1 }, layer: "below" });
    const begin = Math.max(from, low);
    const apart = 0.11 * (view.window ? high - low : u.end - u.start);
    if (narrow() || begin < written + apart) continue;
    written = begin;
    notes.push(label(t, begin, 0, plain(text), { yref: "paper", yanchor: "bottom", xshift: 4, font: { size: 11, color: colour }, bgcolor: rgba(t.surface, 0.8) }));
  }
  const marks = plan.marks.map((mark) => ({ ...mark, at: x([mark.step])[0] })).filter((mark) => seen(mark.at));
  for (const { kind, at } of marks) {
    const colour = kind === "alarm" || kind === "oom" ? t.warn : t["text-2"];
    shapes.push(vline(t, at, { line: { color: colour, width: 1, dash: "dot" } }));
    top(at, narrow() || marks.length > 6 || kind === "note" ? SIGNS[kind] : `${SIGNS[kind]} ${{ resume: say("resume"), alarm: say("alarm"), oom: say("oom") }[kind]}`, colour);
  }
  if (view.checkpoints) for (const at of x(plan.saved ?? []).filter(seen)) shapes.push(vline(t, at, { y0: 0, y1: 0.03, line: { color: t["text-2"], width: 2 } }));
  const wrong = train.raw.bad.slice(0, MOST_BAD);
  for (const bad of wrong) {
    const [at] = x([bad.step]);
    if (!seen(at)) continue;
    shapes.push(vline(t, at, { line: { color: t.bad, width: 1 } }));
    top(at, wrong.length > 2 ? "✕" : `✕ ${bad.value}`, t.bad);
  }
  const [now] = x([points.lastStep]);
  if (view.active && now && seen(now)) {
    shapes.push(vline(t, now, { line: { color: t.run, width: 1 } }));
    top(now, say("now"), t.run);
  }
  return { shapes, notes };
}

/** Each curve's newest value where it ends, or beside the plot. */
function ends(t, now, val, train, log, room) {
  return [[val, say("val"), t.c[1], val >= (train ?? -Infinity)], [train, say("train"), t.c[0], train > (val ?? Infinity)]].filter(([value]) => value != null && (!log || value > 0)).map(([value, word, colour, up]) => (
    label(t, room ? now : 1, log ? Math.log10(value) : value, `${word} <b>${number(value, 3)}</b>`, { font: { size: 12, color: colour }, yanchor: up ? "bottom" : "top", xshift: 8, yshift: up ? -2 : 2, xref: room ? "x" : "paper" })));
}

/** A forecast {step, mean, low, high}: a dashed line in a band. */
function foreseen(t, band, x) {
  if (!band?.step?.length) return { traces: [], probes: [] };
  const at = x(band.step);
  const write = (v, i) => `${number(v, 3)} (${number(band.low[i], 3)} … ${number(band.high[i], 3)})`;
  return {
    traces: [...between(at, band.low, band.high, rgba(t.c[1], 0.16)), { x: at, y: band.mean, mode: "lines", line: { color: t.c[1], width: 1.5, dash: "dash" }, name: say("forecast") }],
    probes: [{ row: say("forecast"), colour: t.c[1], dash: "dash", x: at, y: band.mean, write }],
  };
}

/** What a model that learned nothing (ln V) or only frequencies (unigram entropy) would score: within the drawn range, or so
 * near that the range is let out to it (in drawn units: log10 on a log axis). */
function references(plan, range, log) {
  if (!range) return { marks: [], range };
  const y = (value) => (log ? Math.log10(value) : value);
  let [low, high] = range;
  const near = 0.2 * (high - low);
  const marks = [[plan.uniform, say("uniform"), "dash"], [plan.unigram, say("unigram"), "dot"]].filter(([value]) => value > 0 && y(value) >= low - near && y(value) <= high + near);
  for (const [value] of marks) [low, high] = [Math.min(low, y(value) - 0.2 * near), Math.max(high, y(value) + 0.4 * near)];
  return { marks, range: [low, high] };
}

/** The whole run with ln V and the unigram entropy; a box for what the chart above shows. */
export function contextFigure(t, points, plan, view, u, above) {
  const { step, y } = points.get("train/loss");
  const x = showing(points, view.axis, u)(step);
  const whole = { ...view, window: null };
  const shapes = [];
  const notes = [];
  for (const [value, text, dash] of [[plan.uniform, say("uniform"), "dash"], [plan.unigram, say("unigram"), "dot"]]) {
    if (value === null) continue;
    shapes.push(hline(t, value, { line: { color: t["text-3"], width: 1, dash } }));
    notes.push(label(t, 1, value, `${text} = <b>${number(value, 2)}</b>`, { xref: "paper", xanchor: "right", bgcolor: t.surface }));
  }
  const box = above();
  if (box) shapes.push({ type: "rect", xref: "x", yref: "y", x0: Math.max(u.start, box.x[0]), x1: box.x[1], y0: box.y[0], y1: box.y[1], fillcolor: rgba(t.accent, 0.1), line: { color: rgba(t.accent, 0.55), width: 1 } });
  const [low, high] = fullRange([0, plan.uniform ?? 0, ...y]) ?? [0, 1];
  return {
    data: [{ x, y, mode: "lines", line: { color: t.c[0], width: 1.2 } }],
    layout: { margin: { l: 48, r: 22, t: 6, b: 22 }, xaxis: across(t, u, whole), yaxis: axis(t, { range: [Math.min(0, low), high * 1.04], nticks: 4, fixedrange: true }), shapes, annotations: notes },
  };
}
