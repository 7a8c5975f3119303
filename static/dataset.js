/* A dataset's page: its body is drawn when the preparation ends; the epochs of a run are counted while one types. */
import { refresh } from "./times.js";

const page = document.getElementById("dataset");
const body = document.getElementById("body");
const head = document.getElementById("head");
const stateNow = () => head.querySelector("[data-state]").dataset.state;
let state = stateNow();
let pause = 0;

async function draw(part, address) {
  const answer = await fetch(address, { headers: { Accept: "text/html" } });
  if (!answer.ok || answer.redirected) return;
  const fresh = document.createElement("template");
  fresh.innerHTML = await answer.text();
  part.replaceChildren(fresh.content);
  refresh(part);
}

head.addEventListener("drawn", () => {
  if (stateNow() === state) return;
  state = stateNow();
  draw(body, `${page.dataset.url}/fragments/body`);
});

body.addEventListener("input", (event) => {
  if (event.target.name !== "tokens") return;
  clearTimeout(pause);
  pause = setTimeout(() => draw(document.getElementById("epochs-result"), `${page.dataset.url}/fragments/epochs?tokens=${encodeURIComponent(event.target.value)}`), 200);
});
body.addEventListener("submit", (event) => {
  if (event.target.id === "epochs") event.preventDefault();
});
