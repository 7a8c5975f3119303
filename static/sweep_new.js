/* New sweep, live: what it would take follows what is typed. */
const form = document.getElementById("sweep");
const cost = document.getElementById("cost");
let asked = 0;
let pause = 0;

async function price() {
  const mine = ++asked;
  const answer = await fetch("/sweeps/new/fragments/cost", { method: "POST", body: new URLSearchParams(new FormData(form)) });
  if (mine !== asked || !answer.ok) return;
  const open = cost.querySelector("details")?.open;
  const fresh = document.createElement("template");
  fresh.innerHTML = await answer.text();
  cost.replaceChildren(fresh.content);
  const details = cost.querySelector("details");
  if (details && open) details.open = true;
}

form.addEventListener("input", () => {
  clearTimeout(pause);
  pause = setTimeout(price, 250);
});
