/* series.js - metrics of steps for one panel: loaded once (thinned by the server), then appended live. */
import { get } from "./api.js";
import { isNumber } from "./format.js";

/* Columns over ascending steps. A step that comes again is merged: evaluations add to old steps, and a
 * resumed run writes steps anew. More than `limit` rows are thinned to the extremes of each bin. */
export class Table {
  constructor(names, points = 800) {
    this.names = names;
    this.points = points;
    this.limit = Math.max(400, points * 4);
    this.clear();
  }

  clear() {
    this.step = [];
    this.wall = [];
    this.columns = Object.fromEntries(this.names.map((name) => [name, []]));
  }

  /* points 0: every step */
  async load(range) {
    const answer = await get("metrics", { names: this.names.join(","), from: range ? Math.floor(range[0]) : null,
      to: range ? Math.ceil(range[1]) : null, points: this.points || null });
    this.total = answer.total;
    this.step = answer.step || [];
    this.wall = answer.wall || [];
    this.columns = {};
    for (const name of this.names) this.columns[name] = (answer.series || {})[name] || new Array(this.step.length).fill(null);
    if (!this.points) this.limit = Math.max(this.limit, this.step.length * 2);
    return this;
  }

  push({ step, wall, series }) {
    if (!isNumber(step) || !this.names.some((name) => isNumber((series || {})[name]))) return false;
    let at = this.step.length;
    while (at > 0 && this.step[at - 1] >= step) at--;
    const known = this.step[at] === step;
    if (!known) {
      this.step.splice(at, 0, step);
      this.wall.splice(at, 0, wall ?? null);
    } else if (isNumber(wall)) this.wall[at] = wall;
    for (const name of this.names) {
      const value = isNumber(series[name]) ? series[name] : null;
      if (!known) this.columns[name].splice(at, 0, value);
      else if (value !== null) this.columns[name][at] = value;
    }
    if (this.step.length > this.limit) this.thin();
    return true;
  }

  thin() {
    const rows = this.step.length, bins = Math.max(1, this.limit >> 2), keep = new Set([rows - 1]);
    for (let bin = 0; bin < bins; bin++) {
      const from = Math.floor((bin * rows) / bins), to = Math.floor(((bin + 1) * rows) / bins);
      for (const name of this.names) {
        const column = this.columns[name];
        let least = -1, most = -1;
        for (let i = from; i < to; i++) {
          if (!isNumber(column[i])) continue;
          if (least < 0 || column[i] < column[least]) least = i;
          if (most < 0 || column[i] > column[most]) most = i;
        }
        if (least >= 0) keep.add(least).add(most);
      }
    }
    const kept = [...keep].sort((a, b) => a - b);
    if (kept.length > this.limit * 0.75) kept.splice(0, kept.length, ...kept.filter((_, i) => i % 2 === 0 || i === kept.length - 1));
    const pick = (column) => kept.map((i) => column[i]);
    this.step = pick(this.step);
    this.wall = pick(this.wall);
    for (const name of this.names) this.columns[name] = pick(this.columns[name]);
  }

  last(name) {
    const column = this.columns[name] || [];
    for (let i = column.length - 1; i >= 0; i--) if (isNumber(column[i])) return { step: this.step[i], value: column[i] };
    return null;
  }

  has(name) {
    return (this.columns[name] || []).some(isNumber);
  }
}

/* Names of all metrics of the run; asked for once in 20 s. */
let names = null, asked = 0;
export async function metricNames() {
  if (!names || Date.now() - asked > 20000) {
    asked = Date.now();
    names = get("metrics", { points: 2 }).then((answer) => (answer.names || []).slice().sort());
    names.catch(() => { names = null; });
  }
  return names;
}
