// Pages as text, for documents that have no pictures: office files, web pages, plain text; with the same marks.
import { get } from "./api.js";
import { h } from "./dom.js";

/** @typedef {import("./page.js").PageEntry} PageEntry */
/** @typedef {import("./page.js").Highlight} Highlight */
/** @typedef {{start: number, end: number, text: string, headings: {title: string, level: number, start: number}[]}} PageText */

/** The texts of one document's pages, below each other. */
export class Texts {
  /**
   * @param {HTMLElement} body
   * @param {string} path of the document below /v1
   * @param {PageEntry[]} pages
   * @param {(page: number) => void} seen
   * @param {(error: Error) => void} failed
   */
  constructor(body, path, pages, seen, failed) {
    this.body = body;
    this.path = path;
    this.pages = pages;
    this.seen = seen;
    this.failed = failed;
    this.zoom = 1;
    /** @type {Record<string, Highlight[]>} */
    this.marks = { cited: [], found: [] };
    /** @type {Map<number, PageText>} */
    this.texts = new Map();
    this.sheets = pages.map((page) => h("article", { class: "page-paper", tLabel: "page.sheet", tArgs: { n: page.label || page.number }, data: { page: page.number } }));
    body.replaceChildren(...this.sheets);
    this.near = new IntersectionObserver((entries) => entries.filter((entry) => entry.isIntersecting).forEach((entry) => void this.draw(Number(/** @type {HTMLElement} */ (entry.target).dataset.page))), { root: body, rootMargin: "800px 0px" });
    for (const sheet of this.sheets) this.near.observe(sheet);
    this.scrolled = () => this.tellSeen();
    body.addEventListener("scroll", this.scrolled, { passive: true });
    this.tellSeen();
  }

  tellSeen() {
    const top = this.body.scrollTop + this.body.clientHeight * 0.3;
    const below = this.sheets.findIndex((sheet) => sheet.offsetTop > top);
    const page = this.pages[below < 0 ? this.pages.length - 1 : Math.max(0, below - 1)];
    if (page) this.seen(page.number);
  }

  /** @param {number} number */
  async draw(number) {
    if (this.texts.has(number)) return;
    try {
      this.texts.set(number, await get(`${this.path}/pages/${number}/text`));
      this.write(number);
      this.tellSeen();
    } catch (error) {
      this.failed(/** @type {Error} */ (error));
    }
  }

  /** @param {number} number */
  write(number) {
    const text = this.texts.get(number), sheet = this.sheets[this.pages.findIndex((page) => page.number === number)];
    if (!text || !sheet) return;
    const label = this.pages.find((page) => page.number === number)?.label;
    sheet.replaceChildren(...(label ? [h("p", { class: "tiny muted" }, label)] : []), ...written(text, [...this.marks.found, ...this.marks.cited]));
  }

  /**
   * @param {Highlight[]} marks
   * @param {"cited"|"found"} layer
   */
  mark(marks, layer) {
    this.marks[layer] = marks;
    for (const number of this.texts.keys()) this.write(number);
  }

  /**
   * @param {number} number
   * @param {Highlight|null} mark
   */
  async show(number, mark) {
    await this.draw(number);
    const sheet = this.sheets[this.pages.findIndex((page) => page.number === number)];
    const marked = mark && sheet?.querySelector(`mark[data-start="${mark.start}"]`);
    if (marked) marked.scrollIntoView({ block: "center" });
    else if (sheet) this.body.scrollTop = sheet.offsetTop - 8;
  }

  /** @param {number} zoom */
  setZoom(zoom) {
    this.zoom = zoom;
    this.body.style.setProperty("--text-zoom", String(zoom));
  }

  /**
   * @param {HTMLElement} list
   * @param {(page: number) => void} go
   */
  thumbs(list, go) {
    delete list.dataset.path;
    list.replaceChildren(...this.pages.map((page) => h("li", {}, h("button", { type: "button", class: "page-thumb", data: { page: page.number }, onclick: () => go(page.number) }, h("span", { class: "small" }, page.label || page.number)))));
  }

  close() {
    this.near.disconnect();
    this.body.removeEventListener("scroll", this.scrolled);
    this.body.replaceChildren();
  }
}

/**
 * A page's text as paragraphs and headings, with its marks. Offsets count code points, as the server does.
 * @param {PageText} text
 * @param {Highlight[]} marks
 */
function written(text, marks) {
  const letters = Array.from(text.text), headings = new Map(text.headings.map((heading) => [heading.start, heading]));
  /** @type {HTMLElement[]} */
  const made = [];
  let at = 0;
  for (const line of text.text.split("\n")) {
    const length = Array.from(line).length, from = text.start + at, heading = headings.get(from);
    if (line.trim()) made.push(h(heading ? "h3" : "p", {}, ...marked(letters.slice(at, at + length), from, marks)));
    at += length + 1;
  }
  return made;
}

/**
 * @param {string[]} letters of a line
 * @param {number} from offset of the first one
 * @param {Highlight[]} marks
 */
function marked(letters, from, marks) {
  const here = marks.filter((mark) => mark.start < from + letters.length && mark.end > from).sort((a, b) => a.start - b.start);
  /** @type {(string|HTMLElement)[]} */
  const made = [];
  let at = 0;
  for (const mark of here) {
    const start = Math.max(at, mark.start - from), end = Math.min(letters.length, mark.end - from);
    if (end <= start) continue;
    made.push(letters.slice(at, start).join(""), h("mark", { class: mark.kind, data: { start: mark.start } }, letters.slice(start, end).join("")));
    at = end;
  }
  made.push(letters.slice(at).join(""));
  return made;
}
