/* dom.js - making elements, and the life time of a page's subscriptions. */

/* h("div", {class: "row", "data-testid": "x", onclick: f}, child, "text", null): null and false leave no trace. */
export function h(tag, attributes, ...children) {
  const element = document.createElement(tag);
  for (const [key, value] of Object.entries(attributes || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (key === "value" || key === "checked" || key === "disabled" || key === "selected") element[key] = value;
    else element.setAttribute(key, value === true ? "" : String(value));
  }
  append(element, children);
  return element;
}

function append(element, children) {
  for (const child of children) {
    if (child === null || child === undefined || child === false) continue;
    if (Array.isArray(child)) append(element, child);
    else element.append(child instanceof Node ? child : String(child));
  }
}

/* Puts children in place of what element holds. */
export function fill(element, ...children) {
  element.replaceChildren();
  append(element, children);
  return element;
}

/* Sets text only when it differs: most messages change few cells, and an equal text costs no layout. */
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/* What a page holds besides its elements; close() gives all of it back. */
export class Scope {
  constructor() {
    this.closers = [];
    this.closed = false;
  }
  add(closer) {
    this.closers.push(closer);
    return closer;
  }
  /* Calls at once and then every ms while the tab is looked at; never twice at a time. */
  every(ms, call) {
    let busy = false;
    const tick = async () => {
      if (busy || this.closed || document.hidden) return;
      busy = true;
      try {
        await call();
      } finally {
        busy = false;
      }
    };
    tick();
    const timer = setInterval(tick, ms);
    this.add(() => clearInterval(timer));
  }
  listen(target, type, call, options) {
    target.addEventListener(type, call, options);
    this.add(() => target.removeEventListener(type, call, options));
  }
  close() {
    this.closed = true;
    for (const closer of this.closers.splice(0)) closer();
  }
}

/* Not more often than once a frame, whatever number of messages asks for it. */
export function perFrame(call) {
  let asked = false;
  return () => {
    if (asked) return;
    asked = true;
    requestAnimationFrame(() => {
      asked = false;
      call();
    });
  };
}

/* Keeps a page's choices in the address, without a new entry of the history. Nothing when the viewer has left for another
 * page meanwhile: the address is that one's then. */
export function keepAddress(path, parameters) {
  if (location.hash.replace(/^#\/?/, "").split("?")[0] !== path) return;
  const text = String(parameters);
  history.replaceState(null, "", `#/${path}${text ? `?${text}` : ""}`);
}

/* One floating note for charts and tokens. x and y are those of the pointer. */
let note = null;
export function showNote(x, y, ...children) {
  if (!note) {
    note = h("div", { class: "note", role: "tooltip", "data-testid": "note" });
    document.body.append(note);
  }
  fill(note, ...children);
  note.hidden = false;
  const box = note.getBoundingClientRect();
  const left = Math.max(4, Math.min(x + 14, innerWidth - box.width - 4));
  const top = y + 18 + box.height > innerHeight ? Math.max(4, y - box.height - 10) : y + 18;
  note.style.transform = `translate(${Math.round(left)}px, ${Math.round(top)}px)`;
}
export function hideNote() {
  if (note) note.hidden = true;
}
