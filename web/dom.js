// Elements from data, without any way to set HTML: text is text. `markup` is the one exception, for what the server has
// sanitised.
import { translated } from "./i18n.js";

/**
 * An element. `t` names the words that are its text; `tLabel`, `tTitle`, `tPlaceholder` those of attributes; `tArgs` what
 * is filled into them. `on…` are listeners, `data` the data attributes; whatever else is an attribute, `true` an empty
 * one, and `false`, `null`, `undefined` none.
 *
 * @template {keyof HTMLElementTagNameMap} K
 * @param {K} tag
 * @param {Record<string, any>} [props]
 * @param {...(Node|string|number|null|undefined|false)} children
 * @returns {HTMLElementTagNameMap[K]}
 */
export function h(tag, props = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) setProp(element, name, value);
  for (const child of children) if (child !== null && child !== undefined && child !== false) element.append(typeof child === "number" ? String(child) : child);
  if ("t" in props || "tLabel" in props || "tTitle" in props || "tPlaceholder" in props) translated(element);
  return element;
}

const WORDS = { t: "t", tLabel: "tLabel", tTitle: "tTitle", tPlaceholder: "tPlaceholder" };

/**
 * @param {HTMLElement} element
 * @param {string} name
 * @param {any} value
 */
function setProp(element, name, value) {
  if (name in WORDS) element.dataset[name] = value;
  else if (name === "tArgs") element.dataset.tArgs = JSON.stringify(value);
  else if (name === "data") for (const [key, text] of Object.entries(value)) element.dataset[key] = String(text);
  else if (name === "class") element.className = value;
  else if (name.startsWith("on") && typeof value === "function") element.addEventListener(name.slice(2).toLowerCase(), value);
  else if (value === true) element.setAttribute(name, "");
  else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, String(value));
}

/**
 * Change the words of an element.
 * @param {HTMLElement} element
 * @param {string} key
 * @param {Record<string, unknown>} [args]
 */
export function say(element, key, args = {}) {
  element.dataset.t = key;
  element.dataset.tArgs = JSON.stringify(args);
  translated(element);
}

/**
 * Change the words of an element's attributes.
 * @param {HTMLElement} element
 * @param {{tLabel?: string, tTitle?: string, tPlaceholder?: string}} words
 */
export function name(element, words) {
  Object.assign(element.dataset, words);
  translated(element);
}

/**
 * Replace what is in an element.
 * @param {Element} element
 * @param {...(Node|string)} children
 */
export function fill(element, ...children) {
  element.replaceChildren(...children);
}

/**
 * Make these the children of an element, in this order. Those that are there already are not touched: focus, the place
 * of scrolling and a click that has half been made stay with them. Focus that goes with a child goes to its neighbour.
 * @param {Element} element
 * @param {Element[]} children
 */
export function arrange(element, children) {
  const wanted = new Set(children);
  for (const child of [...element.children]) {
    if (wanted.has(child)) continue;
    const focused = child.contains(document.activeElement), beside = child.nextElementSibling ?? child.previousElementSibling;
    child.remove();
    if (focused) refocus(beside ?? element);
  }
  children.forEach((child, index) => element.children[index] !== child && element.insertBefore(child, element.children[index] ?? null));
}

/**
 * Give the focus to what can take it: an element, or the first thing in it, or the place that it is in.
 * @param {Element|null} element
 */
export function refocus(element) {
  const can = "button:not(:disabled), input:not(:disabled), select, textarea, summary, [tabindex]";
  for (let at = element; at; at = at.parentElement) {
    const found = at.matches(can) ? at : at.querySelector(can);
    if (!(found instanceof HTMLElement) || !found.getClientRects().length) continue;
    found.focus({ preventScroll: true });
    if (document.activeElement === found) return;
  }
}

/**
 * Rows that are one stop of the Tab key: arrows lead from row to row, Home and End to the first and the last.
 * @param {HTMLElement} list
 * @param {string} controls of a row, which its maker gives tabindex -1
 * @returns {() => void} to be called when the rows have changed
 */
export function rove(list, controls) {
  /** @type {Element|null} */
  let now = null;
  const within = (/** @type {Element|null|undefined} */ row) => /** @type {HTMLElement[]} */ ([...(row?.querySelectorAll(controls) ?? [])]);
  const stop = (/** @type {Element|null} */ row) => {
    if (now !== row) for (const control of within(now)) control.tabIndex = -1;
    for (const control of within(row)) control.tabIndex = 0;
    now = row;
  };
  list.addEventListener("focusin", (event) => {
    const row = [...list.children].find((child) => child.contains(/** @type {Node} */ (event.target)));
    if (row && row !== now) stop(row);
  });
  list.addEventListener("keydown", (event) => {
    const rows = [...list.children].filter((row) => within(row).length), at = rows.findIndex((row) => row.contains(document.activeElement));
    const column = within(rows[at]).findIndex((control) => control === document.activeElement);
    const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: rows.length - 1 }[event.key];
    if (to === undefined || column < 0 || !rows[to]) return;
    event.preventDefault();
    const next = within(rows[to]);
    next[Math.min(column, next.length - 1)]?.focus();
  });
  return () => stop(now?.isConnected ? now : list.firstElementChild);
}

/**
 * The beginning of a text, without half a character at its end.
 * @param {string} text
 * @param {number} most characters
 */
export function clip(text, most) {
  const letters = Array.from(text.slice(0, 2 * most));
  return letters.length > most ? `${letters.slice(0, most - 1).join("")}…` : letters.join("");
}

/**
 * Elements from HTML that the server has rendered and sanitised, and from nothing else.
 * @param {string} html
 * @returns {DocumentFragment}
 */
export function markup(html) {
  const template = document.createElement("template");
  template.innerHTML = trusted(html);
  return template.content;
}

// Where the browser knows trusted types, no other place in the window can set HTML: the policy of the page names this one.
/** @type {{createPolicy(name: string, rules: object): {createHTML(html: string): string}}|undefined} */
const types = /** @type {any} */ (window).trustedTypes;
const policy = types?.createPolicy("ragapp", { createHTML: (/** @type {string} */ html) => html });

/** @param {string} html */
function trusted(html) {
  return policy ? policy.createHTML(html) : html;
}

/**
 * @param {string} id
 * @returns {HTMLElement}
 */
export function at(id) {
  const element = document.getElementById(id);
  if (!element) throw new Error(`there is no element ${id}`);
  return element;
}

const ICONS = {
  add: "M12 5v14M5 12h14", close: "M6 6l12 12M18 6L6 18", send: "M5 12h13M12 5l7 7-7 7", stop: "M7 7h10v10H7z",
  again: "M4 12a8 8 0 1 0 3-6.2M4 4v4h4", edit: "M4 20l4-1L19 8l-3-3L5 16z", copy: "M9 9h10v10H9zM5 15V5h10",
  up: "M7 11l4-7a2 2 0 0 1 3 2l-1 4h5a2 2 0 0 1 2 2l-2 7H7zM7 11H4v8h3", down: "M17 13l-4 7a2 2 0 0 1-3-2l1-4H6a2 2 0 0 1-2-2l2-7h11zM17 13h3V5h-3",
  trash: "M5 7h14M10 7V4h4v3M7 7l1 13h8l1-13", open: "M14 4h6v6M20 4l-9 9M18 14v6H4V6h6", search: "M11 4a7 7 0 1 0 0 14 7 7 0 0 0 0-14zM20 20l-4-4",
  left: "M15 5l-7 7 7 7", right: "M9 5l7 7-7 7", menu: "M4 7h16M4 12h16M4 17h16", sun: "M12 8a4 4 0 1 0 0 8 4 4 0 0 0 0-8zM12 2v2M12 20v2M2 12h2M20 12h2M5 5l1 1M18 18l1 1M5 19l1-1M18 6l1-1",
  theme: "M12 3a9 9 0 1 0 0 18zM12 3a9 9 0 0 1 0 18", moon: "M20 14A8 8 0 0 1 10 4a8 8 0 1 0 10 10z", language: "M4 6h10M9 4v2M12 6c-1 5-4 8-8 9M6 9c1 3 4 5 7 6M13 20l4-10 4 10M14.5 17h5", inside: "M4 5h9M4 10h14M4 15h6M4 20h12",
  book: "M5 4h11a3 3 0 0 1 3 3v13H8a3 3 0 0 1-3-3zM5 17a3 3 0 0 1 3-3h11", chat: "M4 5h16v11H9l-5 4z", page: "M6 3h8l4 4v14H6zM14 3v4h4", settings: "M5 7h8M17 7h2M5 12h2M11 12h8M5 17h10M19 17h0M15 5v4M9 10v4M17 15v4",
  key: "M14 10a4 4 0 1 0-4 4l1-1h2v-2h2l5-5V4h-2z", retry: "M20 12a8 8 0 1 1-3-6.2M20 4v4h-4", download: "M12 4v11M7 10l5 5 5-5M5 20h14", more: "M6 12h0M12 12h0M18 12h0", zoomin: "M11 4a7 7 0 1 0 0 14 7 7 0 0 0 0-14zM20 20l-4-4M8 11h6M11 8v6", zoomout: "M11 4a7 7 0 1 0 0 14 7 7 0 0 0 0-14zM20 20l-4-4M8 11h6",
};

/**
 * A line drawing, hidden from screen readers: the button it stands in has words.
 * @param {keyof typeof ICONS} name
 */
export function icon(name) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
  path.setAttribute("d", ICONS[name]);
  svg.append(path);
  return svg;
}

/**
 * A button with a drawing, named by words.
 * @param {keyof typeof ICONS} name
 * @param {string} words
 * @param {(event: MouseEvent) => void} onclick
 * @param {Record<string, any>} [props]
 */
export function iconButton(name, words, onclick, props = {}) {
  return h("button", { type: "button", class: "icon-button", tLabel: words, tTitle: words, onclick, ...props }, icon(name));
}

let dialogs = 0;

/**
 * A dialog that is gone when it is closed. Esc and a click beside it close it. Focus goes to its first field, and
 * afterwards back where it was, or near there when that is gone.
 * @param {string} title words of its heading
 * @param {(close: () => void) => Node[]} body
 */
export function dialog(title, body) {
  const id = `dialog-${++dialogs}`, box = h("dialog", { class: "dialog", "aria-labelledby": id });
  const before = document.activeElement, around = before?.closest("dialog, .pane, header") ?? null;
  const close = () => box.close();
  box.append(
    h("div", { class: "dialog-head" }, h("h2", { id, t: title }), iconButton("close", "app.close", close)),
    h("div", { class: "dialog-body" }, ...body(close)),
  );
  // A click that began inside, as the selecting of text does, is none beside it.
  box.addEventListener("pointerdown", (event) => event.target === box && close());
  box.addEventListener("close", () => {
    box.remove();
    if (document.activeElement === document.body) refocus(before?.isConnected ? before : around);
  });
  document.body.append(box);
  box.showModal();
  /** @type {HTMLElement|null} */ (box.querySelector(".dialog-body :is(input, textarea, select)"))?.focus();
  return box;
}

/**
 * A short message in the corner, read out.
 * @param {string} key
 * @param {Record<string, unknown>} [args]
 * @param {"info"|"error"} [kind]
 * @param {boolean} [lasting] until it is removed
 */
export function toast(key, args = {}, kind = "info", lasting = false) {
  const box = h("div", { class: `toast ${kind}`, t: key, tArgs: args });
  at("toasts").append(box);
  if (!lasting) setTimeout(() => box.remove(), kind === "error" ? 12000 : 5000);
  return box;
}

/**
 * Say what went wrong: what the server refused, in its own words.
 * @param {unknown} error
 */
export function sayRefusal(error) {
  const { message, hint } = /** @type {{message?: string, hint?: string}} */ (error);
  toast("app.refused", { message: message ?? String(error), hint: hint ?? "" }, "error");
}

/**
 * A size for people.
 * @param {number} bytes
 */
export function size(bytes) {
  if (bytes < 1000) return `${bytes} B`;
  const units = ["kB", "MB", "GB", "TB"];
  let value = bytes, unit = "B";
  for (const next of units) if (value >= 999.5) [value, unit] = [value / 1000, next];
  return `${value < 10 ? value.toFixed(1) : Math.round(value)} ${unit}`;
}
