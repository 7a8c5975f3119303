/* Plotly, dressed in the page's tokens. The only module that knows it. */
import { span } from "./axes.js";
import { heard } from "./drags.js";
import { decimalMark } from "./format.js";

const MIN_MS = 250;
const root = document.documentElement;
const token = (name) => getComputedStyle(root).getPropertyValue(`--${name}`).trim();
const coarse = matchMedia("(pointer: coarse)");
export const all = [];

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
/** Text of people's making: Plotly would read tags in it. */
export const plain = (text) => String(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");

export const axis = (t, more = {}) => ({
  gridcolor: t.line, gridwidth: 1, zeroline: false, linecolor: t.line, ticks: "", tickfont: { size: 11, color: t["text-3"] },
  automargin: false, exponentformat: "B", minexponent: 3, nticks: 7, ...more,
});

/** The x axis that all charts of a page share. */
export const across = (t, u, view, more = {}) => axis(t, {
  type: u.type ?? (view.xscale === "log" ? "log" : "linear"), range: span(u, view), ticksuffix: u.suffix, tickformat: u.format, showgrid: false, nticks: 6, ...more,
  ...(view.xscale === "log" && u.type !== "date" ? { dtick: 1 } : {}),
});

export const vline = (t, x, more = {}) => ({ type: "line", xref: "x", yref: "paper", x0: x, x1: x, y0: 0, y1: 1, line: { color: t["text-3"], width: 1, dash: "dot" }, ...more });
export const hline = (t, y, more = {}) => ({ type: "line", xref: "paper", yref: "y", x0: 0, x1: 1, y0: y, y1: y, line: { color: t["text-3"], width: 1, dash: "dash" }, ...more });
export const label = (t, x, y, text, more = {}) => ({ x, y, text, showarrow: false, font: { size: 11, color: t["text-2"] }, xanchor: "left", yanchor: "middle", ...more });

/** Plotly, on its way since the page's head. It is run only now, so that the page's scripts ask for their points first. */
const loaded = new Promise((done) => {
  const script = Object.assign(document.createElement("script"), { src: document.getElementById("plotly").href, onload: done });
  document.head.append(script);
});
const idle = window.requestIdleCallback ?? ((act) => setTimeout(act, 200));

/** A chart in `element` of what `build(palette, yrange)` returns: {data, layout, probes}. Redrawn at most four times a second
 * by news, at once by a person; out of sight only once, when nothing else is to be done. Sends the events of drags.js. */
export function chart(element, build) {
  let timer = 0;
  let drawn = 0;
  let seen = false;
  let due = false;
  let waiting = 0;
  const self = {
    element,
    yrange: null,
    probes: [],
    /** `soon`: somebody waits for it. */
    draw(soon = false) {
      due = true;
      if (!seen && !waiting && (soon || !drawn)) waiting = idle(now, { timeout: 3000 });
      if (!seen || (timer && !soon)) return;
      clearTimeout(timer);
      timer = setTimeout(now, soon ? 0 : Math.max(0, MIN_MS - (Date.now() - drawn)));
    },
    built: () => build(palette(), null),
    /** Where the plot lies in the element, in pixels; null before the first drawing. */
    frame() {
      const full = element._fullLayout;
      return full?.xaxis ? { left: full._size.l, top: full._size.t, width: full._size.w, height: full._size.h, log: full.xaxis.type === "log", range: full.xaxis.range.map((v) => full.xaxis.r2l(v)) } : null;
    },
    /** Drawn units to pixels from the plot's left edge, and back. */
    pixel(x) {
      const f = self.frame();
      return f ? (f.width * ((f.log ? Math.log10(x) : x) - f.range[0])) / (f.range[1] - f.range[0]) : NaN;
    },
    value(pixel) {
      const f = self.frame();
      const v = f.range[0] + (pixel / f.width) * (f.range[1] - f.range[0]);
      return f.log ? 10 ** v : v;
    },
    shown() {
      const full = element._fullLayout;
      return full?.xaxis && { x: self.frame().range.map((v) => (full.xaxis.type === "log" ? 10 ** v : v)), y: full.yaxis.range.map((v) => (full.yaxis.type === "log" ? 10 ** v : v)) };
    },
    pan: (x) => window.Plotly.relayout(element, { "xaxis.range": x }),
    /** The chart as a picture with its title and a legend, as a data URL. */
    picture(format, title) {
      const t = palette();
      const { data, layout } = build(t, self.yrange);
      const look = { ...dressed(t), ...layout, paper_bgcolor: t.surface, plot_bgcolor: t.surface, showlegend: true, legend: { orientation: "h", y: -0.1, x: 0 }, title: { text: plain(title), x: 0.02, font: { size: 15, color: t.text } }, margin: { ...layout.margin, t: 56, b: 72 } };
      return window.Plotly.toImage({ data, layout: look }, { format, width: Math.max(900, element.clientWidth), height: Math.max(480, element.clientHeight), scale: format === "png" ? 2 : 1 });
    },
  };
  async function now() {
    timer = waiting = 0;
    if (!window.Plotly) await loaded;
    if (!due) return;
    if (element._dragging) { timer = setTimeout(now, MIN_MS); return; }
    if (!element.clientWidth) { seen = false; return; } // hidden since; drawn when it is seen again
    due = false;
    drawn = Date.now();
    const t = palette();
    const { data, layout, probes = [] } = build(t, self.yrange);
    const first = !element.classList.contains("js-plotly-plot");
    if (first) element.replaceChildren();
    self.probes = probes;
    await window.Plotly.react(element, data, { ...dressed(t), dragmode: coarse.matches && !document.fullscreenElement ? false : "zoom", ...layout }, { displayModeBar: false, showTips: false, doubleClick: false, showAxisDragHandles: false });
    if (first) {
      new ResizeObserver(fit).observe(element);
      heard(element);
    }
    fit(); // full screen, a narrower window: what was measured may have changed meanwhile
    element.dispatchEvent(new Event("drawn"));
  }
  function fit() {
    const full = element._fullLayout;
    if (full && element.clientWidth && (full.width !== element.clientWidth || full.height !== element.clientHeight)) window.Plotly.Plots.resize(element);
  }
  new IntersectionObserver(([entry]) => {
    seen = entry.isIntersecting;
    if (seen && due) self.draw(true);
  }, { rootMargin: "200px" }).observe(element);
  all.push(self);
  return self;
}

const dressed = (t) => ({
  paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", font: { family: token("font"), size: 11, color: t["text-2"] },
  margin: { l: 48, r: 14, t: 8, b: 26 }, showlegend: false, hovermode: false, separators: decimalMark === "," ? ",." : ".,",
});

addEventListener("theme", () => all.forEach((one) => one.draw(true)));
