/* chart.js - what all charts share: a sharp canvas, axes, cursor with a note, zoom by drag, keys.
 *
 * A subclass gives range() -> {x0, x1, y0, y1} of what is to be seen, paint(context, scale) and
 * noteAt(x, y) -> children of the note or null. Nothing is drawn while a chart is out of sight; many
 * calls of request() draw once a frame. */
import { h, hideNote, perFrame, showNote } from "./dom.js";
import { tick, ticks } from "./format.js";
import { colours, onTheme } from "./theme.js";

const LEFT = 56, RIGHT = 8, TOP = 6, BOTTOM = 18;

/* Charts of a page with the same x axis: one cursor and one zoom for all of them. */
export class Link {
  constructor() {
    this.charts = new Set();
    this.zoom = null;
    this.cursor = null;
  }
  setZoom(zoom) {
    this.zoom = zoom;
    for (const chart of this.charts) chart.zoomed();
  }
  setCursor(x) {
    if (this.cursor === x) return;
    this.cursor = x;
    for (const chart of this.charts) chart.request();
  }
}

export class Chart {
  /* options: label, height, link, xFormat, yFormat, yLog, xLog, axes, onZoom(zoom or null) */
  constructor(options) {
    this.options = { height: 150, xFormat: tick, yFormat: tick, yLog: false, xLog: false, axes: true, ...options };
    this.link = this.options.link || new Link();
    this.canvas = h("canvas", { tabindex: "0", role: "img", "aria-label": this.options.label || "chart" });
    this.element = h("div", { class: "chart" }, this.canvas);
    this.element.style.height = `${this.options.height}px`;
    this.visible = false;
    this.dirty = true;
    this.width = 0;
    this.draws = 0;
    this.request = perFrame(() => this.draw());
    this.resize = new ResizeObserver(() => this.measure());
    this.resize.observe(this.element);
    this.sight = new IntersectionObserver((entries) => {
      this.visible = entries[entries.length - 1].isIntersecting;
      if (this.visible && this.dirty) this.request();
    }, { rootMargin: "120px" });
    this.sight.observe(this.element);
    this.closeTheme = onTheme(() => this.request());
    this.link.charts.add(this);
    this.listen();
  }

  close() {
    this.resize.disconnect();
    this.sight.disconnect();
    this.closeTheme();
    this.link.charts.delete(this);
    hideNote();
  }

  measure() {
    const width = this.element.clientWidth, height = this.element.clientHeight, ratio = devicePixelRatio || 1;
    if (width === this.width && height === this.height && ratio === this.ratio) return;
    Object.assign(this, { width, height, ratio });
    this.canvas.width = Math.round(width * ratio);
    this.canvas.height = Math.round(height * ratio);
    this.request();
  }

  zoomed() {
    this.request();
    if (this.options.onZoom) this.options.onZoom(this.link.zoom);
  }

  /* ---- drawing ---- */

  draw() {
    this.dirty = true;
    if (!this.visible || !(this.width > 0)) return;
    if (this.ratio !== devicePixelRatio) this.measure();
    this.dirty = false;
    const context = this.canvas.getContext("2d"), theme = colours();
    const begin = performance.now();
    context.setTransform(this.ratio, 0, 0, this.ratio, 0, 0);
    context.clearRect(0, 0, this.width, this.height);
    context.font = "11px system-ui, sans-serif";
    const range = this.range();
    this.scale = range && this.makeScale(range);
    if (!this.scale) return;
    if (this.options.axes) this.axes(context, theme, this.scale);
    context.save();
    context.beginPath();
    context.rect(this.scale.left, 0, this.scale.right - this.scale.left, this.height);
    context.clip();
    this.paint(context, this.scale, theme);
    context.restore();
    this.marks(context, theme, this.scale);
    if (this.draws++ === 0 && this.options.name) performance.measure(`first-draw:${this.options.name}`, { start: begin });
  }

  makeScale({ x0, x1, y0, y1 }) {
    const { xLog, yLog, axes } = this.options;
    const left = axes ? this.left || LEFT : 0, right = this.width - (axes ? RIGHT : 0);
    const top = axes ? TOP : 2, bottom = this.height - (axes ? BOTTOM : 2);
    const fx = xLog ? Math.log10 : Number, fy = yLog ? Math.log10 : Number;
    const ax = fx(x0), bx = fx(x1), ay = fy(y0), by = fy(y1);
    if (![ax, bx, ay, by].every(Number.isFinite)) return null;
    const kx = (right - left) / (bx - ax || 1), ky = (bottom - top) / (by - ay || 1);
    return { x0, x1, y0, y1, left, right, top, bottom,
      x: (value) => left + (fx(value) - ax) * kx,
      y: (value) => bottom - (fy(value) - ay) * ky,
      xAt: (pixel) => (xLog ? 10 ** (ax + (pixel - left) / kx) : ax + (pixel - left) / kx),
      yAt: (pixel) => (yLog ? 10 ** (ay + (bottom - pixel) / ky) : ay + (bottom - pixel) / ky) };
  }

  axisTicks(low, high, log, count) {
    if (!log) return ticks(low, high, count).filter((at) => at >= low - (high - low) * 1e-6 && at <= high + (high - low) * 1e-6);
    const list = [], first = Math.ceil(Math.log10(low) - 1e-9), last = Math.floor(Math.log10(high) + 1e-9);
    if (last - first < 2) {
      const round = [-1, 0, 1, 2].flatMap((shift) => [1, 2, 5].map((digit) => digit * 10 ** (first - 1 + shift))).filter((at) => at >= low && at <= high);
      return round.length > 2 ? round : ticks(low, high, Math.min(count, 4)).filter((at) => at >= low && at <= high && at > 0);
    }
    const stride = Math.max(1, Math.ceil((last - first) / count));
    for (let power = first; power <= last; power += stride) list.push(10 ** power);
    return list;
  }

  axes(context, theme, scale) {
    const { xFormat, yFormat, xLog, yLog } = this.options;
    context.lineWidth = 1;
    context.textBaseline = "middle";
    context.textAlign = "right";
    for (const at of this.axisTicks(scale.y0, scale.y1, yLog, Math.max(2, Math.floor((scale.bottom - scale.top) / 26)))) {
      const y = Math.round(scale.y(at)) + 0.5;
      context.strokeStyle = theme.grid;
      line(context, scale.left, y, scale.right, y);
      context.fillStyle = theme.dim;
      context.fillText(yFormat(at), scale.left - 5, Math.max(6, y));
    }
    context.textBaseline = "top";
    context.textAlign = "center";
    for (const at of this.axisTicks(scale.x0, scale.x1, xLog, Math.max(2, Math.floor((scale.right - scale.left) / 80)))) {
      const x = Math.round(scale.x(at)) + 0.5, text = xFormat(at), half = context.measureText(text).width / 2;
      context.strokeStyle = theme.grid;
      line(context, x, scale.bottom, x, scale.bottom + 3);
      context.fillStyle = theme.dim;
      context.fillText(text, Math.min(x, this.width - half - 1), scale.bottom + 4);
    }
  }

  marks(context, theme, scale) {
    const cursor = this.link.cursor;
    if (cursor !== null && cursor >= scale.x0 && cursor <= scale.x1) {
      context.strokeStyle = theme.dim;
      context.lineWidth = 1;
      const x = Math.round(scale.x(cursor)) + 0.5;
      line(context, x, scale.top, x, scale.bottom);
    }
    if (this.drag && Math.abs(this.drag.to - this.drag.from) > 3) {
      context.fillStyle = theme.dim;
      context.globalAlpha = 0.25;
      context.fillRect(Math.min(this.drag.from, this.drag.to), scale.top, Math.abs(this.drag.to - this.drag.from), scale.bottom - scale.top);
      context.globalAlpha = 1;
    }
  }

  /* ---- pointer and keys ---- */

  listen() {
    const at = (event) => {
      const box = this.canvas.getBoundingClientRect();
      return { x: event.clientX - box.left, y: event.clientY - box.top };
    };
    this.canvas.addEventListener("pointerdown", (event) => {
      if (!this.scale || event.button !== 0 || this.options.zoom === false) return;
      const { x } = at(event);
      this.drag = { from: x, to: x };
      if (event.pointerType === "mouse") this.canvas.setPointerCapture(event.pointerId);
    });
    this.canvas.addEventListener("pointermove", (event) => {
      if (!this.scale) return;
      const { x, y } = at(event);
      if (this.drag) this.drag.to = Math.max(this.scale.left, Math.min(this.scale.right, x));
      this.point(x, y, event.clientX, event.clientY);
      if (this.drag) this.request();
    });
    this.canvas.addEventListener("pointerup", () => {
      const { drag, scale } = this;
      this.drag = null;
      if (drag && scale && Math.abs(drag.to - drag.from) > 6)
        this.link.setZoom([scale.xAt(Math.min(drag.from, drag.to)), scale.xAt(Math.max(drag.from, drag.to))]);
    });
    const leave = () => {
      this.drag = null;
      hideNote();
      this.link.setCursor(null);
    };
    this.canvas.addEventListener("pointercancel", leave);
    this.canvas.addEventListener("pointerleave", (event) => { if (!event.buttons) leave(); });
    this.canvas.addEventListener("blur", leave);
    this.canvas.addEventListener("dblclick", () => this.link.setZoom(null));
    this.canvas.addEventListener("keydown", (event) => this.key(event));
  }

  point(x, y, clientX, clientY) {
    const inside = x >= this.scale.left && x <= this.scale.right;
    const found = inside ? this.noteAt(this.scale.xAt(x), this.scale.yAt(y)) : null;
    if (!found) {
      hideNote();
      this.link.setCursor(null);
      return;
    }
    this.link.setCursor(found.x === undefined ? null : found.x);
    showNote(clientX, clientY, ...found.children);
  }

  key(event) {
    if (!this.scale || event.ctrlKey || event.metaKey || event.altKey) return;
    const { x0, x1 } = this.scale, span = x1 - x0, now = this.link.cursor === null ? x1 : this.link.cursor;
    const move = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (move) {
      const to = this.neighbour ? this.neighbour(now, move * (event.shiftKey ? 10 : 1)) : now + (move * span) / 50;
      const pixel = this.scale.x(Math.max(x0, Math.min(x1, to))), box = this.canvas.getBoundingClientRect();
      this.point(pixel, box.height / 2, box.left + pixel, box.top + box.height / 2);
    } else if (event.key === "+" || event.key === "=") this.link.setZoom([now - span / 4, now + span / 4]);
    else if (event.key === "-") this.link.setZoom([now - span, now + span]);
    else if (event.key === "0" || event.key === "Escape") this.link.setZoom(null);
    else return;
    event.preventDefault();
    event.stopPropagation();
  }
}

export function line(context, x0, y0, x1, y1) {
  context.beginPath();
  context.moveTo(x0, y0);
  context.lineTo(x1, y1);
  context.stroke();
}

/* One row of a note: a coloured square, a name, a value. */
export function noteRow(colour, name, value) {
  const square = h("i", { class: "key" });
  square.style.background = colour;
  return h("div", { class: "note-row" }, square, h("span", {}, name), h("b", {}, value));
}
