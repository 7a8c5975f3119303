/* A series as columns of steps and values: taken from an answer, extended, cut, spliced with a window's own points. */
const LARGEST = 1e300; // a range between larger numbers has no length that a float can hold; they are marked like NaN
/** A series without a point. */
export const NONE = { step: [], y: [], bad: [], merged: false, total: 0, exactFrom: 0 };

const drawable = (v) => v === null || Math.abs(v) < LARGEST;

export function taken(one) {
  const huge = one.y.every(drawable) ? [] : one.step.filter((_, i) => !drawable(one.y[i])).map((step) => ({ step, value: String(one.y[one.step.indexOf(step)]) }));
  return { step: one.step, y: huge.length ? one.y.map((v) => (drawable(v) ? v : null)) : one.y, bad: [...one.non_finite, ...huge], merged: one.merged, total: one.total, mean: one.mean, exactFrom: (one.step.at(-1) ?? -1) + 1 };
}

export const cut = ({ step, y }, from, to) => ({ step: step.slice(from, to), y: y.slice(from, to) });

export function means(one) {
  if (!one.mean) return one;
  const fresh = cut(one, lowerBound(one.step, one.exactFrom));
  return { step: [...one.mean.step, ...fresh.step], y: [...one.mean.y, ...fresh.y] };
}

export function spliced(whole, part) {
  const before = lowerBound(whole.step, part.step[0]);
  const after = lowerBound(whole.step, part.step.at(-1) + 1);
  return { step: [...whole.step.slice(0, before), ...part.step, ...whole.step.slice(after)], y: [...whole.y.slice(0, before), ...part.y, ...whole.y.slice(after)] };
}

export function put(one, at, number) {
  const finite = Number.isFinite(number) && drawable(number);
  if (!finite && !one.bad.some((b) => b.step === at)) one.bad.push({ step: at, value: String(number) });
  if (!one.step.length || at > one.step.at(-1)) {
    one.step.push(at);
    one.y.push(finite ? number : null);
    one.total += 1;
  } else {
    const where = lowerBound(one.step, at);
    if (one.step[where] === at) one.y[where] = finite ? number : null;
  }
}

export function lowerBound(sorted, value) {
  let low = 0;
  let high = sorted.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (sorted[middle] < value) low = middle + 1;
    else high = middle;
  }
  return low;
}
