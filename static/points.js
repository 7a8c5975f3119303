/* One run's series in the browser: loaded once, extended by the stream, cut back at a resume, joined to x by step. */
const NON_FINITE = { NaN, Infinity, "-Infinity": -Infinity };
const TOO_MANY = 12000;

export class Points {
  constructor(steps) {
    this.series = new Map();
    this.lastStep = 0;
    this.steps = steps;
    this.merged = false;
    this.detail = null;
  }

  /** Takes a run's part of GET /api/v1/metrics. */
  load(columns) {
    for (const [key, one] of Object.entries(columns)) {
      this.series.set(key, { step: one.step, y: one.y, bad: one.non_finite });
      this.merged ||= one.merged;
      this.lastStep = Math.max(this.lastStep, one.step.at(-1) ?? 0);
    }
  }

  /** Points of the stream; a step that is there already is replaced. True when it is time to load afresh. */
  append(columns) {
    let many = false;
    for (const [key, { step, value }] of Object.entries(columns)) {
      if (!this.series.has(key)) this.series.set(key, { step: [], y: [], bad: [] });
      const one = this.series.get(key);
      step.forEach((at, i) => {
        const number = typeof value[i] === "string" ? NON_FINITE[value[i]] : value[i];
        if (!Number.isFinite(number) && !one.bad.some((b) => b.step === at)) one.bad.push({ step: at, value: String(value[i]) });
        const y = Number.isFinite(number) ? number : null;
        if (!one.step.length || at > one.step.at(-1)) {
          one.step.push(at);
          one.y.push(y);
        } else {
          const where = lowerBound(one.step, at);
          if (one.step[where] === at) one.y[where] = y;
        }
      });
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
    }
    this.lastStep = after;
  }

  get(key) {
    return this.series.get(key) ?? { step: [], y: [], bad: [] };
  }

  /** The series with the window of a zoom in full. */
  fine(key) {
    const whole = this.get(key);
    const part = this.detail?.columns[key];
    if (!part?.step.length) return whole;
    const before = lowerBound(whole.step, part.step[0]);
    const after = lowerBound(whole.step, part.step.at(-1) + 1);
    return {
      step: [...whole.step.slice(0, before), ...part.step, ...whole.step.slice(after)],
      y: [...whole.y.slice(0, before), ...part.y, ...whole.y.slice(after)],
      bad: whole.bad,
    };
  }

  keys(prefix) {
    return [...this.series.keys()].filter((key) => key.startsWith(prefix));
  }

  /** Steps on an axis: themselves, or joined to x/<axis> by straight lines. */
  x(axis, steps) {
    if (axis === "step") return steps;
    const { step, y } = this.get(`x/${axis}`);
    return steps.map((at) => interpolate(at, [0, ...step], [0, ...y]));
  }

  /** The step that lies at `x` of an axis. */
  stepAt(axis, x) {
    if (axis === "step") return x;
    const { step, y } = this.get(`x/${axis}`);
    return interpolate(x, [0, ...y], [0, ...step]);
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

function interpolate(at, xs, ys) {
  const last = xs.length - 1;
  if (last < 1) return at === 0 ? 0 : null;
  const i = Math.min(last, Math.max(1, lowerBound(xs, at)));
  const share = (at - xs[i - 1]) / (xs[i] - xs[i - 1] || 1);
  return ys[i - 1] + share * (ys[i] - ys[i - 1]);
}
