// Citation marks "[1]" of an answer made into chips: the quote on hover and focus, the page on click.
import { emit } from "./bus.js";
import { h } from "./dom.js";
import { add, t } from "./i18n.js";

/** @typedef {import("./types.js").Citation} Citation */

add({
  en: {
    "cite.verified": "verified", "cite.elsewhere": "stands elsewhere", "cite.not_found": "not found", "cite.place": "{document}, page {page}", "cite.place_label": "{document}, page {page} ({label})",
    "cite.chip": "Source {marker}, {state}: {place}", "cite.verified_more": "Word for word on this page.", "cite.elsewhere_more": "Word for word in the document, on another page than was cited.", "cite.not_found_more": "These words were not found in the document.",
  },
  zh: {
    "cite.verified": "已核实", "cite.elsewhere": "在别处", "cite.not_found": "未找到", "cite.place": "{document}，第 {page} 页", "cite.place_label": "{document}，第 {page} 页（{label}）",
    "cite.chip": "来源 {marker}，{state}：{place}", "cite.verified_more": "与该页原文逐字一致。", "cite.elsewhere_more": "原文在文档中，但不在所引的页。", "cite.not_found_more": "文档中没有找到这些文字。",
  },
});

/**
 * The words for a citation's state.
 * @param {Citation} citation
 */
export function stateWords(citation) {
  return `cite.${citation.state.replace(" ", "_")}`;
}

/**
 * @param {Citation} citation
 * @returns {string} a class name
 */
export function stateClass(citation) {
  return citation.state.replace(" ", "-");
}

/** @param {{document: string, page: number, label: string}} source */
export function place(source) {
  const { t: words, args } = where(source);
  return t(words, args);
}

/** @param {{document: string, page: number, label: string}} source */
function where({ document, page, label }) {
  return { t: label && label !== String(page) ? "cite.place_label" : "cite.place", args: { document, page, label } };
}

/**
 * The props of an element that says a place, in whichever language is chosen.
 * @param {{document: string, page: number, label: string}} source
 */
export function placed(source) {
  const { t: words, args } = where(source);
  return { t: words, tArgs: args };
}

/** @type {WeakMap<HTMLElement, Citation>} */
const cited = new WeakMap();

/**
 * Make chips of the marks below an element whose citations are known. Marks that stay text were not resolved.
 * The n-th mark with a number belongs to the n-th citation with it, the last one to all that follow.
 * @param {Element} root
 * @param {Citation[]} citations
 */
export function chip(root, citations) {
  /** @type {Map<number, number>} */
  const seen = new Map();
  const walker = document.createTreeWalker(root, NodeFilter.SHOW_TEXT | NodeFilter.SHOW_ELEMENT, (node) =>
    node instanceof Element && (node.tagName === "CODE" || node.tagName === "PRE") ? NodeFilter.FILTER_REJECT : NodeFilter.FILTER_ACCEPT);
  /** @type {Text[]} */
  const texts = [];
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    if (node instanceof Text && !node.parentElement?.closest(".chip")) texts.push(node);
    // Chips that are there already count, so that a later mark finds its own citation.
    else if (node instanceof HTMLElement && node.classList.contains("chip")) texts.push(/** @type {any} */ (node));
  }
  for (const node of texts) {
    if (node instanceof HTMLElement) again(node, citations, seen);
    else split(node, citations, seen);
  }
}

/**
 * A chip that is there already: it is made anew only when another citation is its own by now.
 * @param {HTMLElement} made
 * @param {Citation[]} citations
 * @param {Map<number, number>} seen
 */
function again(made, citations, seen) {
  const marker = Number(made.dataset.marker), own = citations.filter((citation) => citation.marker === marker);
  const now = own[Math.min(count(seen, marker), own.length - 1)], before = cited.get(made);
  const same = before && now && before.start === now.start && before.end === now.end && before.document_id === now.document_id && before.state === now.state;
  if (now && !same) made.replaceWith(button(now, citations));
}

/**
 * @param {Map<number, number>} seen
 * @param {number} marker
 */
function count(seen, marker) {
  const place = seen.get(marker) ?? 0;
  seen.set(marker, place + 1);
  return place;
}

/**
 * @param {Text} node
 * @param {Citation[]} citations
 * @param {Map<number, number>} seen
 */
function split(node, citations, seen) {
  const pieces = node.data.split(/\[(\d{1,3})\]/);
  if (pieces.length === 1) return;
  /** @type {(Node|string)[]} */
  const made = [pieces[0]];
  for (let at = 1; at < pieces.length; at += 2) {
    const marker = Number(pieces[at]), own = citations.filter((citation) => citation.marker === marker);
    if (!own.length) made.push(`[${pieces[at]}]`);
    else made.push(button(own[Math.min(count(seen, marker), own.length - 1)], citations));
    made.push(pieces[at + 1]);
  }
  node.replaceWith(...made.filter((piece) => piece !== ""));
}

/**
 * @param {Citation} citation
 * @param {Citation[]} all
 */
function button(citation, all) {
  const open = () => openCitation(citation, all);
  const words = { marker: citation.marker, state: { t: stateWords(citation) }, place: where(citation) };
  const made = h("button", { type: "button", class: `chip ${stateClass(citation)}`, tLabel: "cite.chip", tArgs: words, data: { marker: citation.marker }, onclick: open }, citation.marker, citation.state === "verified" ? null : h("span", { class: "chip-word", t: stateWords(citation) }));
  cited.set(made, citation);
  const show = () => showCard(made, citation);
  made.addEventListener("pointerenter", show);
  made.addEventListener("focus", show);
  made.addEventListener("pointerleave", hideCard);
  made.addEventListener("blur", hideCard);
  return made;
}

/**
 * Show a citation on its page.
 * @param {Citation} citation
 * @param {Citation[]} all those that next and previous lead to
 */
export function openCitation(citation, all) {
  hideCard();
  emit("page:open", { ...citation, citations: all, index: all.indexOf(citation), focus: true });
}

/** @type {HTMLElement|null} */
let card = null;

/**
 * @param {HTMLElement} beside
 * @param {Citation} citation
 */
function showCard(beside, citation) {
  hideCard();
  card = h(
    "div", { class: "chip-card", role: "tooltip" },
    h("div", { class: "row" }, h("span", { class: `pill ${stateClass(citation)}`, t: stateWords(citation) }), h("span", { class: "small muted", ...placed(citation) })),
    h("q", { class: "chip-quote" }, citation.quote), h("div", { class: "tiny muted", t: `${stateWords(citation)}_more` }),
  );
  document.body.append(card);
  const at = beside.getBoundingClientRect(), own = card.getBoundingClientRect();
  card.style.left = `${Math.max(8, Math.min(at.left, innerWidth - own.width - 8))}px`;
  card.style.top = `${at.bottom + own.height + 8 < innerHeight ? at.bottom + 6 : Math.max(8, at.top - own.height - 6)}px`;
}

/** The card goes with its chip. */
export function hideCard() {
  card?.remove();
  card = null;
}

addEventListener("scroll", hideCard, true);
addEventListener("keydown", (event) => event.key === "Escape" && hideCard());
