/* theme.js - dark and light. The colours of charts come from style.css, so that both stand in one place. */

const NAMES = ["--bg", "--panel", "--line", "--grid", "--text", "--dim", "--bad", "--warn", "--good",
  "--c0", "--c1", "--c2", "--c3", "--c4", "--c5", "--c6", "--c7", "--heat0", "--heat1"];
let cached = null;
const listeners = new Set();

/* {bg, panel, ..., c: [8 colours of series]} of the theme now shown */
export function colours() {
  if (cached) return cached;
  const style = getComputedStyle(document.documentElement);
  cached = { c: [] };
  for (const name of NAMES) {
    const value = style.getPropertyValue(name).trim();
    if (/^--c\d$/.test(name)) cached.c.push(value);
    else cached[name.slice(2)] = value;
  }
  return cached;
}

/* call runs after each change; the result takes it back. */
export function onTheme(call) {
  listeners.add(call);
  return () => listeners.delete(call);
}

function changed() {
  cached = null;
  for (const call of listeners) call();
}

function remembered() {
  try {
    return localStorage.getItem("weir-theme") || "auto";
  } catch {
    return "auto"; /* storage is forbidden here: the system's choice counts */
  }
}

export function themeNow() {
  return document.documentElement.dataset.theme || "auto";
}

export function setTheme(theme) {
  if (theme === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
  try {
    localStorage.setItem("weir-theme", theme);
  } catch { /* it lasts as long as the tab then */ }
  changed();
}

export function nextTheme() {
  setTheme({ auto: "light", light: "dark", dark: "auto" }[themeNow()]);
}

setTheme(remembered());
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", changed);
