/* api.js - requests to weir-dash. Every failure is a sentence; 401 asks for the token. */
import { h } from "./dom.js";

export class ApiError extends Error {
  constructor(status, sentence) {
    super(sentence);
    this.status = status;
  }
}

async function answer(response) {
  const text = await response.text();
  let value = null;
  try {
    value = JSON.parse(text);
  } catch {
    value = null;
  }
  if (response.status === 401) askForPage();
  if (!response.ok) throw new ApiError(response.status, (value && value.error) || `the server answered ${response.status}`);
  if (value === null) throw new ApiError(response.status, "the server's answer is not JSON");
  return value;
}

function query(parameters) {
  const search = new URLSearchParams();
  for (const [key, value] of Object.entries(parameters || {}))
    if (value !== null && value !== undefined && value !== "") search.set(key, value);
  const text = search.toString();
  return text ? `?${text}` : "";
}

/* get("metrics", {names: "a,b"}): the parsed answer of /api/metrics?names=a,b */
export async function get(path, parameters) {
  let response;
  try {
    response = await fetch(`api/${path}${query(parameters)}`, { credentials: "same-origin" });
  } catch {
    throw new ApiError(0, "the dashboard's server does not answer");
  }
  return answer(response);
}

/* Off loopback a page needs the token once; the server then keeps it in a cookie that scripts cannot read. */
let asking = false;
function askForPage() {
  if (asking) return;
  asking = true;
  const field = h("input", { type: "password", autocomplete: "off", "aria-label": "Token", "data-testid": "page-token" });
  const dialog = h("dialog", { class: "dialog", "data-testid": "token-dialog" },
    h("form", { onsubmit: (event) => {
      event.preventDefault();
      location.href = `./?token=${encodeURIComponent(field.value.trim())}`;
    } },
    h("h2", {}, "This dashboard asks for its token"),
    h("p", {}, "It stands in the file dash.token of the run folder, or in the file that dash.token_file names."),
    field, h("div", { class: "row" }, h("button", { type: "submit" }, "Open"))));
  document.body.append(dialog);
  dialog.showModal();
}

let token = ""; /* for buttons; as long as this tab lives, nowhere else */

/* Asks for confirmation and, once in a tab, for the token; then posts. True: done. */
export function confirmAndPost(title, sentence, path, body) {
  return new Promise((resolve) => {
    const field = h("input", { type: "password", autocomplete: "off", value: token, "aria-label": "Token", "data-testid": "action-token" });
    const trouble = h("p", { class: "bad", role: "alert", "data-testid": "action-error" });
    const finish = (result) => {
      dialog.close();
      dialog.remove();
      resolve(result);
    };
    const dialog = h("dialog", { class: "dialog", "data-testid": "action-dialog", oncancel: () => finish(false) },
      h("form", { onsubmit: async (event) => {
        event.preventDefault();
        trouble.textContent = "";
        try {
          const response = await fetch(`api/${path}`, { method: "POST", credentials: "same-origin", body: JSON.stringify(body),
            headers: { "Content-Type": "application/json", Authorization: `Bearer ${field.value.trim()}` } });
          const text = await response.text();
          if (!response.ok) {
            let said = null;
            try { said = JSON.parse(text).error; } catch { said = null; }
            trouble.textContent = said || `the server answered ${response.status}`;
            return;
          }
          token = field.value.trim();
          finish(true);
        } catch {
          trouble.textContent = "the dashboard's server does not answer";
        }
      } },
      h("h2", {}, title), h("p", {}, sentence),
      h("label", {}, "Token (file dash.token of the run folder)", field), trouble,
      h("div", { class: "row" }, h("button", { type: "submit", class: "danger", "data-testid": "action-yes" }, title),
        h("button", { type: "button", onclick: () => finish(false) }, "Cancel"))));
    document.body.append(dialog);
    dialog.showModal();
    field.focus();
  });
}
