/* Each chart's menu: full screen, the whole run, pictures, all points; and the words that say when points were merged. */
import { number } from "./format.js";
import { t } from "./messages.js";

const SVG = "http://www.w3.org/2000/svg";

function icon(name) {
  const drawn = document.createElementNS(SVG, "svg");
  drawn.classList.add("i");
  drawn.setAttribute("aria-hidden", "true");
  const use = document.createElementNS(SVG, "use");
  use.setAttribute("href", `#i-${name}`);
  drawn.append(use);
  return drawn;
}

function item(tag, glyph, text, act) {
  const one = document.createElement(tag);
  one.append(icon(glyph), text);
  if (tag === "button") one.type = "button";
  if (act) one.addEventListener("click", act);
  return one;
}

/** A button and a menu at the end of the chart's card. `runs` and `keys()`: what the files hold; `file`: their name; `whole`: shows the
 * whole run, where the chart can be zoomed. */
export function menu(one, { runs, keys, file, whole }) {
  const card = one.element.closest(".card");
  const head = card.querySelector(":scope > header");
  const title = head.querySelector("h2").textContent.trim().replace(/\s+/g, " ");
  const end = head.querySelector(".end") ?? head.appendChild(Object.assign(document.createElement("div"), { className: "end" }));
  const name = `${file}-${one.element.id}`;
  const details = Object.assign(document.createElement("details"), { className: "menu" });
  const summary = document.createElement("summary");
  summary.className = "btn ghost s icon";
  summary.setAttribute("aria-label", t("chart-menu", { title }));
  summary.title = t("chart-menu", { title });
  summary.append(icon("dots"));
  const list = Object.assign(document.createElement("div"), { className: "items" });
  const close = () => { details.open = false; };
  const save = (format) => async () => { close(); download(await one.picture(format, `${file} · ${title}`), `${name}.${format}`); };
  const saved = (words, to) => {
    const link = item("a", "file", words, close);
    link.download = "";
    link.addEventListener("click", () => { link.href = to(); }, { capture: true });
    link.href = to();
    return link;
  };
  const all = (format) => saved(t("all-points", { format: format === "csv" ? "CSV" : "Parquet" }), () => address(format, runs, keys()));
  const interactive = saved(t("interactive"), () => `/api/v1/metrics.html?${query(runs, keys())}&x=${new URLSearchParams(location.search).get("x") ?? "step"}`);
  const full = item("button", "full", t("full-screen"), () => { close(); toggle(card); });
  list.append(full, ...(whole ? [item("button", "retry", t("whole-run"), () => { close(); whole(); })] : []), document.createElement("hr"), item("button", "picture", "PNG", save("png")), item("button", "picture", "SVG", save("svg")), interactive, all("csv"), all("parquet"));
  details.append(summary, list);
  end.append(details);
  one.element.tabIndex = 0;
  one.element.setAttribute("role", "group");
  one.element.setAttribute("aria-label", t("chart-of", { title }));
  one.element.addEventListener("keydown", (event) => {
    if (event.key !== "f" || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    toggle(card);
  });
  details.addEventListener("toggle", () => { if (details.open) list.classList.toggle("up", card.getBoundingClientRect().bottom < 0); });
  card.addEventListener("fullscreenchange", () => one.draw(true));
}

addEventListener("click", (event) => {
  for (const open of document.querySelectorAll("details.menu[open]")) if (!open.contains(event.target)) open.open = false;
});
addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  for (const open of document.querySelectorAll("details.menu[open]")) {
    open.open = false;
    open.querySelector("summary").focus();
  }
});

const toggle = (card) => (document.fullscreenElement === card ? document.exitFullscreen() : card.requestFullscreen());

const query = (runs, keys) => new URLSearchParams([...runs.map((run) => ["run", run]), ...keys.map((key) => ["key", key])]);
const address = (format, runs, keys) => (runs.length === 1 ? `/api/v1/runs/${runs[0]}/metrics.${format}?${query([], keys)}` : `/api/v1/metrics.${format}?${query(runs, keys)}`);

/** The policy forbids fetching data: addresses, so they are taken apart here. */
function download(url, name) {
  const [head, body] = [url.slice(0, url.indexOf(",")), url.slice(url.indexOf(",") + 1)];
  const bytes = head.includes("base64") ? Uint8Array.from(atob(body), (c) => c.charCodeAt(0)) : new TextEncoder().encode(decodeURIComponent(body));
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([bytes], { type: head.slice(5).split(/[;,]/)[0] }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

/** "2,412 of 1,000,000 points …" in `element` of the curves {shown, total, merged}; empty where every point is drawn. */
export function told(element, curves) {
  const merged = curves.filter((one) => one.merged);
  element.hidden = !merged.length;
  if (!merged.length) return;
  const sum = (name) => number(curves.reduce((total, one) => total + one[name], 0));
  element.textContent = t("merged", { shown: sum("shown"), total: sum("total") });
  element.title = t("merged-why");
}
