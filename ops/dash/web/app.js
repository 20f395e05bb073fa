/* app.js - the frame around all pages: header, navigation by hash (#/rollouts?reward_min=1), keys, theme. */
import { h, fill, say, Scope, perFrame, hideNote } from "./dom.js";
import { duration } from "./format.js";
import { feed, on, staleSentence, startFeed } from "./feed.js";
import { nextTheme, onTheme, themeNow } from "./theme.js";
import { overview } from "./page_overview.js";
import { fleet } from "./page_fleet.js";
import { rollouts } from "./page_rollouts.js";
import { policy } from "./page_policy.js";
import { staleness } from "./page_staleness.js";
import { lengths } from "./page_lengths.js";
import { tasks, rewards } from "./page_tasks.js";
import { performancePage } from "./page_performance.js";
import { settings } from "./page_settings.js";
import { events } from "./page_events.js";
import { chartBuilder } from "./page_chart.js";

/* key: the digit that opens it. open(scope, root, parameters) fills root; the scope ends with the page. */
const PAGES = [
  { path: "overview", title: "Overview", key: "1", open: overview }, { path: "fleet", title: "Fleet", key: "2", open: fleet },
  { path: "rollouts", title: "Rollouts", key: "3", open: rollouts }, { path: "policy", title: "Policy", key: "4", open: policy },
  { path: "staleness", title: "Staleness", key: "5", open: staleness }, { path: "lengths", title: "Lengths", key: "6", open: lengths },
  { path: "tasks", title: "Tasks", key: "7", open: tasks }, { path: "rewards", title: "Rewards", key: "8", open: rewards },
  { path: "performance", title: "Performance", key: "9", open: performancePage }, { path: "settings", title: "Settings", key: "s", open: settings },
  { path: "events", title: "Events, logs", key: "e", open: events }, { path: "chart", title: "Chart", key: "c", open: chartBuilder },
];

const by = (id) => document.getElementById(id);
let scope = null, shown = "";

/* ---- where we are ---- */

function where() {
  const [path, search] = location.hash.replace(/^#\/?/, "").split("?");
  return { page: PAGES.find((page) => page.path === path) || PAGES[0], parameters: new URLSearchParams(search || "") };
}

function go() {
  const { page, parameters } = where();
  if (scope && scope.update && shown === page.path) {
    scope.update(parameters);
    return;
  }
  if (scope) scope.close();
  hideNote();
  scope = new Scope();
  shown = page.path;
  document.title = `${page.title} · ${(feed.run && feed.run.name) || "weir"}`;
  for (const link of by("nav").children) {
    const current = link.dataset.path === page.path;
    if (current) {
      link.setAttribute("aria-current", "page");
      link.scrollIntoView({ block: "nearest", inline: "nearest" });
    } else link.removeAttribute("aria-current");
  }
  const root = h("div", { "data-testid": `page-${page.path}` });
  fill(by("main"), root);
  scrollTo(0, 0);
  page.open(scope, root, parameters);
  performance.clearMeasures();
}

/* ---- header ---- */

const header = perFrame(() => {
  const { run, snapshot } = feed, stale = staleSentence();
  by("stale").hidden = !stale;
  say(by("stale"), stale || "");
  if (!run) return;
  say(by("run-name"), run.name || "");
  say(by("run-state"), run.state || "");
  by("run-state").dataset.state = run.state || "";
  const step = snapshot ? snapshot.step || 0 : 0, state = (snapshot && snapshot.state) || {};
  const facts = [["step", `${step}${run.steps ? ` / ${run.steps}` : ""}`], ["version", String(state.version ?? step)]];
  if (run.started_ms && run.state !== "over") facts.push(["up", duration(Math.floor((Date.now() - run.started_ms) / 1e3)), "less"]);
  if (snapshot && snapshot.eta_s !== null && snapshot.eta_s !== undefined && run.state !== "over") facts.push(["left", duration(Math.round(snapshot.eta_s))]);
  if (run.attempt > 1) facts.push(["attempt", String(run.attempt), "less"]);
  if (run.host) facts.push(["on", run.host, "less"]);
  if (!run.redis && run.state !== "over") facts.push(["without Redis:", "from the run folder"]);
  const text = facts.map((fact) => fact.join(" ")).join("|");
  if (by("run-facts").dataset.text === text) return;
  by("run-facts").dataset.text = text;
  fill(by("run-facts"), facts.map(([name, value, less], i) => h("span", { class: less || null }, i ? " · " : "", `${name} `, h("b", {}, value))));
});

function themeButton() {
  const now = themeNow();
  say(by("theme"), { auto: "auto", dark: "dark", light: "light" }[now]);
  by("theme").setAttribute("aria-label", `Theme: ${now}; click for the next`);
}

/* ---- help ---- */

const WORDS = [["actor", "a process that generates text. Elsewhere the word means the policy being trained; here that is the learner's."],
  ["learner", "the process that trains the weights and sends each new version to the actors."],
  ["rollout", "one answer to a prompt; a group is all answers to the same prompt."],
  ["staleness", "the learner's version when it trains a rollout, minus the version that wrote its oldest token."],
  ["IS weight", "how much more likely the trained weights find a token than those that wrote it; CISPO clips it and keeps the gradient."],
  ["zero-variance group", "all its rewards are equal: it teaches nothing and is replaced."]];
const KEYS = [["1 – 9", "pages"], ["s e c", "settings, events and logs, chart"], ["/", "the filter of the page"], ["j k", "next and previous rollout"], ["n p", "next and previous fork in a rollout"],
  ["t", "theme"], ["drag", "zoom; all charts of a page follow"], ["double click, 0", "whole run"], ["← →", "cursor of the chart in focus; with shift ten steps"], ["?", "this help"]];

function help() {
  if (document.querySelector("dialog[open]")) return;
  const dialog = h("dialog", { class: "dialog", "data-testid": "help", "aria-label": "Help", onclose: () => dialog.remove() },
    h("h2", {}, "Keys"), h("dl", {}, KEYS.map(([key, text]) => [h("dt", {}, h("kbd", {}, key)), h("dd", {}, text)])),
    h("h2", {}, "Words"), h("dl", {}, WORDS.map(([word, text]) => [h("dt", {}, word), h("dd", {}, text)])),
    h("form", { method: "dialog" }, h("button", { type: "submit" }, "Close")));
  document.body.append(dialog);
  dialog.showModal();
}

function key(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
  const target = event.target;
  if (target instanceof HTMLInputElement || target instanceof HTMLSelectElement || target instanceof HTMLTextAreaElement) {
    if (event.key === "Escape") target.blur();
    return;
  }
  const page = PAGES.find((one) => one.key === event.key);
  if (page) location.hash = `#/${page.path}`;
  else if (event.key === "?") help();
  else if (event.key === "t") nextTheme();
  else if (event.key === "/") {
    const field = by("main").querySelector("[data-filter]");
    if (!field) return;
    field.focus();
    if (field.select) field.select();
  } else if (!(scope && scope.key && scope.key(event.key))) return;
  event.preventDefault();
}

/* ---- start ---- */

fill(by("nav"), PAGES.map((page) => h("a", { href: `#/${page.path}`, "data-path": page.path, "data-testid": `nav-${page.path}` }, page.title, h("span", { "aria-hidden": "true" }, page.key))));
by("theme").addEventListener("click", nextTheme);
by("help").addEventListener("click", help);
document.addEventListener("keydown", key);
window.addEventListener("hashchange", go);
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault();
  by("main").focus();
});
onTheme(themeButton);
themeButton();
for (const kind of ["link", "snapshot", "metrics"]) on(kind, header);
setInterval(header, 1000);
if (new URLSearchParams(location.search).has("token")) history.replaceState(null, "", location.pathname + location.hash);
startFeed().then(go);
