/* The small panels of the run page: what each draws and the number in its corner. */
import { across, axis, hline, label, plain, rgba, vline } from "./charts.js";
import { inside, noisy, showing, spiked } from "./curves.js";
import { number, setting, short } from "./format.js";
import { t as say } from "./messages.js";
import { fullRange, livingRange } from "./smoothing.js";

const BETWEEN = 5;
export const last = (points, key) => points.get(key).y.findLast((v) => v !== null);
const numbers = (y) => y.filter((v) => v !== null && Number.isFinite(v));
/** The greatest of few or many; `else_` where there is none. */
export const most = (y, else_) => numbers(y).reduce((a, b) => Math.max(a, b), else_);

/** {id: {keys, figure(t, points, plan, view, u, yrange), value(points, plan)}}; keys say whether the run has it at all. */
export const PANELS = {
  lr: {
    keys: ["train/lr", "decay/effective"],
    figure: (t, p, plan, view, u, yrange) => {
      const ahead = plan.plan.step.map((s, i) => [s, plan.plan.lr[i]]).filter(([s]) => s >= p.lastStep);
      const top = 1.1 * most([...plan.plan.lr, ...p.get("train/lr").y], 0) || 1;
      const two = plan.weightDecay > 0 && Math.abs((last(p, "decay/effective") ?? last(p, "train/lr") * plan.weightDecay) / (last(p, "train/lr") * plan.weightDecay) - 1) < 1e-6;
      const curve = one(p, "train/lr", view, u, { colour: t.c[0], name: say("lr"), write: setting });
      return frame(t, p, plan, view, u, yrange, { traces: [...curve.traces,
        { x: showing(p, view.axis, u)(ahead.map(([s]) => s)), y: ahead.map(([, v]) => v), mode: "lines", line: { color: t.c[0], width: 1.5, dash: "dot" }, name: say("planned") },
        ...(two ? [{ x: [u.start], y: [0], yaxis: "y2", mode: "lines", showlegend: false }] : [])], probes: curve.probes },
      { margin: { l: 52, r: two ? 52 : 14, t: 8, b: 26 }, yaxis: axis(t, { range: [0, top], exponentformat: "e", nticks: 5 }),
        ...(two ? { yaxis2: axis(t, { overlaying: "y", side: "right", range: yrange ? yrange.map((v) => v * plan.weightDecay) : [0, top * plan.weightDecay], showgrid: false, exponentformat: "e", nticks: 5 }) } : {}) });
    },
    value: (p) => setting(last(p, "train/lr")),
  },
  grad: {
    keys: ["train/grad_norm"],
    figure: (t, p, plan, view, u, yrange) => {
      const curve = noisy(p, "train/grad_norm", view, u, { colour: t.c[2], name: say("smoothed"), rawRow: say("raw"), faint: 0.35, weight: 0.9, write: (v) => number(v, 2) });
      const log = view.scale === "log";
      const found = log ? livingRange(inside(curve.calm, view, u), { log, zoomed: true, loud: inside(curve.raw, view, u) }) : [0, 1.25 * upper(inside(curve.raw, view, u), 0.97, plan.clip)];
      const range = yrange ?? found;
      const clip = plan.clip ? [hline(t, plan.clip, { line: { color: t.text, width: 1, dash: "dash" } })] : [];
      return frame(t, p, plan, view, u, yrange, { traces: [...curve.back, ...curve.traces, ...spiked(t, curve, range, view, u, t.warn, 3)], probes: curve.probes },
        { yaxis: axis(t, { type: view.scale, range, nticks: 5 }), shapes: clip, annotations: plan.clip && !log && plan.clip < range[1] ? [label(t, 1, plan.clip, say("clip", { value: setting(plan.clip) }), { xref: "paper", xanchor: "right", yanchor: "bottom" })] : [] });
    },
    value: (p, plan) => {
      const { y, merged } = p.get("train/grad_norm");
      const found = numbers(y);
      if (!found.length) return "";
      return plan.clip && !merged ? `${say("clipped")} ${number((100 * found.filter((v) => v > plan.clip).length) / found.length, 1)} %` : number(found.at(-1), 2);
    },
  },
  rms: {
    keys: ["rms/"],
    figure: (t, p, plan, view, u, yrange) => {
      const found = groups(t, p, view, u, "rms/", (v) => number(v, 4));
      const top = 1.35 * most(shownGroups(p, "rms/").flatMap((k) => p.get(k).y), 0.001);
      if (plan.plan.rms.some((v) => v !== null)) found.traces.push({ x: showing(p, view.axis, u)(plan.plan.step), y: plan.plan.rms, mode: "lines", line: { color: t["text-2"], width: 1.2, dash: "dash" }, name: say("equilibrium") });
      return frame(t, p, plan, view, u, yrange, found, { yaxis: axis(t, { range: [0, top], nticks: 5 }), annotations: ends(t, p, view, u, "rms/", top) });
    },
    value: () => "",
  },
  update: {
    keys: ["update_ratio/"],
    figure: (t, p, plan, view, u, yrange) => frame(t, p, plan, view, u, yrange, groups(t, p, view, u, "update_ratio/", setting), { yaxis: axis(t, { type: "log", ...decades(p, "update_ratio/") }), annotations: ends(t, p, view, u, "update_ratio/", 0) }),
    value: () => "",
  },
  speed: {
    keys: ["train/tok_per_s"],
    figure: (t, p, plan, view, u, yrange) => {
      const curve = one(p, "train/tok_per_s", view, u, { colour: t.c[5], name: "tok/s", width: 1.2, write: short });
      return frame(t, p, plan, view, u, yrange, curve, { yaxis: axis(t, { range: [0, 1.15 * upper(p.get("train/tok_per_s").y, 0.995, 1)], nticks: 4 }) });
    },
    value: (p) => short(last(p, "train/tok_per_s")) + (last(p, "train/mfu") ? ` · MFU ${number(100 * last(p, "train/mfu"), 1)} %` : ""),
  },
  memory: {
    keys: ["system/device_mem_gib", "system/rss_gib"],
    figure: (t, p, plan, view, u, yrange) => {
      const device = p.has("system/device_mem_gib");
      const key = device ? "system/device_mem_gib" : "system/rss_gib";
      const limit = device ? plan.memory : null;
      const top = limit ? 1.12 * limit : 1.4 * most(p.get(key).y, 0.1);
      const curve = one(p, key, view, u, { colour: t.c[3], name: "GiB", write: (v) => number(v, 2) });
      Object.assign(curve.traces[0], { fill: "tozeroy", fillcolor: rgba(t.c[3], 0.14) });
      return frame(t, p, plan, view, u, yrange, curve, { yaxis: axis(t, { range: [0, top], nticks: 4 }), shapes: limit ? [hline(t, limit, { line: { color: t.text, width: 1, dash: "dash" } })] : [] });
    },
    value: (p) => number(last(p, "system/device_mem_gib") ?? last(p, "system/rss_gib"), 2),
  },
};

/** What nearly all values stay below; at least `least`, unless that is far above them. */
function upper(y, share, least) {
  const sorted = Float64Array.from(numbers(y)).sort();
  if (!sorted.length) return least || 1;
  return Math.max(sorted[Math.floor(share * (sorted.length - 1))], Math.min(least || 0, 4 * sorted.at(-1))) || 1;
}

/** A measured series as one plain line. */
export function one(p, key, view, u, { colour, name, width = 2, write = setting }) {
  const { step, y } = p.fine(key);
  const x = showing(p, view.axis, u)(step);
  return { traces: [{ x, y, mode: "lines", line: { color: colour, width }, name: plain(name) }], probes: [{ row: name, colour, x, y, write }] };
}

const shownGroups = (p, prefix) => p.keys(prefix).filter((k) => !/(norm|bias)$/.test(k)).slice(0, BETWEEN);

function groups(t, p, view, u, prefix, write) {
  const drawn = shownGroups(p, prefix).map((key, i) => one(p, key, view, u, { colour: t.c[i], name: key.slice(prefix.length), width: 1.6, write }));
  return { traces: drawn.flatMap((d) => d.traces), probes: drawn.flatMap((d) => d.probes) };
}

/** Each group's name where its line ends, moved apart so that none covers another. `top` 0: a logarithmic axis. */
function ends(t, p, view, u, prefix, top) {
  const keys = shownGroups(p, prefix);
  const found = keys.map((key, i) => ({ key, i, y: p.get(key).y.at(-1) })).filter((end) => end.y > 0).sort((a, b) => a.y - b.y);
  const whole = fullRange(keys.flatMap((key) => p.get(key).y), true) ?? [0, 1];
  const gap = top ? top / 7.5 : Math.max(0.04, (whole[1] - whole[0]) / 7);
  const now = showing(p, view.axis, u)([p.lastStep])[0];
  const room = !view.window && view.xscale !== "log" && now < u.start + 0.78 * (u.end - u.start);
  let low = -Infinity;
  return found.map(({ key, i, y }) => {
    low = Math.max(low + gap, top ? y : Math.log10(y));
    return label(t, room ? now : 1, low, plain(key.slice(prefix.length)), { font: { size: 11, color: t.c[i] }, xref: room ? "x" : "paper", xanchor: room ? "left" : "right", xshift: room ? 6 : 0, bgcolor: room ? undefined : rgba(t.surface, 0.75) });
  });
}

/** Ticks at 1 and 3 of each decade that the data cross. */
function decades(p, prefix) {
  const range = fullRange(shownGroups(p, prefix).flatMap((key) => p.get(key).y), true);
  if (!range || range[1] - range[0] > 12) return { autorange: true };
  const tickvals = [];
  for (let e = Math.floor(range[0]); e <= range[1]; e += 1) tickvals.push(10 ** e, 3 * 10 ** e);
  return { range, tickvals, ticktext: tickvals.map((v) => v.toExponential(0)) };
}

export function frame(t, p, plan, view, u, yrange, { traces, probes }, layout) {
  const now = view.active && p.lastStep ? [vline(t, showing(p, view.axis, u)([p.lastStep])[0], { line: { color: t.run, width: 1 } })] : [];
  const yaxis = yrange ? { ...layout.yaxis, range: yrange, autorange: false } : layout.yaxis;
  return { data: traces, probes, layout: { ...layout, yaxis, shapes: [...(layout.shapes ?? []), ...now], xaxis: across(t, u, view) } };
}
