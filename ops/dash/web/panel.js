/* panel.js - the frames pages are made of: a panel with a chart of metrics, a tile with one number. */
import { h, fill, perFrame, say } from "./dom.js";
import { amount, isNumber, tick, tickPercent, tickSeconds } from "./format.js";
import { feed, on } from "./feed.js";
import { LineChart } from "./chart_line.js";
import { Table } from "./series.js";
import { labelOf, show, unitOf } from "./names.js";

/* A titled frame; `tools` stand at the right of its title. */
export function panel({ id, title, hint, wide, tools }, ...body) {
  return h("section", { class: `panel${wide ? " wide" : ""}`, "data-testid": `panel-${id}`, "aria-label": title },
    h("header", {}, h("h2", { title: hint || null }, title), h("span", { class: "grow" }), tools), ...body);
}

function axisOf(unit) {
  return unit === "share" ? tickPercent : unit === "s" ? tickSeconds : unit === "ms" ? (value) => tickSeconds(value / 1e3) : tick;
}

/* Says what is missing and why, in place of a chart. */
export function empty(sentence) {
  return h("p", { class: "empty", "data-testid": "empty" }, sentence);
}

export function grid(...children) {
  return h("div", { class: "grid" }, children);
}

/* Why no step has drawn anything. */
export function noSteps() {
  if (feed.failed) return feed.failed;
  if (!feed.run) return "waiting for the dashboard's server";
  if (feed.run.state === "over") return "the run ended before its first step";
  return "no step yet: the first appears when the learner has trained its first plan";
}

/* The coloured names above a chart with the last value of each. */
function legend(series, format) {
  const values = series.map(() => h("b", {}, "–"));
  const element = h("div", { class: "legend" }, series.map((row, i) => {
    const square = h("i", { class: "key" });
    square.dataset.colour = String((row.colour || 0) % 8);
    return h("span", { title: row.name }, square, row.label || labelOf(row.name), " ", values[i]);
  }));
  return { element, set: (last) => series.forEach((row, i) => say(values[i], last(row.name) === null ? "–" : format(last(row.name)))) };
}

/* A chart of metrics over steps which follows the run.
 *   id, title, hint, wide; series [{name, label, colour, sparse}]; bands; lines (a list, or a call that gives one);
 *   markers; unit; log: begin with a logarithmic axis; empty: call that gives the sentence; Kind: chart class */
export function metricPanel(scope, options) {
  const { id, series, bands = [], unit = unitOf(series[0].name), Kind = LineChart, points = 600 } = options;
  const rows = series.map((row, i) => ({ colour: i, label: labelOf(row.name), ...row }));
  const names = [...new Set([...rows.map((row) => row.name), ...bands.flatMap((band) => [band.low, band.high])])];
  const table = new Table(names, points), format = (value) => amount(value, unit);
  const axis = axisOf(unit);
  const lines = () => (typeof options.lines === "function" ? options.lines() : options.lines || []);
  const chart = new Kind({ label: `${options.title} over steps`, name: id, series: rows, bands, lines: lines(), markers: options.markers || [], link: options.link,
    yFormat: axis, yLog: Boolean(options.log), height: options.height || 150, y0: options.y0, y1: options.y1,
    onZoom: (zoom) => reload(zoom) });
  chart.options.noteFormat = format;
  const names_ = legend(rows, format), body = h("div", { class: "plot" });
  const logButton = h("button", { type: "button", class: "small", "aria-pressed": String(Boolean(options.log)), title: "logarithmic axis", onclick: () => {
    chart.options.yLog = !chart.options.yLog;
    logButton.setAttribute("aria-pressed", String(chart.options.yLog));
    chart.request();
  } }, "log");
  const element = panel({ ...options, tools: options.noLog ? null : logButton }, names_.element, body);
  let timer = null;
  const paint = perFrame(() => {
    if (scope.closed) return;
    const any = names.some((name) => table.has(name));
    if (any !== (chart.element.parentNode === body)) fill(body, any ? chart.element : empty((options.empty || noSteps)()));
    else if (!any) say(body.firstChild || fill(body, empty("")).firstChild, (options.empty || noSteps)());
    names_.set((name) => { const last = table.last(name); return last ? last.value : null; });
    chart.options.lines = lines();
    if (any) chart.setData(table);
    element.dataset.rows = String(table.step.length);
    element.dataset.last = String(table.step[table.step.length - 1] ?? "");
  });
  const load = async (range) => {
    try {
      await table.load(range);
    } catch (error) {
      if (!table.step.length) fill(body, empty(error.message));
      return;
    }
    paint();
  };
  /* Zoomed in on a thinned curve: the steps in sight, finer. Back out: all of them again. */
  const reload = (zoom) => {
    if (!(table.total > table.step.length) && !(table.zoomed && !zoom)) return;
    clearTimeout(timer);
    timer = setTimeout(() => {
      table.zoomed = Boolean(zoom);
      load(zoom ? [Math.max(0, zoom[0] - (zoom[1] - zoom[0])), zoom[1] + (zoom[1] - zoom[0])] : null);
    }, 120);
  };
  scope.add(() => { clearTimeout(timer); chart.close(); });
  scope.add(on("metrics", (value) => { if (!(table.zoomed && value.step > table.step[table.step.length - 1] + 1) && table.push(value)) paint(); }));
  scope.add(on("snapshot", () => { if (typeof options.lines === "function" || !names.some((name) => table.has(name))) paint(); }));
  scope.add(on("reopened", () => load(chart.link.zoom)));
  load(null);
  element.chart = chart;
  element.table = table;
  return element;
}

/* A chart of figures since the page was opened: those of processes and of the store, which no step has. */
export function historyPanel(scope, options) {
  const { id, series, bands = [], unit = "" } = options;
  const rows = series.map((row, i) => ({ colour: i, ...row })), format = (value) => amount(value, unit);
  const clockText = (at) => new Date(at * 1e3).toLocaleTimeString([], { hour12: false });
  const chart = new LineChart({ label: `${options.title} since this page was opened`, name: id, series: rows, bands, yFormat: axisOf(unit),
    xFormat: clockText, height: options.height || 150, wallAxis: true });
  chart.options.noteFormat = format;
  const names = legend(rows, format), body = h("div", { class: "plot" });
  const element = panel(options, names.element, body);
  const paint = perFrame(() => {
    if (scope.closed) return;
    const { history } = feed, any = rows.some((row) => (history.columns[row.name] || []).some(isNumber));
    if (any !== (chart.element.parentNode === body)) fill(body, any ? chart.element : empty(options.empty()));
    names.set((name) => { const column = history.columns[name] || [], last = column[column.length - 1]; return isNumber(last) ? last : null; });
    if (any) chart.setData({ step: history.wall, columns: history.columns });
  });
  scope.add(() => chart.close());
  scope.add(on("snapshot", paint));
  paint();
  return element;
}

/* One number with its recent course. value(last) gives the text, below(last) the small line, spark names a metric whose newest
 * {step, value} is `last` (null: none yet), and state() "good", "warn" or "bad" with words in title. A click opens the chart of
 * `names`. */
export function tile(scope, { id, label, hint, value, below, spark, names, state }) {
  const big = h("b", { class: "big" }, "–"), small = h("span", { class: "small-text" });
  const chart = spark ? new LineChart({ series: [{ name: spark, colour: 0, sparse: /^eval\//.test(spark) }], axes: false, zoom: false, height: 26, label: "" }) : null;
  if (chart) {
    chart.canvas.tabIndex = -1;
    chart.canvas.setAttribute("aria-hidden", "true");
  }
  const one = { chart, spark, last: null };
  one.element = h(names ? "a" : "div", { class: "tile", "data-testid": `tile-${id}`, title: hint || null, href: names ? `#/chart?m=${names.map(encodeURIComponent).join(",")}` : null },
    h("span", { class: "label" }, label), big, small, chart && chart.element);
  const paint = perFrame(() => {
    if (scope.closed) return;
    say(big, value(one.last));
    say(small, below ? below(one.last) : "");
    const now = state ? state() : "";
    if (one.element.dataset.state !== now) one.element.dataset.state = now;
  });
  one.paint = paint;
  scope.add(on("metrics", paint));
  scope.add(on("snapshot", paint));
  if (chart) scope.add(() => chart.close());
  paint();
  return one;
}

/* Fills the sparks of tiles by one request, and keeps them going. */
export function feedSparks(scope, tiles) {
  const names = [...new Set(tiles.map((one) => one.spark).filter(Boolean))];
  const table = new Table(names, 100);
  table.limit = 400;
  const paint = perFrame(() => {
    for (const one of tiles.filter((tile_) => tile_.chart && !scope.closed)) {
      one.chart.setData(table);
      one.last = table.last(one.spark);
      one.paint();
    }
  });
  const load = () => table.load(null).then(paint, () => {});
  scope.add(on("metrics", (value) => { if (table.push(value)) paint(); }));
  scope.add(on("reopened", load));
  load();
}

/* A latest figure as text, "–" without one. */
export function latest(name) {
  return show(name, feed.latest[name]);
}

