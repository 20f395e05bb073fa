/* page_fleet.js - a row a process; least, mean and greatest of each role, the worst one marked; drain and scale. */
import { h, fill, perFrame, say } from "./dom.js";
import { amount, bytes, isNumber, percent, plain, toNumber } from "./format.js";
import { confirmAndPost } from "./api.js";
import { alive, feed, on, processesOf, roleOf, stat, trouble } from "./feed.js";
import { empty, grid, historyPanel, panel } from "./panel.js";
import { ACTOR_SENTENCE } from "./page_overview.js";

const DEGREE = (value) => (isNumber(value) ? `${Math.round(value)} °C` : "–");
/* title, figure of a process, how it is shown, which end is the worst ("" none), roles that have it */
const COLUMNS = [
  { title: "version", of: (p) => toNumber(p.version) ?? stat(p, "actor/policy_version"), show: plain },
  { title: "lag", of: (p) => toNumber(p.lag), show: plain, worst: "most", hint: "versions behind the learner" },
  { title: "tok/s", of: (p) => stat(p, "actor/tokens_per_s") ?? (roleOf(p) === "learner" ? feed.latest["perf/tok_s"] : null), show: plain, worst: "least" },
  { title: "idle", of: (p) => stat(p, "actor/idle_frac"), show: percent, worst: "most" },
  { title: "running", of: (p) => stat(p, "actor/sequences_running"), show: plain, hint: "sequences in the batch" },
  { title: "waiting", of: (p) => stat(p, "actor/sequences_waiting") ?? stat(p, "reward/waiting"), show: plain, hint: "leases held back for newer weights; items in a reward worker" },
  { title: "KV free", of: (p) => stat(p, "actor/kv_pages_free"), show: plain, worst: "least", hint: "pages of the KV cache" },
  { title: "swap", of: (p) => stat(p, "actor/swap_ms"), show: (v) => amount(v, "ms"), worst: "most", hint: "pause of decoding in the last swap of weights" },
  { title: "latency", of: (p) => stat(p, "reward/latency_ms"), show: (v) => amount(v, "ms"), worst: "most", hint: "of the last scored item" },
  { title: "GPU", of: (p) => stat(p, "gpu_busy_ratio"), show: percent, worst: "least", hint: "busy" },
  { title: "GPU mem", of: (p) => stat(p, "gpu_memory_used_bytes"), show: bytes, worst: "most" },
  { title: "temp", of: (p) => stat(p, "gpu_temperature_c"), show: DEGREE, worst: "most" },
];

const ORDER = ["store", "learner", "actor", "reward", "eval", "dash", "redis"];

async function drain(process) {
  await confirmAndPost(`Drain ${process}`, `${process} gets no new work, hands back what it holds with the tokens so far, and leaves. It stays out until the fleet is scaled.`, "drain", { process });
}

function scaleControls() {
  const row = (key, label) => {
    const field = h("input", { type: "number", min: "0", max: "4096", "aria-label": `wanted ${label}`, "data-testid": `scale-${key}` });
    const button = h("button", { type: "button", "data-testid": `scale-${key}-go`, onclick: async () => {
      const wanted = Number(field.value);
      if (field.value === "" || !Number.isInteger(wanted) || wanted < 0) return field.focus();
      await confirmAndPost(`Scale to ${wanted} ${label}`, `The supervisor starts ${label} at free indices or drains those with the highest, until there are ${wanted}.`, "scale", { [key]: wanted });
    } }, "Scale");
    return { key, field, button, element: h("label", {}, label, field, button) };
  };
  const rows = [row("actors", "actors"), row("reward_workers", "reward workers")];
  const why = h("span", { class: "dim" }, "");
  return { element: h("div", { class: "row filters", "data-testid": "scale" }, rows.map((one) => one.element), why),
    update(wanted, writable) {
      for (const one of rows) {
        if (document.activeElement !== one.field && isNumber(toNumber(wanted[one.key]))) one.field.value = String(wanted[one.key]);
        one.field.disabled = one.button.disabled = !writable;
      }
      say(why, writable ? "" : "the run takes no orders now: it is over, or its store does not answer");
    } };
}

/* The rows of one role, and above them least, mean and greatest when there are several. */
function roleRows(role, processes, columns, writable) {
  const live = processes.filter(alive), rows = [];
  const figures = columns.map((column) => live.map((process) => column.of(process)).filter(isNumber));
  const worst = columns.map((column, i) => (column.worst && figures[i].length > 1 && Math.min(...figures[i]) !== Math.max(...figures[i]) ? (column.worst === "most" ? Math.max(...figures[i]) : Math.min(...figures[i])) : null));
  for (const process of processes) {
    rows.push(h("tr", { "data-testid": `process-${process.name}` },
      h("td", {}, h("a", { href: `#/events?process=${encodeURIComponent(process.name)}`, title: "its log" }, process.name)),
      h("td", { class: trouble(process, feed.run) ? "bad" : alive(process) ? "" : "dim" }, process.state || "–"),
      columns.map((column, i) => { const value = column.of(process); return h("td", { class: `n${worst[i] !== null && value === worst[i] ? " worst" : ""}` }, isNumber(value) ? column.show(value) : ""); }),
      h("td", { class: "n" }, plain(toNumber(process.restarts))), h("td", { class: "n" }, process.pid > 0 ? String(process.pid) : ""),
      h("td", {}, [process.host || process.node, process.device].filter(Boolean).join(" ")), h("td", { class: "wrap dim end" }, process.end || ""),
      h("td", {}, (role === "actor" || role === "reward") && alive(process) && process.state !== "leaving" ? h("button", { type: "button", class: "small", disabled: !writable, "data-testid": `drain-${process.name}`, onclick: () => drain(process.name) }, "drain") : "")));
  }
  if (live.length > 1)
    for (const [name, of] of [["min", (list) => Math.min(...list)], ["mean", (list) => list.reduce((a, b) => a + b, 0) / list.length], ["max", (list) => Math.max(...list)]])
      rows.push(h("tr", { class: "sum" }, h("td", {}, `${role} ${name}`), h("td", {}, ""), columns.map((column, i) => h("td", { class: "n" }, figures[i].length > 1 ? column.show(of(figures[i])) : "")), h("td", { colspan: "5" }, "")));
  return rows;
}

export function fleet(scope, root) {
  const body = h("div", { class: "scroll" }), scale = scaleControls();
  let shown = "";
  const paint = perFrame(() => {
    if (scope.closed) return;
    const all = processesOf(feed.snapshot), writable = Boolean(feed.run && feed.run.writable);
    scale.update((feed.snapshot && feed.snapshot.fleet && feed.snapshot.fleet.wanted) || {}, writable);
    if (!all.length) return void fill(body, empty(feed.run && feed.run.state === "over" ? "the run is over and left no table of its processes (processes.json)" : "no process known yet: the supervisor writes processes.json within a second"));
    const columns = COLUMNS.filter((column) => all.some((process) => isNumber(column.of(process))));
    const key = JSON.stringify([writable, feed.run && feed.run.state, all.map((process) => [process.name, process.state, process.pid, process.restarts, process.end, columns.map((column) => column.of(process))])]);
    if (key === shown || body.querySelector("button:active")) return;
    shown = key;
    const roles = [...new Set(all.map(roleOf))].sort((a, b) => (ORDER.indexOf(a) + 1 || 99) - (ORDER.indexOf(b) + 1 || 99));
    const focused = body.contains(document.activeElement) ? document.activeElement.dataset.testid : null;
    fill(body, h("table", { "data-testid": "fleet-table" },
      h("thead", {}, h("tr", {}, h("th", {}, "process"), h("th", {}, "state"), columns.map((column) => h("th", { class: "n", title: column.hint || null }, column.title)), h("th", { class: "n" }, "restarts"), h("th", { class: "n" }, "pid"), h("th", {}, "where"), h("th", {}, "last end"), h("th", {}, ""))),
      h("tbody", {}, roles.flatMap((role) => roleRows(role, all.filter((process) => roleOf(process) === role), columns, writable)))));
    if (focused) body.querySelector(`[data-testid="${focused}"]`)?.focus();
  });
  fill(root, h("p", { class: "word" }, ACTOR_SENTENCE), panel({ id: "fleet", title: "Processes", wide: true }, scale.element, body), h("div", { class: "gap" }),
    grid(historyPanel(scope, { id: "fleet-speed", title: "Tokens a second, slowest to fastest actor", unit: "tok/s", bands: [{ low: "actors/tokens_per_s/min", high: "actors/tokens_per_s/max", colour: 0 }],
      series: [{ name: "actors/tokens_per_s/mean", label: "mean", colour: 0 }, { name: "actors/tokens_per_s/min", label: "slowest", colour: 1 }], empty: () => "no actor reports its speed" }),
    historyPanel(scope, { id: "fleet-idle", title: "Idle share of actors", unit: "share", bands: [{ low: "actors/idle_frac/min", high: "actors/idle_frac/max", colour: 0 }],
      series: [{ name: "actors/idle_frac/mean", label: "mean", colour: 0 }, { name: "actors/idle_frac/max", label: "idlest", colour: 1 }], empty: () => "no actor reports" }),
    historyPanel(scope, { id: "fleet-running", title: "Sequences running", series: [{ name: "actors/running/mean", label: "mean", colour: 0 }, { name: "actors/running/min", label: "least", colour: 1 }, { name: "actors/running/sum", label: "all", colour: 2 }], empty: () => "no actor reports" })));
  scope.add(on("snapshot", paint));
  scope.add(on("link", paint));
  paint();
}
