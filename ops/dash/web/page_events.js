/* page_events.js - what happened (events) and what processes wrote (logs). */
import { h, fill, keepAddress, perFrame } from "./dom.js";
import { get } from "./api.js";
import { clock, dateTime } from "./format.js";
import { feed, on, processesOf } from "./feed.js";
import { empty, panel } from "./panel.js";

const BAD = /alarm|error|death|dead|killed|fail|crash|lost/;

function eventList(scope) {
  const body = h("div", { class: "scroll list" }), field = h("input", { type: "search", placeholder: "text or kind  ( / )", "aria-label": "filter events", "data-filter": true, "data-testid": "events-filter", oninput: () => paint() });
  const paint = perFrame(() => {
    if (scope.closed) return;
    const text = field.value.toLowerCase();
    const rows = feed.events.filter((event) => (!text || `${event.kind} ${event.text}`.toLowerCase().includes(text))).reverse();
    const alarms = ((feed.snapshot && feed.snapshot.alarms) || []).map((alarm) => ({ ...alarm, kind: "alarm" })).filter((alarm) => !rows.some((row) => row.text === alarm.text) && (!text || alarm.text.toLowerCase().includes(text))).reverse();
    const shown = [...rows, ...alarms];
    if (!shown.length) return void fill(body, empty(text ? "no event fits" : "no event yet: no death, no error, no alarm"));
    fill(body, h("table", { "data-testid": "events-table" }, h("tbody", {}, shown.map((event) => h("tr", {}, h("td", { class: "dim", title: dateTime(event.time_ms) }, clock(event.time_ms)), h("td", { class: BAD.test(event.kind) ? "bad" : "" }, event.kind), h("td", { class: "wrap" }, event.text))))));
  });
  scope.add(on("event", paint));
  scope.add(on("snapshot", paint));
  scope.add(on("reopened", paint));
  paint();
  return panel({ id: "events", title: "Events", wide: true, tools: field }, body);
}

function logs(scope, parameters) {
  const body = h("pre", { class: "log mono", tabindex: "0", "aria-label": "log lines", "data-testid": "log-lines" }), chosen = parameters.get("process") || "learner.0";
  const choice = h("select", { "aria-label": "process", "data-testid": "log-process", onchange: () => { keepAddress("events", new URLSearchParams({ process: choice.value })); last = ""; load(); } });
  const field = h("input", { type: "search", placeholder: "only lines with", "aria-label": "filter log lines", oninput: () => draw() });
  let lines = [], last = "", trouble = "";
  const names = () => {
    const known = [...new Set([chosen, ...processesOf(feed.snapshot).map((process) => process.name)])], now = choice.value || chosen;
    if (choice.options.length === known.length) return;
    fill(choice, known.map((name) => h("option", { value: name, selected: name === now }, name)));
  };
  const draw = () => {
    const text = field.value.toLowerCase(), shown = lines.filter((line) => !text || line.toLowerCase().includes(text));
    const end = body.scrollTop + body.clientHeight >= body.scrollHeight - 30;
    fill(body, shown.length ? shown.map((line) => h("span", { class: (/\b(ERROR|WARN)\b/i.exec(line) || [""])[0].toUpperCase() }, `${line}\n`)) : trouble || (lines.length ? "no line fits" : "this process has written nothing"));
    if (end) body.scrollTop = body.scrollHeight;
  };
  const load = async () => {
    names();
    try {
      lines = (await get("logs", { process: choice.value || chosen, n: 300 })).lines || [];
      trouble = "";
    } catch (error) {
      [lines, trouble] = [[], error.message];
    }
    const now = `${trouble}${lines.length}${lines[lines.length - 1]}`;
    if (scope.closed || now === last) return;
    last = now;
    draw();
  };
  scope.every(2000, load);
  return panel({ id: "logs", title: "Log, last 300 lines", wide: true, tools: h("span", { class: "row" }, choice, field) }, body);
}


export function events(scope, root, parameters) {
  fill(root, eventList(scope), h("div", { class: "gap" }), logs(scope, parameters));
}

