/* New run, live: presets fill the form, the pre-flight panel follows what is typed, remedies and scripts by a click. */
import { segments } from "./axes.js";
import { t } from "./messages.js";

const form = document.getElementById("launch");
const { presets } = JSON.parse(document.getElementById("page-data").textContent);
const field = (name) => form.elements[name === "schedule.steps" ? "length" : name];
let asked = 0;
let pause = 0;

function put(name, value) {
  const input = field(name);
  if (!input) return;
  if (input.type === "checkbox") input.checked = value;
  else input.value = value;
  if (name === "schedule.steps") form.elements.length_unit.value = "steps";
}

/** Sends the form as it stands; the server answers with the panel, the cost, the scripts and the marks. */
async function check() {
  const mine = ++asked;
  const answer = await fetch("/runs/new/fragments/preflight", { method: "POST", body: new URLSearchParams(new FormData(form)) });
  if (mine !== asked || !answer.ok) return;
  const fresh = document.createElement("template");
  fresh.innerHTML = await answer.text();
  for (const part of fresh.content.querySelectorAll("div[data-part]")) {
    document.querySelector(`[data-live="${part.dataset.part}"]`).replaceChildren(...part.childNodes);
  }
  mark(JSON.parse(fresh.content.querySelector("script[data-part=marks]").textContent));
}

function mark(marks) {
  for (const input of form.querySelectorAll("input[name], select[name]")) {
    const name = input.name === "length" ? "schedule.steps" : input.name;
    const wrong = marks.errors[name];
    input.closest(".in")?.classList.toggle("e", Boolean(wrong));
    if (!input.name.includes(".") && input.name !== "length") continue;
    input.closest(".f")?.querySelector(".hint.bad")?.remove();
    if (wrong) input.setAttribute("aria-invalid", "true");
    else input.removeAttribute("aria-invalid");
    if (wrong) input.closest(".in")?.insertAdjacentElement("afterend", hint(wrong));
  }
  for (const slot of form.querySelectorAll("[data-was]")) slot.replaceChildren(...(marks.was[slot.dataset.was] ? [dot(marks.was[slot.dataset.was])] : []));
  for (const section of form.querySelectorAll("[data-section]")) {
    const wrong = Object.keys(marks.errors).some((name) => name.startsWith(`${section.dataset.section}.`) && section.querySelector(`[name="${name}"]`));
    const words = marks.sections[section.dataset.section];
    const count = section.querySelector(".count");
    count.replaceChildren(...(wrong ? [span("bad sm", t("needs-value"))] : words ? [dot(words)] : []));
  }
  document.getElementById("length-hint").textContent = marks.length;
  summaries();
}

function span(className, text) {
  const made = document.createElement("span");
  made.className = className;
  made.textContent = text;
  return made;
}
const dot = (text) => span("dot", text);
const hint = (text) => span("hint bad", text);

function summaries() {
  for (const slot of form.querySelectorAll("[data-of]")) {
    const input = field(slot.dataset.of);
    slot.textContent = input?.selectedOptions?.[0].textContent ?? input?.value ?? "";
  }
}

const soon = () => {
  clearTimeout(pause);
  pause = setTimeout(check, 200);
};
form.addEventListener("input", soon);
form.addEventListener("change", (event) => {
  if (event.target.name === "preset") {
    const dataset = field("data.dataset").value;
    form.elements.source.value = "";
    for (const [name, value] of Object.entries(presets[event.target.value])) put(name, value);
    field("data.dataset").value = dataset;
    document.getElementById("preset-origin").textContent = event.target.closest("label").title;
  }
  if (event.target.name === "length_unit") relength(event.target.value);
  soon();
});

/** The same length in the other unit. */
function relength(unit) {
  const perStep = ["batch.micro_batch", "batch.accumulation", "model.block_size"].reduce((product, name) => product * Number(field(name).value), 1);
  const value = Number(form.elements.length.value);
  if (!(perStep > 0) || !(value > 0)) return;
  form.elements.length.value = unit === "tokens" ? value * perStep : Math.max(1, Math.ceil(value / perStep));
}

document.addEventListener("click", (event) => {
  const remedy = event.target.closest("[data-set]");
  if (!remedy) return;
  const values = remedy.dataset.value.split(" ");
  remedy.dataset.set.split(" ").forEach((name, index) => put(name, values[index]));
  check();
});

const scripts = document.querySelector(".scripts");
segments(document.getElementById("formats"), (value) => { scripts.dataset.show = value; });
document.getElementById("copy").addEventListener("click", async (event) => {
  const words = event.currentTarget.querySelector("span");
  await navigator.clipboard.writeText(scripts.querySelector(`[data-script="${scripts.dataset.show}"]`).textContent);
  const before = words.textContent;
  words.textContent = t("copied");
  setTimeout(() => { words.textContent = before; }, 1500);
});
summaries();
