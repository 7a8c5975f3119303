/* The form that adds a dataset: files dropped or chosen are sent at once, fields show when they matter, roots fill in. */
import { number } from "./format.js";
import { t } from "./messages.js";
import { fingerprint, send } from "./upload.js";

const form = document.getElementById("add-dataset");
const picker = document.getElementById("files");
const zone = document.getElementById("drop");
const list = document.getElementById("uploads");
const submit = form.querySelector("[type=submit]");
const waiting = [];
let working = 0;

picker.addEventListener("change", () => {
  add([...picker.files]);
  picker.value = "";
});
for (const kind of ["dragenter", "dragover"]) zone.addEventListener(kind, (event) => { event.preventDefault(); zone.classList.add("over"); });
for (const kind of ["dragleave", "drop"]) zone.addEventListener(kind, () => zone.classList.remove("over"));
zone.addEventListener("drop", async (event) => {
  event.preventDefault();
  const entries = [...event.dataTransfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  add(entries.length ? (await Promise.all(entries.map(inside))).flat() : [...event.dataTransfer.files]);
});

/** The files of a dropped entry, those of a folder with everything below it. */
async function inside(entry) {
  if (entry.isFile) return [await new Promise((done, fail) => entry.file(done, fail))];
  const reader = entry.createReader();
  const found = [];
  for (;;) {
    const some = await new Promise((done, fail) => reader.readEntries(done, fail));
    if (!some.length) return (await Promise.all(found.map(inside))).flat();
    found.push(...some);
  }
}

function add(files) {
  const name = form.elements.name;
  if (!name.value && files[0]) name.value = files[0].name.replace(/(\.[A-Za-z]\w{0,6}){1,2}$/, "");
  for (const file of files) waiting.push([file, row(file)]);
  while (working < 2 && waiting.length) next();
  settle();
}

function row(file) {
  const item = document.getElementById("upload-row").content.firstElementChild.cloneNode(true);
  item.querySelector(".nm").textContent = file.name;
  item.querySelector(".size").textContent = size(file.size);
  item.stop = new AbortController();
  list.append(item);
  return item;
}

const size = (bytes) => (bytes < 1e6 ? `${number(bytes / 1e3, 1)} kB` : bytes < 1e9 ? `${number(bytes / 1e6, 1)} MB` : `${number(bytes / 1e9, 2)} GB`);

/** Takes one waiting file all the way; two are on their way at a time. */
async function next() {
  const [file, item] = waiting.shift();
  const { signal } = item.stop;
  const bar = item.querySelector(".b i");
  const say = (text, share) => {
    item.querySelector(".say").textContent = text;
    if (share !== undefined) bar.style.inlineSize = `${100 * share}%`;
  };
  working += 1;
  settle();
  try {
    const sha = await fingerprint(file, (share) => say(`${t("hashing")} ${number(100 * share)} %`, 0.1 * share), signal);
    await send(file, sha, (share) => say(`${t("sending")} ${number(100 * share)} %`, 0.1 + 0.9 * share), signal);
    item.querySelector("[name=sha256]").value = sha;
    item.querySelector("[name=file_name]").value = file.name;
    for (const input of item.querySelectorAll("input")) input.disabled = false;
    item.classList.add("done");
    say(t("uploaded"), 1);
  } catch (error) {
    if (!signal.aborted) {
      item.classList.add("failed");
      say(t("upload-failed", { why: error.message }));
    }
  }
  working -= 1;
  settle();
  if (waiting.length) next();
}

function settle() {
  submit.disabled = working > 0 || waiting.length > 0;
}
addEventListener("beforeunload", (event) => {
  if (working) event.preventDefault();
});

document.addEventListener("click", (event) => {
  const remove = event.target.closest("[data-remove]");
  if (remove) {
    const item = remove.closest("li");
    item.stop?.abort();
    const at = waiting.findIndex(([, other]) => other === item);
    if (at >= 0) waiting.splice(at, 1);
    item.remove();
    settle();
    picker.focus();
  }
  const root = event.target.closest("[data-root]");
  if (root) {
    const paths = form.elements.paths;
    paths.value = `${paths.value}${paths.value && !paths.value.endsWith("\n") ? "\n" : ""}${root.dataset.root}/`;
    paths.focus();
  }
});

/** Fields that do not matter for what is chosen are hidden and not sent. */
function relevant() {
  for (const box of form.querySelectorAll("[data-when]")) {
    const [name, ...values] = box.dataset.when.split(" ");
    box.hidden = !values.includes(form.elements[name].value);
    for (const input of box.querySelectorAll("input, select")) input.disabled = box.hidden;
  }
}
form.addEventListener("change", relevant);
relevant();
