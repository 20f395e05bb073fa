/* page_staleness.js - how old tokens are, what waits where, and what each process did in a step. */
import { h, fill, perFrame, say } from "./dom.js";
import { get } from "./api.js";
import { isNumber, plain, toNumber } from "./format.js";
import { feed, on, setting } from "./feed.js";
import { empty, grid, historyPanel, metricPanel, panel } from "./panel.js";
import { Link } from "./chart.js";
import { Timeline } from "./chart_timeline.js";
import { histogramFeed, histogramView } from "./page_policy.js";

/* Whole numbers as bars of width one around them. */
function lags(message) {
  const data = message.version_lag, counts = Array.isArray(data) ? data : data && data.counts;
  return counts && { counts, edges: data.edges && data.edges.length === counts.length + 1 ? data.edges : Array.from({ length: counts.length + 1 }, (_, i) => i - 0.5),
    words: `at most ${setting("store.max_staleness") ?? "?"} allowed (store.max_staleness)` };
}

const QUEUES = [["samples_queued", "prompts waiting for an actor"], ["leases_live", "being generated"], ["samples_unscored", "waiting for a score"], ["groups_open", "groups open"], ["groups_eligible", "groups ready to train"]];

function counters(scope) {
  const body = h("tbody", {}), none = h("div", {});
  const paint = perFrame(() => {
    const state = (feed.snapshot && feed.snapshot.state) || {};
    const rows = Object.entries(state).filter(([name]) => /^dropped_|^refused_|_refused$|expired|retried|regenerated|continued/.test(name)).map(([name, value]) => [name, toNumber(value)]);
    const seen = rows.filter(([name, value]) => value > 0 || /^dropped_/.test(name));
    fill(body, seen.map(([name, value]) => h("tr", {}, h("td", {}, name.replace(/_/g, " ")), h("td", { class: `n${value > 0 && !/zero|drained|continued/.test(name) ? " warn" : ""}` }, plain(value)))));
    fill(none, rows.length ? h("p", { class: "dim" }, `${rows.length - seen.length} other counters of refusals are 0`) : empty("the store has said nothing yet"));
  });
  scope.add(on("snapshot", paint));
  paint();
  return panel({ id: "drops", title: "Dropped, refused, repeated (rollouts and groups)" }, h("table", {}, body), none);
}

function timeline(scope) {
  const chart = new Timeline({ label: "spans of processes", name: "timeline", height: 160 }), body = h("div", { class: "plot" }), words = h("span", { class: "dim" }, "");
  const legend = h("div", { class: "legend" });
  let step = null;
  scope.add(() => chart.close());
  const load = async () => {
    const last = step === null ? (feed.snapshot && feed.snapshot.step) || 0 : step;
    let spans = [];
    try {
      spans = (await get("spans", { from_step: step === null ? Math.max(0, last - 1) : last, to_step: last + (step === null ? 1 : 0) })).spans || [];
    } catch (error) {
      return void fill(body, empty(error.message));
    }
    if (scope.closed) return;
    if (!spans.length) {
      fill(legend);
      return void fill(body, empty(setting("metrics.trace") === "false" ? "no timeline: metrics.trace is false" : last ? `no span of step ${last} is kept` : "no step yet"));
    }
    chart.setSpans(spans.slice(-5000));
    say(words, `step ${[...new Set(spans.map((span) => span.step))].join(", ")} · ${spans.length} spans · drag to zoom, double click for all`);
    fill(legend, chart.names.map((name) => {
      const square = h("i", { class: "key" });
      square.style.background = chart.colour(name);
      square.style.opacity = chart.pale(name) ? "0.5" : "1";
      return h("span", {}, square, name);
    }));
    if (chart.element.parentNode !== body) fill(body, chart.element);
  };
  const show = (to) => {
    step = to;
    field.value = to === null ? "" : String(to);
    chart.link.setZoom(null);
    load();
  };
  const now = () => (step === null ? (feed.snapshot && feed.snapshot.step) || 1 : step);
  const field = h("input", { type: "number", min: "1", placeholder: "latest", "aria-label": "step of the timeline", "data-filter": true, onchange: () => show(field.value === "" ? null : Number(field.value)) });
  const tools = h("span", { class: "row" }, h("button", { type: "button", class: "small", "aria-label": "step before", onclick: () => show(Math.max(1, now() - 1)) }, "◂"), field, h("button", { type: "button", class: "small", "aria-label": "step after", onclick: () => show(now() + 1) }, "▸"), h("button", { type: "button", class: "small", onclick: () => show(null) }, "live"));
  scope.every(3000, async () => { if (step === null && !chart.link.zoom) await load(); });
  return panel({ id: "timeline", title: "Timeline of a step", wide: true, tools }, words, legend, body);
}

export function staleness(scope, root) {
  const link = new Link();
  const view = histogramView(scope, { id: "version-lag", title: "Version lag of trained tokens", unit: "versions", xLog: false, none: (message) => (isNumber(message.step) ? "this step has no version lags" : "no histogram yet: the learner publishes them with each step"), read: lags });
  const allowed = () => [{ y: toNumber(setting("store.max_staleness")), label: "allowed", colour: 5, far: true }];
  fill(root, timeline(scope), h("div", { class: "gap" }), h("div", { class: "row filters" }, histogramFeed(scope, [view])), grid(view.panel,
    metricPanel(scope, { id: "staleness", title: "Staleness of trained rollouts", link, unit: "versions", noLog: true, series: [{ name: "stale/mean" }, { name: "stale/max" }], lines: allowed }),
    historyPanel(scope, { id: "queues", title: "Queues", series: QUEUES.map(([name, label]) => ({ name: `store/${name}`, label })), empty: () => "the store has said nothing yet" }),
    counters(scope),
    metricPanel(scope, { id: "sync", title: "Publishing weights", link, unit: "s", series: [{ name: "sync/seconds", label: "register and publish" }] }),
    metricPanel(scope, { id: "broadcast", title: "Broadcast to actors (NCCL)", link, unit: "ms", series: [{ name: "weights/send_ms" }] }),
    historyPanel(scope, { id: "swap", title: "Pause of decoding in a swap of weights", unit: "ms", series: [{ name: "actors/swap_ms/max", label: "longest" }, { name: "actors/swap_ms/mean", label: "mean" }], empty: () => "no actor reports a swap" }),
    metricPanel(scope, { id: "wait", title: "The learner waits for rollouts", link, unit: "s", series: [{ name: "learner/wait_s" }] }),
    metricPanel(scope, { id: "refused", title: "Groups left out of their plan", link, unit: "", noLog: true, series: [{ name: "train/refused_groups", label: "groups" }] })));
}
