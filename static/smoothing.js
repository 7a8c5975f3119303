/* TensorBoard's smoothing: an exponential moving average without its start-up bias, never across a resume. */

/** `y` smoothed by `weight` in 0..0.999; starts afresh at each index in `breaks`; gaps stay gaps. */
export function smooth(y, weight, breaks = new Set()) {
  let mean = 0;
  let mass = 0;
  return y.map((value, i) => {
    if (breaks.has(i)) mean = mass = 0;
    if (value === null || !Number.isFinite(value)) return null;
    mean = weight * mean + (1 - weight) * value;
    mass = weight * mass + (1 - weight);
    return mean / mass;
  });
}

/** Bounds of a plot that shows where the run lives: the slow, high start and single spikes are left out. */
export function livingRange(values, log = false) {
  const finite = values.filter((v) => v !== null && Number.isFinite(v)).sort((a, b) => a - b);
  if (finite.length < 2) return null;
  const low = finite[0];
  const high = finite[Math.floor(0.88 * (finite.length - 1))];
  const pad = 0.08 * Math.max(high - low, 0.02);
  return log ? [Math.log10(Math.max(low - pad, 1e-9)), Math.log10(high + pad)] : [low - pad, high + pad];
}
