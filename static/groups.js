/* Groups of runs: the mean of each with its band, redrawn by the server's numbers whenever the choice or a run changes. */
import { across, axis, chart, label, plain, rgba } from "./charts.js";
import { currentUnit, ids, joined, view } from "./compare.js";
import { number } from "./format.js";
import { live } from "./live.js";
import { menu } from "./menu.js";
import { t as say } from "./messages.js";

const part = document.getElementById("grouped");
const place = document.getElementById("groups");
let data = null;
let asked = 0;

const read = () => { data = JSON.parse(document.getElementById("group-data").textContent); };
const finite = (values) => values.filter((v) => v !== null && Number.isFinite(v));

function figure(t, yrange) {
  const u = currentUnit();
  const traces = [];
  const probes = [];
  const low = [];
  const high = [];
  const ends = [];
  data.groups.forEach((group, i) => {
    const colour = t.c[i % 8];
    const x = group.x.map(u.show);
    if (group.low) {
      traces.push({ x: [...x, ...[...x].reverse()], y: [...group.high, ...[...group.low].reverse()], fill: "toself", fillcolor: rgba(colour, 0.16), line: { width: 0 }, mode: "lines", hoverinfo: "skip", showlegend: false });
    }
    const name = String(group.value);
    traces.push({ x, y: group.mean, mode: x.length < 60 ? "lines+markers" : "lines", line: { color: colour, width: 2 }, marker: { size: 5, color: colour }, name: plain(name) });
    probes.push({ row: name, column: say("mean"), colour, dash: 0, x, y: group.mean, write: (v) => number(v, 4) });
    // the first tenth of a curve falls so far that what matters would be flat below it
    const seen = group.x.map((v, k) => k).filter((k) => (view.window ? group.x[k] >= view.window[0] && group.x[k] <= view.window[1] : k >= group.x.length / 10));
    low.push(...finite(seen.map((k) => (group.low ?? group.mean)[k])));
    high.push(...finite(seen.map((k) => (group.high ?? group.mean)[k])));
    if (seen.length) ends.push({ name, colour, y: group.mean[seen.at(-1)] });
  });
  const from = low.length ? Math.min(...low) : 0;
  const to = high.length ? Math.max(...high) : 1;
  const room = 0.06 * (to - from || 1);
  return { data: traces, probes, layout: { margin: { l: 56, r: 132, t: 10, b: 30 }, xaxis: across(t, u, view), yaxis: axis(t, { range: yrange ?? [from - room, to + room], nticks: 6, zeroline: Boolean(data.minus), zerolinecolor: t["text-3"] }), annotations: ends.length > 12 ? [] : beside(t, ends, from - room, to + room) } };
}

/** Each mean's last value beside the plot, moved apart so that none covers another. */
function beside(t, ends, low, high) {
  const gap = (high - low) / 14;
  const sorted = ends.toSorted((a, b) => a.y - b.y);
  let at = low - gap;
  for (const one of sorted) one.at = at = Math.max(at + gap, one.y);
  sorted.reduceRight((most, one) => { one.at = Math.min(one.at, most); return one.at - gap; }, high);
  return sorted.map(({ name, colour, y, at: place }) => label(t, 1, place, `${plain(name)} <b>${number(y, 4)}</b>`, { xref: "paper", xshift: 8, font: { size: 12, color: colour } }));
}

const drawing = chart(place, figure);
menu(drawing, { runs: ids, keys: () => ["val/loss", "val/loss_se"], file: "compare", whole: joined(drawing) });

function show() {
  read();
  drawing.draw(true);
}

/** The choice of the form as the page's address, and the numbers that belong to it. */
async function load() {
  const address = new URLSearchParams(location.search);
  const form = document.getElementById("group-by");
  const chosen = new FormData(form);
  for (const name of ["by", "band", "less"]) {
    if (chosen.has(name)) address.set(name, chosen.get(name));
    else address.delete(name);
  }
  history.replaceState(history.state, "", `?${address}`);
  address.set("x", view.axis);
  const turn = ++asked;
  const focus = form.contains(document.activeElement) ? document.activeElement.name : null;
  const answer = await fetch(`/compare/fragments/groups?${address}`);
  if (!answer.ok || turn !== asked) return;
  const fresh = document.createElement("template");
  fresh.innerHTML = await answer.text();
  fresh.content.getElementById("groups").replaceWith(place);
  part.replaceChildren(fresh.content);
  if (focus) part.querySelector(`[name=${focus}]`)?.focus();
  show();
}

part.addEventListener("change", load);
document.getElementById("x-axis").addEventListener("click", (event) => event.target.closest("button") && load());
let due = 0;
live.addEventListener("points", ({ detail }) => {
  if (!detail.columns["val/loss"] || due) return;
  due = setTimeout(() => { due = 0; load(); }, 2000);
});
read();
if (view.axis === data.x) show();
else load();
