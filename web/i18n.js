// The words of the window, in English and Chinese. Each place brings its own (`add`); elements name theirs by data-t
// attributes, so a change of language changes what stands there without drawing anything anew.
import { emit } from "./bus.js";

/** @typedef {"en"|"zh"} Language */
/** @type {Record<Language, Record<string, string>>} */
const words = { en: {}, zh: {} };
/** @type {Language} */
let language = chosen();

/** @returns {Language} */
function chosen() {
  const kept = localStorage.getItem("language");
  if (kept === "en" || kept === "zh") return kept;
  return navigator.language.toLowerCase().startsWith("zh") ? "zh" : "en";
}

/**
 * Words of a place: the same keys in both languages.
 * @param {{en: Record<string, string>, zh: Record<string, string>}} more
 */
export function add(more) {
  Object.assign(words.en, more.en);
  Object.assign(words.zh, more.zh);
}

// What turns text around or hides it: in a file's name it could show another ending than the file has.
const UNSEEN = /[\u200b\u200e\u200f\u202a-\u202e\u2060-\u2069\ufeff]/g;
const RIGHT_TO_LEFT = /[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc]/;
const COUNTS = new Set(["n", "documents", "pages", "files", "of"]);

/**
 * A text from outside, harmless inside a sentence: nothing in it turns the words around it.
 * @param {unknown} value
 */
export function plain(value) {
  const text = String(value ?? "").replace(UNSEEN, "\ufffd");
  return RIGHT_TO_LEFT.test(text) ? `\u2068${text}\u2069` : text;
}

/**
 * The words of a key, `{name}` filled in; `{n|one|many}` chooses by the number n. Counts are written as the
 * language writes them; a value {t, args} is words itself.
 * @param {string} key
 * @param {Record<string, any>} [args]
 * @returns {string}
 */
export function t(key, args = {}) {
  const text = words[language][key] ?? words.en[key] ?? key;
  return text.replace(/\{(\w+)(?:\|([^|}]*)\|([^}]*))?\}/g, (_, name, one, many) =>
    one === undefined ? filled(name, args[name]) : Number(args[name]) === 1 ? one : many);
}

/**
 * @param {string} name
 * @param {unknown} value
 */
function filled(name, value) {
  if (value && typeof value === "object") return t(/** @type {any} */ (value).t, /** @type {any} */ (value).args);
  return typeof value === "number" && COUNTS.has(name) ? number(value) : plain(value);
}

/**
 * Keys that one language lacks, for the tests.
 * @returns {string[]}
 */
export function missing() {
  const en = Object.keys(words.en), zh = Object.keys(words.zh);
  return [...en.filter((key) => !(key in words.zh)), ...zh.filter((key) => !(key in words.en))];
}

export function current() {
  return language;
}

/** @param {Language} next */
export function choose(next) {
  language = next;
  localStorage.setItem("language", next);
  apply(document.documentElement);
  emit("language", next);
}

/**
 * Set the words of an element from its data-t attributes.
 * @param {HTMLElement} element
 */
export function translated(element) {
  const { t: text, tLabel, tTitle, tPlaceholder, tArgs } = element.dataset;
  const args = tArgs ? JSON.parse(tArgs) : {};
  if (text) element.textContent = t(text, args);
  if (tLabel) element.setAttribute("aria-label", t(tLabel, args));
  if (tTitle) element.setAttribute("title", t(tTitle, args));
  if (tPlaceholder) element.setAttribute("placeholder", t(tPlaceholder, args));
}

/** @param {HTMLElement} root */
export function apply(root) {
  document.documentElement.lang = language === "zh" ? "zh-CN" : "en";
  for (const element of root.querySelectorAll("[data-t],[data-t-label],[data-t-title],[data-t-placeholder]")) translated(/** @type {HTMLElement} */ (element));
}

/**
 * A time for people.
 * @param {string} iso
 */
export function when(iso) {
  return new Intl.DateTimeFormat(language === "zh" ? "zh-CN" : "en", { dateStyle: "medium", timeStyle: "short" }).format(new Date(iso));
}

/**
 * A number for people.
 * @param {number} value
 * @param {number} [digits]
 */
export function number(value, digits = 0) {
  return new Intl.NumberFormat(language === "zh" ? "zh-CN" : "en", { maximumFractionDigits: digits }).format(value);
}

/**
 * Whether a key belongs to an input method, which takes a word with it: Chinese could not be written otherwise. 229 is
 * how Safari says so of the Enter that ends the composing.
 * @param {KeyboardEvent} event
 */
export function composes(event) {
  return event.isComposing || event.keyCode === 229;
}
