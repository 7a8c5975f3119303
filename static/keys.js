/* The keyboard: ? for the list, / for the filter, n for a new run, Esc to close. Lists add their own. */
const dialog = document.getElementById("keys");
const filter = () => document.getElementById("filter");

export const typing = (target) => target instanceof Element && target.closest("input:not([type=checkbox]):not([type=radio]), textarea, select, [contenteditable]");

addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "Escape" && event.target === filter()) filter().blur();
  if (typing(event.target) || dialog?.open) return;
  if (event.key === "?") dialog?.showModal();
  else if (event.key === "/" && filter()) filter().focus();
  else if (event.key === "n") document.querySelector("a.new")?.click();
  else return;
  event.preventDefault();
});
document.getElementById("show-keys")?.addEventListener("click", () => dialog.showModal());
dialog?.addEventListener("click", (event) => event.target === dialog && dialog.close());
