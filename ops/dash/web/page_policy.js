/* page_policy.js - policy health: importance weights, clipping, entropy, agreement of learner and actors. */
import { h, fill, perFrame, say } from "./dom.js";
import { get } from "./api.js";
import { isNumber, percent, plain } from "./format.js";
import { feed, on, setting } from "./feed.js";
import { empty, grid, metricPanel, panel } from "./panel.js";
import { Link } from "./chart.js";
import { Density, Histogram } from "./chart_bars.js";
import { metricNames } from "./series.js";

/* Panels of one histogram message, the latest or that of a chosen step. views: [{panel, paint(message)}] */
export function histogramFeed(scope, views) {
  const state = { step: null };
  const paint = perFrame(() => {
    if (!scope.closed) for (const view of views) view.paint(state.message || {});
  });
  const load = async (step) => {
    state.step = step;
    try {
      state.message = await get("histograms", { step });
    } catch (error) {
      state.message = { trouble: error.message };
    }
    paint();
  };
  scope.add(on("histograms", (message) => {
    if (state.step !== null) return;
    state.message = message;
    paint();
  }));
  scope.add(on("reopened", () => load(state.step)));
  load(null);
  const field = h("input", { type: "number", min: "1", placeholder: "latest", "aria-label": "step of the histograms", onchange: () => load(field.value === "" ? null : Number(field.value)) });
  return h("label", { class: "dim" }, "histograms of step ", field, " (empty: the latest, live)");
}

/* A panel with one histogram; read(message) gives {edges, counts, lines, words} or null. */
export function histogramView(scope, { id, title, hint, read, none, xLog, unit, colour, yLog, height = 170 }) {
  const chart = new Histogram({ label: title, name: id, xLog, yLog, unit: unit || "", colour: colour || 0, height });
  const words = h("div", { class: "legend" }, ""), body = h("div", { class: "plot" }, empty("waiting for the first histogram"));
  scope.add(() => chart.close());
  return { panel: panel({ id, title, hint }, words, body), paint(message) {
    const data = message.trouble ? null : read(message);
    const any = Boolean(data && data.counts && data.counts.some((count) => count > 0));
    say(words, any ? [isNumber(message.step) ? `step ${message.step}` : "", data.words].filter(Boolean).join(" · ") : "");
    if (!any) return void fill(body, empty(message.trouble || none(message)));
    chart.options.lines = data.lines || [];
    chart.setData(data);
    if (chart.element.parentNode !== body) fill(body, chart.element);
  } };
}

const noHistograms = (message) => (isNumber(message.step) ? `step ${message.step} has no such histogram` : feed.run && feed.run.redis === false ? "histograms come through Redis, which this run has not" : "no histogram yet: the learner publishes them with each step");

function densityView(scope) {
  const chart = new Density({ label: "probability of tokens, trained and streamed", name: "density", xName: "trained", yName: "streamed", height: 250 });
  const words = h("div", { class: "legend" }, ""), body = h("div", { class: "plot" });
  scope.add(() => chart.close());
  return { panel: panel({ id: "density", title: "Token probability: learner → actor ↑", hint: "every trained token; on the diagonal both agree" }, words, body), paint(message) {
    const data = message.logprob_density;
    chart.setData(data);
    say(words, data && isNumber(data.pearson) ? `Pearson ${plain(data.pearson, 5)}` : "");
    if (!chart.data) return void fill(body, empty(message.trouble || noHistograms(message)));
    if (chart.element.parentNode !== body) fill(body, chart.element);
  } };
}

/* Clipped tokens of one step by the sign of their advantage, and how many tokens were forks. */
function clipView() {
  const body = h("div", {});
  return { panel: panel({ id: "clip-table", title: "Clipped tokens and forks of a step" }, body), paint(message) {
    const { clip, fork } = message;
    if (!clip) return void fill(body, empty(message.trouble || noHistograms(message)));
    const row = (name, part, whole) => h("tr", {}, h("td", {}, name), h("td", { class: "n" }, plain(part)), h("td", { class: "n dim" }, `of ${plain(whole)}`), h("td", { class: "n" }, whole > 0 ? percent(part / whole) : "–"));
    fill(body, h("table", {}, h("tbody", {}, row("advantage > 0", clip.positive_clipped, clip.positive), row("advantage < 0", clip.negative_clipped, clip.negative),
      fork && fork.below ? fork.below.map((p, i) => row(`p below ${p}`, fork.counts[i], fork.tokens)) : null)));
  } };
}

export function policy(scope, root) {
  const link = new Link(), pearson = () => ((feed.run && feed.run.lines && feed.run.lines.pearson) || [0.987, 0.997]).map((y) => ({ y, label: String(y) }));
  const views = [
    histogramView(scope, { id: "is-weight", height: 250, title: "IS weight of tokens", xLog: true, yLog: true, hint: "exp(trained − streamed logprob), logarithmic on both axes", none: noHistograms, read: (message) => {
      const data = message.is_weight;
      return data && { ...data, words: isNumber(data.bound) ? `bound ${plain(data.bound)}` : "", lines: [data.bound, data.lower_bound].filter((x) => isNumber(x) && x > 0).map((x) => ({ x, label: `bound ${plain(x)}` })) };
    } }),
    densityView(scope),
    histogramView(scope, { id: "advantage", height: 250, title: "Advantages", colour: 2, none: noHistograms, read: (message) => message.advantage }),
  ];
  const signs = h("div", { class: "slot" });
  const clip = clipView();
  fill(root, h("div", { class: "row filters" }, histogramFeed(scope, [...views, clip])), grid(views.map((view) => view.panel), clip.panel,
    metricPanel(scope, { id: "weights", title: "IS weight over steps", link, unit: "", series: [{ name: "is/mean", colour: 0 }, { name: "is/max", colour: 1 }, { name: "is/min", colour: 2 }], lines: () => [{ y: Number(setting("loss.weight_max") || NaN), label: `bound ${setting("loss.weight_max")}`, colour: 5, far: true }] }),
    metricPanel(scope, { id: "ess", title: "Effective sample size", link, series: [{ name: "is/ess" }], noLog: true }), signs,
    metricPanel(scope, { id: "policy-entropy", title: "Entropy", link, series: [{ name: "entropy/mean" }] }),
    metricPanel(scope, { id: "policy-pearson", title: "Train–inference Pearson", link, noLog: true, series: [{ name: "mismatch/pearson" }], lines: pearson, y1: 1 }),
    metricPanel(scope, { id: "dlogprob", title: "Max |Δ logprob|, same weights: must be 0", link, noLog: true, unit: "nats", series: [{ name: "mismatch/max_abs_dlogprob", label: "max" }], hint: "over tokens made by exactly the weights being trained" }),
    metricPanel(scope, { id: "compared", title: "Tokens made by exactly those weights", link, series: [{ name: "mismatch/tokens" }] }),
    metricPanel(scope, { id: "k3", title: "Distance of actor and learner", link, unit: "", series: [{ name: "mismatch/k3_kl" }, { name: "mismatch/abs_mean" }], log: true }),
    metricPanel(scope, { id: "zero-variance", title: "Zero-variance groups", link, series: [{ name: "group/zero_std_frac", label: "share" }] }),
    metricPanel(scope, { id: "policy-grad", title: "Gradient norm", link, series: [{ name: "optim/grad_norm" }] }),
    metricPanel(scope, { id: "loss", title: "Losses", link, unit: "", noLog: true, series: [{ name: "loss/policy" }, { name: "loss/kl" }, { name: "loss/aux" }] })));
  /* by sign of the advantage where the run measures it */
  metricNames().catch(() => []).then((names) => {
    if (scope.closed) return;
    const found = names.filter((name) => /clip.*(pos|neg)|(pos|neg).*clip/.test(name)).slice(0, 4);
    const label = (name) => (/neg/.test(name) ? "advantage < 0" : "advantage > 0");
    fill(signs, metricPanel(scope, { id: "clip-sign", title: found.length ? "Clipped tokens by sign of the advantage" : "Clipped tokens", link, unit: "share",
      series: [{ name: "cispo/clip_frac", label: "all", colour: 0 }, ...found.map((name, i) => ({ name, label: label(name), colour: i + 1 }))] }));
  });
}
