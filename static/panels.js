/* The small panels of the run page: what each draws and the number in its corner. */
import { axis, hline, label, rgba, vline } from "./charts.js";
import { unit } from "./axes.js";
import { number, setting, short } from "./format.js";
import { t as say } from "./messages.js";
import { smooth } from "./smoothing.js";

const last = (points, key) => points.get(key).y.findLast((v) => v !== null);
const BETWEEN = 5;

/** {id: {keys, figure(t, points, plan, view), value(points, plan)}}; keys say whether the run has it at all. */
export const PANELS = {
  lr: {
    keys: ["train/lr"],
    figure: (t, p, plan, view) => {
      const planned = plan.plan.step.map((s, i) => [s, plan.plan.lr[i]]);
      const ahead = planned.filter(([s]) => s >= p.lastStep);
      const x = scaled(p, plan, view);
      const top = 1.1 * Math.max(...plan.plan.lr);
      const end = unit(view.axis, p, plan).end;
      const two = plan.weightDecay > 0;
      return frame(t, p, plan, view, [line(t, x(p.get("train/lr").step), p.get("train/lr").y, t.c[0], say("lr"), "%{y:.2e}"),
        { ...line(t, ahead.map(([s]) => (end * s) / plan.steps), ahead.map(([, v]) => v), t.c[0], say("planned"), ""), line: { color: t.c[0], width: 1.5, dash: "dot" }, hoverinfo: "skip" },
        ...(two ? [{ x: [0], y: [0], yaxis: "y2", mode: "lines", hoverinfo: "skip" }] : [])],
      { margin: { l: 52, r: two ? 52 : 14, t: 8, b: 26 }, yaxis: axis(t, { range: [0, top], exponentformat: "e", nticks: 5 }),
        ...(two ? { yaxis2: axis(t, { overlaying: "y", side: "right", range: [0, top * plan.weightDecay], showgrid: false, exponentformat: "e", nticks: 5 }) } : {}) });
    },
    value: (p) => setting(last(p, "train/lr")),
  },
  grad: {
    keys: ["train/grad_norm"],
    figure: (t, p, plan, view) => {
      const g = p.get("train/grad_norm");
      const x = scaled(p, plan, view)(g.step);
      const sorted = g.y.filter((v) => v !== null).sort((a, b) => a - b);
      const top = 1.25 * Math.max(sorted[Math.floor(0.98 * (sorted.length - 1))] ?? 1, Math.min(plan.clip || 0, 4 * (sorted.at(-1) ?? 1)));
      return frame(t, p, plan, view, [{ ...line(t, x, g.y, rgba(t.c[2], 0.35), say("raw"), "%{y:.2f}"), line: { color: rgba(t.c[2], 0.35), width: 1 } }, line(t, x, smooth(g.y, 0.9), t.c[2], say("smoothed"), "%{y:.2f}")],
        { yaxis: axis(t, { range: [0, top], nticks: 5 }), shapes: plan.clip ? [hline(t, plan.clip, { line: { color: t.text, width: 1, dash: "dash" } })] : [],
          annotations: plan.clip ? [label(t, 1, plan.clip, say("clip", { value: setting(plan.clip) }), { xref: "paper", xanchor: "right", yanchor: "bottom" })] : [] });
    },
    value: (p, plan) => {
      const y = p.get("train/grad_norm").y.filter((v) => v !== null);
      if (!y.length) return "";
      return plan.clip && !p.merged ? `${say("clipped")} ${number((100 * y.filter((v) => v > plan.clip).length) / y.length, 1)} %` : number(y.at(-1), 2);
    },
  },
  rms: {
    keys: ["rms/"],
    figure: (t, p, plan, view) => {
      const data = groups(t, p, plan, view, "rms/", "%{y:.4f}");
      if (plan.weightDecay > 0) data.push({ ...line(t, plan.plan.step.map((s) => (unit(view.axis, p, plan).end * s) / plan.steps), plan.plan.lr.map((lr) => Math.sqrt(lr / (2 * plan.weightDecay))), t["text-2"], say("equilibrium"), "%{y:.4f}"), line: { color: t["text-2"], width: 1.2, dash: "dash" } });
      const most = Math.max(...p.keys("rms/").filter((k) => !k.endsWith("norm")).flatMap((k) => p.get(k).y.filter((v) => v !== null)), 0.001);
      return frame(t, p, plan, view, data, { yaxis: axis(t, { range: [0, 1.35 * most], nticks: 5 }), annotations: ends(t, p, plan, view, "rms/", 1.35 * most) });
    },
    value: () => "",
  },
  update: {
    keys: ["update_ratio/"],
    figure: (t, p, plan, view) => frame(t, p, plan, view, groups(t, p, plan, view, "update_ratio/", "%{y:.2e}"), { yaxis: axis(t, { type: "log", ...decades(p, "update_ratio/") }), annotations: ends(t, p, plan, view, "update_ratio/", 0) }),
    value: () => "",
  },
  speed: {
    keys: ["train/tok_per_s"],
    figure: (t, p, plan, view) => {
      const s = p.get("train/tok_per_s");
      const top = 1.15 * Math.max(...s.y.filter((v) => v !== null), 1);
      return frame(t, p, plan, view, [line(t, scaled(p, plan, view)(s.step), s.y, t.c[5], "tok/s", "%{y:.4~s}", 1.2)], { yaxis: axis(t, { range: [0, top], nticks: 4 }) });
    },
    value: (p) => short(last(p, "train/tok_per_s")) + (last(p, "train/mfu") ? ` · MFU ${number(100 * last(p, "train/mfu"), 1)} %` : ""),
  },
  memory: {
    keys: ["system/device_mem_gib", "system/rss_gib"],
    figure: (t, p, plan, view) => {
      const device = p.get("system/device_mem_gib").step.length > 0;
      const m = p.get(device ? "system/device_mem_gib" : "system/rss_gib");
      const limit = device ? plan.memory : null;
      const top = limit ? 1.12 * limit : 1.4 * Math.max(...m.y, 0.1);
      return frame(t, p, plan, view, [{ ...line(t, scaled(p, plan, view)(m.step), m.y, t.c[3], "GiB", "%{y:.2f}"), fill: "tozeroy", fillcolor: rgba(t.c[3], 0.14) }],
        { yaxis: axis(t, { range: [0, top], nticks: 4 }), shapes: limit ? [hline(t, limit, { line: { color: t.text, width: 1, dash: "dash" } })] : [] });
    },
    value: (p) => number(last(p, "system/device_mem_gib") ?? last(p, "system/rss_gib"), 2),
  },
};

const scaled = (p, plan, view) => (steps) => p.x(view.axis, steps).map((v) => (v === null ? null : v * unit(view.axis, p, plan).factor));
const line = (t, x, y, colour, name, hover, width = 2) => ({ x, y, mode: "lines", line: { color: colour, width }, name, hovertemplate: hover });
const shownGroups = (p, prefix) => p.keys(prefix).filter((k) => !/(norm|bias)$/.test(k)).slice(0, BETWEEN);

function groups(t, p, plan, view, prefix, hover) {
  return shownGroups(p, prefix).map((key, i) => line(t, scaled(p, plan, view)(p.get(key).step), p.get(key).y, t.c[i], key.slice(prefix.length), hover, 1.6));
}

/** Each group's name where its line ends, moved apart so that none covers another. `top` 0: a logarithmic axis. */
function ends(t, p, plan, view, prefix, top) {
  const at = unit(view.axis, p, plan).end;
  const found = shownGroups(p, prefix).map((key, i) => ({ key, i, y: p.get(key).y.at(-1) })).filter((one) => one.y > 0).sort((a, b) => a.y - b.y);
  const all = shownGroups(p, prefix).flatMap((key) => p.get(key).y.filter((v) => v > 0)).map(Math.log10);
  const gap = top ? top / 7.5 : Math.max(0.04, (Math.max(...all) - Math.min(...all)) / 7);
  let low = -Infinity;
  const room = p.lastStep < 0.78 * plan.steps;
  return found.map(({ key, i, y }) => {
    low = Math.max(low + gap, top ? y : Math.log10(y));
    return label(t, room ? scaled(p, plan, view)([p.lastStep])[0] : at, low, key.slice(prefix.length), { font: { size: 11, color: t.c[i] }, xanchor: room ? "left" : "right", xshift: room ? 6 : 0, bgcolor: room ? undefined : rgba(t.surface, 0.75) });
  });
}

/** Ticks at 1 and 3 of each decade that the data cross. */
function decades(p, prefix) {
  const all = shownGroups(p, prefix).flatMap((key) => p.get(key).y.filter((v) => v > 0));
  const tickvals = [];
  for (let e = Math.floor(Math.log10(Math.min(...all))); e <= Math.log10(Math.max(...all)); e += 1) tickvals.push(10 ** e, 3 * 10 ** e);
  return { tickvals, ticktext: tickvals.map((v) => v.toExponential(0)) };
}

function frame(t, p, plan, view, data, layout) {
  const u = unit(view.axis, p, plan);
  const now = view.active && p.lastStep ? [vline(t, scaled(p, plan, view)([p.lastStep])[0], { line: { color: t.run, width: 1 } })] : [];
  return { data, layout: { ...layout, uirevision: view.axis, shapes: [...(layout.shapes ?? []), ...now], xaxis: axis(t, { range: [0, u.end || 1], ticksuffix: u.suffix, showgrid: false, nticks: 6, hoverformat: ".4~s", tickformat: u.format }) } };
}
