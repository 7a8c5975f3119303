/* Plotly, dressed in the page's tokens. The only module that knows it. */
import { decimalMark } from "./format.js";

const MIN_MS = 250;
const root = document.documentElement;
const token = (name) => getComputedStyle(root).getPropertyValue(`--${name}`).trim();
const all = [];

export function palette() {
  const c = {};
  for (const name of ["bg", "surface", "sunken", "line", "line-strong", "text", "text-2", "text-3", "accent", "ok", "run", "warn", "bad"]) c[name] = token(name);
  c.c = [1, 2, 3, 4, 5, 6, 7, 8].map((i) => token(`c${i}`));
  return c;
}

export function rgba(hex, alpha) {
  const n = parseInt(hex.slice(1), 16);
  return `rgba(${n >> 16},${(n >> 8) & 255},${n & 255},${alpha})`;
}

export const narrow = () => innerWidth < 720;

export const axis = (t, more = {}) => ({
  gridcolor: t.line, gridwidth: 1, zeroline: false, linecolor: t.line, ticks: "", tickfont: { size: 11, color: t["text-3"] },
  automargin: false, exponentformat: "B", minexponent: 3, nticks: 7, ...more,
});

export const vline = (t, x, more = {}) => ({ type: "line", xref: "x", yref: "paper", x0: x, x1: x, y0: 0, y1: 1, line: { color: t["text-3"], width: 1, dash: "dot" }, ...more });
export const hline = (t, y, more = {}) => ({ type: "line", xref: "paper", yref: "y", x0: 0, x1: 1, y0: y, y1: y, line: { color: t["text-3"], width: 1, dash: "dash" }, ...more });
export const label = (t, x, y, text, more = {}) => ({ x, y, text, showarrow: false, font: { size: 11, color: t["text-2"] }, xanchor: "left", yanchor: "middle", ...more });

/** Draws what `build(palette)` returns ({data, layout}) into `element`, at most four times a second. */
export function chart(element, build) {
  let timer = 0;
  let drawn = 0;
  const self = {
    element,
    draw() {
      if (timer) return;
      timer = setTimeout(() => { timer = 0; drawn = Date.now(); now(); }, Math.max(0, MIN_MS - (Date.now() - drawn)));
    },
    on(event, act) { element.addEventListener("drawn-first", () => element.on(event, act), { once: true }); },
    async relayout(changes) { await window.Plotly.relayout(element, changes); },
    range: () => element.layout?.xaxis.range?.map(Number),
  };
  function now() {
    const t = palette();
    const { data, layout } = build(t);
    const first = !element.classList.contains("js-plotly-plot");
    if (first) element.replaceChildren();
    window.Plotly.react(element, data, {
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", font: { family: token("font"), size: 11, color: t["text-2"] },
      margin: { l: 48, r: 14, t: 8, b: 26 }, showlegend: false, hovermode: "x unified", dragmode: "zoom", hoverdistance: 40,
      separators: decimalMark === "," ? ",." : ".,",
      hoverlabel: { bgcolor: t.surface, bordercolor: t["line-strong"], font: { family: token("font"), size: 12, color: t.text }, align: "left" },
      ...layout,
    }, { displayModeBar: false, responsive: true, showTips: false, doubleClick: "reset" });
    if (first) element.dispatchEvent(new Event("drawn-first"));
  }
  all.push(self);
  return self;
}

addEventListener("theme", () => all.forEach((one) => one.draw()));
