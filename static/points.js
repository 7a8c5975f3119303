/* One run's series in the browser: loaded once, extended by the stream, cut back at a resume, joined to x by step. */
import { cut, lowerBound, means, NONE, put, spliced, taken } from "./columns.js";

const NON_FINITE = { NaN, Infinity, "-Infinity": -Infinity };
const TOO_MANY = 12000;

export class Points {
  /** `plan`: the run's part of the page's data. */
  constructor(plan) {
    this.plan = plan;
    this.series = new Map();
    this.lastStep = plan.firstStep ?? 0;
    this.detail = null;
  }

  /** Takes a run's part of GET /api/v1/metrics. */
  load(columns) {
    for (const [key, one] of Object.entries(columns)) {
      this.series.set(key, taken(one));
      this.lastStep = Math.max(this.lastStep, one.step.at(-1) ?? 0);
    }
  }

  /** A window's own points; null: the whole run again. */
  zoom(columns) {
    this.detail = columns && new Map(Object.entries(columns).map(([key, one]) => [key, taken(one)]));
  }

  /** Points of the stream; a step that is there already is replaced. True when it is time to load afresh. */
  append(columns) {
    let many = false;
    for (const [key, { step, value }] of Object.entries(columns)) {
      if (!this.series.has(key)) this.series.set(key, { ...NONE, step: [], y: [], bad: [] });
      const one = this.series.get(key);
      step.forEach((at, i) => put(one, at, typeof value[i] === "string" ? NON_FINITE[value[i]] : value[i]));
      this.lastStep = Math.max(this.lastStep, step.at(-1) ?? 0);
      many ||= one.step.length > TOO_MANY;
    }
    return many;
  }

  truncate(after) {
    for (const one of this.series.values()) {
      const keep = lowerBound(one.step, after + 1);
      one.step.length = one.y.length = keep;
      one.bad = one.bad.filter((b) => b.step <= after);
      if (one.mean) one.mean = cut(one.mean, 0, lowerBound(one.mean.step, after + 1));
    }
    this.detail = null;
    this.lastStep = after;
  }

  has = (key) => this.get(key).step.length > 0;
  get = (key) => this.series.get(key) ?? NONE;
  keys = (prefix) => [...this.series.keys()].filter((key) => key.startsWith(prefix));

  /** The series with the window of a zoom in full. */
  fine(key) {
    const whole = this.get(key);
    const part = this.detail?.get(key);
    return part?.step.length ? { ...spliced(whole, part), bad: whole.bad, merged: part.merged, total: part.total, shown: part.step.length } : { ...whole, shown: whole.step.length };
  }

  /** What a smoothed curve is drawn from: every point where all are here, the means of buckets where they are merged.
   * `gaps`: each one's distance to the one before it, in that of the window's. */
  calm(key) {
    const whole = means(this.get(key));
    const part = this.detail?.get(key);
    const found = part?.step.length ? spliced(whole, means(part)) : whole;
    const gaps = found.step.map((step, i) => (i ? step - found.step[i - 1] : 0));
    const own = (part?.step.length ? means(part) : whole).step;
    const usual = own.length > 2 ? (own.at(-1) - own[0]) / (own.length - 1) : 1;
    return { ...found, gaps: gaps.map((gap) => (gap > 0 && usual > 0 && gap < 0.9 * usual ? gap / usual : 1)) };
  }

  /** Steps on an axis: themselves, or joined to the run's own series by straight lines; null where it tells nothing. */
  x(axis, steps) {
    const { plan } = this;
    if (axis === "step") return steps;
    if (axis === "epochs") return this.x("tokens", steps).map((v) => (v === null || !plan.trainTokens ? null : v / plan.trainTokens));
    if (axis === "clock") return this.x("wall_s", steps).map((v, i) => (v === null ? null : offset(plan.clock ?? [], steps[i], v)));
    const { step, y } = this.fine(`x/${axis}`);
    const last = step.length - 1;
    if (last < 0) return steps.map(() => null);
    const slope = (a, b) => (b > a ? (y[b] - y[a]) / (step[b] - step[a]) : 0);
    const ahead = axis === "tokens" ? plan.tokensPerStep : slope(Math.floor(0.8 * last), last) || slope(0, last);
    return steps.map((at) => {
      if (at <= step[0]) return Math.max(y[0] + slope(0, Math.min(1, last)) * (at - step[0]), Math.min(0, y[0]));
      if (at > step[last]) return y[last] + ahead * (at - step[last]);
      const i = lowerBound(step, at);
      return y[i - 1] + slope(i - 1, i) * (at - step[i - 1]);
    });
  }

  /** The step at `x` of an axis; each look halves what is left. */
  stepAt(axis, x) {
    let [low, high] = [0, Math.max(this.plan.steps, this.lastStep)];
    while (low < high) {
      const middle = Math.floor((low + high) / 2);
      if ((this.x(axis, [middle])[0] ?? Infinity) < x) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

/** Each attempt has its own distance between training time and the clock: [[after step, seconds], …]. */
const offset = (parts, step, wall) => (parts.length ? wall + (parts.findLast(([after]) => after < step) ?? parts[0])[1] : null);
