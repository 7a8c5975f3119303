/* The heat map of a sweep: final loss over lr × λ, hatched where one run stands behind a cell, with lines of equal timescale. */
import { axis, label, rgba } from "./charts.js";
import { setting } from "./format.js";
import { t as say } from "./messages.js";

/** The place of `wanted` among rising values, in cells, in log; null outside. */
function between(values, wanted) {
  for (let i = 0; i + 1 < values.length; i += 1) {
    const [low, high] = [values[i], values[i + 1]];
    if (low > 0 && low <= wanted && wanted <= high) return i + Math.log(wanted / low) / Math.log(high / low);
  }
  return null;
}

/** Where lr·λ has this value, in cells. */
function iso(found, product) {
  const points = [];
  const first = found.weight_decay.findIndex((v) => v > 0);
  for (let k = 0; k <= 40; k += 1) {
    const j = first + ((found.weight_decay.length - 1 - first) * k) / 40;
    const a = Math.min(Math.floor(j), found.weight_decay.length - 2);
    if (a < first) continue;
    const decay = found.weight_decay[a] * (found.weight_decay[a + 1] / found.weight_decay[a]) ** (j - a);
    const y = between(found.lr, product / decay);
    if (y !== null) points.push([j, y]);
  }
  return points;
}

/** Where a line crosses from one row of cells to the next, near its middle: no number stands there. */
function gapOf(points) {
  const off = (i) => 100 * Math.round(10 * Math.abs((((points[i][1] % 1) + 1) % 1) - 0.5)) + Math.abs(i - points.length / 2);
  return points[points.reduce((best, _, i) => (off(i) < off(best) ? i : best), 0)];
}

/** The cells as bars of height 1 over their rows: the bundle has no heat map of its own. */
function cells(t, found, share) {
  const all = found.mean.flatMap((row, i) => row.map((value, j) => ({ i, j, value }))).filter(({ value }) => value !== null);
  return {
    type: "bar", x: all.map(({ j }) => j), base: all.map(({ i }) => i - 0.5), y: all.map(() => 1), width: 1,
    marker: { color: all.map(({ value }) => share(value)), cmin: 0, cmax: 1, colorscale: [[0, t.heat[0]], [1, t.heat[1]]], line: { width: 2, color: t.surface } },
    customdata: all.map(({ i, j, value }) => `${value.toFixed(4)}, n = ${found.n[i][j]}`), hovertemplate: "%{customdata}<extra></extra>", showlegend: false,
  };
}

export function heat(t, data) {
  const found = data.heat;
  const all = found.mean.flat().filter((v) => v !== null);
  const [low, high] = [Math.min(...all), Math.max(...all)];
  const share = (v) => (high > low ? ((v - low) / (high - low)) ** 0.6 : 0);
  const hatch = { x: [], y: [] };
  const annotations = [];
  found.mean.forEach((row, i) => row.forEach((value, j) => {
    if (value === null) {
      annotations.push(label(t, j, i, found.diverged[i][j] ? say("diverged") : "–", { xanchor: "center", font: { size: 11, color: found.diverged[i][j] ? t.bad : t["text-3"] } }));
      return;
    }
    annotations.push(label(t, j, i, value === low ? `<b>${value.toFixed(3)}</b>` : value.toFixed(3), { xanchor: "center", font: { size: 12, color: t.ink[share(value) < 0.3 ? 0 : share(value) < 0.42 ? 1 : 2] } }));
    if (found.n[i][j] !== 1) return;
    for (let d = -0.75; d <= 0.75; d += 0.25) {
      const ends = [Math.max(-0.5, -0.5 + d), Math.min(0.5, 0.5 + d)];
      hatch.x.push(j + ends[0], j + ends[1], null);
      hatch.y.push(i + ends[0] - d, i + ends[1] - d, null);
    }
  }));
  const traces = [
    cells(t, found, share),
    { ...hatch, mode: "lines", line: { color: rgba(t.text, 0.14), width: 1 }, hoverinfo: "skip", showlegend: false },
  ];
  for (const line of found.lines) {
    const points = iso(found, line.product);
    if (points.length < 2) continue;
    traces.push({ x: points.map(([x]) => x), y: points.map(([, y]) => y), mode: "lines", showlegend: false, line: { color: t.c[1], width: 1.5, dash: line.share === 1 ? "solid" : "dot" }, hoverinfo: "skip" });
    const [x, y] = gapOf(points);
    annotations.push(label(t, x, y, `τ ${line.share}`, { xanchor: "center", bgcolor: t.surface, borderpad: 2, font: { size: 11, color: t.c[1] } }));
  }
  const law = found.kaplan_lr === null ? null : between(found.lr, found.kaplan_lr);
  if (law !== null) {
    traces.push({ x: [-0.5, found.weight_decay.length - 0.5], y: [law, law], mode: "lines", showlegend: false, line: { color: t.text, width: 1, dash: "dash" }, hoverinfo: "skip" });
  }
  const index = (values) => values.map((_, i) => i);
  return { data: traces, layout: { hovermode: "closest", hoverlabel: { bgcolor: t.surface, bordercolor: t["line-strong"], font: { size: 12, color: t.text } }, margin: { l: 62, r: 16, t: 10, b: 44 }, annotations, xaxis: axis(t, { range: [-0.5, found.weight_decay.length - 0.5], tickvals: index(found.weight_decay), ticktext: found.weight_decay.map(setting), showgrid: false, title: { text: "optim.weight_decay (λ)", font: { size: 11, color: t["text-3"] }, standoff: 8 } }), yaxis: axis(t, { range: [-0.5, found.lr.length - 0.5], tickvals: index(found.lr), ticktext: found.lr.map(setting), showgrid: false }) } };
}
