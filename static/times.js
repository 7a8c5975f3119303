/* Times in the reader's own zone, ages that stay true. */
import { age, locale } from "./format.js";

const day = new Intl.DateTimeFormat(locale, { weekday: "short", day: "numeric", month: "short", hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
const near = new Intl.DateTimeFormat(locale, { weekday: "short", hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
const clock = new Intl.DateTimeFormat(locale, { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
export const clockTime = (seconds) => clock.format(new Date(1000 * seconds));

export function refresh(root = document) {
  for (const time of root.querySelectorAll("time[data-when]")) {
    const at = new Date(time.dateTime);
    time.textContent = (Math.abs(Date.now() - at) < 6 * 864e5 ? near : day).format(at);
    time.title = at.toLocaleString(locale);
  }
  for (const time of root.querySelectorAll("time[data-clock]")) time.textContent = clock.format(new Date(time.dateTime));
  ages(root);
}

function ages(root = document) {
  for (const time of root.querySelectorAll("time[data-ago]")) {
    const text = age((Date.now() - new Date(time.dateTime)) / 1000);
    if (time.textContent !== text) time.textContent = text;
  }
}

refresh();
setInterval(ages, 5000);
