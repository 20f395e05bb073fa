/* chart_bars.js - histograms, bars stacked over steps, and densities over two axes. */
import { h } from "./dom.js";
import { Chart, line, noteRow } from "./chart.js";
import { isNumber, percent, plain } from "./format.js";
import { colours } from "./theme.js";

/* setData({edges: [n + 1], counts: [n]}); lines [{x, label}] are vertical references (a clip bound). */
export class Histogram extends Chart {
  constructor(options) {
    super({ lines: [], colour: 0, unit: "", ...options });
    this.data = null;
  }

  setData(data) {
    const sound = data && Array.isArray(data.edges) && Array.isArray(data.counts) && data.edges.length === data.counts.length + 1;
    this.data = sound ? { ...data, edges: closed(data.edges, this.options.xLog) } : null;
    this.total = sound ? data.counts.reduce((sum, count) => sum + (count || 0), 0) : 0;
    this.request();
  }

  range() {
    if (!this.data) return null;
    const { edges, counts } = this.data, zoom = this.link.zoom, { xLog, yLog, lines } = this.options;
    const shown = edges.filter((edge) => isNumber(edge) && !(xLog && edge <= 0));
    if (shown.length < 2) return null;
    let x0 = zoom ? zoom[0] : shown[0], x1 = zoom ? zoom[1] : shown[shown.length - 1];
    if (!zoom)
      for (const { x } of lines) if (isNumber(x) && !(xLog && x <= 0)) [x0, x1] = [Math.min(x0, x), Math.max(x1, x)];
    if (!(x1 > x0)) return null;
    const most = Math.max(1, ...counts.map((count) => count || 0));
    return { x0, x1: zoom ? x1 : xLog ? x1 * (x1 / x0) ** 0.02 : x1 + (x1 - x0) * 0.02, y0: yLog ? 0.5 : 0, y1: yLog ? most * 2 : most * 1.08 };
  }

  paint(context, scale, theme) {
    const { edges, counts } = this.data, { xLog, yLog, lines, colour } = this.options;
    context.fillStyle = theme.c[colour];
    for (let i = 0; i < counts.length; i++) {
      if (!counts[i]) continue;
      const x0 = scale.x(xLog && edges[i] <= 0 ? scale.x0 : edges[i]), x1 = scale.x(edges[i + 1]);
      const y = scale.y(yLog ? Math.max(counts[i], 0.5) : counts[i]);
      context.fillRect(x0, y, Math.max(1, x1 - x0 - (x1 - x0 > 4 ? 1 : 0)), scale.bottom - y);
    }
    context.setLineDash([5, 4]);
    for (const reference of lines) {
      if (!isNumber(reference.x) || (xLog && reference.x <= 0)) continue;
      const x = Math.round(scale.x(reference.x)) + 0.5, right = x > scale.right - 70;
      context.strokeStyle = context.fillStyle = theme.bad;
      line(context, x, scale.top, x, scale.bottom);
      context.textAlign = right ? "right" : "left";
      context.textBaseline = "top";
      context.fillText(reference.label, right ? x - 4 : x + 4, scale.top);
    }
    context.setLineDash([]);
  }

  noteAt(x) {
    if (!this.data) return null;
    const { edges, counts } = this.data;
    const i = edges.findIndex((edge, at) => at < counts.length && x >= edge && x < edges[at + 1]);
    if (i < 0) return null;
    return { children: [h("div", { class: "note-head" }, `${this.options.xFormat(edges[i])} to ${this.options.xFormat(edges[i + 1])} ${this.options.unit}`),
      noteRow(colours().c[this.options.colour], "count", plain(counts[i] || 0)),
      noteRow("transparent", "share", percent(this.total ? (counts[i] || 0) / this.total : null))] };
  }
}

/* Edges at infinity (null) or, on a logarithmic axis, at 0 become a bin as wide as its neighbour. */
function closed(edges, log) {
  const list = edges.slice(), n = list.length;
  if (!isNumber(list[0]) || (log && list[0] <= 0)) list[0] = log ? list[1] ** 2 / list[2] : 2 * list[1] - list[2];
  if (!isNumber(list[n - 1])) list[n - 1] = log ? list[n - 2] ** 2 / list[n - 3] : 2 * list[n - 2] - list[n - 3];
  return list;
}

/* Parts of a whole, a bar a step: series [{name, label, colour}]; data as for LineChart. */
export class StackedBars extends Chart {
  constructor(options) {
    super({ series: [], ...options });
    this.data = { step: [], columns: {} };
  }

  setData(data) {
    this.data = data;
    this.request();
  }

  value(name, i) {
    const column = this.data.columns[name], value = column ? column[i] : null;
    return isNumber(value) && value > 0 ? value : 0;
  }

  range() {
    const { step } = this.data, zoom = this.link.zoom;
    if (!step.length) return null;
    const x0 = zoom ? zoom[0] : step[0] - 0.5, x1 = zoom ? zoom[1] : step[step.length - 1] + 0.5;
    let most = 0;
    for (let i = 0; i < step.length; i++)
      if (step[i] >= x0 && step[i] <= x1) most = Math.max(most, this.options.series.reduce((sum, row) => sum + this.value(row.name, i), 0));
    return most > 0 && x1 > x0 ? { x0, x1, y0: 0, y1: most * 1.05 } : null;
  }

  paint(context, scale, theme) {
    const { step } = this.data;
    for (let i = 0; i < step.length; i++) {
      if (step[i] < scale.x0 - 1 || step[i] > scale.x1 + 1) continue;
      const before = i > 0 ? (step[i] + step[i - 1]) / 2 : step[i] - 0.5, after = i + 1 < step.length ? (step[i] + step[i + 1]) / 2 : step[i] + 0.5;
      const x0 = Math.round(scale.x(before)), x1 = Math.round(scale.x(after)), gap = x1 - x0 > 5 ? 1 : 0;
      let sum = 0;
      for (const row of this.options.series) {
        const value = this.value(row.name, i);
        if (!value) continue;
        const y = scale.y(sum + value);
        context.fillStyle = theme.c[row.colour];
        context.fillRect(x0, y, Math.max(1, x1 - x0 - gap), scale.y(sum) - y);
        sum += value;
      }
    }
  }

  noteAt(x) {
    const { step } = this.data, { c } = colours();
    if (!step.length) return null;
    let i = 0;
    for (let at = 1; at < step.length; at++) if (Math.abs(step[at] - x) < Math.abs(step[i] - x)) i = at;
    const rows = this.options.series.map((row) => noteRow(c[row.colour], row.label || row.name, (this.options.noteFormat || this.options.yFormat)(this.value(row.name, i))));
    return { x: step[i], children: [h("div", { class: "note-head" }, `step ${step[i]}`), ...rows] };
  }
}

/* Counts over two axes: setData({edges, counts: [rows * columns]}), row by row, the same edges on both. */
export class Density extends Chart {
  constructor(options) {
    super({ height: 260, zoom: false, ...options });
    this.data = null;
  }

  setData(data) {
    const n = data && Array.isArray(data.edges) ? data.edges.length - 1 : 0;
    this.data = n > 0 && Array.isArray(data.counts) && data.counts.length === n * n ? data : null;
    this.n = n;
    this.picture = null;
    this.request();
  }

  range() {
    if (!this.data) return null;
    const { edges } = this.data;
    return { x0: edges[0], x1: edges[this.n], y0: edges[0], y1: edges[this.n] };
  }

  paint(context, scale, theme) {
    const { edges, counts } = this.data, n = this.n;
    const most = Math.log1p(counts.reduce((high, count) => Math.max(high, count || 0), 0)) || 1;
    const low = channels(theme.heat0), high = channels(theme.heat1);
    for (let row = 0; row < n; row++)
      for (let column = 0; column < n; column++) {
        const count = counts[row * n + column];
        if (!count) continue;
        const part = 0.12 + 0.88 * (Math.log1p(count) / most);
        context.fillStyle = `rgb(${low.map((from, k) => Math.round(from + (high[k] - from) * part)).join(" ")})`;
        const x0 = scale.x(edges[column]), x1 = scale.x(edges[column + 1]), y0 = scale.y(edges[row + 1]), y1 = scale.y(edges[row]);
        context.fillRect(x0, y0, x1 - x0 + 0.5, y1 - y0 + 0.5);
      }
    context.strokeStyle = theme.dim;
    context.setLineDash([3, 4]);
    line(context, scale.x(edges[0]), scale.y(edges[0]), scale.x(edges[n]), scale.y(edges[n]));
    context.setLineDash([]);
  }

  noteAt(x, y) {
    if (!this.data) return null;
    const { edges, counts } = this.data, cell = (value) => edges.findIndex((edge, i) => i < this.n && value >= edge && value < edges[i + 1]);
    const column = cell(x), row = cell(y);
    if (column < 0 || row < 0) return null;
    return { children: [h("div", { class: "note-head" }, `${plain(counts[row * this.n + column] || 0)} tokens`),
      noteRow("transparent", this.options.xName || "x", plain((edges[column] + edges[column + 1]) / 2, 3)),
      noteRow("transparent", this.options.yName || "y", plain((edges[row] + edges[row + 1]) / 2, 3))] };
  }
}

function channels(hex) {
  const number = parseInt(hex.slice(1), 16);
  return [(number >> 16) & 255, (number >> 8) & 255, number & 255];
}
