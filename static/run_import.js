/* The form that imports a checkpoint: chosen files are sent before it is. */
import { number } from "./format.js";
import { t } from "./messages.js";
import { fingerprint, send } from "./upload.js";

const form = document.getElementById("import");
const picker = document.getElementById("files");
const say = document.getElementById("say");
const percent = (word, name) => (share) => { say.textContent = `${name}: ${t(word)} ${number(100 * share, 0)} %`; };

form.addEventListener("submit", async (event) => {
  if (!picker.files.length) return;
  event.preventDefault();
  const button = form.querySelector("[type=submit]");
  button.disabled = true;
  const { signal } = new AbortController();
  try {
    for (const file of picker.files) {
      const sha = await fingerprint(file, percent("hashing", file.name), signal);
      await send(file, sha, percent("sending", file.name), signal);
      for (const [name, value] of [["sha256", sha], ["file_name", file.name]]) {
        form.append(Object.assign(document.createElement("input"), { type: "hidden", name, value }));
      }
    }
    form.submit();
  } catch (error) {
    say.textContent = t("upload-failed", { why: error.message });
    button.disabled = false;
  }
});
