/* page_tasks.js - data sources (curriculum) and rewards. */
import { h, fill, perFrame } from "./dom.js";
import { get } from "./api.js";
import { isNumber, percent, plain, toNumber, amount } from "./format.js";
import { alive, feed, on, processesOf, stat } from "./feed.js";
import { empty, grid, historyPanel, metricPanel, panel } from "./panel.js";
import { Link } from "./chart.js";
import { Histogram } from "./chart_bars.js";
import { evalNames, noEval } from "./page_overview.js";

/* ---- tasks ---- */

const figure = (source, ...names) => names.map((name) => toNumber(source[name])).find((value) => value !== null) ?? null;

function meter(value) {
  const bar = h("i", {}), element = h("div", { class: "meter" }, bar);
  bar.style.width = `${isNumber(value) ? Math.round(Math.min(1, Math.max(0, value)) * 100) : 0}%`;
  bar.style.background = "var(--c0)";
  element.style.width = "90px";
  return element;
}

export function tasks(scope, root) {
  const body = h("div", { class: "scroll" }), filter = h("input", { type: "search", placeholder: "source  ( / )", "aria-label": "filter sources", "data-filter": true, oninput: () => paint() });
  let key = "";
  const paint = perFrame(() => {
    const sources = ((feed.snapshot && feed.snapshot.sources) || []).filter((source) => String(source.name ?? source.source).toLowerCase().includes(filter.value.toLowerCase()));
    const now = JSON.stringify(sources);
    if (now === key && body.firstChild) return;
    key = now;
    if (!sources.length) return void fill(body, empty(filter.value ? "no source fits" : "no source known: the store tells them through Redis or its socket"));
    const births = sources.reduce((sum, source) => sum + (figure(source, "births") || 0), 0);
    fill(body, h("table", { "data-testid": "sources" }, h("thead", {}, h("tr", {}, h("th", {}, "source"), h("th", { class: "n" }, "pass rate"), h("th", {}, ""), h("th", { class: "n" }, "weight"), h("th", { class: "n" }, "share"), h("th", { class: "n" }, "level"), h("th", { class: "n" }, "prompts"), h("th", { class: "n" }, "drawable"), h("th", { class: "n" }, "groups"), h("th", { class: "n" }, "retired"), h("th", { class: "n" }, "too hard"), h("th", { class: "n" }, "reopened"), h("th", {}, "state"))),
      h("tbody", {}, sources.map((source) => {
        const rate = figure(source, "pass_rate"), level = figure(source, "level"), levels = figure(source, "levels"), paused = figure(source, "paused");
        const n = (value) => h("td", { class: "n" }, plain(value));
        return h("tr", {}, h("td", {}, String(source.name ?? source.source)), h("td", { class: "n" }, percent(rate)), h("td", {}, meter(rate)), h("td", { class: "n" }, percent(figure(source, "share_wanted", "weight"))),
          h("td", { class: "n" }, percent(figure(source, "share") ?? (births ? figure(source, "births") / births : null))), h("td", { class: "n" }, levels > 1 ? `${level} / ${levels}` : "–"), n(figure(source, "prompts")), n(figure(source, "drawable")), n(figure(source, "groups")),
          n(figure(source, "retired_easy", "retired")), n(figure(source, "hard")), n(figure(source, "reopened")), h("td", { class: paused ? "warn" : "dim" }, paused ? "on hold" : "drawn"));
      }))));
  });
  const link = new Link(), evals = h("div", { class: "slot" });
  fill(root, panel({ id: "sources", title: "Data sources", wide: true, tools: filter }, body), h("div", { class: "gap" }), grid(evals,
    metricPanel(scope, { id: "task-zero", title: "Zero-variance groups", link, series: [{ name: "group/zero_std_frac", label: "share" }] }),
    metricPanel(scope, { id: "task-reward", title: "Reward of scored and of trained", link, unit: "", noLog: true, series: [{ name: "reward/mean" }, { name: "reward/trained_mean" }] })));
  evalNames().then((names) => {
    if (scope.closed) return;
    fill(evals, names.length ? metricPanel(scope, { id: "evaluation", title: "Evaluation", link, unit: "share", series: names.map((name) => ({ name, label: name.slice(5), sparse: true })) }) : panel({ id: "evaluation", title: "Evaluation" }, empty(noEval())));
  });
  scope.add(on("snapshot", paint));
  paint();
}

/* ---- rewards ---- */

function workers(scope) {
  const body = h("div", { class: "scroll" });
  const paint = perFrame(() => {
    const all = processesOf(feed.snapshot, "reward").filter(alive);
    if (!all.length) return void fill(body, empty("no reward worker runs"));
    const columns = [["scored", "reward/scored", plain], ["waiting", "reward/waiting", plain], ["latency", "reward/latency_ms", (value) => amount(value, "ms")], ["time-outs", "reward/timeouts", plain], ["errors", "reward/errors", plain], ["skipped", "reward/skipped", plain], ["late", "reward/late", plain]];
    fill(body, h("table", { "data-testid": "reward-workers" }, h("thead", {}, h("tr", {}, h("th", {}, "worker"), columns.map(([title]) => h("th", { class: "n" }, title)))),
      h("tbody", {}, all.map((process) => h("tr", {}, h("td", {}, process.name), columns.map(([title, name, show]) => { const value = stat(process, name); return h("td", { class: `n${value > 0 && /time|err|late/.test(title) && title !== "latency" ? " warn" : ""}` }, show(value)); }))))));
  });
  scope.add(on("snapshot", paint));
  paint();
  return panel({ id: "workers", title: "Reward workers" }, body);
}

/* Rewards of recent rollouts, and whether longer answers get more: Pearson correlation of length and score. */
function recent(scope) {
  const chart = new Histogram({ label: "rewards of recent rollouts", name: "reward-histogram", colour: 2, height: 170 }), words = h("div", { class: "legend" }, ""), body = h("div", { class: "plot" });
  const bias = h("tbody", {}), biasBody = h("div", { class: "scroll", "data-testid": "length-bias" }, h("table", {}, bias)), note = h("p", { class: "dim" }, "");
  let rows = [], key = 0;
  scope.add(() => chart.close());
  const paint = perFrame(() => {
    if (scope.closed) return;
    const sound = rows.filter((row) => isNumber(toNumber(row.reward)) && (row.score === "ok" || row.score === "fail" || !row.score)), values = sound.map((row) => toNumber(row.reward));
    if (!values.length) {
      fill(body, empty("no scored rollout yet"));
      return void fill(biasBody, empty("no scored rollout yet"));
    }
    const least = Math.min(...values), most = Math.max(...values), bins = 24, width = (most - least) / bins || 1 / bins, counts = new Array(bins).fill(0);
    for (const value of values) counts[Math.min(bins - 1, Math.floor((value - least) / width))]++;
    chart.setData({ edges: Array.from({ length: bins + 1 }, (_, i) => least + i * width), counts });
    words.textContent = `last ${values.length} rollouts · mean ${plain(values.reduce((a, b) => a + b, 0) / values.length)}`;
    if (chart.element.parentNode !== body) fill(body, chart.element);
    if (++key % 10 !== 1) return;
    const sources = [...new Set(sound.map((row) => row.source || "all"))].slice(0, 20);
    fill(bias, h("tr", {}, h("th", {}, "source"), h("th", { class: "n" }, "correlation"), h("th", { class: "n" }, "length of best"), h("th", { class: "n" }, "length of rest"), h("th", { class: "n" }, "rollouts")), sources.map((source) => biasRow(source, sound.filter((row) => (row.source || "all") === source))));
    note.textContent = "Correlation of length and reward over recent rollouts: a judge that rewards length shows a lasting value near 1. The store's own monitor raises an alarm (docs/length-bias.md).";
    if (!biasBody.contains(bias)) fill(biasBody, h("table", {}, bias));
  });
  const load = () => get("rollouts", { n: 500 }).then((answer) => { rows = answer.rollouts || []; key = 0; paint(); }, (error) => fill(body, empty(error.message)));
  scope.add(on("rollout", (rollout) => {
    rows.unshift(rollout);
    rows.length = Math.min(rows.length, 2000);
    paint();
  }));
  load();
  return [panel({ id: "reward-histogram", title: "Rewards of recent rollouts" }, words, body), panel({ id: "length-bias", title: "Length-bias monitor" }, biasBody, note)];
}

function biasRow(source, rows) {
  const pairs = rows.map((row) => [toNumber(row.tokens), toNumber(row.reward)]).filter(([a, b]) => a !== null && b !== null), n = pairs.length;
  const mean = (list) => list.reduce((a, b) => a + b, 0) / list.length, x = mean(pairs.map((pair) => pair[0])), y = mean(pairs.map((pair) => pair[1]));
  let xy = 0, xx = 0, yy = 0;
  for (const [a, b] of pairs) {
    xy += (a - x) * (b - y);
    xx += (a - x) ** 2;
    yy += (b - y) ** 2;
  }
  const most = Math.max(...pairs.map((pair) => pair[1])), best = pairs.filter((pair) => pair[1] === most).map((pair) => pair[0]), rest = pairs.filter((pair) => pair[1] !== most).map((pair) => pair[0]);
  const r = xx > 0 && yy > 0 ? xy / Math.sqrt(xx * yy) : null;
  return h("tr", {}, h("td", {}, source), h("td", { class: `n${Math.abs(r) > 0.6 && n > 50 ? " warn" : ""}` }, r === null ? "–" : r.toFixed(2)), h("td", { class: "n" }, plain(mean(best))), h("td", { class: "n" }, rest.length ? plain(mean(rest)) : "–"), h("td", { class: "n" }, plain(n)));
}

export function rewards(scope, root) {
  const link = new Link();
  fill(root, grid(recent(scope), workers(scope),
    metricPanel(scope, { id: "reward-mean", title: "Reward", link, unit: "", noLog: true, bands: [{ low: "reward/min", high: "reward/max", colour: 4 }], series: [{ name: "reward/mean", colour: 0 }, { name: "reward/shaped_mean", colour: 1 }] }),
    metricPanel(scope, { id: "reward-std", title: "Spread of rewards", link, unit: "", noLog: true, series: [{ name: "reward/std" }] }),
    historyPanel(scope, { id: "reward-latency", title: "Scoring latency, slowest worker", unit: "ms", series: [{ name: "workers/latency_ms", label: "last item" }], empty: () => "no reward worker reports" }),
    historyPanel(scope, { id: "reward-waiting", title: "Items in reward workers", series: [{ name: "workers/waiting", label: "waiting" }, { name: "store/samples_unscored", label: "unscored in the store" }], empty: () => "no reward worker reports" }),
    historyPanel(scope, { id: "reward-timeouts", title: "Time-outs", series: [{ name: "workers/timeouts", label: "so far" }], empty: () => "no reward worker reports" })));
}
