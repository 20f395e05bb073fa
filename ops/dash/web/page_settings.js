/* page_settings.js - every setting with its value, where it came from, its default, and the parent run's value. */
import { h, fill, keepAddress } from "./dom.js";
import { get } from "./api.js";
import { feed } from "./feed.js";
import { empty, panel } from "./panel.js";

const same = (a, b) => a === b || (a !== "" && b !== "" && a !== null && b !== null && !Number.isNaN(Number(a)) && Number(a) === Number(b));
export const VIEWS = { all: () => true, changed: (row) => !same(String(row.value), String(row.default)), parent: (row) => row.parent !== null && row.parent !== undefined && !same(String(row.value), String(row.parent)) };

export async function settings(scope, root, parameters) {
  const field = h("input", { type: "search", placeholder: "name, value or meaning  ( / )", "aria-label": "filter settings", "data-filter": true, "data-testid": "settings-filter", value: parameters.get("q") || "" });
  const parent = feed.run && feed.run.parent, body = h("div", { class: "scroll" }), count = h("span", { class: "dim" }, "");
  let view = VIEWS[parameters.get("view")] ? parameters.get("view") : "changed", rows = [];
  const buttons = [["changed", "differ from the default"], ["parent", parent ? `differ from ${parent}` : "differ from the parent run"], ["all", "all"]].map(([name, text]) => h("button", { type: "button", "aria-pressed": String(name === view), "data-testid": `settings-${name}`, onclick: (event) => {
    view = name;
    for (const button of buttons) button.setAttribute("aria-pressed", String(button === event.currentTarget));
    draw();
  } }, text));
  const draw = () => {
    const text = field.value.trim().toLowerCase();
    const shown = rows.filter(VIEWS[view]).filter((row) => !text || `${row.key} ${row.value} ${row.help || ""} ${row.source}`.toLowerCase().includes(text));
    count.textContent = `${shown.length} of ${rows.length}`;
    keepAddress("settings", new URLSearchParams({ view, ...(text ? { q: field.value.trim() } : {}) }));
    if (!shown.length) return void fill(body, empty(view === "parent" && !parent ? "this run was not forked from another one (weir fork), so there is nothing to compare with" : view === "changed" && !text ? "every setting has its default" : "no setting fits"));
    fill(body, h("table", { "data-testid": "settings-table" }, h("thead", {}, h("tr", {}, h("th", {}, "setting"), h("th", {}, "value"), h("th", {}, "default"), parent ? h("th", {}, parent) : null, h("th", {}, "from"), h("th", {}, "meaning"))),
      h("tbody", {}, shown.map((row) => {
        const changed = VIEWS.changed(row), forked = VIEWS.parent(row);
        return h("tr", {}, h("td", { class: "mono" }, row.key), h("td", { class: "mono wrap" }, changed ? h("b", {}, shownValue(row.value)) : shownValue(row.value)), h("td", { class: "mono dim wrap" }, changed ? shownValue(row.default) : "same"),
          parent ? h("td", { class: "mono wrap" }, forked ? h("span", { class: "change-old" }, shownValue(row.parent)) : h("span", { class: "dim" }, "same")) : null, h("td", { class: "dim wrap" }, row.source || ""), h("td", { class: "dim wrap" }, row.help || ""));
      }))));
  };
  field.addEventListener("input", draw);
  fill(root, h("div", { class: "row filters" }, field, h("span", { class: "row", role: "group", "aria-label": "which settings" }, buttons), count), panel({ id: "settings", title: `Settings of ${(feed.run && feed.run.name) || "the run"}`, wide: true }, h("p", { class: "dim mono" }, feed.run ? `${feed.run.folder}/config.resolved.yaml` : ""), body));
  try {
    rows = (await get("config")).settings || [];
  } catch (error) {
    return void fill(body, empty(error.message));
  }
  if (!scope.closed) draw();
}

function shownValue(value) {
  return value === "" || value === null || value === undefined ? "(empty)" : String(value);
}
