/* chart_timeline.js - what each process did when: a row a process, a bar a span, colours by name. */
import { h } from "./dom.js";
import { Chart, line, noteRow } from "./chart.js";
import { duration, tickSeconds } from "./format.js";
import { colours } from "./theme.js";

const ROW = 22, DEPTH_MOST = 2;
const WAITS = /wait|idle/;

/* How many longer spans of its process hold each span, and which hold others; spans by falling duration. */
function nest(spans) {
  const longer = new Map(), holds = new Array(spans.length).fill(false);
  const depths = spans.map((span, i) => {
    const list = longer.get(span.process) || [];
    longer.set(span.process, list);
    const end = span.begin_us + span.duration_us;
    let depth = 0;
    for (const one of list) if (one.begin_us <= span.begin_us && one.end >= end) {
      holds[one.i] = true;
      depth++;
    }
    if (span.duration_us > 0 && list.length < 400) list.push({ i, begin_us: span.begin_us, end });
    return Math.min(depth, DEPTH_MOST);
  });
  return { depths, holds };
}

/* setSpans([{process, name, step, begin_us, duration_us}]); times are wall clock microseconds. */
export class Timeline extends Chart {
  constructor(options) {
    super({ xFormat: (at) => tickSeconds(at / 1e6), ...options });
    this.left = 64;
    this.spans = [];
  }

  setSpans(spans) {
    this.spans = spans.filter((span) => Number.isFinite(span.begin_us) && Number.isFinite(span.duration_us));
    this.spans.sort((a, b) => b.duration_us - a.duration_us); /* the shorter lies on the longer that holds it */
    Object.assign(this, nest(this.spans));
    this.processes = [...new Set(this.spans.map((span) => span.process))].sort();
    this.names = [...new Set(this.spans.map((span) => span.name))].sort();
    this.work = this.names.filter((name) => !WAITS.test(name));
    this.begin = Math.min(...this.spans.map((span) => span.begin_us));
    this.end = Math.max(...this.spans.map((span) => span.begin_us + span.duration_us));
    this.element.style.height = `${Math.max(80, this.processes.length * ROW + 30)}px`;
    this.request();
  }

  /* Waiting is grey; the others have a colour each, from the ninth on a pale one. */
  colour(name) {
    const { c, line: grey } = colours();
    return WAITS.test(name) ? grey : c[[0, 1, 2, 3, 5, 6, 7, 4][this.work.indexOf(name) % 8]];
  }

  pale(name) {
    return !WAITS.test(name) && this.work.indexOf(name) >= 8;
  }

  range() {
    if (!this.spans.length) return null;
    const zoom = this.link.zoom;
    return { x0: zoom ? zoom[0] : 0, x1: zoom ? zoom[1] : Math.max(1, this.end - this.begin), y0: 0, y1: this.processes.length };
  }

  axes(context, theme, scale) {
    const plainY = this.options.yFormat;
    this.options.yFormat = () => "";
    super.axes(context, { ...theme, grid: theme.panel }, scale);
    this.options.yFormat = plainY;
    context.textAlign = "right";
    context.textBaseline = "middle";
    this.processes.forEach((name, row) => {
      const y = this.rowTop(scale, row);
      context.fillStyle = theme.dim;
      context.fillText(name, scale.left - 5, y + ROW / 2);
      context.strokeStyle = theme.grid;
      line(context, scale.left, y + ROW - 0.5, scale.right, y + ROW - 0.5);
    });
  }

  rowTop(scale, row) {
    return scale.top + row * ROW;
  }

  paint(context, scale, theme) {
    this.boxes = [];
    context.textBaseline = "middle";
    context.textAlign = "left";
    for (const [i, span] of this.spans.entries()) {
      const x0 = scale.x(span.begin_us - this.begin), x1 = scale.x(span.begin_us + span.duration_us - this.begin);
      if (x1 < scale.left || x0 > scale.right) continue;
      const y = this.rowTop(scale, this.processes.indexOf(span.process)) + 1, width = Math.max(1, x1 - x0), inset = 4 * this.depths[i], seen = Math.min(x1, scale.right) - Math.max(x0, scale.left);
      context.fillStyle = theme.panel;
      context.fillRect(x0, y + inset, width, ROW - 4 - inset);
      context.fillStyle = this.colour(span.name);
      context.globalAlpha = this.pale(span.name) ? 0.5 : 1;
      context.fillRect(x0, y + inset, Math.max(0.6, width - 0.5), ROW - 4 - inset);
      context.globalAlpha = 1;
      if (!this.holds[i] && seen > context.measureText(span.name).width + 8) {
        context.fillStyle = WAITS.test(span.name) || this.pale(span.name) ? theme.text : theme.bg;
        context.fillText(span.name, Math.max(x0, scale.left) + 4, y + (ROW - 4 + inset) / 2 + 0.5);
      }
      this.boxes.push({ x0, x1: x0 + Math.max(3, width), y0: y - 1, y1: y + ROW - 1, span });
    }
  }

  noteAt(x, y) {
    const px = this.scale.x(x), py = this.scale.y(y);
    const hit = (this.boxes || []).filter((box) => px >= box.x0 - 1 && px <= box.x1 && py >= box.y0 && py < box.y1);
    if (!hit.length) return { x, children: [h("div", { class: "note-head" }, duration(x / 1e6))] };
    const { span } = hit.reduce((best, box) => (box.x1 - box.x0 < best.x1 - best.x0 ? box : best));
    return { x, children: [h("div", { class: "note-head" }, `${span.process} · step ${span.step}`),
      noteRow(this.colour(span.name), span.name, duration(span.duration_us / 1e6)),
      noteRow("transparent", "begins at", duration((span.begin_us - this.begin) / 1e6))] };
  }
}
