/* What a drag or a double click in a chart asks for: "zoomed" {x, y} in drawn units (y in log10 on a log axis) and "whole", as events of its element. */

/** `element`: a chart that has been drawn. */
export function heard(element) {
  const read = (name, changes) => {
    const ends = [changes[`${name}.range[0]`], changes[`${name}.range[1]`]];
    const of = element._fullLayout[name];
    return ends.includes(undefined) ? null : ends.map((v) => of.r2l(v));
  };
  /** Says where a drag has ended, unless that was `told` already; returns what it said. */
  const zoomed = (changes, told = "") => {
    const [x, y] = [read("xaxis", changes), read("yaxis", changes)];
    const said = JSON.stringify([x, y]);
    const log = element._fullLayout.xaxis.type === "log";
    if ((x || y) && said !== told) element.dispatchEvent(new CustomEvent("zoomed", { detail: { x: x?.map((v) => (log ? 10 ** v : v)) ?? null, y } }));
    return said;
  };
  let at = null; // where a drag has come to
  let told = "";
  element.on("plotly_relayouting", (changes) => { at = changes; });
  // the server looks for the window's points while those that are here are drawn in it
  addEventListener("pointerup", () => { if (at) told = zoomed(at); at = null; }, { capture: true });
  element.on("plotly_relayout", (changes) => { zoomed(changes, told); at = null; told = ""; });
  element.on("plotly_doubleclick", () => element.dispatchEvent(new Event("whole")));
}
