/* chart_line.js - lines over steps: bands, reference lines, markers, min and max of each pixel column. */
import { h } from "./dom.js";
import { Chart, line, noteRow } from "./chart.js";
import { isNumber } from "./format.js";
import { colours } from "./theme.js";

/* options besides those of Chart:
 *   series  [{name, label, colour (index), sparse, dash, smooth}]   one line each
 *   bands   [{low, high, colour}]                                    names of two columns
 *   lines   [{y, label, colour}]                                     horizontal references
 *   markers [{x, label}]                                             vertical ones
 *   y0, y1  fixed ends of the y axis
 * Data: {step: [...], columns: {name: [...]}}, ascending; null is a gap, or skipped when sparse. */
export class LineChart extends Chart {
  constructor(options) {
    super({ series: [], bands: [], lines: [], markers: [], ...options });
    this.data = { step: [], columns: {} };
  }

  setData(data) {
    this.data = data;
    this.request();
  }

  span() {
    const { step } = this.data, zoom = this.link.zoom;
    if (!step.length) return null;
    let x0 = zoom ? zoom[0] : step[0], x1 = zoom ? zoom[1] : step[step.length - 1];
    if (!(x1 > x0)) [x0, x1] = [x0 - 0.5, x1 + 0.5];
    return [x0, x1];
  }

  /* Index of the first step >= x. */
  find(x) {
    const { step } = this.data;
    let low = 0, high = step.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (step[middle] < x) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  names() {
    const { series, bands } = this.options;
    return [...series.map((row) => row.name), ...bands.flatMap((row) => [row.low, row.high])];
  }

  range() {
    const span = this.span(), { yLog, lines } = this.options;
    if (!span) return null;
    const from = Math.max(0, this.find(span[0]) - 1), to = Math.min(this.data.step.length, this.find(span[1]) + 1);
    let y0 = Infinity, y1 = -Infinity;
    for (const name of this.names()) {
      const column = this.data.columns[name];
      if (!column) continue;
      for (let i = from; i < to; i++) {
        const value = column[i];
        if (!isNumber(value) || (yLog && value <= 0)) continue;
        if (value < y0) y0 = value;
        if (value > y1) y1 = value;
      }
    }
    if (!(y1 >= y0)) return null;
    for (const { y, far } of lines)
      if (isNumber(y) && !(yLog && y <= 0) && !far) {
        y0 = Math.min(y0, y);
        y1 = Math.max(y1, y);
      }
    const { y0: least, y1: most } = this.options;
    if (yLog) [y0, y1] = y0 === y1 ? [y0 / 2, y1 * 2] : [y0 / (y1 / y0) ** 0.05, y1 * (y1 / y0) ** 0.05];
    else {
      const pad = (y1 - y0) * 0.06 || Math.max(Math.abs(y1) * 0.05, Number.isInteger(y1) ? 1 : 0) || 0.5, floor = y0 >= 0 ? 0 : -Infinity;
      y0 = Math.max(y0 - pad, floor);
      y1 += pad;
    }
    if (!yLog && isNumber(least)) y0 = Math.min(least, y0);
    if (!yLog && isNumber(most)) y1 = Math.max(most, y1);
    this.from = from;
    this.to = to;
    return { x0: span[0], x1: span[1], y0, y1 };
  }

  paint(context, scale, theme) {
    const { series, bands, lines, markers, yLog } = this.options;
    context.font = "10px system-ui, sans-serif";
    for (const band of bands) this.band(context, scale, theme, band);
    context.setLineDash([5, 4]);
    for (const reference of lines) {
      if (!isNumber(reference.y) || (yLog && reference.y <= 0)) continue;
      const y = Math.round(scale.y(reference.y)) + 0.5;
      context.strokeStyle = context.fillStyle = reference.colour === undefined ? theme.dim : theme.c[reference.colour];
      line(context, scale.left, y, scale.right, y);
      context.textAlign = "left";
      context.textBaseline = y < 20 ? "top" : "bottom";
      context.fillText(reference.label || "", scale.left + 4, y < 20 ? y + 2 : y - 2);
    }
    for (const marker of markers) {
      const x = Math.round(scale.x(marker.x)) + 0.5;
      context.strokeStyle = context.fillStyle = theme.dim;
      line(context, x, scale.top, x, scale.bottom);
      context.textAlign = "left";
      context.textBaseline = "top";
      context.fillText(marker.label, x + 3, scale.top);
    }
    context.setLineDash([]);
    context.lineJoin = "round";
    for (const row of series) {
      const column = this.data.columns[row.name];
      if (!column) continue;
      context.strokeStyle = context.fillStyle = theme.c[(row.colour || 0) % theme.c.length];
      if (row.smooth > 0) {
        context.globalAlpha = 0.3;
        this.stroke(context, scale, column, row, 1);
        context.globalAlpha = 1;
        this.stroke(context, scale, smoothed(column, row.smooth), row, 1.6);
      } else this.stroke(context, scale, column, row, 1.4);
    }
  }

  /* A point a step while they are few; else first, least, greatest and last of each pixel column. */
  stroke(context, scale, column, row, width) {
    const { step } = this.data, yLog = this.options.yLog, { from, to } = this;
    const dense = to - from > 2 * (scale.right - scale.left);
    let open = false, pixel = NaN, least = 0, most = 0, last = 0, drawn = 0, lastX = 0;
    context.lineWidth = width;
    context.setLineDash(row.dash ? [4, 3] : []);
    context.beginPath();
    const flush = () => {
      if (Number.isNaN(pixel)) return;
      context.lineTo(pixel, scale.y(least));
      if (most !== least) context.lineTo(pixel, scale.y(most));
      if (last !== most) context.lineTo(pixel, scale.y(last));
      pixel = NaN;
    };
    for (let i = from; i < to; i++) {
      const value = column[i];
      if (!isNumber(value) || (yLog && value <= 0)) {
        if (!row.sparse && open && value !== undefined) {
          flush();
          open = false;
        }
        continue;
      }
      const x = scale.x(step[i]);
      drawn++;
      lastX = x;
      if (!dense) {
        const y = scale.y(value);
        if (open) context.lineTo(x, y);
        else context.moveTo(x, y);
        last = value;
      } else if (!open) {
        pixel = Math.round(x);
        least = most = last = value;
        context.moveTo(pixel, scale.y(value));
      } else if (Math.round(x) !== pixel) {
        flush();
        pixel = Math.round(x);
        least = most = last = value;
      } else {
        if (value < least) least = value;
        if (value > most) most = value;
        last = value;
      }
      open = true;
    }
    if (dense) flush();
    context.stroke();
    context.setLineDash([]);
    if (drawn > 0 && (row.sparse || drawn === 1)) this.dots(context, scale, column);
    else if (drawn > 0) dot(context, lastX, scale.y(last));
  }

  dots(context, scale, column) {
    const { step } = this.data;
    if (this.to - this.from > 20000) return;
    for (let i = this.from; i < this.to; i++) if (isNumber(column[i])) dot(context, scale.x(step[i]), scale.y(column[i]));
  }

  band(context, scale, theme, band) {
    const { step, columns } = this.data, low = columns[band.low], high = columns[band.high];
    if (!low || !high) return;
    const stride = Math.max(1, Math.floor((this.to - this.from) / (2 * (scale.right - scale.left))));
    const points = [];
    for (let i = this.from; i < this.to; i += stride) {
      if (!isNumber(low[i]) || !isNumber(high[i])) continue;
      let a = low[i], b = high[i];
      for (let j = i + 1; j < Math.min(i + stride, this.to); j++) {
        if (isNumber(low[j])) a = Math.min(a, low[j]);
        if (isNumber(high[j])) b = Math.max(b, high[j]);
      }
      points.push([scale.x(step[i]), scale.y(a), scale.y(b)]);
    }
    context.beginPath();
    for (const [x, , y] of points) context.lineTo(x, y);
    for (const [x, y] of points.reverse()) context.lineTo(x, y);
    context.globalAlpha = 0.16;
    context.fillStyle = theme.c[(band.colour || 0) % theme.c.length];
    context.fill();
    context.globalAlpha = 1;
  }

  neighbour(x, by) {
    const { step } = this.data;
    return step[Math.max(0, Math.min(step.length - 1, this.find(x) + by))];
  }

  noteAt(x) {
    const { step, columns } = this.data;
    if (!step.length) return null;
    let i = this.find(x);
    if (i > 0 && (i === step.length || x - step[i - 1] < step[i] - x)) i--;
    const { c } = colours(), rows = [];
    for (const row of this.options.series) {
      const column = columns[row.name];
      let at = i;
      while (column && row.sparse && at > 0 && !isNumber(column[at])) at--;
      const text = column && isNumber(column[at]) ? (this.options.noteFormat || this.options.yFormat)(column[at]) : "–";
      rows.push(noteRow(c[(row.colour || 0) % c.length], row.label || row.name, at === i ? text : `${text} (step ${step[at]})`));
    }
    const wall = this.data.wall && this.data.wall[i];
    const when = isNumber(wall) ? ` · ${new Date(wall * 1e3).toLocaleTimeString([], { hour12: false })}` : "";
    const head = this.options.wallAxis ? this.options.xFormat(step[i]) : `step ${step[i]}${when}`;
    return { x: step[i], children: [h("div", { class: "note-head" }, head), ...rows] };
  }
}

function dot(context, x, y) {
  context.beginPath();
  context.arc(x, y, 2, 0, 7);
  context.fill();
}

/* Exponential mean with its start corrected, as TensorBoard smooths (Kingma and Ba 2014, part 3). */
export function smoothed(column, weight) {
  let sum = 0, mass = 0;
  return column.map((value) => {
    if (!isNumber(value)) return value;
    sum = sum * weight + (1 - weight) * value;
    mass = mass * weight + (1 - weight);
    return sum / mass;
  });
}
