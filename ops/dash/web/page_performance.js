/* page_performance.js - how fast, how busy, how full. */
import { h, fill, perFrame } from "./dom.js";
import { amount, bytes, isNumber, percent, plain } from "./format.js";
import { alive, feed, on, processesOf, stat } from "./feed.js";
import { empty, grid, historyPanel, metricPanel, panel } from "./panel.js";
import { Link } from "./chart.js";
import { StackedBars } from "./chart_bars.js";
import { metricNames } from "./series.js";

/* Figures with "memory", "bytes" or "gpu" in their name, of every process. */
function memory(scope) {
  const body = h("div", { class: "scroll" });
  const paint = perFrame(() => {
    const all = processesOf(feed.snapshot).filter(alive), names = [...new Set(all.flatMap((process) => Object.keys(process.stats || {})))].filter((name) => !/refused/.test(name) && /gpu|rss|memory|bytes|kv_pages/.test(name) && all.some((process) => stat(process, name) !== null)).sort();
    if (!names.length) return void fill(body, empty(all.length ? "no process reports memory or a GPU" : "no process runs"));
    const show = (name, value) => (value === null ? "" : /bytes|memory|rss/.test(name) ? bytes(value) : /busy|frac/.test(name) ? percent(value) : /hertz/.test(name) ? `${plain(value / 1e6)} MHz` : plain(value));
    fill(body, h("table", {}, h("thead", {}, h("tr", {}, h("th", {}, "process"), names.map((name) => h("th", { class: "n" }, name.replace(/^.*\//, "").replace(/_(bytes|ratio|c|w|hertz)$/, "").replace(/^gpu_/, "").replace(/_/g, " "))))),
      h("tbody", {}, all.filter((process) => names.some((name) => stat(process, name) !== null)).map((process) => h("tr", {}, h("td", {}, process.name), names.map((name) => h("td", { class: "n" }, show(name, stat(process, name)))))))));
  });
  scope.add(on("snapshot", paint));
  paint();
  return panel({ id: "memory", title: "Memory and GPUs", wide: true }, body);
}

/* The last step, part by part. */
function breakdown(scope) {
  const body = h("tbody", {});
  const paint = perFrame(() => {
    const now = feed.latest, step = now["time/step"], parts = [["waits for rollouts", now["learner/wait_s"]], ["trains", now["time/train"]], ["publishes weights", now["sync/seconds"]]];
    const rest = isNumber(step) ? step - parts.reduce((sum, [, value]) => sum + (isNumber(value) ? value : 0), 0) : null;
    fill(body, [...parts, ["the rest", isNumber(rest) ? Math.max(0, rest) : null], ["step", step]].map(([name, value]) => h("tr", {}, h("td", {}, name), h("td", { class: "n" }, amount(value, "s")), h("td", { class: "n dim" }, isNumber(value) && step > 0 ? percent(value / step) : ""))));
  });
  scope.add(on("metrics", paint));
  scope.add(on("snapshot", paint));
  paint();
  return panel({ id: "breakdown", title: "The last step" }, h("table", {}, body));
}

export function performancePage(scope, root) {
  const link = new Link(), mfu = h("div", { class: "slot" });
  fill(root, grid(
    metricPanel(scope, { id: "learner-speed", title: "The learner trains", link, unit: "tok/s", series: [{ name: "perf/tok_s", label: "tokens" }] }),
    historyPanel(scope, { id: "actor-speed", title: "An actor generates (one GPU each, where there are GPUs)", unit: "tok/s", bands: [{ low: "actors/tokens_per_s/min", high: "actors/tokens_per_s/max", colour: 0 }], series: [{ name: "actors/tokens_per_s/mean", label: "mean", colour: 0 }, { name: "actors/tokens_per_s/min", label: "slowest", colour: 1 }], empty: () => "no actor reports its speed" }),
    historyPanel(scope, { id: "all-speed", title: "All actors generate", unit: "tok/s", series: [{ name: "actors/tokens_per_s/sum", label: "sum" }], empty: () => "no actor reports its speed" }),
    mfu,
    metricPanel(scope, { id: "step-time", title: "Time of a step", link, unit: "s", noLog: true, Kind: StackedBars, points: 160, series: [{ name: "learner/wait_s", colour: 1 }, { name: "time/train", colour: 0 }, { name: "sync/seconds", colour: 3 }, { name: "time/checkpoint", colour: 4 }] }),
    breakdown(scope),
    metricPanel(scope, { id: "step-line", title: "Seconds a step", link, unit: "s", series: [{ name: "time/step" }, { name: "time/train" }] }),
    historyPanel(scope, { id: "actor-idle", title: "Idle share of actors", unit: "share", bands: [{ low: "actors/idle_frac/min", high: "actors/idle_frac/max", colour: 1 }], series: [{ name: "actors/idle_frac/mean", label: "mean", colour: 1 }, { name: "actors/idle_frac/max", label: "idlest", colour: 5 }], empty: () => "no actor reports" }),
    metricPanel(scope, { id: "plan-tokens", title: "Tokens of a step", link, series: [{ name: "train/tokens" }] }),
    historyPanel(scope, { id: "kv", title: "KV pages free", series: [{ name: "actors/kv_free/min", label: "least", colour: 1 }, { name: "actors/kv_free/mean", label: "mean", colour: 0 }], empty: () => "no actor reports" }),
    historyPanel(scope, { id: "batch", title: "Sequences in the batch", series: [{ name: "actors/running/mean", label: "mean" }, { name: "actors/running/min", label: "least" }], empty: () => "no actor reports" }),
    metricPanel(scope, { id: "checkpoint", title: "Writing a checkpoint", link, unit: "s", series: [{ name: "time/checkpoint" }] })), memory(scope));
  metricNames().catch(() => []).then((names) => {
    if (scope.closed) return;
    const found = names.filter((name) => /mfu/.test(name));
    fill(mfu, found.length ? metricPanel(scope, { id: "mfu", title: "Model FLOP utilisation", link, unit: "share", series: found.map((name) => ({ name })) }) : panel({ id: "mfu", title: "Model FLOP utilisation" }, empty("no MFU: it needs a device whose peak is known (a GPU)")));
  });
}
