/* rollout_text.js - the text of a rollout, token by token: colours, forks, the note of a token.
 *
 * Tokens stand in chunks that end at line ends, and the browser lays out only chunks near the screen
 * (content-visibility), so that 20 000 tokens scroll as smoothly as 200. */
import { h, fill, hideNote, showNote } from "./dom.js";
import { noteRow } from "./chart.js";
import { isNumber, plain } from "./format.js";

const CHUNK = 300, CHUNK_MOST = 1500;
export const FORK_P = 0.2; /* a token less likely than this is a fork: the answer could have gone elsewhere */

export const MODES = [["logprob", "log probability"], ["weight", "IS weight"], ["clipped", "clipped"], ["version", "version"], ["plain", "plain"]];

export function isFork(token) {
  return isNumber(token.logprob) && token.logprob < Math.log(FORK_P);
}

/* Class of a token's background. Surprise in steps of p 0.8, 0.5, 0.2, 0.05; weights below and above 1. */
function shade(token, mode, firstVersion) {
  if (mode === "logprob") {
    const p = isNumber(token.logprob) ? Math.exp(token.logprob) : 1;
    return p > 0.8 ? "" : p > 0.5 ? "h1" : p > 0.2 ? "h2" : p > 0.05 ? "h3" : "h4";
  }
  if (mode === "weight") {
    const weight = token.weight;
    if (!isNumber(weight)) return "";
    return weight > 2 ? "h4" : weight > 1.2 ? "h3" : weight > 1.02 ? "h1" : weight < 0.5 ? "l3" : weight < 0.8 ? "l2" : weight < 0.98 ? "l1" : "";
  }
  if (mode === "version") return isNumber(token.version) ? `v${Math.abs(token.version - firstVersion) % 4}` : "";
  return "";
}

const sample = (name, text) => h("span", { class: `sample ${name}` }, text);

export function legendOf(mode, tokens) {
  const fork = h("span", {}, h("span", { class: "t fork" }, "fork"), ` p < ${FORK_P}: ${tokens.filter(isFork).length}`);
  const clipped = h("span", {}, sample("t clipped", "clipped"), ` ${tokens.filter((token) => token.clipped).length}`);
  const scale = { logprob: [h("span", {}, "p of the token:"), sample("", "> 0.8"), sample("h1", "> 0.5"), sample("h2", "> 0.2"), sample("h3", "> 0.05"), sample("h4", "less")],
    weight: [h("span", {}, "IS weight:"), sample("l3", "< 0.5"), sample("l2", "< 0.8"), sample("l1", "< 0.98"), sample("", "1"), sample("h1", "> 1.02"), sample("h3", "> 1.2"), sample("h4", "> 2")],
    version: [h("span", {}, "version:"), ...[...new Set(tokens.map((token) => token.version))].slice(0, 8).map((version) => sample(shade({ version }, "version", tokens[0].version), String(version)))],
    clipped: [], plain: [] }[mode];
  return h("div", { class: "scale", "data-testid": "token-legend" }, scale, mode === "plain" ? null : [clipped, fork]);
}

export class RolloutText {
  constructor() {
    this.element = h("div", { class: "text marked", tabindex: "0", "aria-label": "text of the rollout", "data-testid": "rollout-text" });
    this.element.addEventListener("pointermove", (event) => this.hover(event));
    this.element.addEventListener("pointerleave", hideNote);
    this.element.addEventListener("scroll", hideNote, { passive: true });
    this.tokens = [];
    this.at = -1;
  }

  show(rollout, mode) {
    const tokens = Array.isArray(rollout.tokens_detail) ? rollout.tokens_detail : [];
    this.tokens = tokens;
    this.at = -1;
    const prompt = rollout.prompt ? h("div", { class: "prompt" }, rollout.prompt) : null;
    fill(this.element, prompt, tokens.length ? this.chunks(tokens, mode) : h("div", {}, rollout.text || ""));
  }

  chunks(tokens, mode) {
    const list = [], first = tokens[0].version || 0;
    let chunk = h("div", { class: "chunk" }), count = 0;
    tokens.forEach((token, i) => {
      const span = document.createElement("span"), text = String(token.t ?? "");
      const shown = mode === "plain" ? "" : shade(token, mode, first);
      span.className = `t${shown ? ` ${shown}` : ""}${mode !== "plain" && isFork(token) ? " fork" : ""}${token.clipped && mode !== "plain" ? " clipped" : ""}`;
      span.dataset.i = String(i);
      const ends = count >= CHUNK && text.endsWith("\n");
      span.textContent = ends ? text.slice(0, -1) || " " : text; /* the end of the block is the end of the line */
      chunk.append(span);
      count++;
      if (ends || count >= CHUNK_MOST) {
        list.push(chunk);
        chunk = h("div", { class: "chunk" });
        count = 0;
      }
    });
    if (count) list.push(chunk);
    return list;
  }

  hover(event) {
    const span = event.target.closest && event.target.closest("[data-i]");
    if (!span) return hideNote();
    showNote(event.clientX, event.clientY, ...this.note(Number(span.dataset.i)));
  }

  note(i) {
    const token = this.tokens[i], row = (name, value) => noteRow("transparent", name, value);
    const p = isNumber(token.logprob) ? ` (p ${plain(Math.exp(token.logprob), 3)})` : "";
    return [h("div", { class: "note-head" }, `token ${i} · id ${token.id ?? "–"} · ${JSON.stringify(token.t ?? "")}`), row("streamed logprob", plain(token.logprob) + p),
      isNumber(token.trained) ? row("trained logprob", plain(token.trained)) : null, isNumber(token.weight) ? row("IS weight", plain(token.weight) + (token.clipped ? " clipped" : "")) : null,
      isNumber(token.entropy) ? row("entropy", `${plain(token.entropy)} nats`) : null, isNumber(token.version) ? row("version", String(token.version)) : null];
  }

  /* Goes to the next (1) or previous (-1) fork or clipped token. */
  jump(by) {
    for (let i = this.at + by; i >= 0 && i < this.tokens.length; i += by) {
      if (!isFork(this.tokens[i]) && !this.tokens[i].clipped) continue;
      this.element.querySelector(".t.at")?.classList.remove("at");
      const span = this.element.querySelector(`[data-i="${i}"]`);
      this.at = i;
      if (!span) return;
      span.classList.add("at");
      span.scrollIntoView({ block: "center" });
      const box = span.getBoundingClientRect();
      showNote(box.left, box.bottom, ...this.note(i));
      return;
    }
  }
}
