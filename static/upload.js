/* One file on its way to the server: hashed piece by piece, sent in pieces, after a break from where it got to. */
import { Sha256 } from "./sha256.js";
import { t } from "./messages.js";

const PIECE = 4 << 20;
const TRIES = 6;

/** Its SHA-256; `progress` hears shares of 0..1. */
export async function fingerprint(file, progress, signal) {
  const hash = new Sha256();
  for (let start = 0; start < file.size; start += PIECE) {
    signal.throwIfAborted();
    hash.update(new Uint8Array(await file.slice(start, start + PIECE).arrayBuffer()));
    progress(Math.min(1, (start + PIECE) / file.size));
  }
  return hash.hex();
}

/** Sends what is not there yet. Throws an Error whose message is for a person. */
export async function send(file, sha, progress, signal) {
  const address = `/api/v1/artifacts/${sha}?kind=upload&bytes=${file.size}`;
  let start = await arrived(address, file.size, signal);
  progress(file.size ? start / file.size : 1);
  for (let tries = 0; start < file.size || file.size === 0; ) {
    const end = Math.min(file.size, start + PIECE);
    const headers = { "Content-Type": "application/octet-stream" };
    if (file.size) headers["Content-Range"] = `bytes ${start}-${end - 1}/${file.size}`;
    const answer = await fetch(address, { method: "PUT", headers, body: file.slice(start, end), signal }).catch(() => null);
    signal.throwIfAborted();
    if (answer?.ok) {
      start = end;
      tries = 0;
      progress(file.size ? start / file.size : 1);
      if (start >= file.size) return;
    } else if (answer && (answer.status === 507 || (answer.status < 500 && ![409, 416, 429].includes(answer.status)))) {
      throw new Error((await answer.json().catch(() => ({}))).detail ?? `${answer.status}`);
    } else {
      tries += 1;
      if (tries > TRIES) throw new Error(t("connection-lost"));
      await new Promise((done) => setTimeout(done, 500 * 2 ** tries));
      start = await arrived(address, file.size, signal);
    }
  }
}

async function arrived(address, size, signal) {
  const answer = await fetch(address, { method: "HEAD", signal }).catch(() => null);
  signal.throwIfAborted();
  if (answer?.status === 200) return size;
  return Number(answer?.headers.get("Upload-Offset") ?? 0);
}
