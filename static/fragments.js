/* Parts of the page that the server draws again when a message says that they changed, at most every 2 s each (or data-every ms). */
import { live } from "./live.js";
import { refresh } from "./times.js";

const EVERY_MS = 2000;
const waiting = new Map();

function concerns(part, kind, detail) {
  const noun = ["run", "dataset", "worker"].find((one) => detail[one]);
  const wanted = part.dataset.on.split(" ");
  if (part.dataset.of && detail[noun] !== part.dataset.of) return false;
  return wanted.includes(kind) || (kind === "state" && wanted.includes(noun));
}

function schedule(part, wait = null) {
  const now = Date.now();
  if (waiting.has(part)) return;
  const due = wait ?? Math.max(50, (Number(part.dataset.every) || EVERY_MS) - (now - (part.drawn ?? 0)));
  waiting.set(part, setTimeout(() => draw(part), due));
}

async function draw(part) {
  // what is said from here on may be missing in the answer, so it schedules the next one
  waiting.delete(part);
  part.drawn = Date.now();
  try {
    const answer = await fetch(part.dataset.fragment, { headers: { Accept: "text/html" } });
    if (answer.ok && !answer.redirected) swap(part, await answer.text());
  } catch {
    // the connection is gone; live.js says so, and its next hello draws again
  }
}

function swap(part, html) {
  const focus = part.contains(document.activeElement) ? selector(document.activeElement) : null;
  const open = [...part.querySelectorAll("details")].map((one) => one.open);
  const scroll = part.scrollTop;
  const fresh = document.createElement("template");
  fresh.innerHTML = html;
  part.replaceChildren(fresh.content);
  part.querySelectorAll("details").forEach((one, i) => { one.open = open[i] ?? one.open; });
  part.scrollTop = scroll;
  refresh(part);
  if (focus) part.querySelector(focus)?.focus();
  part.dispatchEvent(new CustomEvent("drawn", { bubbles: true }));
}

/** Finds the focused element again in the new markup. */
function selector(element) {
  if (element.id) return `#${CSS.escape(element.id)}`;
  if (element.matches("a[href]")) return `a[href="${CSS.escape(element.getAttribute("href"))}"]`;
  if (element.matches("input[value]")) return `input[value="${CSS.escape(element.value)}"]`;
  const action = element.form?.getAttribute("action");
  return action ? `form[action="${CSS.escape(action)}"] button` : null;
}

const parts = [...document.querySelectorAll("[data-fragment]")];
for (const kind of ["state", "event", "points", "truncate", "log", "sample"]) {
  live.addEventListener(kind, ({ detail }) => {
    const checkpoint = kind === "event" && detail.events?.some((one) => one.kind.startsWith("checkpoint"));
    for (const part of parts) if (concerns(part, kind, detail) || (checkpoint && concerns(part, "checkpoint", detail))) schedule(part);
  });
}
for (const kind of ["hello", "resync"]) live.addEventListener(kind, () => parts.forEach((part) => schedule(part, 50)));
