/* page_chart.js - any metric by name, in a chart that the address keeps: #/chart?m=reward/mean,len/p99&log=1 */
import { h, fill, keepAddress } from "./dom.js";
import { on } from "./feed.js";
import { empty, metricPanel } from "./panel.js";
import { Link } from "./chart.js";
import { metricNames } from "./series.js";
import { labelOf, unitOf } from "./names.js";

const MOST = 8, SUGGESTED = 60;

export function chartBuilder(scope, root, parameters) {
  const read = (search) => ({ names: (search.get("m") || "reward/mean").split(",").filter(Boolean).slice(0, MOST), log: search.get("log") === "1", split: search.get("split") === "1", full: search.get("full") === "1", smooth: Math.min(0.99, Math.max(0, Number(search.get("smooth")) || 0)) });
  let state = read(parameters), names = [], inner = null;
  const field = h("input", { type: "search", placeholder: "add a metric: type to search  ( / )", "aria-label": "add a metric", "data-filter": true, "data-testid": "chart-search", autocomplete: "off" });
  const suggestions = h("div", { class: "suggest", hidden: true, "data-testid": "chart-suggestions" }), chips = h("div", { class: "chips" }), box = h("div", {});
  const toggle = (key, text, hint) => h("button", { type: "button", title: hint, "data-testid": `chart-${key}`, onclick: () => set({ [key]: !state[key] }) }, text);
  const buttons = { log: toggle("log", "log axis"), split: toggle("split", "one chart each"), full: toggle("full", "every step", "without thinning: slower for very long runs") };
  const smooth = h("input", { type: "range", min: "0", max: "0.99", step: "0.01", "aria-label": "smoothing", value: String(state.smooth), onchange: () => set({ smooth: Number(smooth.value) }) });

  function set(change) {
    state = { ...state, ...change };
    const search = new URLSearchParams();
    for (const key of ["log", "split", "full"]) if (state[key]) search.set(key, "1");
    if (state.smooth) search.set("smooth", String(state.smooth));
    const rest = search.toString();
    keepAddress("chart", `m=${state.names.map(encodeURIComponent).join(",")}${rest ? `&${rest}` : ""}`);
    draw();
  }

  function draw() {
    if (inner) inner.close();
    inner = new scope.constructor();
    for (const [key, button] of Object.entries(buttons)) button.setAttribute("aria-pressed", String(state[key]));
    fill(chips, state.names.map((name) => h("button", { type: "button", "data-testid": `chip-${name}`, "aria-label": `remove ${name}`, onclick: () => set({ names: state.names.filter((one) => one !== name) }) }, `${name} ×`)));
    if (!state.names.length) return void fill(box, empty("choose a metric"));
    const link = new Link(), row = (name, i) => ({ name, label: name, colour: i, sparse: /^eval\//.test(name), smooth: state.smooth });
    const common = { link, log: state.log, points: state.full ? 0 : 1500, wide: true };
    const units = new Set(state.names.map(unitOf)), unit = units.size === 1 ? [...units][0] : "";
    fill(box, state.split ? h("div", { class: "grid" }, state.names.map((name, i) => metricPanel(inner, { ...common, wide: false, id: `chart-${i}`, title: labelOf(name) === name ? name : `${labelOf(name)} (${name})`, height: 200, series: [row(name, i)], empty: () => `no step has ${name}` })))
      : metricPanel(inner, { ...common, id: "chart", title: state.names.join(", "), unit, height: 420, series: state.names.map(row), empty: () => `no step has ${state.names.join(", ")}` }));
  }

  function suggest() {
    const words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
    const found = names.filter((name) => !state.names.includes(name) && words.every((word) => name.toLowerCase().includes(word) || labelOf(name).toLowerCase().includes(word))).slice(0, SUGGESTED);
    suggestions.hidden = !(document.activeElement === field || suggestions.contains(document.activeElement));
    fill(suggestions, found.length ? found.map((name) => h("button", { type: "button", "data-name": name, onclick: () => add(name) }, name, labelOf(name) === name ? null : h("span", { class: "dim" }, ` ${labelOf(name)}${unitOf(name) ? `, ${unitOf(name)}` : ""}`))) : h("p", { class: "dim" }, names.length ? "no metric of this name" : "no step yet: names come with the first"));
    return found;
  }

  function add(name) {
    field.value = "";
    set({ names: [...state.names, name].slice(-MOST) });
    field.focus();
    suggest();
  }

  field.addEventListener("focus", suggest);
  field.addEventListener("input", suggest);
  field.addEventListener("keydown", (event) => {
    const found = event.key === "Enter" ? suggest() : [];
    if (found.length) add(found[0]);
    if (event.key === "ArrowDown") suggestions.querySelector("button")?.focus();
    if (event.key === "Escape") suggestions.hidden = true;
  });
  suggestions.addEventListener("keydown", (event) => {
    const next = { ArrowDown: "nextElementSibling", ArrowUp: "previousElementSibling" }[event.key];
    if (!next) return;
    event.preventDefault();
    (document.activeElement[next] || field).focus();
  });
  scope.listen(document, "click", (event) => { if (!suggestions.contains(event.target) && event.target !== field) suggestions.hidden = true; });
  scope.add(() => inner && inner.close());
  scope.add(on("reopened", () => metricNames().then((list) => { names = list; }, () => {})));
  scope.update = (search) => {
    state = read(search);
    draw();
  };
  fill(root, h("div", { class: "row filters" }, field, buttons.log, buttons.split, buttons.full, h("label", {}, "smooth", smooth)), suggestions, chips, box);
  metricNames().then((list) => {
    names = list;
    if (document.activeElement === field) suggest();
  }, () => {});
  draw();
}
