/* TensorBoard's smoothing: an exponential moving average without its start-up bias, never across a resume. */

/** `y` smoothed by `weight` in 0..0.999; starts afresh at each index in `breaks`; gaps stay gaps. `gaps`: where points
 * lie closer together than the rest (1 = as far as usual), they weigh as much less. */
export function smooth(y, weight, breaks = new Set(), gaps = null) {
  let mean = 0;
  let mass = 0;
  return y.map((value, i) => {
    if (breaks.has(i)) mean = mass = 0;
    if (value === null || !Number.isFinite(value)) return null;
    const kept = gaps && gaps[i] < 1 ? weight ** gaps[i] : weight;
    mean += (1 - kept) * (value - mean) / (1 - kept + kept * mass || 1);
    mass = kept * mass + (1 - kept);
    return mean;
  });
}

/** Bounds of a plot that shows where the run lives, in drawn units: single spikes are left out, and of a whole run its
 * slow, high start. */
export function livingRange(values, { log = false, zoomed = false, loud = [] } = {}) {
  const at = (v) => (log ? Math.log10(v) : v);
  const sorted = (list) => Float64Array.from(list.filter((v) => v !== null && Number.isFinite(v) && (!log || v > 0)), at).sort();
  const finite = sorted(values);
  if (finite.length < 2) return null;
  const noisy = loud.length ? sorted(loud) : finite;
  const pick = (list, share) => list[Math.round(share * (list.length - 1))];
  let low = Math.min(finite[0], pick(noisy, 0.01));
  let high = zoomed ? Math.max(finite.at(-1), pick(noisy, 0.99)) : pick(finite, 0.88);
  if (finite.length < 8) high = finite.at(-1);
  const least = Math.max(Math.abs(high), Math.abs(low)) * 1e-6 || 1e-9;
  const pad = 0.08 * Math.max(high - low, log || zoomed ? least : Math.min(0.02, Math.abs(high) || 1));
  if (!Number.isFinite(pad)) return null;
  return [low - pad, high + pad];
}

/** Bounds that hold every value. */
export function fullRange(values, log = false) {
  let [low, high] = [Infinity, -Infinity];
  for (const v of values) {
    if (v === null || !Number.isFinite(v) || (log && v <= 0)) continue;
    if (v < low) low = v;
    if (v > high) high = v;
  }
  if (low > high) return null;
  if (log) [low, high] = [Math.log10(low), Math.log10(high)];
  const pad = 0.05 * (high - low) || Math.abs(high) * 0.05 || 1;
  return Number.isFinite(pad) && Number.isFinite(high + pad) && Number.isFinite(low - pad) ? [low - pad, high + pad] : null;
}
