/* The page's one window on the x axis: dragged out in any chart, shown in all, filled by the server with its own points. */
import { all } from "./charts.js";

const STEP = 1.6;
const PATIENCE_MS = 150;

/** `unit()`: the axis of now; `ask(window, news)`: fetches what the window needs (null: nothing more) and calls `news(take, charts)`
 * for each answer: unless another window is asked for meanwhile, `take` keeps it and `charts` are drawn. `changed()`: remembers the window. */
export function zoomable(view, { unit, ask, changed = () => {} }) {
  let turn = 0;
  /** `range` in axis units, null for the whole. */
  async function to(range) {
    const mine = ++turn;
    view.window = range && range[1] > range[0] ? range : null;
    changed();
    const waiting = new Set(all);
    // the chart under the pointer shows its part already; the others, and a slow answer, wait no longer than this
    const late = setTimeout(() => waiting.forEach((one) => one.draw(true)), view.window ? PATIENCE_MS : 0);
    await ask(view.window, (take, charts = all) => {
      if (mine !== turn) return;
      take();
      for (const one of charts) {
        waiting.delete(one);
        one.draw(true);
      }
    });
    clearTimeout(late);
  }

  function whole() {
    for (const one of all) one.yrange = null;
    return to(null);
  }

  /** Nearer, farther or along, about the middle of what is shown, in pixels of `one`. */
  function move(one, near, far) {
    const f = one.frame();
    if (!f) return;
    const u = unit();
    const floor = u.axis === "clock" ? -Infinity : 0;
    const [low, high] = [one.value(near * f.width), one.value(far * f.width)].map(u.read);
    const [least, most] = [u.start, u.end].map(u.read);
    if (low <= least && high >= most) whole();
    else to([Math.max(low, floor), high]);
  }

  function join(one) {
    one.element.addEventListener("zoomed", ({ detail }) => {
      if (detail.y) one.yrange = detail.y;
      if (detail.x) to(detail.x.map(unit().read).map((v) => Math.max(v, 0)));
      else one.draw(true);
    });
    one.element.addEventListener("whole", whole);
    one.element.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      const inset = (1 - 1 / STEP) / 2;
      if (event.key === "+" || event.key === "=") move(one, inset, 1 - inset);
      else if (event.key === "-") move(one, -(STEP - 1) / 2, 1 + (STEP - 1) / 2);
      else if (event.key === "0" || event.key === "Home") whole();
      else if (event.shiftKey && event.key === "ArrowLeft") move(one, -0.25, 0.75);
      else if (event.shiftKey && event.key === "ArrowRight") move(one, 0.25, 1.25);
      else return;
      event.preventDefault();
      event.stopPropagation();
    });
  }
  all.forEach(join);
  return { to, whole, join };
}
