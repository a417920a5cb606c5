// Pages as pictures: drawn by the server when they come near, sharp at the zoom chosen, with selectable text over them.
import { get, picture } from "./api.js";
import { h } from "./dom.js";

/** @typedef {import("./page.js").PageEntry} PageEntry */
/** @typedef {import("./page.js").Highlight} Highlight */
/** @typedef {{text: string, x0: number, y0: number, x1: number, y1: number, start: number, end: number}} Word */

const GAP = 14; // pixels between sheets
const STEP = 160; // pictures come in widths of so many pixels, so that a small change of the frame needs no new one
const WIDEST = 4000;
const AGAIN_MS = 2000;
const A4 = { width: 595, height: 842 }; // for a page whose size is not known

/** The sheets of one document, below each other. */
export class Sheets {
  /**
   * @param {HTMLElement} body
   * @param {string} path of the document below /v1
   * @param {PageEntry[]} pages
   * @param {(page: number) => void} seen
   * @param {(error: Error) => void} undrawn
   */
  constructor(body, path, pages, seen, undrawn) {
    this.body = body;
    this.path = path;
    this.pages = pages;
    this.seen = seen;
    this.undrawn = undrawn;
    this.zoom = 1;
    this.scale = 1; // pixels for a point
    this.ending = new AbortController();
    /** @type {Record<string, Highlight[]>} */
    this.marks = { cited: [], found: [] };
    /** @type {Map<number, {box: import("./page.js").Box, mark: Highlight}[]>} the boxes of both, by page */
    this.boxes = new Map();
    /** @type {ReturnType<typeof setTimeout>|undefined} */
    this.later = undefined;
    /** @type {Highlight|null} the mark that is being looked at */
    this.now = null;
    this.laidOut = 0;
    /** @type {IntersectionObserver|null} */
    this.thumbsNear = null;
    this.sheets = pages.map((page) => new Sheet(this, page));
    body.replaceChildren(...this.sheets.map((sheet) => sheet.root));
    this.layOut();
    this.near = new IntersectionObserver((entries) => entries.forEach((entry) => this.of(entry.target)?.near(entry.isIntersecting)), { root: body, rootMargin: "600px 0px" });
    for (const sheet of this.sheets) this.near.observe(sheet.root);
    this.resized = new ResizeObserver(() => {
      if (this.body.clientWidth === this.laidOut) return;
      this.keepPlace(() => this.layOut());
      // Sharp again when the size has come to rest.
      clearTimeout(this.later);
      this.later = setTimeout(() => this.redraw(), 200);
    });
    this.resized.observe(body);
    this.scrolled = () => this.tellSeen();
    body.addEventListener("scroll", this.scrolled, { passive: true });
    this.tellSeen();
  }

  /** @param {Element} root */
  of(root) {
    return this.sheets[Number(/** @type {HTMLElement} */ (root).dataset.page) - 1];
  }

  layOut() {
    this.laidOut = this.body.clientWidth;
    const width = Math.max(200, this.body.clientWidth - 24), widest = this.pages.reduce((most, page) => Math.max(most, page.width ?? A4.width), 1);
    this.scale = (this.zoom * width) / widest;
    // One property for all: sheets by the thousand are as wide and high as it says.
    this.body.style.setProperty("--scale", String(this.scale));
  }

  /**
   * Change the layout, and stay where the reader was.
   * @param {() => void} change
   */
  keepPlace(change) {
    const sheet = this.sheets[this.first()], within = sheet ? (this.body.scrollTop - sheet.root.offsetTop) / Math.max(1, sheet.root.offsetHeight) : 0;
    change();
    if (sheet) this.body.scrollTop = sheet.root.offsetTop + within * sheet.root.offsetHeight;
  }

  /** @returns {number} the place of the first sheet on the screen, in the order of pages */
  first() {
    const top = this.body.scrollTop + this.body.clientHeight * 0.3;
    let low = 0, high = this.sheets.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (this.sheets[middle].root.offsetTop <= top) low = middle;
      else high = middle - 1;
    }
    return low;
  }

  tellSeen() {
    const page = this.pages[this.first()];
    if (page) this.seen(page.number);
  }

  /** @param {number} zoom */
  setZoom(zoom) {
    this.keepPlace(() => {
      this.zoom = zoom;
      this.layOut();
    });
    this.redraw();
  }

  redraw() {
    for (const sheet of this.sheets) if (sheet.isNear) void sheet.draw();
  }

  /**
   * @param {Highlight[]} marks
   * @param {"cited"|"found"} layer
   */
  mark(marks, layer) {
    this.marks[layer] = marks;
    const before = [...this.boxes.keys()];
    this.boxes.clear();
    for (const mark of [...this.marks.cited, ...this.marks.found]) for (const box of mark.boxes) this.boxes.set(box.page, [...(this.boxes.get(box.page) ?? []), { box, mark }]);
    this.drawMarks(new Set([...before, ...this.boxes.keys()]), null);
  }

  /**
   * @param {Iterable<number>} pages
   * @param {Highlight|null} now
   */
  drawMarks(pages, now) {
    this.now = now;
    for (const page of pages) this.sheets[page - 1]?.drawMarks();
  }

  /**
   * @param {number} number
   * @param {Highlight|null} mark
   */
  async show(number, mark) {
    const sheet = this.sheets.find((one) => one.page.number === number);
    if (!sheet) return;
    const box = mark?.boxes.find((one) => one.page === number), within = box ? box.y0 * this.scale - this.body.clientHeight * 0.3 : -GAP / 2;
    this.body.scrollTop = sheet.root.offsetTop + within;
    this.body.scrollLeft = box && this.zoom > 1 ? box.x0 * this.scale - 40 : 0;
    this.drawMarks(this.boxes.keys(), mark);
    await sheet.draw();
  }

  /**
   * @param {HTMLElement} list
   * @param {(page: number) => void} go
   */
  thumbs(list, go) {
    if (list.dataset.path === this.path) return;
    list.dataset.path = this.path;
    list.replaceChildren(...this.pages.map((page) => {
      const image = h("img", { alt: "" });
      const button = h("button", { type: "button", class: "page-thumb", tLabel: "page.thumb", tArgs: { n: String(page.number) }, data: { page: page.number }, onclick: () => go(page.number) }, image, h("span", { class: "tiny" }, page.label || page.number));
      image.style.aspectRatio = `${page.width ?? A4.width} / ${page.height ?? A4.height}`;
      return h("li", {}, button);
    }));
    const near = (this.thumbsNear = new IntersectionObserver((entries) => entries.filter((entry) => entry.isIntersecting).forEach(async (entry) => {
      near.unobserve(entry.target);
      const image = entry.target.querySelector("img"), number = /** @type {HTMLElement} */ (entry.target).dataset.page;
      const source = await picture(`${this.path}/pages/${number}.png`, { width: 160 }, this.ending.signal).catch(() => "");
      if (!image || !source) return;
      image.addEventListener("load", () => URL.revokeObjectURL(source), { once: true });
      image.src = source;
    }), { root: list, rootMargin: "300px" }));
    for (const button of list.querySelectorAll("button")) near.observe(button);
  }

  close() {
    this.ending.abort();
    clearTimeout(this.later);
    this.near.disconnect();
    this.thumbsNear?.disconnect();
    this.resized.disconnect();
    this.body.removeEventListener("scroll", this.scrolled);
    for (const sheet of this.sheets) sheet.forget();
    this.body.replaceChildren();
  }
}

/** One page. */
class Sheet {
  /**
   * @param {Sheets} sheets
   * @param {PageEntry} page
   */
  constructor(sheets, page) {
    this.sheets = sheets;
    this.page = page;
    this.isNear = false;
    this.drawn = 0;
    this.hasWords = false;
    /** @type {ReturnType<typeof setTimeout>|undefined} */
    this.again = undefined;
    /** @type {AbortController|null} */
    this.fetching = null;
    this.image = h("img", { class: "page-image", alt: "", draggable: "false" });
    this.text = h("div", { class: "page-text" });
    this.layer = h("div", { class: "page-marks" });
    this.root = h("div", { class: "page-sheet", role: "group", tLabel: "page.sheet", tArgs: { n: page.label || String(page.number) }, data: { page: page.number } });
    this.root.style.setProperty("--points-wide", String(this.width));
    this.root.style.setProperty("--points-high", String(this.height));
  }

  get width() {
    return this.page.width ?? A4.width;
  }

  get height() {
    return this.page.height ?? A4.height;
  }

  /** @param {boolean} is */
  near(is) {
    this.isNear = is;
    if (is) void this.draw();
    else {
      this.forget();
      this.root.replaceChildren();
    }
  }

  /** Draw the picture in the width that the screen shows, and the words over it. */
  async draw() {
    const wanted = Math.min(WIDEST, Math.ceil((this.width * this.sheets.scale * devicePixelRatio) / STEP) * STEP);
    if (!this.root.childElementCount) this.root.append(this.image, this.layer, this.text);
    this.drawMarks();
    if (wanted === this.drawn) return;
    this.drawn = wanted;
    this.fetching?.abort();
    const fetching = (this.fetching = new AbortController());
    try {
      const [source, words] = await Promise.all([picture(`${this.sheets.path}/pages/${this.page.number}.png`, { width: wanted }, fetching.signal), this.hasWords ? null : get(`${this.sheets.path}/pages/${this.page.number}/words`, {}, fetching.signal).catch(() => null)]);
      if (fetching.signal.aborted) return URL.revokeObjectURL(source);
      this.free();
      this.image.src = source;
      if (words) this.setWords(words.words);
    } catch (error) {
      if (fetching.signal.aborted) return;
      this.drawn = 0;
      // What may be over in a moment (no connection, too many requests) concerns this picture only.
      const { status = 0 } = /** @type {{status?: number}} */ (error), passing = status === 0 || status === 429 || status >= 500;
      if (!passing) return this.sheets.undrawn(/** @type {Error} */ (error));
      this.again = setTimeout(() => this.isNear && void this.draw(), AGAIN_MS);
    }
  }

  /**
   * The words as text that is not seen but can be selected and copied, each as wide as it is on the picture.
   * @param {Word[]} words
   */
  setWords(words) {
    this.hasWords = true;
    const pen = document.createElement("canvas").getContext("2d");
    if (pen) pen.font = "100px sans-serif";
    /** @type {Node[]} */
    const made = [];
    words.forEach((word, index) => {
      const next = words[index + 1], ends = !next || next.y0 > word.y1 || next.x1 < word.x0;
      const high = Math.max(1, word.y1 - word.y0), natural = pen ? (pen.measureText(word.text).width / 100) * high : word.x1 - word.x0;
      // Chinese has no spaces between its words: what the document's text has there is copied.
      const span = h("span", {}, word.text + (ends || next.start === word.end ? "" : " "));
      span.style.left = `${(100 * word.x0) / this.width}%`;
      span.style.top = `${(100 * word.y0) / this.height}%`;
      span.style.fontSize = `calc(${high.toFixed(2)}px * var(--scale))`;
      span.style.transform = `scaleX(${((word.x1 - word.x0) / Math.max(0.1, natural)).toFixed(4)})`;
      made.push(span);
      if (ends) made.push(h("br"));
    });
    this.text.replaceChildren(...made);
  }

  /** The boxes of this page; one of them may be the one that is being looked at. */
  drawMarks() {
    const boxes = this.sheets.boxes.get(this.page.number) ?? [], now = this.sheets.now;
    if (!boxes.length && !this.layer.childElementCount) return;
    this.layer.replaceChildren(...boxes.map(({ box, mark }) => {
      const drawn = h("i", { class: `page-box ${mark.kind}${now && now.start === mark.start && now.kind === mark.kind ? " now" : ""}` });
      drawn.style.left = `${(100 * box.x0) / this.width}%`;
      drawn.style.top = `${(100 * box.y0) / this.height}%`;
      drawn.style.width = `${(100 * (box.x1 - box.x0)) / this.width}%`;
      drawn.style.height = `${(100 * (box.y1 - box.y0)) / this.height}%`;
      return drawn;
    }));
  }

  free() {
    if (this.image.src.startsWith("blob:")) URL.revokeObjectURL(this.image.src);
  }

  /** What is far from the screen takes no memory. */
  forget() {
    clearTimeout(this.again);
    this.fetching?.abort();
    this.fetching = null;
    this.free();
    this.image.removeAttribute("src");
    this.text.replaceChildren();
    this.hasWords = false;
    this.drawn = 0;
  }
}
