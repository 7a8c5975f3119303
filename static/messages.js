/* The words of the scripts, from static/messages/<language>.json. */
const language = document.documentElement.lang || "en";
const catalogue = await (await fetch(`/static/messages/${language}.json`)).json();

/** The message `key` with {names} filled in. */
export function t(key, values = {}) {
  return (catalogue[key] ?? key).replace(/\{(\w+)\}/g, (_, name) => values[name] ?? "");
}
export { language };
