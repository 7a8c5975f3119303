/* Settings against results of the compared runs: a point a run, or a line a run across several settings. */
import { axis, chart, plain } from "./charts.js";
import { ids, subjects } from "./compare.js";
import { drawn } from "./drawn.js";
import { number, setting } from "./format.js";
import { menu } from "./menu.js";
import { t as say } from "./messages.js";

const SVG = "http://www.w3.org/2000/svg";
const at = (id) => document.getElementById(id);
const { fields, metrics, rows, titles } = JSON.parse(at("landscape-data").textContent);
const colours = new Map(subjects.map(({ plan }) => [plan.run, plan.colour]));
const address = () => new URLSearchParams(location.search);
const called = (key) => titles[key] ?? key;

const chosen = {
  x: fields.find((field) => field === address().get("sx")) ?? fields.find((field) => field === address().get("by")) ?? fields.find((field) => !/^(system|eval|checkpoint)\./.test(field)) ?? fields[0],
  y: metrics.includes(address().get("sy")) ? address().get("sy") : metrics[0],
  shape: address().get("shape") === "lines" ? "lines" : "points",
};

const dots = chart(at("landscape"), (t) => {
  const points = rows.map((row) => ({ row, x: row.settings[chosen.x], y: row.results[chosen.y] })).filter(({ y }) => y !== null && y !== undefined);
  const numeric = points.every(({ x }) => typeof x === "number");
  const spread = numeric && logarithmic(points.map(({ x }) => x));
  const kinds = spread ? [...new Set(points.map(({ x }) => x))].sort((a, b) => a - b) : [];
  return {
    data: [{
      x: points.map(({ x }) => (spread ? spread(x) : numeric ? x : String(x))), y: points.map(({ y }) => y), mode: "markers", hovertemplate: "%{text}<extra></extra>",
      text: points.map(({ row, x, y }) => `${plain(row.name)}<br>${plain(called(chosen.x))} ${plain(x)}<br>${plain(called(chosen.y))} ${number(y, 4)}`),
      marker: { size: 11, color: points.map(({ row }) => t.c[(colours.get(row.run) ?? 1) - 1]), line: { width: 1.5, color: t.surface } },
    }],
    layout: {
      hovermode: "closest", margin: { l: 64, r: 24, t: 10, b: 44 },
      xaxis: axis(t, { type: numeric ? "linear" : "category", ...(spread ? { tickvals: kinds.map(spread), ticktext: kinds.map((v) => setting(v)) } : {}), title: { text: plain(called(chosen.x)), font: { size: 12, color: t["text-2"] } } }),
      yaxis: axis(t, { title: { text: plain(called(chosen.y)), font: { size: 12, color: t["text-2"] } } }),
    },
  };
});

// the menu's pictures are of what is shown: the points, or the lines
const shown = Object.assign(Object.create(dots), { picture: (format, title) => (chosen.shape === "lines" ? drawn(at("parallel").firstElementChild, format, title) : dots.picture(format, title)) });
menu(shown, { runs: ids, keys: () => [chosen.y === "best/val_loss" ? "val/loss" : chosen.y], file: "compare" });
/** Where a value lies on a logarithmic axis, for settings that span more than a factor of 8; zero stands half a decade below the
 * least. Null where a plain axis shows more. */
function logarithmic(values) {
  const above = values.filter((v) => v > 0);
  const least = Math.min(...above);
  if (above.length < 2 || values.some((v) => v < 0) || Math.max(...above) < 8 * least) return null;
  return (v) => Math.log10(v || least / 3);
}

/** Text of at most so many letters. */
const cut = (text, most) => (text.length > most ? `${text.slice(0, Math.max(3, Math.floor(most) - 1))}…` : text);

/** Parallel coordinates: an axis a setting, the metric last; colours are the runs'. */
function lines() {
  const box = at("parallel");
  const width = Math.max(320, box.clientWidth);
  const height = 300;
  const columns = [...fields.slice(0, 7), chosen.y];
  const gap = (width - 140) / Math.max(1, columns.length - 1);
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  svg.setAttribute("role", "img");
  svg.setAttribute("aria-label", say("parallel", { n: number(rows.length) }));
  const element = (name, attributes, text) => {
    const one = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) one.setAttribute(key, value);
    if (text !== undefined) one.textContent = text;
    return one;
  };
  const value = (row, column, i) => (i === columns.length - 1 ? row.results[column] : row.settings[column]);
  const places = columns.map((column, i) => {
    const values = rows.map((row) => value(row, column, i)).filter((v) => v !== null && v !== undefined);
    const numeric = values.every((v) => typeof v === "number" && Number.isFinite(v));
    const kinds = numeric ? [] : [...new Set(values.map(String))].sort();
    const low = Math.min(...values);
    const high = Math.max(...values);
    const scale = (numeric && logarithmic(values)) || ((v) => v);
    const share = numeric ? (v) => (high > low ? (scale(v) - scale(low)) / (scale(high) - scale(low)) : 0.5) : (v) => (kinds.length > 1 ? kinds.indexOf(String(v)) / (kinds.length - 1) : 0.5);
    return { column, x: 70 + i * gap, ends: numeric ? [low, high] : [kinds[0], kinds.at(-1)], y: (v) => 250 - 200 * share(v) };
  });
  places.forEach(({ column, x, ends }, i) => {
    svg.append(element("line", { x1: x, x2: x, y1: 50, y2: 250, class: "rod" }));
    svg.append(element("text", { x, y: 24, class: "name", "text-anchor": "middle" }, cut(called(column), gap / 6.5)));
    const written = (v) => (typeof v === "number" ? number(v, Math.abs(v) >= 100 ? 0 : 4).replace(/([.,]\d*?)0+$/, "$1").replace(/[.,]$/, "") : String(v ?? "")).slice(0, 16);
    svg.append(element("text", { x, y: 40, class: "end", "text-anchor": "middle" }, written(ends[1])), element("text", { x, y: 268, class: "end", "text-anchor": "middle" }, written(ends[0])));
  });
  for (const row of rows) {
    const known = places.map((place, i) => [place, value(row, place.column, i)]).filter(([, v]) => v !== null && v !== undefined);
    if (known.length < 2) continue;
    const line = element("polyline", { points: known.map(([place, v]) => `${place.x.toFixed(1)},${place.y(v).toFixed(1)}`).join(" "), class: "run", style: `--k:var(--c${colours.get(row.run) ?? 1})`, tabindex: "0" });
    line.append(element("title", {}, `${row.name} (${row.run})\n${known.map(([place, v]) => `${place.column} ${v}`).join("\n")}`));
    svg.append(line);
  }
  box.replaceChildren(svg);
}

function draw() {
  at("landscape").hidden = chosen.shape === "lines";
  at("parallel").hidden = chosen.shape !== "lines";
  if (chosen.shape === "lines") lines();
  else dots.draw(true);
}

const pick = (select, values, name) => {
  select.replaceChildren(...values.map((value) => new Option(titles[value] ? `${titles[value]} (${value})` : value, value, false, value === chosen[name])));
  select.addEventListener("change", () => {
    chosen[name] = select.value;
    const query = address();
    query.set({ x: "sx", y: "sy" }[name], select.value);
    history.replaceState(history.state, "", `?${query}`);
    draw();
  });
};
pick(at("land-x"), fields, "x");
pick(at("land-y"), metrics, "y");
at("land-shape").value = chosen.shape;
at("land-shape").addEventListener("change", (event) => {
  chosen.shape = event.target.value;
  const query = address();
  query.set("shape", chosen.shape);
  history.replaceState(history.state, "", `?${query}`);
  draw();
});
addEventListener("resize", () => chosen.shape === "lines" && lines());
draw();
