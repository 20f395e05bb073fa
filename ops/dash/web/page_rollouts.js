/* page_rollouts.js - what the model writes: a live list with filters, and one rollout with its group. */
import { h, fill, keepAddress, perFrame, say } from "./dom.js";
import { get } from "./api.js";
import { isNumber, plain, toNumber } from "./format.js";
import { feed, on } from "./feed.js";
import { empty, panel } from "./panel.js";
import { MODES, RolloutText, legendOf } from "./rollout_text.js";

const KEPT = 300, FINISHES = ["eos", "turn", "length", "repetition", "stop", "abort"], AT_ONCE = 100, SIBLINGS_MOST = 64, LOOK_AGAIN_MS = 3000;

/* tokens is a number in summaries and a list in whole rollouts; one form for both. */
function sound(rollout) {
  const detail = Array.isArray(rollout.tokens) ? rollout.tokens : null;
  return { ...rollout, tokens_detail: detail, count: detail ? detail.length : toNumber(rollout.tokens), reward: toNumber(rollout.reward) };
}

/* As the server filters (rollout_list.c), for those that come live. */
function fits(rollout, filter) {
  if (filter.get("source") && rollout.source !== filter.get("source")) return false;
  if (filter.get("finish") && rollout.finish !== filter.get("finish")) return false;
  if (filter.get("group") && String(rollout.group) !== filter.get("group")) return false;
  const least = toNumber(filter.get("reward_min")), most = toNumber(filter.get("reward_max")), text = filter.get("text");
  if (least !== null && !(toNumber(rollout.reward) >= least)) return false;
  if (most !== null && !(toNumber(rollout.reward) <= most)) return false;
  return !text || String(rollout.excerpt || "").toLowerCase().includes(text.toLowerCase()) || String(rollout.prompt_id) === text || String(rollout.group) === text;
}

/* ---- the list ---- */

class List {
  constructor(scope, choose) {
    this.rows = [];
    this.filter = new URLSearchParams();
    this.choose = choose;
    this.current = null;
    this.element = h("div", { class: "list", "data-testid": "rollout-list" });
    this.more = h("button", { type: "button", onclick: () => this.load(true) }, "older");
    this.paint = perFrame(() => { if (!scope.closed) this.draw(); });
    scope.add(on("rollout", (rollout) => {
      if (this.paused || !fits(rollout, this.filter) || this.rows.some((row) => row.id === rollout.id)) return;
      const most = Math.max(KEPT, this.rows.length); /* older ones that were asked for stay */
      this.rows.unshift(sound(rollout));
      this.rows.length = Math.min(this.rows.length, most);
      this.paint();
    }));
    scope.add(on("reopened", () => this.load(false)));
  }

  async load(older) {
    const filter = Object.fromEntries(this.filter);
    delete filter.id;
    try {
      const answer = await get("rollouts", { n: AT_ONCE, ...filter, before: older && this.rows.length ? this.rows[this.rows.length - 1].id : null });
      const rows = (answer.rollouts || []).map(sound);
      this.rows = older ? [...this.rows, ...rows].slice(-2 * KEPT) : rows;
      this.sources = answer.sources || [];
      this.ended = rows.length < AT_ONCE;
      this.trouble = "";
    } catch (error) {
      this.trouble = error.message;
    }
    this.draw();
    if (this.onLoad) this.onLoad();
  }

  draw() {
    if (this.trouble) return void fill(this.element, empty(this.trouble));
    if (!this.rows.length) return void fill(this.element, empty([...this.filter.keys()].some((key) => key !== "id" && this.filter.get(key)) ? "no rollout fits the filter" : "no rollout yet: one appears when it is finished and scored"));
    const focus = document.activeElement && this.element.contains(document.activeElement) ? document.activeElement.dataset.id : null;
    const known = new Map([...this.element.querySelectorAll("button.item")].map((item) => [item.dataset.id, item]));
    const items = this.rows.map((row) => {
      const item = known.get(String(row.id)) || this.item(row);
      if ((item.getAttribute("aria-current") === "true") !== (row.id === this.current)) item.setAttribute("aria-current", String(row.id === this.current));
      return item;
    });
    this.element.replaceChildren(...items, this.ended ? "" : this.more);
    if (focus) this.element.querySelector(`[data-id="${CSS.escape(focus)}"]`)?.focus({ preventScroll: true });
  }

  item(row) {
    const good = isNumber(row.reward) ? (row.reward > 0 ? "good" : "bad") : "dim";
    return h("button", { type: "button", class: "item", "data-id": String(row.id), onclick: () => this.choose(row.id) },
      h("b", { class: row.score && row.score !== "ok" && row.score !== "fail" ? "warn" : good, title: row.score ? `score: ${row.score}` : "reward" }, row.score && row.score !== "ok" && row.score !== "fail" ? row.score : plain(row.reward, 3)),
      h("b", { title: "tokens" }, plain(row.count)), h("span", { class: row.finish === "eos" ? "dim" : "warn", title: "how it ended" }, row.finish || ""),
      h("span", { class: "dim" }, `${row.source || ""} g${row.group}·${row.sample}${row.version_max !== undefined ? ` v${row.version_min === row.version_max ? row.version_max : `${row.version_min}–${row.version_max}`}` : ""}`),
      h("span", { class: "excerpt" }, row.excerpt || ""));
  }

  move(by) {
    const at = this.rows.findIndex((row) => row.id === this.current), next = this.rows[at + by];
    if (!next) return;
    this.choose(next.id);
    this.element.querySelector(`[data-id="${CSS.escape(String(next.id))}"]`)?.scrollIntoView({ block: "nearest" });
  }
}

/* ---- one rollout ---- */

function breakdown(detail) {
  let value = detail;
  if (typeof value === "string") try { value = JSON.parse(value); } catch { value = {}; }
  const rows = Object.entries(value || {});
  if (!rows.length) return h("p", { class: "dim" }, "the plugin gives no breakdown");
  return h("table", { class: "breakdown", "data-testid": "reward-breakdown" }, h("tbody", {}, rows.slice(0, 40).map(([name, part]) => h("tr", {}, h("td", {}, name), h("td", { class: isNumber(part) ? "n" : "wrap" }, isNumber(part) ? plain(part) : typeof part === "object" ? JSON.stringify(part) : String(part))))));
}

class Pane {
  constructor(list) {
    this.list = list;
    this.mode = "logprob";
    this.text = new RolloutText();
    this.body = h("div", { "data-testid": "rollout-pane" }, empty("choose a rollout"));
    this.element = h("section", { class: "panel pane", "aria-label": "One rollout", "data-testid": "panel-rollout" }, this.body);
  }

  async open(id) {
    this.id = id;
    clearTimeout(this.again);
    let rollout;
    try {
      rollout = sound(await get("rollout", { id }));
    } catch (error) {
      if (this.id === id) fill(this.body, empty(error.message));
      return;
    }
    if (this.id !== id) return; /* another one was chosen meanwhile */
    this.rollout = rollout;
    this.draw();
    if (!rollout.tokens_detail && feed.run && feed.run.state === "running") this.again = setTimeout(() => this.look(id, 20), LOOK_AGAIN_MS);
  }

  /* Figures of tokens come when the rollout has been trained: looks for them while it is shown. */
  async look(id, tries) {
    if (this.id !== id || this.closed) return;
    const rollout = document.hidden ? null : await get("rollout", { id }).then(sound, () => null);
    if (this.id !== id || this.closed) return;
    if (rollout && rollout.tokens_detail) {
      this.rollout = rollout;
      this.draw();
    } else if (tries > 0) this.again = setTimeout(() => this.look(id, tries - 1), LOOK_AGAIN_MS);
  }

  draw() {
    const { rollout } = this, tokens = rollout.tokens_detail || [], fact = (name, value) => h("span", { class: "dim" }, `${name} `, h("b", {}, value));
    const modes = h("div", { class: "row", role: "group", "aria-label": "colours of tokens" }, MODES.map(([mode, name]) => h("button", { type: "button", class: "small", "data-testid": `mode-${mode}`, "aria-pressed": String(mode === this.mode), disabled: !tokens.length && mode !== "plain", onclick: () => {
      this.mode = mode;
      this.draw();
      this.body.querySelector(`[data-testid="mode-${mode}"]`).focus();
    } }, name)));
    const siblings = (rollout.siblings || []).filter((id) => id !== rollout.id);
    const side = h("div", {});
    const siblingsButton = h("button", { type: "button", class: "small", "data-testid": "siblings-button", disabled: !siblings.length, onclick: () => this.siblings(side, [rollout.id, ...siblings]) }, `group side by side (${siblings.length + 1})`);
    fill(this.body, h("div", { class: "row" }, fact("reward", plain(rollout.reward)), fact("score", rollout.score || "–"), fact("tokens", plain(rollout.count)), fact("finish", rollout.finish || "–"),
      fact("source", rollout.source || "–"), fact("prompt", String(rollout.prompt_id ?? "–")), fact("group", `${rollout.group}·${rollout.sample}`), fact("attempt", plain(toNumber(rollout.attempt))),
      fact("versions", `${rollout.version_min ?? "–"} to ${rollout.version_max ?? "–"}`), isNumber(rollout.advantage) ? fact("advantage", plain(rollout.advantage)) : null, isNumber(rollout.step) ? fact("trained at step", String(rollout.step)) : null),
    breakdown(rollout.detail), h("div", { class: "row" }, modes, h("span", { class: "grow" }), siblingsButton),
    tokens.length ? legendOf(this.mode, tokens) : h("p", { class: "scale", "data-testid": "token-legend" }, noTokens()), this.text.element, side);
    this.text.show(rollout, tokens.length ? this.mode : "plain");
  }

  async siblings(side, ids) {
    fill(side, h("p", { class: "dim" }, "loading the group"));
    const list = await Promise.all(ids.slice(0, SIBLINGS_MOST).map((id) => get("rollout", { id, tokens: 0 }).then(sound, () => null)));
    const found = list.filter(Boolean).sort((a, b) => (a.sample || 0) - (b.sample || 0));
    fill(side, h("h3", {}, `Group ${this.rollout.group}: ${found.length} answers to the same prompt`),
      h("div", { class: "siblings", "data-testid": "siblings", tabindex: "0", "aria-label": "group side by side" }, found.map((one) => h("div", { class: "sibling" },
        h("header", { class: "row" }, h("b", { class: isNumber(one.reward) ? (one.reward > 0 ? "good" : "bad") : "dim" }, plain(one.reward, 3)), h("span", { class: "dim" }, `sample ${one.sample} · ${plain(one.count)} tokens · ${one.finish}`), h("span", { class: "grow" }),
          h("button", { type: "button", class: "small", onclick: () => this.list.choose(one.id) }, "open")), h("div", { class: "text" }, one.text || "")))));
  }
}

function noTokens() {
  return feed.settings && feed.settings.some((row) => row.key === "metrics.rollout_tokens" && String(row.value) === "0") ? "no figures of tokens: metrics.rollout_tokens is 0"
    : "no figures of tokens for this rollout: they are written when it is trained, for metrics.rollout_tokens of each step";
}

/* ---- the page ---- */

function filters(list, parameters, changed) {
  const option = (value, text, chosen) => h("option", { value, selected: value === chosen }, text);
  const source = h("select", { "aria-label": "source", name: "source" }, option("", "all sources", ""));
  const finish = h("select", { "aria-label": "how it ended", name: "finish" }, option("", "any end", ""), FINISHES.map((name) => option(name, name, parameters.get("finish"))));
  const number = (name, text) => h("input", { type: "number", step: "any", name, placeholder: text, "aria-label": text, value: parameters.get(name) || "" });
  const text = h("input", { type: "search", name: "text", placeholder: "text, prompt or group  ( / )", "aria-label": "filter by text, prompt or group", "data-filter": true, "data-testid": "rollout-filter", value: parameters.get("text") || "" });
  const fields = [source, finish, number("reward_min", "reward ≥"), number("reward_max", "reward ≤"), text];
  const pause = h("button", { type: "button", "aria-pressed": "false", onclick: () => {
    list.paused = !list.paused;
    pause.setAttribute("aria-pressed", String(list.paused));
    say(pause, list.paused ? "paused" : "pause");
    if (!list.paused) list.load(false);
  } }, "pause");
  list.onLoad = () => {
    const known = new Set([...source.options].map((one) => one.value));
    for (const name of list.sources || []) if (!known.has(name)) source.append(option(name, name, parameters.get("source")));
  };
  let timer = null;
  for (const field of fields)
    field.addEventListener(field.tagName === "SELECT" ? "change" : "input", () => {
      clearTimeout(timer);
      timer = setTimeout(() => changed(Object.fromEntries(fields.filter((one) => one.value).map((one) => [one.name, one.value]))), 250);
    });
  const group = parameters.get("group");
  return h("div", { class: "row filters" }, fields, group ? h("button", { type: "button", onclick: () => changed({}) }, `group ${group} ×`) : null, pause, h("span", { class: "dim" }, "j k: next, previous · n p: forks"));
}

export function rollouts(scope, root, parameters) {
  const remember = (filter, id) => {
    const search = new URLSearchParams(filter);
    if (id) search.set("id", id);
    keepAddress("rollouts", search);
  };
  const list = new List(scope, (id) => {
    list.current = id;
    const filter = new URLSearchParams(list.filter);
    filter.delete("id");
    remember(filter, id);
    list.draw();
    pane.open(id);
    if (innerWidth <= 900) pane.element.scrollIntoView({ block: "start" });
  });
  const pane = new Pane(list);
  scope.add(() => { pane.closed = true; clearTimeout(pane.again); });
  list.filter = parameters;
  const changed = (filter) => {
    list.filter = new URLSearchParams(filter);
    remember(list.filter, list.current);
    list.load(false);
  };
  fill(root, filters(list, parameters, changed), h("div", { class: "split" }, panel({ id: "rollouts", title: "Rollouts, newest first" }, h("p", { class: "dim" }, "reward · tokens · end · source, group·sample, version"), list.element), pane.element));
  scope.key = (key) => {
    if (key === "j" || key === "k") list.move(key === "j" ? 1 : -1);
    else if (key === "n" || key === "p") pane.text.jump(key === "n" ? 1 : -1);
    else return false;
    return true;
  };
  list.load(false).then(() => {
    const id = parameters.get("id");
    if (scope.closed) return;
    if (id) list.choose(id);
    else if (list.rows.length && innerWidth > 900) list.choose(list.rows[0].id);
  });
}
