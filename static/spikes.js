/* Spikes: single points far from what surrounds them, by a robust measure of how far the rest strays. */
import { lowerBound } from "./columns.js";

const BLOCK = 64;
const APART = 3;
const REACH = 8; // points
const MOST = 60;

const median = (values) => {
  const sorted = Float64Array.from(values).sort();
  return sorted.length ? sorted[sorted.length >> 1] : 0;
};

/** Indices into `raw` {step, y, merged} of its spikes, the greatest first; `calm` {step, y}: the same, or the means of its buckets. */
export function spikes(raw, calm) {
  const base = middling(calm);
  const stray = raw.y.map((v, i) => (v === null ? 0 : v - along(base, raw.step[i])));
  // where the curve itself falls steeply, a bucket's extremes are no spikes
  const size = stray.map((v, i) => Math.max(0, Math.abs(v) - Math.abs(along(base, raw.step[Math.min(i + REACH, raw.step.length - 1)]) - along(base, raw.step[Math.max(0, i - REACH)]))));
  const usual = [];
  for (let i = 0; i < size.length; i += BLOCK) usual.push(median(stray.slice(i, i + BLOCK).map(Math.abs)));
  const floor = 0.3 * median(usual);
  // the farthest that honest noise goes among so many points, over what a drawn extreme of `each` points usually is
  const each = Math.max(1, (2 * raw.total) / Math.max(1, raw.shown));
  const far = (Math.sqrt(2 * Math.log(100 * Math.max(1, raw.total))) + 1) / (Math.sqrt(2 * Math.log((raw.merged ? each : 1) + 1)) - 0.6);
  const weight = (i) => {
    const block = Math.floor(i / BLOCK);
    return size[i] / (Math.max(usual[block], usual[block + 1] ?? 0, usual[block - 1] ?? 0, floor) || Infinity);
  };
  const found = [];
  size.forEach((_, i) => {
    if (i < 8 || weight(i) < far) return;
    const before = found.at(-1);
    if (before !== undefined && i - before <= APART) {
      if (size[i] > size[before]) found[found.length - 1] = i;
    } else found.push(i);
  });
  return found.sort((a, b) => weight(b) - weight(a)).slice(0, MOST).map((i) => ({ i, up: stray[i] > 0 }));
}

/** The curve with single outliers taken out: medians of eleven. */
function middling({ step, y }) {
  const kept = y.map((v, i) => [step[i], v]).filter(([, v]) => v !== null);
  const values = kept.map(([, v]) => v);
  return { step: kept.map(([s]) => s), y: values.map((_, i) => median(values.slice(Math.max(0, i - 5), i + 6))) };
}

function along({ step, y }, at) {
  const i = Math.min(step.length - 1, Math.max(1, lowerBound(step, at)));
  if (i < 1) return y[0] ?? 0;
  const share = Math.min(1, Math.max(0, (at - step[i - 1]) / (step[i] - step[i - 1])));
  return y[i - 1] + share * (y[i] - y[i - 1]);
}
