/* The controls of a page's charts and where their state is kept: in the address, or by this browser. */
import { press, segments } from "./axes.js";
import { number } from "./format.js";

const KEY = "plateau-view";
const at = (id) => document.getElementById(id);
/** Name in the address → field of the view, with how it is read. */
const FIELDS = {
  x: ["axis", (v) => (/^(tokens|step|epochs|wall_s|clock|flops)$/.test(v) ? v : undefined)],
  y: ["scale", (v) => (v === "log" ? "log" : "linear")],
  xs: ["xscale", (v) => (v === "log" ? "log" : "linear")],
  smooth: ["smoothing", (v) => (Number(v) >= 0 && Number(v) <= 0.999 ? Number(v) : undefined)],
  outliers: ["outliers", (v) => v !== "0"],
  sv: ["smoothVal", (v) => v === "1"],
  saved: ["checkpoints", (v) => v === "1"],
  group: ["group", String],
  window: ["window", (v) => { const ends = v.split("~").map(Number); return ends.length === 2 && ends[1] > ends[0] && ends[0] >= 0 ? ends : undefined; }],
};
const text = (value) => (Array.isArray(value) ? value.join("~") : value === true ? "1" : value === false ? "0" : String(value));

/** The state of the charts' controls: `defaults` with what the address says (`address`), else with what this browser remembers. */
export function viewed(defaults, { address }) {
  const said = address ? new URLSearchParams(location.search) : new URLSearchParams(localStorage.getItem(KEY) ?? "");
  const view = { ...defaults };
  for (const [name, [field, read]] of Object.entries(FIELDS)) {
    if (!said.has(name) || !(field in defaults)) continue;
    const value = read(said.get(name));
    if (value !== undefined) view[field] = value;
  }
  return view;
}

export function keep(view, defaults, { address }) {
  const query = address ? new URLSearchParams(location.search) : new URLSearchParams();
  for (const [name, [field]] of Object.entries(FIELDS)) {
    if (!(field in defaults) || (field === "window" && !address)) continue;
    if (view[field] === null || text(view[field]) === text(defaults[field])) query.delete(name);
    else query.set(name, text(view[field]));
  }
  if (address) history.replaceState(history.state, "", `?${query}`);
  else if (query.size) localStorage.setItem(KEY, query);
  else localStorage.removeItem(KEY);
}

/** Sets the controls to `view`; `act(field)` hears of each change of theirs. */
export function controls(view, act) {
  const change = (field) => (value) => { view[field] = value; act(field); };
  for (const [id, field] of [["x-axis", "axis"], ["y-axis", "scale"]]) {
    press(at(id), view[field]);
    segments(at(id), change(field));
  }
  for (const [id, field, on, off] of [["outliers", "outliers", true, false], ["smooth-val", "smoothVal", true, false], ["show-checkpoints", "checkpoints", true, false], ["x-scale", "xscale", "log", "linear"]]) {
    if (!at(id)) continue;
    at(id).checked = view[field] === on;
    at(id).addEventListener("change", (event) => change(field)(event.target.checked ? on : off));
  }
  const slider = at("smoothing");
  const written = () => { at("smoothing-value").textContent = number(view.smoothing, view.smoothing > 0.99 ? 3 : 2); };
  slider.value = view.smoothing;
  slider.addEventListener("input", () => { change("smoothing")(Number(slider.value)); written(); });
  written();
}

/** Switches off the axes that no run tells; returns the axis to draw on. */
export function offered(view, tells) {
  for (const button of at("x-axis").querySelectorAll("button")) button.disabled = !tells(button.value);
  const axis = tells(view.axis) ? view.axis : ["tokens", "step"].find(tells) ?? "step";
  press(at("x-axis"), axis);
  return axis;
}
