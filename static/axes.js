/* The x axis: what each run's steps are joined to, in which unit that is drawn, and what is asked of the server. */
import { t } from "./messages.js";

const day = 864e5;
/** Plotly draws dates as UTC: shifted so that the reader sees the clock on the wall. */
const local = (s) => 1000 * s - 6e4 * new Date(1000 * s).getTimezoneOffset();
const unix = (ms) => (ms + 6e4 * new Date(ms).getTimezoneOffset()) / 1000;
const same = (v) => v;
const times = (factor) => [(v) => v * factor, (v) => v / factor];

/** How one axis of these runs is drawn: `show` from axis units to drawn ones, `read` back, whole range from `start` to `end`. */
export function unit(axis, subjects) {
  const reach = subjects.map((one) => one.points.x(axis, [one.plan.firstStep, one.points.lastStep, Math.max(one.plan.steps, one.points.lastStep)]));
  const finite = (values) => values.filter((v) => v !== null && Number.isFinite(v));
  const end = Math.max(...finite(reach.map((r) => r[2])), 0);
  const [show, read, more] = drawn(axis, end, reach, finite);
  const first = axis === "clock" ? Math.min(...finite(reach.map((r) => r[0]))) : 0;
  const last = axis === "clock" ? Math.max(...finite(reach.map((r) => r[1]))) : end;
  return { axis, show, read, start: Number.isFinite(first) ? show(first) : 0, end: (Number.isFinite(last) ? show(last) : 0) || 1, suffix: "", hover: ".4~s", ...more };
}

function drawn(axis, end, reach, finite) {
  switch (axis) {
    case "tokens": return [same, same, { name: t("tokens") }];
    case "epochs": return [same, same, { name: t("epochs"), format: "~g", hover: ".3~f" }];
    case "flops": return [same, same, { name: "FLOPs", format: "~e", hover: ".3~e" }];
    case "wall_s": return end > 7200 ? [...times(1 / 3600), { name: t("time"), suffix: " h", hover: ".2~f" }] : [...times(1 / 60), { name: t("time"), suffix: " min", hover: ".2~f" }];
    case "clock": {
      const spans = finite(reach.flat());
      const long = Math.max(...spans) - Math.min(...spans) > day / 1000;
      return [local, unix, { name: t("clock"), type: "date", format: long ? "%m-%d %H:%M" : "%H:%M" }];
    }
    default: return [same, same, { name: t("step"), hover: ",d" }];
  }
}

/** A number on the axis, as the hover box heads it. */
export function written(u, x) {
  if (u.type === "date") return new Date(x).toISOString().slice(0, 19).replace("T", " ");
  if (u.axis === "step") return String(Math.round(x));
  if (u.axis === "flops") return x.toExponential(2);
  const scale = [[1e12, " T"], [1e9, " B"], [1e6, " M"], [1e3, " k"]].find(([size]) => u.axis === "tokens" && Math.abs(x) >= size) ?? [1, ""];
  return `${Number((x / scale[0]).toPrecision(4))}${scale[1]}${u.suffix}`;
}

/** What the x axis shows, in drawn units: the page's window, else all of it. */
export function span(u, view) {
  const [low, high] = view.window ? view.window.map(u.show) : [u.start, u.end + 0.005 * (u.end - u.start)];
  if (view.xscale !== "log" || u.type === "date") return [low, high];
  return [Math.log10(low > 0 ? low : Math.min(high / 1e3, 1) || 1e-3), Math.log10(Math.max(high, 1e-9))];
}

/** A segmented switch whose buttons carry values; calls `act(value)`. */
export function segments(element, act) {
  element?.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (!button || button.disabled) return;
    press(element, button.value);
    act(button.value);
  });
}

export function press(element, value) {
  for (const one of element?.querySelectorAll("button") ?? []) one.setAttribute("aria-pressed", one.value === value);
}

/** Metrics of runs: `width` points a curve at most, or a little more. */
export async function metrics(runs, keys, { mean = [], ...more } = {}) {
  const query = new URLSearchParams([...runs.map((run) => ["run", run]), ...keys.map((key) => ["key", key]), ...mean.map((key) => ["mean", key]), ...Object.entries(more).filter(([, value]) => value !== undefined)]);
  const answer = await fetch(`/api/v1/metrics?${query}`);
  if (!answer.ok) throw new Error(`metrics: ${answer.status}`);
  return answer.json();
}
