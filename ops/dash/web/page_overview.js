/* page_overview.js - is it alive, is it learning, is it stable, who waits for whom? */
import { h, fill, perFrame, say } from "./dom.js";
import { get } from "./api.js";
import { amount, clock, counted, duration, isNumber, percent, plain, toNumber } from "./format.js";
import { alive, done, feed, on, over, processesOf, setting, trouble } from "./feed.js";
import { feedSparks, grid, latest, metricPanel, panel, tile } from "./panel.js";
import { Link } from "./chart.js";
import { StackedBars } from "./chart_bars.js";
import { metricNames } from "./series.js";

export const ACTOR_SENTENCE = "An actor is a process that generates; the learner is the process that trains. (Elsewhere “actor” often means the policy being trained.)";

/* Names of evaluations' first figure: eval/SET/avg_at_n. */
export async function evalNames() {
  const names = await metricNames().catch(() => []);
  const first = names.filter((name) => /^eval\/.+\/(avg_at_n|pass_at_1|reward)$/.test(name));
  const sets = new Set();
  return first.filter((name) => { const set = name.slice(0, name.lastIndexOf("/")); return sets.has(set) ? false : sets.add(set); }).slice(0, 4);
}

export function noEval() {
  return setting("eval.every") === "0" ? "no evaluation: eval.every is 0" : "no evaluation yet: a version is evaluated every eval.every steps (0: never)";
}

/* ---- the four questions ---- */

function questions(scope) {
  const box = {};
  const make = (id, title) => {
    box[id] = { answer: h("b", {}, "–"), because: h("span", {}, "") };
    box[id].element = h("div", { class: "question", "data-testid": `question-${id}` }, h("span", {}, title), box[id].answer, box[id].because);
    return box[id].element;
  };
  const element = h("div", { class: "questions", "data-testid": "panel-questions", role: "status" }, make("alive", "Alive?"), make("learning", "Learning?"), make("stable", "Stable?"), make("waits", "Who waits?"));
  const set = (id, state, answer, because) => {
    box[id].element.dataset.state = state;
    say(box[id].answer, answer);
    say(box[id].because, because);
  };
  const trend = { reward: [] };
  const paint = perFrame(() => {
    if (scope.closed) return;
    set("alive", ...aliveNow());
    set("learning", ...learningNow(trend.reward));
    set("stable", ...stableNow());
  });
  const load = () => get("metrics", { names: "reward/mean", points: 400 }).then((answer) => {
    trend.reward = (answer.series["reward/mean"] || []).filter(isNumber);
    paint();
  }, () => {});
  load();
  scope.add(on("reopened", load));
  scope.add(on("metrics", ({ series }) => {
    if (isNumber(series["reward/mean"])) trend.reward.push(series["reward/mean"]);
    if (trend.reward.length > 1000) trend.reward.splice(TREND_POINTS, 500); /* the beginning stays */
    paint();
  }));
  scope.add(on("snapshot", paint));
  scope.add(on("link", paint));
  scope.every(2000, async () => {
    try {
      const why = await get("why");
      const running = feed.run && feed.run.state !== "over";
      set("waits", running && (why.sick || []).length ? "warn" : "", why.because ? sentence(why.because) : "nobody says",
        (why.waits || []).filter((wait) => wait.who === "run").slice(0, 2).map((wait) => wait.what).filter(Boolean).join("; "));
    } catch (error) {
      set("waits", "", "unknown", error.message);
    }
    paint();
  });
  paint();
  return element;
}

function sentence(text) {
  return text.length > 320 ? `${text.slice(0, 319)}…` : text;
}

function aliveNow() {
  const { run, snapshot } = feed;
  if (!run) return ["bad", "unknown", feed.failed];
  if (run.state === "over") return ["", "over", snapshot && snapshot.step ? `after ${snapshot.step} steps` : "without a step"];
  const all = processesOf(snapshot), up = all.filter(alive), wrong = all.filter((process) => trouble(process, run));
  const restarts = all.reduce((sum, process) => sum + (toNumber(process.restarts) || 0), 0);
  if (wrong.length) return ["bad", `${wrong.length} in trouble`, wrong.map((process) => `${process.name} ${trouble(process, run)}`).join(", ")];
  const missing = all.filter((process) => !alive(process) && !done(process) && process.state !== "elsewhere");
  if (missing.length) return ["warn", `${up.length} of ${all.length} processes`, missing.map((process) => `${process.name} ${process.state || "is not there"}`).join(", ")];
  return [up.length ? "good" : "warn", up.length ? `yes, ${up.length} of ${all.length} processes` : "no process known", restarts ? counted(restarts, "restart") : "no restart"];
}

const TREND_POINTS = 50;

/* Reward of the last points against that of the run's first ones, in standard errors. */
function learningNow(values) {
  const n = Math.min(TREND_POINTS, Math.floor(values.length / 2));
  if (n < 3) return ["", "too early to say", `reward ${latest("reward/mean")}`];
  const late = values.slice(-n), early = values.slice(0, n), mean = (list) => list.reduce((a, b) => a + b, 0) / list.length;
  const variance = (list, m) => list.reduce((a, b) => a + (b - m) ** 2, 0) / Math.max(1, list.length - 1);
  const a = mean(early), b = mean(late), error = Math.sqrt((variance(early, a) + variance(late, b)) / n) || 1e-12;
  const text = `reward ${plain(a, 3)} → ${plain(b, 3)} (first and last ${n} points)`;
  if (b - a > 2 * error) return ["good", "yes, reward has risen", text];
  if (a - b > 2 * error) return ["bad", "no, reward has fallen", text];
  return ["warn", "not visibly", text];
}

const ALARM_MS = 3600e3; /* one that is older says nothing of now */

function stableNow() {
  const { latest: now, run } = feed, limits = (run && run.lines && run.lines.pearson) || [0.987, 0.997], trouble = [];
  if (now["mismatch/max_abs_dlogprob"] > 0) trouble.push(`learner and actors disagree by ${plain(now["mismatch/max_abs_dlogprob"])} nats (must be 0)`);
  if (isNumber(now["mismatch/pearson"]) && now["mismatch/pearson"] < limits[0]) trouble.push(`Pearson ${plain(now["mismatch/pearson"])} is below ${limits[0]}`);
  if (now["optim/non_finite"] > 0) trouble.push(`${now["optim/non_finite"]} updates were not finite`);
  if (now["len/truncated_frac"] > 0.2) trouble.push(`${percent(now["len/truncated_frac"])} of the answers hit the cap`);
  if (now["group/zero_std_frac"] > 0.6) trouble.push(`${percent(now["group/zero_std_frac"])} of the groups have no variance`);
  const since = run && run.state === "over" ? 0 : ((feed.snapshot && feed.snapshot.time_ms) || 0) - ALARM_MS;
  const alarms = distinct(((feed.snapshot && feed.snapshot.alarms) || []).filter((alarm) => !(alarm.time_ms < since)));
  if (trouble.length) return ["bad", trouble[0], trouble.slice(1).join("; ")];
  if (alarms.length) return ["warn", counted(alarms.length, "alarm"), "see below"];
  if (!isNumber(now["optim/grad_norm"])) return ["", "no step yet", ""];
  return ["good", "yes", `Pearson ${plain(now["mismatch/pearson"])} · grad norm ${plain(now["optim/grad_norm"])} · entropy ${plain(now["entropy/mean"])}`];
}

/* The newest of each text first, with how many there are of it. */
function distinct(alarms) {
  const found = new Map();
  for (const alarm of alarms) {
    const times = (found.get(alarm.text) || { times: 0 }).times + 1;
    found.delete(alarm.text);
    found.set(alarm.text, { ...alarm, times });
  }
  return [...found.values()].reverse();
}

function alarmStrip(scope) {
  const element = h("div", { class: "strip", "data-testid": "panel-alarms", role: "alert" });
  const paint = perFrame(() => {
    const alarms = distinct((feed.snapshot && feed.snapshot.alarms) || []).slice(0, 4);
    element.hidden = !alarms.length;
    const key = alarms.map((alarm) => `${alarm.time_ms} ${alarm.times} ${alarm.text}`).join("|");
    if (element.dataset.key === key) return;
    element.dataset.key = key;
    fill(element, alarms.map((alarm) => h("div", {}, h("span", { class: "dim" }, `${clock(alarm.time_ms)} `), h("b", { class: "bad" }, "alarm "), String(alarm.text).slice(0, 600), alarm.times > 1 ? h("span", { class: "dim" }, ` (${alarm.times} times)`) : null)));
  });
  scope.add(on("snapshot", paint));
  paint();
  return element;
}

/* ---- sixteen numbers ---- */

const at = (name) => feed.latest[name];
const actors = () => processesOf(feed.snapshot, "actor").filter(alive);
const workers = () => processesOf(feed.snapshot, "reward").filter(alive);
const store = (name) => toNumber(((feed.snapshot && feed.snapshot.state) || {})[name]);

function dropped() {
  const state = (feed.snapshot && feed.snapshot.state) || {};
  return Object.entries(state).filter(([name]) => /^dropped_(?!zero_variance|drained)/.test(name)).reduce((sum, [, value]) => sum + (toNumber(value) || 0), 0);
}

function limitState(value, warn, bad) {
  return !isNumber(value) ? "" : value > bad ? "bad" : value > warn ? "warn" : "";
}

function sixteen(scope, evals) {
  const row = (id, label, options) => tile(scope, { id, label, ...options });
  const tiles = [
    row("reward", "reward", { spark: "reward/mean", names: ["reward/mean", "reward/trained_mean"], value: () => latest("reward/mean"), below: () => `trained ${latest("reward/trained_mean")} ± ${latest("reward/std")}` }),
    row("zero", "zero-variance groups", { spark: "group/zero_std_frac", names: ["group/zero_std_frac"], value: () => latest("group/zero_std_frac"), state: () => limitState(at("group/zero_std_frac"), 0.4, 0.6), hint: "share of groups whose rewards are all equal" }),
    row("eval", "evaluation", { spark: evals[0], names: evals.length ? evals : null, value: (last) => (last ? percent(last.value) : "–"), below: (last) => (evals[0] ? `${evals[0].slice(5)}${last ? ` · step ${last.step}` : ""}` : setting("eval.every") === "0" ? "off: eval.every is 0" : "no rows yet"), hint: noEval() }),
    row("length", "length, mean (tokens)", { spark: "len/mean", names: ["len/mean", "len/p99"], value: () => plain(at("len/mean")), below: () => `p99 ${plain(at("len/p99"))} · cap ${percent(at("len/truncated_frac"))}`, state: () => limitState(at("len/truncated_frac"), 0.1, 0.2), hint: "tokens of an answer; share that hit the cap" }),
    row("repetition", "repetition cuts", { spark: "rep/cut_frac", names: ["rep/cut_frac"], value: () => latest("rep/cut_frac"), state: () => limitState(at("rep/cut_frac"), 0.05, 0.2) }),
    row("entropy", "entropy", { spark: "entropy/mean", names: ["entropy/mean"], value: () => latest("entropy/mean") }),
    row("grad", "gradient norm", { spark: "optim/grad_norm", names: ["optim/grad_norm"], value: () => latest("optim/grad_norm"), below: () => `lr ${latest("optim/lr")}`, state: () => (at("optim/non_finite") > 0 ? "bad" : "") }),
    row("clip", "weights at a bound", { spark: "cispo/clip_frac", names: ["cispo/clip_frac"], value: () => latest("cispo/clip_frac"), hint: "share of tokens whose IS weight hit a bound" }),
    row("weight", "IS weight, mean", { spark: "is/mean", names: ["is/mean", "is/ess"], value: () => latest("is/mean"), below: () => `ESS ${latest("is/ess")}` }),
    row("mismatch", "max |Δ logprob| (nats)", { spark: "mismatch/max_abs_dlogprob", names: ["mismatch/max_abs_dlogprob"], value: () => plain(at("mismatch/max_abs_dlogprob")), below: () => `of ${amount(at("mismatch/tokens"), "tokens")}`, state: () => (at("mismatch/max_abs_dlogprob") > 0 ? "bad" : ""), hint: "tokens made by exactly the trained weights: must be 0" }),
    row("stale", "staleness, mean (versions)", { spark: "stale/mean", names: ["stale/mean", "stale/max"], value: () => plain(at("stale/mean"), 3), below: () => `max ${plain(at("stale/max"))} · ${plain(dropped())} dropped` }),
    row("actor-speed", "an actor generates", { names: null, value: () => { const figure = over(actors(), "actor/tokens_per_s", "least"); return figure ? amount(figure.mean, "tok/s") : "–"; },
      below: () => { const figure = over(actors(), "actor/tokens_per_s", "least"); return figure ? `${plain(figure.least, 3)} to ${plain(figure.most, 3)} · ${counted(figure.count, "actor")}` : "no actor reports"; } }),
    row("learner-speed", "the learner trains", { spark: "perf/tok_s", names: ["perf/tok_s"], value: () => latest("perf/tok_s"), below: () => (isNumber(at("perf/mfu")) ? `MFU ${percent(at("perf/mfu"))}` : `step ${latest("time/step")}`) }),
    row("idle", "idle: learner · actors", { spark: "learner/wait_s", names: ["learner/wait_s", "time/step"], value: () => { const figure = over(actors(), "actor/idle_frac"); return `${short(learnerIdle())} · ${short(figure && figure.mean)}`; },
      below: () => { const figure = over(actors(), "actor/idle_frac"); return figure ? `worst ${figure.worst} ${short(figure.most)}` : ""; } }),
    row("sync", "publishing weights", { spark: "sync/seconds", names: ["sync/seconds"], value: () => latest("sync/seconds"), below: () => { const figure = over(actors(), "actor/swap_ms"); return figure ? `pause ${duration(figure.most / 1e3)}` : ""; }, hint: "registering and sending a version; longest pause of decoding" }),
    row("scoring", "scoring", { names: null, value: () => { const figure = over(workers(), "reward/latency_ms"); return figure ? duration(figure.most / 1e3) : "–"; },
      below: () => { const late = over(workers(), "reward/timeouts"); return late ? counted(late.sum, "time-out") : "no worker"; }, state: () => { const late = over(workers(), "reward/timeouts"); return late && late.sum > 0 ? "warn" : ""; } }),
  ];
  feedSparks(scope, tiles);
  return h("div", { class: "tiles", "data-testid": "panel-numbers" }, tiles.map((one) => one.element));
}

function short(value) {
  return isNumber(value) ? `${Math.round(value * 100)} %` : "–";
}

function learnerIdle() {
  const wait = at("learner/wait_s"), step = at("time/step");
  return isNumber(wait) && step > 0 ? Math.min(1, wait / step) : null;
}

/* Two bars: how much of the step the learner waits, and how much of the time actors have no work. */
function idleBars(scope) {
  const row = (name) => {
    const bar = h("i", {}), text = h("span", { class: "dim" }, "");
    bar.style.background = "var(--c1)";
    return { bar, text, element: h("div", {}, h("div", { class: "row" }, h("span", {}, name), h("span", { class: "grow" }), text), h("div", { class: "meter" }, bar)) };
  };
  const learner = row("learner waits for rollouts"), actor = row("actors wait for work (mean)"), worst = row("idlest actor"), verdict = h("p", { class: "dim" }, "");
  const set = (one, value, text) => {
    one.bar.style.width = `${isNumber(value) ? Math.round(Math.max(0, Math.min(1, value)) * 100) : 0}%`;
    say(one.text, text);
  };
  const paint = perFrame(() => {
    if (scope.closed) return;
    const figure = over(actors(), "actor/idle_frac"), idle = learnerIdle();
    set(learner, idle, isNumber(idle) ? `${percent(idle)} of the last step` : "no step yet");
    set(actor, figure && figure.mean, figure ? percent(figure.mean) : "no actor reports");
    set(worst, figure && figure.most, figure ? `${figure.worst} ${percent(figure.most)}` : "");
    say(verdict, !figure || !isNumber(idle) ? "" : idle > 0.3 && idle > figure.mean ? "The learner starves: more actors would help." : figure.mean > 0.3 ? "Actors starve: the learner is the bottleneck, fewer actors would do." : "Both sides are busy.");
  });
  scope.add(on("snapshot", paint));
  scope.add(on("metrics", paint));
  paint();
  return panel({ id: "idle", title: "Who has nothing to do" }, h("div", {}, learner.element, actor.element, worst.element, verdict));
}

export function overview(scope, root) {
  const link = new Link(), numbers = h("div", {}), rewardBox = h("div", { class: "slot" });
  const cap = () => [{ y: store("stage/cap"), label: `cap ${plain(store("stage/cap"))}`, colour: 5 }].filter((row) => row.y > 0);
  const pearson = () => ((feed.run && feed.run.lines && feed.run.lines.pearson) || [0.987, 0.997]).map((y) => ({ y, label: String(y) }));
  fill(root, h("p", { class: "word", "data-testid": "actor-sentence" }, ACTOR_SENTENCE), questions(scope), alarmStrip(scope), numbers,
    grid(rewardBox,
      metricPanel(scope, { id: "length", title: "Length of answers", link, unit: "tokens", bands: [{ low: "len/p50", high: "len/p99", colour: 0 }], series: [{ name: "len/p50", colour: 0 }, { name: "len/p90", colour: 2 }, { name: "len/p99", colour: 1 }], lines: cap }),
      metricPanel(scope, { id: "pearson", title: "Train–inference Pearson", link, noLog: true, series: [{ name: "mismatch/pearson" }], lines: pearson, hint: "M1's paper: 0.987 before and 0.997 after the LM head in FP32", y1: 1 }),
      metricPanel(scope, { id: "entropy", title: "Entropy", link, series: [{ name: "entropy/mean" }] }),
      metricPanel(scope, { id: "grad", title: "Gradient norm", link, series: [{ name: "optim/grad_norm" }] }),
      metricPanel(scope, { id: "clip", title: "Weights at a bound", link, series: [{ name: "cispo/clip_frac" }] }),
      metricPanel(scope, { id: "time", title: "Where a step's time goes", link, unit: "s", Kind: StackedBars, noLog: true, points: 160, series: [{ name: "learner/wait_s", colour: 1 }, { name: "time/train", colour: 0 }, { name: "sync/seconds", colour: 3 }, { name: "time/checkpoint", colour: 4 }] }),
      idleBars(scope)));
  evalNames().then((evals) => {
    if (scope.closed) return;
    fill(numbers, sixteen(scope, evals));
    const series = [{ name: "reward/mean", label: "train", colour: 0 }, ...evals.map((name, i) => ({ name, label: name.slice(5).replace(/\/[^/]*$/, " (eval)"), colour: i + 1, sparse: true }))];
    fill(rewardBox, metricPanel(scope, { id: "reward", title: evals.length ? "Reward and evaluation" : "Reward", link, unit: "", series, noLog: true }));
  });
}


