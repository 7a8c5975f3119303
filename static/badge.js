/* The tab: "37% 3.21 name" and an icon in the colour and shape of the state. */
import { number } from "./format.js";

const SHAPES = {
  queued: ["%236f7983", '<circle cx="6" cy="6" r="4.5" fill="none" stroke="C" stroke-width="1.6" stroke-dasharray="2.2 1.5"/>'],
  running: ["%231560b8", '<circle cx="6" cy="6" r="5.5" fill="C"/><path d="M4.6 3.6v4.8L8.6 6z" fill="white"/>'],
  finished: ["%2314713d", '<circle cx="6" cy="6" r="5.5" fill="C"/><path d="m3.5 6.2 1.8 1.8 3.3-3.8" fill="none" stroke="white" stroke-width="1.6"/>'],
  failed: ["%23b3261e", '<path d="M3.7.6h4.6l3.1 3.1v4.6l-3.1 3.1H3.7L.6 8.3V3.700z" fill="C"/><path d="m4 4 4 4M8 4 4 8" stroke="white" stroke-width="1.6"/>'],
  lost: ["%238a5300", '<path d="M6 .8 11.6 11H.4z" fill="C"/><path d="M6 4.3v3M6 9v.2" stroke="white" stroke-width="1.5"/>'],
  paused: ["%2347505c", '<path d="M3.5 1.5v9M8.5 1.5v9" stroke="C" stroke-width="2.600"/>'],
  stopped: ["%2347505c", '<rect x="1.5" y="1.5" width="9" height="9" rx="1.5" fill="C"/>'],
};
const ALIKE = { starting: "running", stopping: "paused" };

export function badge(run) {
  const active = ["starting", "running", "stopping"].includes(run.state);
  const percent = active ? `${number(100 * run.progress)}% ${run.best_val === null ? "" : `${number(run.best_val, 2)} `}` : "";
  document.title = `${percent}${run.name} · Plateau`;
  const [colour, shape] = SHAPES[ALIKE[run.state] ?? run.state];
  const svg = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 12 12">${shape}</svg>`.replaceAll("C\"", `${colour}"`);
  const href = `data:image/svg+xml,${svg.replaceAll('"', "'").replaceAll("<", "%3C").replaceAll(">", "%3E")}`;
  const link = document.getElementById("favicon");
  if (link.getAttribute("href") !== href) link.setAttribute("href", href);
}
