/* format.js - numbers as people read them: aligned, few digits, with their unit. */

const MISSING = "–";

export function isNumber(value) {
  return typeof value === "number" && Number.isFinite(value);
}

/* Redis keeps text: "12" is 12; what is no number is null. */
export function toNumber(value) {
  if (typeof value === "number") return Number.isFinite(value) ? value : null;
  if (typeof value === "boolean") return value ? 1 : 0;
  if (typeof value !== "string" || value.trim() === "") return null;
  const number = Number(value);
  return Number.isFinite(number) ? number : null;
}

/* 4 digits that count: 12.35k, 0.9871, 1.2e-7. Integers below 10 000 stay as they are. */
export function plain(value, digits = 4) {
  if (!isNumber(value)) return MISSING;
  const size = Math.abs(value);
  if (size === 0) return "0";
  if (Number.isInteger(value) && size < 10000) return String(value);
  if (size >= 1e15 || size < 1e-4) return value.toExponential(Math.max(0, digits - 2)).replace("e+", "e");
  for (const [limit, letter] of [[1e12, "T"], [1e9, "G"], [1e6, "M"], [1e4, "k"]])
    if (size >= limit) {
      const unit = letter === "k" ? 1e3 : limit;
      return cut(value / unit, digits) + letter;
    }
  return cut(value, digits);
}

/* So many digits that count; one less below 1, where the 0 before the point takes its place. */
function cut(value, digits) {
  const whole = Math.floor(Math.log10(Math.abs(value))) + 1;
  return value.toFixed(Math.max(0, Math.min(9, whole > 0 ? digits - whole : digits - 1 - whole)));
}

/* A number on an axis: no digit that says nothing. */
export function tick(value) {
  if (!isNumber(value)) return "";
  const size = Math.abs(value), short = (number) => String(Number(number.toPrecision(5)));
  if (size !== 0 && (size < 1e-4 || size >= 1e15)) return String(Number(value.toPrecision(3)).toExponential()).replace("e+", "e");
  for (const [limit, letter] of [[1e12, "T"], [1e9, "G"], [1e6, "M"], [1e4, "k"]])
    if (size >= limit) return short(value / (letter === "k" ? 1e3 : limit)) + letter;
  return short(value);
}

export function tickPercent(value) {
  return `${tick(value * 100)}%`;
}

/* Seconds on an axis. */
export function tickSeconds(value) {
  const size = Math.abs(value);
  if (size === 0) return "0";
  if (size < 1e-3) return `${tick(value * 1e6)} µs`;
  if (size < 1) return `${tick(value * 1e3)} ms`;
  return size < 600 ? `${tick(value)} s` : duration(value);
}

export function counted(count, word) {
  return `${plain(count)} ${word}${count === 1 ? "" : "s"}`;
}

export function percent(value) {
  if (!isNumber(value)) return MISSING;
  const shown = value * 100;
  if (shown === 0) return "0 %";
  const size = Math.abs(shown);
  return (size >= 99.95 || size >= 10 ? shown.toFixed(1) : size >= 0.1 ? shown.toFixed(2) : plain(shown, 2)) + " %";
}

export function duration(seconds) {
  if (!isNumber(seconds)) return MISSING;
  const size = Math.abs(seconds);
  if (size === 0) return "0 s";
  if (size < 1e-3) return plain(seconds * 1e6, 3) + " µs";
  if (size < 1) return plain(seconds * 1e3, 3) + " ms";
  if (size < 100) return (Number.isInteger(seconds) ? String(seconds) : plain(seconds, 3)) + " s";
  if (size < 6000) return `${Math.floor(seconds / 60)} min ${String(Math.floor(seconds % 60)).padStart(2, "0")} s`;
  if (size < 172800) return `${Math.floor(seconds / 3600)} h ${String(Math.floor((seconds % 3600) / 60)).padStart(2, "0")} min`;
  return `${Math.floor(seconds / 86400)} d ${Math.floor((seconds % 86400) / 3600)} h`;
}

export function bytes(value) {
  if (!isNumber(value)) return MISSING;
  for (const [limit, unit] of [[2 ** 40, "TiB"], [2 ** 30, "GiB"], [2 ** 20, "MiB"], [1024, "KiB"]])
    if (Math.abs(value) >= limit) return `${plain(value / limit, 3)} ${unit}`;
  return `${plain(value)} B`;
}

/* One value of a unit; units as in the tables of metrics, and "share" for fractions. */
export function amount(value, unit) {
  if (!isNumber(value)) return MISSING;
  switch (unit) {
    case "share": return percent(value);
    case "s": return duration(value);
    case "ms": return duration(value / 1e3);
    case "bytes": return bytes(value);
    case "step": case "version": return String(Math.round(value));
    case "": case undefined: return plain(value);
    default: return `${plain(value)} ${unit}`;
  }
}

export function clock(ms) {
  if (!isNumber(ms)) return MISSING;
  return new Date(ms).toLocaleTimeString([], { hour12: false });
}

export function dateTime(ms) {
  if (!isNumber(ms)) return MISSING;
  const date = new Date(ms), two = (number) => String(number).padStart(2, "0");
  return `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())} ${date.toLocaleTimeString([], { hour12: false })}`;
}

export function ago(ms) {
  return isNumber(ms) ? `${duration(Math.max(0, (Date.now() - ms) / 1e3))} ago` : MISSING;
}

/* At most `count` round numbers between low and high (1, 2, 5 times a power of ten). */
export function ticks(low, high, count) {
  const rough = (high - low) / Math.max(1, count);
  if (!(rough > 0) || !Number.isFinite(rough)) return [low];
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].find((factor) => factor * power >= rough) * power;
  const list = [];
  for (let at = Math.ceil(low / step - 1e-9) * step; at <= high + step * 1e-9; at += step)
    list.push(Math.abs(at) < step * 1e-6 ? 0 : Number(at.toPrecision(12)));
  return list;
}
