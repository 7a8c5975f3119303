/* Many runs in one chart: loss and weight sizes, each run in its own colour and dash, named where its curve ends. */
import { across, axis, label, narrow, plain, rgba } from "./charts.js";
import { bounds, inside, noisy, scored, showing, spiked } from "./curves.js";
import { number } from "./format.js";
import { t as say } from "./messages.js";

export const DASHES = ["solid", "dash", "dot"];
const SYMBOLS = ["circle", "diamond", "square", "triangle-up", "cross", "star", "x", "triangle-down"];
const NAMES_WIDTH = 108;
const MOST_NAMES = 16;
const FAINT_RUNS = 6; // raw curves of more runs than this would hide each other

/** `subjects`: [{plan: {run, name, colour 1..8, dash, weightDecay, equilibrium: {step, rms} or null, …}, points}]. */
export function lossFigure(t, subjects, view, u, yrange, width) {
  const faint = subjects.length > FAINT_RUNS ? 0 : 0.3 / Math.sqrt(subjects.length);
  const drawn = subjects.map(({ plan, points }, i) => {
    const look = { colour: t.c[plan.colour - 1], dash: DASHES[plan.dash % 3], row: plan.name };
    const train = noisy(points, "train/loss", view, u, { ...look, name: `${plain(plan.name)} · ${say("train")}`, column: say("train"), faint, resumes: plan.resumes });
    const val = scored(points, view, u, { ...look, name: `${plain(plan.name)} · ${say("val")}`, column: say("val"), size: 7, symbol: SYMBOLS[i % SYMBOLS.length], edge: t.surface, width });
    return { plan, train, val };
  });
  const range = yrange ?? bounds(view, u, { calm: drawn.map((d) => d.train.calm), raw: drawn.map((d) => d.train.raw), val: drawn.map((d) => d.val) });
  const log = view.scale === "log";
  return {
    data: [...drawn.flatMap((d) => d.train.back), ...drawn.flatMap((d) => d.train.traces), ...drawn.flatMap((d) => d.val.traces), ...(faint ? drawn.flatMap((d) => spiked(t, d.train, range, view, u, t.c[d.plan.colour - 1])) : [])],
    probes: drawn.flatMap((d) => [...d.train.probes, ...d.val.probes]),
    layout: { margin: { l: 48, r: NAMES_WIDTH, t: 12, b: 30 }, xaxis: below(t, u, view), yaxis: axis(t, { type: view.scale, ...(range ? { range } : { autorange: true }), nticks: 8 }), annotations: range ? names(t, drawn.map((d) => ({ plan: d.plan, y: inside(d.val, view, u).at(-1) ?? inside(d.train.calm, view, u).at(-1) })), 3, log, range) : [] },
  };
}

export function rmsFigure(t, subjects, view, u, yrange) {
  const data = [];
  const probes = [];
  const ends = [];
  let most = 0.001;
  for (const { plan, points } of subjects) {
    const colour = t.c[plan.colour - 1];
    const dash = DASHES[plan.dash % 3];
    const { step, y } = points.fine(`rms/${view.group}`);
    const x = showing(points, view.axis, u)(step);
    for (const v of y) if (v !== null && v > most) most = v;
    data.push({ x, y, mode: step.length < 60 ? "lines+markers" : "lines", line: { color: colour, width: 2, dash }, marker: { size: 4 }, name: plain(plan.name) });
    probes.push({ row: plan.name, column: say("rms"), colour, dash, x, y, write: (v) => number(v, 4) });
    ends.push({ plan, y: y.at(-1) });
    // planned to the run's end; drawn as far as the run has come
    const far = plan.equilibrium ? plan.equilibrium.step.filter((s) => s <= (step.at(-1) ?? -1)).length : 0;
    const balance = plan.equilibrium?.rms.slice(0, far) ?? [];
    if (balance.every((v) => v === null)) continue;
    const at = showing(points, view.axis, u)(plan.equilibrium.step.slice(0, far));
    data.push({ x: at, y: balance, mode: "lines", line: { color: rgba(colour, 0.8), width: 1.2, dash: "dash" }, name: `${plain(plan.name)} · ${say("equilibrium")}` });
    probes.push({ row: plan.name, column: say("equilibrium"), colour, dash, x: at, y: balance, write: (v) => number(v, 4) });
  }
  const range = yrange ?? [0, 1.3 * most];
  return { data, probes, layout: { margin: { l: 52, r: NAMES_WIDTH, t: 8, b: 30 }, xaxis: below(t, u, view), yaxis: axis(t, { range, nticks: 6 }), annotations: names(t, ends, 4, false, range) } };
}

const below = (t, u, view) => across(t, u, view, { ticks: "outside", ticklen: 4, tickcolor: t.line, nticks: narrow() ? 5 : 10 });

/** λ, or the run where all have the same, and the newest value of each curve beside the plot, moved apart so that none covers another. */
function names(t, ends, decimals, log, range) {
  const same = new Set(ends.map(({ plan }) => plan.weightDecay)).size < 2;
  const found = ends.filter(({ y }) => y != null && Number.isFinite(y) && (!log || y > 0)).map((one) => ({ ...one, at: log ? Math.log10(one.y) : one.y })).sort((a, b) => a.at - b.at).slice(0, MOST_NAMES);
  const gap = (range[1] - range[0]) / 17;
  let low = range[0] - gap;
  for (const one of found) one.at = low = Math.max(low + gap, one.at);
  const over = low - range[1];
  // those pushed out at the top come back down, and push the others
  if (over > 0) found.reduceRight((high, one) => { one.at = Math.min(one.at, high); return one.at - gap; }, range[1]);
  return found.map(({ plan, y, at }) => label(t, 1, at, `${same ? plan.run : `λ ${plan.weightDecay}`} <b>${number(y, decimals)}</b>`, { xref: "paper", xshift: 8, font: { size: 12, color: t.c[plan.colour - 1] } }));
}
