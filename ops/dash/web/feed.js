/* feed.js - the live state of the run: one event stream for all pages, and what it said last.
 *
 * Everything kept has a limit, so that a tab can stay open for weeks. Listeners: metrics, event,
 * rollout, snapshot, histograms, link (the stream came or went), reopened (load again what you show). */
import { get } from "./api.js";
import { isNumber, toNumber } from "./format.js";

const EVENTS_KEPT = 400, HISTORY_KEPT = 600, TEXT_KEPT = 2000, QUIET_S = 25; /* the server's beat comes every 10 s, also when nothing happens */

export const feed = {
  run: null, snapshot: null, latest: {}, events: [], histograms: null,
  history: { wall: [], columns: {} }, /* of snapshots, one a second at most, since the page was opened */
  settings: null, heard: 0, open: false, failed: "",
};

const listeners = {};

/* The result stops it. */
export function on(kind, call) {
  (listeners[kind] ||= new Set()).add(call);
  return () => listeners[kind].delete(call);
}

function tell(kind, value) {
  for (const call of listeners[kind] || []) call(value);
}

/* null while data comes; else a sentence for the header. */
export function staleSentence() {
  if (feed.failed && !feed.run) return feed.failed;
  if (!feed.run) return null;
  const quiet = (performance.now() - feed.heard) / 1e3;
  if (!feed.open && quiet < 1.5) return null; /* it has only begun to open */
  if (!feed.open) return `connection lost, no data for ${Math.round(quiet)} s; trying again`;
  if (feed.run.state === "over" || quiet < QUIET_S) return null;
  return `no data for ${Math.round(quiet)} s`;
}

/* ---- what comes in ---- */

function takeMetrics(value) {
  for (const [name, number] of Object.entries(value.series || {})) if (isNumber(number)) feed.latest[name] = number;
  if (feed.snapshot && value.step > (feed.snapshot.step || 0)) feed.snapshot.step = value.step;
  tell("metrics", value);
}

function takeEvent(value) {
  const kept = { time_ms: toNumber(value.time_ms), kind: String(value.kind || ""), text: String(value.text || "").slice(0, TEXT_KEPT) };
  feed.events.push(kept);
  if (feed.events.length > EVENTS_KEPT) feed.events.splice(0, feed.events.length - EVENTS_KEPT);
  tell("event", kept);
}

function takeSnapshot(value) {
  feed.snapshot = value;
  Object.assign(feed.latest, value.latest || {});
  keepHistory(value);
  tell("snapshot", value);
}

/* Figures that no step has: of processes and of the store. */
function keepHistory(snapshot) {
  const { history } = feed, wall = (snapshot.time_ms || Date.now()) / 1e3, last = history.wall[history.wall.length - 1];
  if (wall < last) { /* the server's clock was set back */
    history.wall = [];
    history.columns = {};
  } else if (wall - last < 1) return;
  const figures = fleetFigures(snapshot);
  for (const name of Object.keys(figures)) history.columns[name] ||= new Array(history.wall.length).fill(null);
  history.wall.push(wall);
  for (const [name, column] of Object.entries(history.columns)) column.push(figures[name] ?? null);
  if (history.wall.length <= HISTORY_KEPT) return;
  history.wall.shift();
  for (const column of Object.values(history.columns)) column.shift();
}

/* ---- the fleet ---- */

export function processesOf(snapshot, role) {
  const all = (snapshot && snapshot.fleet && snapshot.fleet.processes) || [];
  return role ? all.filter((process) => roleOf(process) === role) : all;
}

export function roleOf(process) {
  return process.role || String(process.name || "").split(".")[0];
}

/* A figure of one process as a number, null when it has none. */
export function stat(process, name) {
  return toNumber((process.stats || {})[name]);
}

/* {least, mean, most, sum, count, worst process} of a figure over processes that have it. */
export function over(processes, name, worstIs = "most") {
  const rows = processes.map((process) => [stat(process, name), process]).filter(([value]) => value !== null);
  if (!rows.length) return null;
  const values = rows.map(([value]) => value), sum = values.reduce((a, b) => a + b, 0);
  const least = Math.min(...values), most = Math.max(...values);
  const worst = rows.find(([value]) => value === (worstIs === "most" ? most : least))[1];
  return { least, most, sum, mean: sum / rows.length, count: rows.length, worst: worst.name };
}

export function alive(process) {
  return process.pid > 0 && process.state !== "ended" && process.state !== "out";
}

/* Why a process of a run that goes on needs a look; "" when it does not: it does nothing, has gone, or died. One that waits for
 * its first start has no end yet. */
export function trouble(process, run) {
  const { state = "", end = "" } = process;
  if (!run || run.state === "over") return "";
  const died = end !== "" && end !== "exit 0" && (state === "waiting" || (state === "ended" && run.state === "running"));
  return died ? `${state} (${end})` : /stopped|cut off|silent|gone/.test(state) ? state : "";
}

/* Did all that was asked of it: the learner of a run that waits for its last evaluation, and whoever is drained. */
export function done(process) {
  return process.state === "out" || (process.state === "ended" && process.end === "exit 0");
}

function fleetFigures(snapshot) {
  const actors = processesOf(snapshot, "actor").filter(alive), rewards = processesOf(snapshot, "reward").filter(alive);
  const state = snapshot.state || {}, figures = {};
  for (const [name, key, worst] of [["actor/tokens_per_s", "tokens_per_s", "least"], ["actor/idle_frac", "idle_frac", "most"], ["actor/swap_ms", "swap_ms", "most"],
    ["actor/sequences_running", "running", "least"], ["actor/kv_pages_free", "kv_free", "least"]]) {
    const figure = over(actors, name, worst);
    if (figure) Object.assign(figures, { [`actors/${key}/min`]: figure.least, [`actors/${key}/mean`]: figure.mean, [`actors/${key}/max`]: figure.most, [`actors/${key}/sum`]: figure.sum });
  }
  for (const name of ["reward/latency_ms", "reward/waiting", "reward/timeouts"]) {
    const figure = over(rewards, name);
    if (figure) figures[`workers/${name.slice(7)}`] = name === "reward/latency_ms" ? figure.most : figure.sum;
  }
  for (const name of ["samples_queued", "leases_live", "samples_unscored", "groups_open", "groups_eligible"]) {
    const value = toNumber(state[name]);
    if (value !== null) figures[`store/${name}`] = value;
  }
  return figures;
}

/* ---- the stream ---- */

let source = null, again = null, opened = 0;

function connect() {
  clearTimeout(again);
  source = new EventSource("api/stream");
  const parsed = (call) => (message) => {
    feed.heard = performance.now();
    let value;
    try {
      value = JSON.parse(message.data);
    } catch {
      return; /* a half message; the next one counts */
    }
    call(value);
  };
  source.addEventListener("open", () => {
    feed.open = true;
    feed.heard = performance.now();
    tell("link");
    if (opened++ > 0) reopen();
  });
  source.addEventListener("beat", parsed(() => {})); /* says that the stream lives */
  source.addEventListener("reset", reopen); /* messages were lost, or the run went back to a checkpoint */
  source.addEventListener("metrics", parsed(takeMetrics));
  source.addEventListener("event", parsed(takeEvent));
  source.addEventListener("rollout", parsed((value) => tell("rollout", value)));
  source.addEventListener("snapshot", parsed(takeSnapshot));
  source.addEventListener("histograms", parsed((value) => {
    feed.histograms = value;
    tell("histograms", value);
  }));
  source.addEventListener("error", () => {
    feed.open = false;
    tell("link");
    if (source.readyState !== EventSource.CLOSED) return; /* it tries again by itself, with Last-Event-ID */
    source.close();
    again = setTimeout(connect, 2000);
  });
}

function reopen() {
  refresh().then(() => tell("reopened"));
}

async function refresh() {
  try {
    const [run, snapshot, events] = await Promise.all([get("run"), get("snapshot"), get("events", { n: 200 })]);
    feed.run = run;
    feed.failed = "";
    feed.heard = performance.now();
    feed.events = [];
    for (const event of events.events || []) takeEvent(event);
    takeSnapshot(snapshot);
  } catch (error) {
    feed.failed = error.message;
  }
  tell("link");
}

/* Value of a setting as text, null while it is not known. */
export function setting(key) {
  const row = feed.settings && feed.settings.find((one) => one.key === key);
  return row ? String(row.value) : null;
}

export async function startFeed() {
  await refresh();
  connect();
  get("config").then((config) => { feed.settings = config.settings || []; tell("link"); }, () => {});
  setInterval(async () => {
    if (document.hidden) return;
    try {
      feed.run = await get("run");
    } catch { /* the stream says that the server is away */ }
    tell("link");
  }, 10000);
}
