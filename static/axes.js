/* The x switch: which series joins steps to the axis, in which unit, and how its numbers are written. */
import { t } from "./messages.js";

/** {factor, suffix, end}: multiply x by `factor`; `end` is the planned end of the run on this axis, or null. */
export function unit(axis, points, plan) {
  const latest = points.x(axis, [points.lastStep])[0] ?? 0;
  const share = points.lastStep / plan.steps || 1;
  switch (axis) {
    case "tokens": return { factor: 1, suffix: "", end: plan.totalTokens ?? plan.steps * plan.tokensPerStep, name: t("tokens") };
    case "wall_s": return latest / share > 7200 ? { factor: 1 / 3600, suffix: " h", end: latest / share / 3600, name: t("time") } : { factor: 1 / 60, suffix: " min", end: latest / share / 60, name: t("time") };
    case "flops": return { factor: 1, suffix: "", end: latest / share, name: "FLOPs", format: "~e" };
    default: return { factor: 1, suffix: "", end: plan.steps, name: t("step") };
  }
}

/** A segmented switch whose buttons carry values; calls `act(value)`. */
export function segments(element, act) {
  element?.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (!button) return;
    for (const one of element.querySelectorAll("button")) one.setAttribute("aria-pressed", one === button);
    act(button.value);
  });
}

/** Metrics of runs, thinned to about `width` points a curve. */
export async function metrics(runs, keys, more = {}) {
  const query = new URLSearchParams([...runs.map((run) => ["run", run]), ...keys.map((key) => ["key", key]), ...Object.entries(more)]);
  const answer = await fetch(`/api/v1/metrics?${query}`);
  if (!answer.ok) throw new Error(`metrics: ${answer.status}`);
  return answer.json();
}
