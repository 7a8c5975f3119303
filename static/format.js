/* Numbers and ages as the server writes them. Latin digits in every language, as on the charts. */
import { language, t } from "./messages.js";

const locale = `${language}-u-nu-latn`;
const cache = new Map();

export function number(value, digits = 0) {
  if (!Number.isFinite(value)) return "–";
  if (Math.abs(value) >= 1e16) return String(Number(value.toPrecision(3))).replace("e+", "e");
  if (!cache.has(digits)) cache.set(digits, new Intl.NumberFormat(locale, { minimumFractionDigits: digits, maximumFractionDigits: digits }));
  return cache.get(digits).format(value);
}

export function short(value) {
  for (const [scale, letter] of [[1e12, "T"], [1e9, "B"], [1e6, "M"], [1e4, "k"]]) {
    if (Math.abs(value) >= scale * 0.9995) {
      const scaled = value / (letter === "k" ? 1e3 : scale);
      return `${number(scaled, Math.abs(scaled) >= 99.95 ? 0 : Math.abs(scaled) >= 9.995 ? 1 : 2)} ${letter}`;
    }
  }
  return number(value, Math.abs(value) >= 100 || Number.isInteger(value) ? 0 : 1);
}

/** A rate or ratio as one would type it: 2.4e-4, 0.05. */
export function setting(value) {
  if (!Number.isFinite(value)) return "–";
  if (value === 0 || (Math.abs(value) >= 1e-3 && Math.abs(value) < 1e6)) return String(Number(value.toPrecision(3)));
  const [mantissa, exponent] = value.toExponential(2).split("e");
  return `${Number(mantissa)}e${Number(exponent)}`;
}

export function age(seconds) {
  const s = Math.max(0, Math.floor(seconds));
  for (const [size, key] of [[86400, "d"], [3600, "h"], [60, "min"]]) if (s >= size) return t(key, { n: number(Math.floor(s / size)) });
  return t("s", { n: s });
}

export function duration(seconds) {
  const s = Math.max(0, Math.round(seconds));
  if (s >= 3600) return `${t("h", { n: number(Math.floor(s / 3600)) })} ${t("min", { n: Math.floor((s % 3600) / 60) })}`;
  return s >= 60 ? `${t("min", { n: Math.floor(s / 60) })} ${t("s", { n: s % 60 })}` : t("s", { n: s });
}

export const decimalMark = number(0.5, 1)[1];
export { locale };
