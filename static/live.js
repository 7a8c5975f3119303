/* The page's one event stream: opens, heals, closes while the tab is hidden and catches up when it is shown. */
import { age } from "./format.js";
import { t } from "./messages.js";

const KINDS = ["points", "truncate", "state", "log", "event", "sample", "resync"];
const shown = document.getElementById("live");
const runs = (document.body.dataset.runs ?? "").split(" ").filter(Boolean);
/** Dispatches one event a message, with its data as `detail`; and `hello` after each connection. */
export const live = new EventTarget();

let cursor = document.body.dataset.cursor || null;
let source = null;
let retry = 0;
let last = 0;
let connected = false;

function open() {
  clearTimeout(retry);
  close();
  const query = new URLSearchParams(runs.map((run) => ["run", run]));
  if (cursor) query.set("since", cursor);
  source = new EventSource(`/api/v1/stream?${query}`);
  source.addEventListener("hello", (event) => {
    connected = true;
    cursor = event.lastEventId || JSON.parse(event.data).cursor;
    live.dispatchEvent(new CustomEvent("hello"));
    say();
  });
  for (const kind of KINDS) {
    source.addEventListener(kind, (event) => {
      if (event.lastEventId) cursor = event.lastEventId;
      last = Date.now();
      connected = true;
      live.dispatchEvent(new CustomEvent(kind, { detail: JSON.parse(event.data) }));
      say();
    });
  }
  source.onopen = () => { connected = true; say(); };
  source.onerror = () => {
    connected = false;
    say();
    // the browser tries again by itself unless the answer was an error
    if (source?.readyState === EventSource.CLOSED) retry = setTimeout(open, 3000);
  };
}

function close() {
  source?.close();
  source = null;
}

function say() {
  shown.hidden = false;
  shown.classList.toggle("lost", !connected);
  const text = connected ? (last ? t("updated", { age: age((Date.now() - last) / 1000) }) : t("live")) : t("connection-lost");
  if (shown.textContent !== text) shown.textContent = text;
}

document.addEventListener("visibilitychange", () => {
  if (document.hidden) {
    clearTimeout(retry);
    close();
  } else open();
});
addEventListener("pagehide", close);

if (shown && document.body.dataset.live !== "no") {
  if (!document.hidden) open();
  // a status that counts seconds must not be read out each second
  shown.setAttribute("aria-live", "off");
  setInterval(() => source && say(), 1000);
}
