/* Files from this computer: hashed in the browser, sent in pieces that can be resumed, named in the form. */
import { t } from "./messages.js";
import { number } from "./format.js";

const PIECE = 4 << 20;
const MOST = 512 << 20;
const TRIES = 5;
const picker = document.getElementById("files");
const list = document.getElementById("uploads");
const form = document.getElementById("add-dataset");
let pending = 0;

picker.addEventListener("change", async () => {
  const files = [...picker.files];
  picker.value = "";
  if (!form.elements.name.value && files[0]) form.elements.name.value = files[0].name.replace(/\.[^.]+$/, "");
  if (files.some((file) => file.name.endsWith(".parquet"))) form.elements.kind.value = "parquet";
  for (const file of files) await take(file);
});

async function take(file) {
  const row = document.createElement("p");
  row.className = "hint";
  list.append(row);
  const say = (text) => { row.textContent = `${file.name}: ${text}`; };
  if (file.size > MOST) return say(t("file-too-large"));
  pending += 1;
  form.querySelector("[type=submit]").disabled = true;
  try {
    if (!crypto.subtle) throw new Error(t("needs-https")); // browsers hash only over HTTPS and on this machine
    say(t("hashing"));
    const digest = await crypto.subtle.digest("SHA-256", await file.arrayBuffer());
    const sha = [...new Uint8Array(digest)].map((byte) => byte.toString(16).padStart(2, "0")).join("");
    await send(file, sha, (share) => say(`${number(100 * share)} %`));
    for (const [name, value] of [["sha256", sha], ["file_name", file.name]]) {
      const input = document.createElement("input");
      Object.assign(input, { type: "hidden", name, value });
      row.after(input);
    }
    say(t("uploaded"));
  } catch (error) {
    say(t("upload-failed", { why: error.message }));
  } finally {
    pending -= 1;
    form.querySelector("[type=submit]").disabled = pending > 0;
  }
}

/** Piece after piece; after a break it asks how much has arrived and goes on from there. */
async function send(file, sha, progress) {
  const address = `/api/v1/artifacts/${sha}?kind=upload&bytes=${file.size}`;
  let start = await arrived(address, file.size);
  for (let tries = 0; start < file.size || file.size === 0; ) {
    const end = Math.min(file.size, start + PIECE);
    const answer = await fetch(address, { method: "PUT", headers: { "Content-Range": `bytes ${start}-${end - 1}/${file.size}`, "Content-Type": "application/octet-stream" }, body: file.slice(start, end) }).catch(() => null);
    if (answer?.ok) {
      start = end;
      tries = 0;
      progress(start / file.size);
      if (start >= file.size) return;
    } else if (answer && answer.status < 500 && answer.status !== 409 && answer.status !== 416) {
      throw new Error((await answer.json()).detail);
    } else {
      tries += 1;
      if (tries > TRIES) throw new Error(t("connection-lost"));
      await new Promise((done) => setTimeout(done, 500 * 2 ** tries));
      start = await arrived(address, file.size);
    }
  }
}

async function arrived(address, size) {
  const answer = await fetch(address, { method: "HEAD" }).catch(() => null);
  if (answer?.status === 200) return size;
  return Number(answer?.headers.get("Upload-Offset") ?? 0);
}
