/* A sweep's page, live: the server draws the body again; plots stay where they are and take the new numbers. */
import { chart } from "./charts.js";
import { FIGURES, weight } from "./sweep_figures.js";

const body = document.getElementById("sweep-body");
const charts = new Map();
let quantity = "rms";
let data = null;

const token = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
/** The page's palette with λ's own scale and the heat map's ends. */
const dressed = (t) => ({ ...t, of: token, heat: [token("heat-lo"), token("heat-hi")], ink: ["lo", "mid", "hi"].map((name) => token(`heat-ink-${name}`)) });

/** The plot of an earlier body in place of the new placeholder; a new one where there was none. */
function place(id, build) {
  const placeholder = document.getElementById(id);
  if (!placeholder) return;
  const known = charts.get(id);
  if (known) {
    known.build = build;
    if (placeholder !== known.self.element) placeholder.replaceWith(known.self.element);
    known.self.draw(true);
    return;
  }
  const entry = { build };
  entry.self = chart(placeholder, (t) => entry.build(dressed(t)));
  charts.set(id, entry);
  entry.self.draw(true);
}

function show() {
  const source = document.getElementById("figure-data");
  if (!source) return;
  data = JSON.parse(source.textContent);
  const chosen = document.getElementById("quantity");
  if (chosen) chosen.value = quantity;
  for (const [name, figure] of Object.entries(FIGURES)) if (figure.has(data)) place(`f-${name}`, (t) => figure.build(t, data));
  for (const element of document.querySelectorAll("#weights [data-group]")) place(element.id, (t) => weight(t, data, quantity, element.dataset.group));
}

async function save(button) {
  const known = charts.get(button.dataset.save);
  const card = button.closest("section");
  const title = `${document.querySelector("h1").textContent} · ${card.querySelector("h2").firstChild.textContent.trim()}`;
  const link = document.createElement("a");
  link.href = await known.self.picture(button.value, title);
  link.download = `${location.pathname.split("/").at(-1)}-${button.dataset.save.slice(2)}.${button.value}`;
  link.click();
}

body.addEventListener("drawn", (event) => { if (event.target === body) show(); });
body.addEventListener("change", (event) => {
  if (event.target.id === "quantity") {
    quantity = event.target.value;
    document.getElementById("weights-title").textContent = event.target.selectedOptions[0].textContent;
    show();
  } else if (event.target.matches("#slice, #reference")) event.target.form.submit();
});
body.addEventListener("click", (event) => {
  const button = event.target.closest("[data-save]");
  if (button && charts.has(button.dataset.save)) save(button);
});
show();
