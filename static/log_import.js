/* The form that imports a log: a long file is sent in pieces before it is, and a dropped one is chosen. */
import { number } from "./format.js";
import { t } from "./messages.js";
import { fingerprint, send } from "./upload.js";

const form = document.getElementById("import");
const picker = document.getElementById("log");
const say = document.getElementById("say");
const percent = (word, name) => (share) => { say.textContent = `${name}: ${t(word)} ${number(100 * share, 0)} %`; };
const hidden = (name, value) => form.append(Object.assign(document.createElement("input"), { type: "hidden", name, value }));

form.addEventListener("dragover", (event) => event.preventDefault());
form.addEventListener("drop", (event) => {
  if (!event.dataTransfer.files.length) return;
  event.preventDefault();
  picker.files = event.dataTransfer.files;
});

form.addEventListener("submit", async (event) => {
  const file = picker.files[0];
  if (!file || file.size <= Number(picker.dataset.small)) return;
  event.preventDefault();
  const button = form.querySelector("[type=submit]");
  button.disabled = true;
  const { signal } = new AbortController();
  try {
    const sha = await fingerprint(file, percent("hashing", file.name), signal);
    await send(file, sha, percent("sending", file.name), signal);
    hidden("sha256", sha);
    hidden("file_name", file.name);
    picker.disabled = true; // it is there already
    form.submit();
  } catch (error) {
    say.textContent = t("upload-failed", { why: error.message });
    button.disabled = false;
  }
});
