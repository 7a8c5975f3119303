/* The theme switch: a cookie for the server, an attribute for now. */
const root = document.documentElement;
const dark = matchMedia("(prefers-color-scheme: dark)");
const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : dark.matches);
const tell = () => dispatchEvent(new CustomEvent("theme"));

document.getElementById("theme")?.addEventListener("click", (event) => {
  event.preventDefault();
  const theme = isDark() ? "light" : "dark";
  root.dataset.theme = theme;
  document.cookie = `plateau_theme=${theme};path=/;max-age=31536000;samesite=lax`;
  for (const button of document.querySelectorAll('.choices button[name="theme"]')) button.setAttribute("aria-pressed", button.value === theme);
  tell();
});
dark.addEventListener("change", tell);
