/* The figures of a sweep as Plotly takes them: loss by arm, differences, weight sizes, gap. Pure: (palette, data) → figure. */
import { axis, hline, label, rgba, vline } from "./charts.js";
import { number, setting, short } from "./format.js";
import { t as say } from "./messages.js";
import { heat } from "./sweep_heat.js";

const SYMBOLS = ["circle", "square", "diamond", "triangle-up", "triangle-down", "cross"];
const hover = (t) => ({ hovermode: "closest", hoverlabel: { bgcolor: t.surface, bordercolor: t["line-strong"], font: { size: 12, color: t.text }, align: "left" } });
const dotted = (arm) => (arm.colour === "l0" ? "dot" : "solid");
const armOf = (data, key) => data.arms.find((arm) => arm.key === key);

/** A band between two curves. */
const band = (x, low, high, colour, share = 0.14) => ({ x: [...x, ...[...x].reverse()], y: [...high, ...[...low].reverse()], fill: "toself", fillcolor: rgba(colour, share), line: { width: 0 }, mode: "lines", hoverinfo: "skip", showlegend: false });

/** Names where lines end, moved apart; each with a dash in its colour. */
function ends(t, found, low, high) {
  const gap = (high - low) / 18;
  let last = -Infinity;
  return [...found].sort((a, b) => a.y - b.y).map(({ y, arm, bold }) => {
    last = Math.max(last + gap, y);
    return label(t, 1, last, `<span style="color:${t.of(arm.colour)}">━</span> ${bold ? `<b>${arm.name}</b>` : arm.name}`, { xref: "paper", xshift: 6 });
  });
}

function range(values, share = 0.1) {
  const found = values.filter(Number.isFinite);
  const [low, high] = [Math.min(...found), Math.max(...found)];
  const air = share * Math.max(high - low, 1e-4);
  return [low - air, high + air];
}

function loss(t, data) {
  const arms = data.arms.filter((arm) => Object.keys(arm.finals).length || arm.diverged);
  const traces = [];
  const shapes = [];
  const annotations = [];
  const fit = data.fit;
  if (fit?.curve.length && data.log) traces.push({ x: fit.curve.map(([x]) => x), y: fit.curve.map(([, y]) => y), mode: "lines", line: { color: t.accent, width: 2, dash: fit.at === null ? "dash" : "solid" }, hoverinfo: "skip", name: say("fit") });
  const seeds = [...new Set(arms.flatMap((arm) => Object.keys(arm.finals)))].sort();
  seeds.forEach((seed, i) => {
    const own = arms.filter((arm) => arm.finals[seed] !== undefined);
    const shift = (i - (seeds.length - 1) / 2) * 0.035;
    traces.push({ x: own.map((arm) => (data.log ? arm.x * 10 ** shift : arm.x + shift)), y: own.map((arm) => arm.finals[seed]), mode: "markers", name: say("seed-n", { n: seed }), marker: { size: 8, opacity: 0.7, symbol: SYMBOLS[i % SYMBOLS.length], color: own.map((arm) => t.of(arm.colour)) }, hovertemplate: `%{y:.4f}<extra>${say("seed-n", { n: seed })}</extra>` });
  });
  const means = arms.filter((arm) => arm.mean !== null);
  traces.push({ x: means.map((arm) => arm.x), y: means.map((arm) => arm.mean), mode: "markers", name: say("mean"), marker: { size: 14, symbol: "line-ew", line: { width: 2.5, color: t.text } }, error_y: { type: "data", array: means.map((arm) => (arm.low === null ? 0 : arm.high - arm.mean)), color: t.text, thickness: 1.5, width: 0 }, hovertemplate: means.map((arm) => `<b>%{y:.4f}</b>${arm.low === null ? "" : ` ± ${number(arm.high - arm.mean, 4)}`}<extra>${arm.name}</extra>`) });
  const y = range(arms.flatMap((arm) => [...Object.values(arm.finals), arm.low ?? arm.mean, arm.high ?? arm.mean]), 0.12);
  const gone = arms.filter((arm) => arm.diverged);
  if (gone.length) traces.push({ x: gone.map((arm) => arm.x), y: gone.map(() => y[1] - 0.03 * (y[1] - y[0])), mode: "markers", name: say("diverged"), marker: { symbol: "x", size: 10, color: t.bad }, hovertemplate: gone.map((arm) => `${say("diverged-n", { n: arm.diverged })}<extra>${arm.name}</extra>`) });
  if (fit?.at) {
    shapes.push({ type: "rect", xref: "x", yref: "paper", x0: fit.flat[0], x1: fit.flat[1], y0: 0, y1: 1, fillcolor: rgba(t.accent, 0.09), line: { width: 0 }, layer: "below" }, vline(t, fit.at, { line: { color: t.accent, width: 1, dash: "dot" } }));
    annotations.push(label(t, Math.log10(fit.at), 1, `${data.main.symbol}* <b>${setting(Number(fit.at.toPrecision(2)))}</b>`, { yref: "paper", xanchor: "center", yanchor: "bottom", font: { size: 12, color: t.accent } }));
  } else if (fit?.curve.length) annotations.push(label(t, 1, 1, `<b>${say("not-bracketed")}</b>`, { xref: "paper", yref: "paper", xanchor: "right", yanchor: "bottom", font: { size: 12, color: t.warn } }));
  const xs = arms.map((arm) => arm.x);
  const [first, last] = [Math.min(...xs), Math.max(...xs)];
  if (data.log && arms.some((arm) => arm.name === "0") && xs.length > 1) {
    const next = Math.min(...xs.filter((x) => x > first));
    annotations.push(label(t, (Math.log10(first) + Math.log10(next)) / 2, 0, "∕∕", { yref: "paper", xanchor: "center", yanchor: "middle", font: { size: 13, color: t["text-3"] } }));
  }
  return { data: traces, layout: { ...hover(t), margin: { l: 56, r: 16, t: 26, b: 44 }, shapes, annotations, yaxis: axis(t, { range: y, nticks: 6 }), xaxis: axis(t, { type: data.log ? "log" : "linear", range: data.log ? [Math.log10(first / 2.2), Math.log10(last * 2.2)] : [first - 0.6, last + 0.6], tickvals: xs, ticktext: arms.map((arm) => arm.name), showgrid: false, title: { text: data.main?.field ?? "", font: { size: 11, color: t["text-3"] }, standoff: 8 } }) } };
}

function difference(t, data) {
  const per = data.tokensPerStep;
  const traces = [];
  const found = [];
  const shapes = [];
  for (const curve of data.curves) {
    const arm = armOf(data, curve.key);
    const colour = t.of(arm.colour);
    const x = curve.step.map((step) => step * per);
    if (curve.low.every((v) => v !== null)) traces.push(band(x, curve.low, curve.high, colour, data.curves.length > 4 ? 0.07 : 0.14));
    traces.push({ x, y: curve.mean, mode: "lines", name: arm.name, line: { color: colour, width: 2, dash: dotted(arm) }, hovertemplate: `%{y:+.4f}<extra>${arm.name}, %{x:.3s}</extra>` });
    if (curve.crossovers.length) traces.push({ x: curve.crossovers.map((s) => s * per), y: curve.crossovers.map(() => 0), mode: "markers", showlegend: false, marker: { symbol: "diamond", size: 10, color: colour }, hovertemplate: `${say("crosses")}<extra>${arm.name}</extra>` });
    found.push({ y: curve.mean.at(-1), arm });
  }
  const y = range([0, ...data.curves.flatMap((c) => c.mean)], 0.12);
  const reference = armOf(data, data.reference);
  if (reference) {
    found.push({ y: 0, arm: reference, bold: true });
    shapes.push(hline(t, 0, { line: { color: t.of(reference.colour), width: 2 } }));
  }
  const rates = data.rates;
  if (rates) traces.push({ x: rates.step.map((s) => s * per), y: rates.lr, yaxis: "y2", mode: "lines", name: "lr", line: { color: t["text-3"], width: 1.2, dash: "dot" }, hovertemplate: "lr %{y:.2e}<extra></extra>" });
  return { data: traces, layout: { ...hover(t), shapes, annotations: [...ends(t, found, ...y), ...(rates ? [label(t, 0.02, 1, `⋯ lr ${setting(Math.max(...rates.lr))}`, { xref: "paper", yref: "paper", yanchor: "top", font: { size: 11, color: t["text-3"] } })] : [])], margin: { l: 52, r: 84, t: 18, b: 30 }, xaxis: axis(t, { showgrid: false, nticks: 5 }), yaxis: axis(t, { range: y, tickformat: "+.3~f", nticks: 6 }), yaxis2: axis(t, { overlaying: "y", side: "right", showgrid: false, showticklabels: false, range: [0, 1.05 * Math.max(...(rates?.lr ?? [1]))] }) } };
}

export function weight(t, data, quantity, group) {
  const per = data.tokensPerStep;
  const curves = quantity === "grad_norm" ? data.gradNorm : (data.weights[quantity]?.[group] ?? []);
  const top = 1.3 * Math.max(...curves.flatMap((c) => c.y), 1e-12);
  const log = quantity === "update_ratio";
  const traces = curves.map((curve) => {
    const arm = armOf(data, curve.key);
    return { x: curve.step.map((s) => s * per), y: curve.y, mode: "lines", name: arm.name, line: { color: t.of(arm.colour), width: 1.8, dash: dotted(arm) }, hovertemplate: `%{y:.4g}<extra>${arm.name}</extra>` };
  });
  if (quantity === "rms") for (const line of data.equilibrium) traces.push({ x: line.step.map((s) => s * per), y: line.y, mode: "lines", showlegend: false, line: { color: t.of(armOf(data, line.key).colour), width: 1.2, dash: "dash" }, opacity: 0.8, hovertemplate: `%{y:.4f}<extra>${say("equilibrium")} ${armOf(data, line.key).name}</extra>` });
  const end = Math.max(...curves.map((c) => c.step.at(-1) * per), 1);
  return { data: traces, layout: { ...hover(t), margin: { l: 46, r: 62, t: 6, b: 26 }, xaxis: axis(t, { range: [0, end], showgrid: false, nticks: 4 }), yaxis: axis(t, log ? { type: "log", nticks: 4, exponentformat: "e" } : { range: [0, top], nticks: 4 }), annotations: log ? [] : ends(t, curves.map((c) => ({ y: c.y.at(-1), arm: armOf(data, c.key) })), 0, top * 1.6) } };
}

function gap(t, data) {
  const per = data.tokensPerStep;
  const traces = [];
  for (const curve of data.gaps) {
    const arm = armOf(data, curve.key);
    const x = curve.step.map((s) => s * per);
    if (curve.se.every((v) => v !== null)) traces.push(band(x, curve.mean.map((v, i) => v - curve.se[i]), curve.mean.map((v, i) => v + curve.se[i]), t.of(arm.colour)));
    const epochs = data.trainTokens ? curve.step.map((s) => number((s * per) / data.trainTokens, 2)) : x.map(short);
    traces.push({ x, y: curve.mean, mode: "lines", name: arm.name, customdata: epochs, line: { color: t.of(arm.colour), width: 2, dash: dotted(arm) }, hovertemplate: `%{y:+.4f}<extra>${arm.name}, %{customdata} ${data.trainTokens ? say("epochs") : ""}</extra>` });
  }
  const y = range([0, ...data.gaps.flatMap((c) => c.mean)], 0.15);
  const end = Math.max(...data.gaps.flatMap((c) => c.step)) * per;
  const places = [0, 0.25, 0.5, 0.75, 1].map((share) => share * end);
  if (data.trainTokens) traces.push({ x: [0, end], y: [0, 0], xaxis: "x2", mode: "lines", line: { color: "rgba(0,0,0,0)" }, hoverinfo: "skip", showlegend: false });
  return { data: traces, layout: { ...hover(t), shapes: [hline(t, 0)], margin: { l: 52, r: 84, t: data.trainTokens ? 30 : 10, b: 30 }, xaxis: axis(t, { range: [0, end], showgrid: false, nticks: 5 }), yaxis: axis(t, { range: y, tickformat: "+.3~f", nticks: 5 }), annotations: ends(t, data.gaps.map((c) => ({ y: c.mean.at(-1), arm: armOf(data, c.key) })), ...y), ...(data.trainTokens ? { xaxis2: axis(t, { overlaying: "x", side: "top", range: [0, end], showgrid: false, tickvals: places, ticktext: places.map((v, i) => `${number(v / data.trainTokens, 2)}${i === 4 ? ` ${say("epochs")}` : ""}`) }) } : {}) } };
}

/** {name: {has, build}}; the element is f-<name>. */
export const FIGURES = {
  loss: { has: (data) => data.arms.some((arm) => Object.keys(arm.finals).length), build: loss },
  difference: { has: (data) => data.curves.some((curve) => curve.step.length > 1), build: difference },
  gap: { has: (data) => data.gaps.some((curve) => curve.step.length > 1), build: gap },
  heat: { has: (data) => data.heat !== null && data.heat.mean.flat().some((v) => v !== null), build: heat },
};
