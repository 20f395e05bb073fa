/* page_lengths.js - how long answers are, the cap and its stages, cuts. */
import { h, fill, perFrame } from "./dom.js";
import { isNumber, percent, plain, toNumber } from "./format.js";
import { feed, on, setting } from "./feed.js";
import { grid, metricPanel, panel } from "./panel.js";
import { Link } from "./chart.js";
import { histogramFeed, histogramView } from "./page_policy.js";

const state = (name) => toNumber(((feed.snapshot && feed.snapshot.state) || {})[name]);

function caps() {
  const text = setting("stages.lengths") || "", now = state("stage/cap");
  const list = text.split(/[\s,[\]]+/).map(Number).filter((cap) => cap > 0);
  const all = list.length ? list : [now].filter((cap) => cap > 0);
  return all.map((cap) => ({ y: cap, label: `cap ${plain(cap)}${cap === now ? " (now)" : ""}`, colour: cap === now ? 5 : 4, far: cap > now }));
}

/* What the paper's rule looks at before a longer stage begins. */
function stage(scope) {
  const body = h("tbody", {});
  const paint = perFrame(() => {
    const cap = state("stage/cap"), p99 = state("stage/p99"), near = Number(setting("stages.near_cap") || NaN);
    const rows = [["stage", isNumber(state("stage/index")) ? String(state("stage/index") + 1) : "–"], ["cap", `${plain(cap)} tokens`], ["plans in this stage", plain(state("stage/plans"))],
      ["p99 of lengths / cap", cap > 0 && isNumber(p99) ? percent(p99 / cap) : "–"], ["wanted before the next stage", percent(near)], ["perplexity", plain(state("stage/perplexity"))],
      ["change of late perplexity", percent(state("stage/tail_change"))], ["alarm of late positions", state("stage/tail_alarm") ? "raised" : "none"]];
    fill(body, rows.map(([name, value]) => h("tr", {}, h("td", {}, name), h("td", { class: "n" }, value))));
  });
  scope.add(on("snapshot", paint));
  scope.add(on("link", paint));
  paint();
  return panel({ id: "stage", title: "Stage of the length cap" }, h("table", {}, body));
}

/* Perplexity by position; the message has a list of numbers, or {edges, values}. */
function positions(message) {
  const data = message.ppl_position, values = Array.isArray(data) ? data : data && data.ppl;
  if (!Array.isArray(values)) return null;
  return { counts: values.map((value) => value || 0), edges: data.edges && data.edges.length === values.length + 1 ? data.edges : Array.from({ length: values.length + 1 }, (_, i) => i), words: "height: perplexity of the tokens at these positions" };
}

export function lengths(scope, root) {
  const link = new Link(), none = (message) => (isNumber(message.step) ? "this step has no such histogram" : "no histogram yet: the learner publishes them with each step");
  const views = [histogramView(scope, { id: "length-histogram", title: "Lengths of a step", unit: "tokens", none, read: (message) => {
    const cap = (message.length && message.length.cap) || state("stage/cap");
    return message.length && typeof message.length === "object" && { ...message.length, lines: cap > 0 ? [{ x: cap, label: `cap ${plain(cap)}` }] : [] };
  } }), histogramView(scope, { id: "position", title: "Perplexity by position", unit: "", colour: 3, none, read: positions })];
  fill(root, grid(
    metricPanel(scope, { id: "length-bands", title: "Length of answers: p50, p90, p99, longest", wide: true, height: 220, link, unit: "tokens", bands: [{ low: "len/p50", high: "len/p90", colour: 0 }, { low: "len/p90", high: "len/p99", colour: 1 }],
      series: [{ name: "len/p50", colour: 0 }, { name: "len/p90", colour: 2 }, { name: "len/p99", colour: 1 }, { name: "len/max", colour: 4, dash: true }, { name: "len/mean", colour: 3 }], lines: caps }),
    stage(scope), views.map((view) => view.panel),
    metricPanel(scope, { id: "truncated", title: "Answers that hit the cap", link, unit: "share", series: [{ name: "len/truncated_frac" }] }),
    metricPanel(scope, { id: "repetition", title: "Repetition cuts", link, unit: "share", series: [{ name: "rep/cut_frac" }] }),
    metricPanel(scope, { id: "masked", title: "Not trained for how they ended", link, unit: "share", series: [{ name: "train/masked_frac" }] })), h("div", { class: "row filters" }, histogramFeed(scope, views)));
}
