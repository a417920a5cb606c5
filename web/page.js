// The page: the document beside the answer, with the cited words boxed.
import { get, request, url } from "./api.js";
import { emit, on } from "./bus.js";
import { fill, h, iconButton, refocus, say, sayRefusal } from "./dom.js";
import { add, plain } from "./i18n.js";
import { Sheets } from "./sheets.js";
import { Texts } from "./texts.js";

/** @typedef {import("./types.js").PageRequest} PageRequest */
/** @typedef {import("./types.js").Box} Box */
/** @typedef {{number: number, label: string, state: string, chars: number, width: number|null, height: number|null}} PageEntry */
/** @typedef {{page: number, start: number, end: number, before: string, text: string, after: string, boxes: Box[]}} Match */
/** @typedef {{page: number, start: number, end: number, boxes: Box[], kind: string}} Highlight */

add({
  en: {
    "page.title": "Document", "page.number": "Page", "page.of": "of {n}", "page.before": "Page before", "page.next": "Next page", "page.in": "Larger", "page.out": "Smaller", "page.find": "Find in this document", "page.found": "{at} of {n}", "page.none": "not found", "page.empty": "", "page.find_next": "Next match", "page.find_end": "End the search", "page.find_before": "Match before",
    "page.thumbs": "All pages, small", "page.original": "Open the original file", "page.cite": "Source {at} of {n}", "page.cite_next": "Next source", "page.cite_before": "Source before", "page.sheet": "Page {n}", "page.thumb": "Go to page {n}", "page.not_found": "These words were not found in the document, so nothing is marked.", "page.no_boxes": "The cited words could not be placed on this page, so nothing is marked.", "page.changed": "The page cannot be drawn: {message}", "page.loading": "The document is being opened …", "page.no_file": "The original file is not at hand or has changed, so the text that was read from it is shown.", "page.no_place": "The library has no document with this name any more.",
  },
  zh: {
    "page.title": "文档", "page.number": "页码", "page.of": "/ {n}", "page.before": "上一页", "page.next": "下一页", "page.in": "放大", "page.out": "缩小", "page.find": "在本文档中查找", "page.found": "{at} / {n}", "page.none": "未找到", "page.empty": "", "page.find_next": "下一处", "page.find_end": "结束查找", "page.find_before": "上一处",
    "page.thumbs": "缩略图", "page.original": "打开原文件", "page.cite": "来源 {at} / {n}", "page.cite_next": "下一个来源", "page.cite_before": "上一个来源", "page.sheet": "第 {n} 页", "page.thumb": "转到第 {n} 页", "page.not_found": "文档中没有找到这些文字，因此不作标记。", "page.no_boxes": "所引文字无法在此页定位，因此不作标记。", "page.changed": "无法绘制此页：{message}", "page.loading": "正在打开文档……", "page.no_file": "原文件不在或已更改，因此显示从中读取的文字。", "page.no_place": "文档库中已没有这个文档。",
  },
});

const ZOOMS = [0.5, 0.67, 0.8, 1, 1.25, 1.5, 2, 3];

/** The place of the page. */
class PagePlace {
  /** @param {HTMLElement} root */
  constructor(root) {
    this.root = root;
    /** @type {PageRequest|null} */
    this.asked = null;
    /** @type {PageEntry[]} */
    this.pages = [];
    /** @type {Sheets|Texts|null} */
    this.view = null;
    /** @type {Match[]} */
    this.matches = [];
    this.match = -1;
    this.turn = 0;
    /** @type {Element|null} what had the focus before the page was opened */
    this.opener = null;
    this.originalButton = iconButton("open", "page.original", () => this.original());
    /** @type {Element|null} */
    this.thumb = null;
    this.name = h("h2", { class: "page-name" });
    this.number = h("input", { class: "page-number", inputmode: "numeric", tLabel: "page.number", onchange: () => this.go(Number(this.number.value)) });
    this.of = h("span", { class: "small muted", t: "page.of", tArgs: { n: "" } });
    this.cites = h("span", { class: "page-cites row", hidden: true });
    this.note = h("p", { class: "page-note", hidden: true, role: "status" });
    this.thumbs = h("ol", { class: "page-thumbs", hidden: true });
    this.body = h("div", { class: "page-body", tabindex: "0", role: "region", tLabel: "page.title" });
    this.findField = h("input", { type: "search", class: "grow", tLabel: "page.find", tPlaceholder: "page.find" });
    this.findCount = h("span", { class: "small muted page-find-count", role: "status" });
    this.findBar = h("form", { class: "page-find row", hidden: true, onsubmit: (/** @type {Event} */ event) => this.sought(event) }, this.findField, this.findCount, iconButton("left", "page.find_before", () => this.step(-1)), iconButton("right", "page.find_next", () => this.step(1)), iconButton("close", "page.find_end", () => this.typed(new KeyboardEvent("keydown", { key: "Escape" }))));
    fill(root, this.head(), this.findBar, this.note, h("div", { class: "page-main" }, this.thumbs, this.body));
    on("page:open", (asked) => this.open(asked));
    on("collection", () => this.asked && emit("page:closed"));
    on("page:closed", () => this.closed());
    on("removed", (id) => this.asked?.document_id === id && emit("page:closed"));
    this.findField.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && event.shiftKey && this.findField.dataset.last === this.findField.value.trim()) {
        event.preventDefault();
        this.step(-1);
      }
    });
    root.addEventListener("keydown", (event) => this.typed(event));
  }

  head() {
    return h("header", { class: "page-head" },
      h("div", { class: "row page-head-line" }, this.name, h("div", { class: "grow" }), this.originalButton, iconButton("close", "app.close", () => emit("page:closed"), { id: "close-page" })),
      h("div", { class: "row page-tools" }, iconButton("menu", "page.thumbs", () => this.toggleThumbs()), iconButton("left", "page.before", () => this.go(this.current() - 1)), this.number, this.of, iconButton("right", "page.next", () => this.go(this.current() + 1)), h("div", { class: "grow" }), this.cites,
        iconButton("search", "page.find", () => this.beginFind(), { id: "find-in-page" }), iconButton("zoomout", "page.out", () => this.zoom(-1)), iconButton("zoomin", "page.in", () => this.zoom(1))));
  }

  // -- opening ------------------------------------------------------------------------------------------------------

  /** @param {PageRequest} asked */
  async open(asked) {
    const turn = ++this.turn, other = asked.document_id !== this.asked?.document_id || !this.view;
    if (!this.root.contains(document.activeElement)) this.opener = document.activeElement;
    this.asked = asked;
    this.showCites();
    if (other) await this.load(asked, turn);
    if (turn !== this.turn) return;
    // Before the picture is there: on a slow line, focus would jump away from where the reader is by then.
    if (asked.focus) this.body.focus({ preventScroll: true });
    await this.highlight(asked, turn);
    emit("page:shown", { document_id: asked.document_id, page: asked.page });
  }

  /**
   * @param {PageRequest} asked
   * @param {number} turn
   */
  async load(asked, turn) {
    this.view?.close();
    this.view = null;
    this.endFind();
    this.name.textContent = this.name.title = plain(asked.document);
    this.tell("page.loading");
    this.originalButton.hidden = true;
    try {
      const [{ pages }, entry] = await Promise.all([get(this.path("/pages")), get(this.path(""))]);
      if (turn !== this.turn) return;
      this.pages = pages;
      this.originalButton.hidden = !entry.original;
      const asText = !entry.original && entry.media_type === "application/pdf";
      this.tell(asText ? "page.no_file" : null);
      say(this.of, "page.of", { n: pages.length });
      const drawn = pages.some((/** @type {PageEntry} */ page) => page.width !== null);
      this.view = new (drawn ? Sheets : Texts)(this.body, this.path(""), pages, (page) => this.seen(page), (error) => this.undrawn(error));
      this.drawThumbs();
    } catch (error) {
      if (turn !== this.turn) return;
      this.tell(/** @type {{status?: number}} */ (error).status === 404 ? "page.no_place" : "page.changed", { message: /** @type {Error} */ (error).message });
    }
  }

  /**
   * When a page's picture cannot be had, its text is shown.
   * @param {Error} error
   */
  undrawn(error) {
    if (this.view instanceof Texts) return this.tell("page.changed", { message: error.message });
    this.view?.close();
    this.tell("page.changed", { message: error.message });
    this.view = new Texts(this.body, this.path(""), this.pages, (page) => this.seen(page), (problem) => this.tell("page.changed", { message: problem.message }));
    if (this.asked) void this.highlight(this.asked, this.turn);
  }

  /**
   * @param {PageRequest} asked
   * @param {number} turn
   */
  async highlight(asked, turn) {
    const { start = 0, end = 0, page } = asked;
    let boxes = asked.boxes ?? [];
    if (end > start && !boxes.length && this.view instanceof Sheets) boxes = (await get(this.path("/boxes"), { start, end }).catch(() => ({ boxes: [] }))).boxes;
    if (turn !== this.turn || !this.view) return;
    const kind = (asked.state ?? "verified").replace(" ", "-");
    const marks = end > start ? [{ page: boxes[0]?.page ?? page, start, end, boxes, kind }] : [];
    // Nothing is drawn rather than a wrong box: the reader is told why.
    if (asked.state === "not found") this.tell("page.not_found");
    else if (this.view instanceof Sheets && end > start && !boxes.length) this.tell("page.no_boxes");
    else if (["page.no_boxes", "page.not_found"].includes(this.note.dataset.t ?? "")) this.tell(null);
    this.view.mark(marks, "cited");
    await this.view.show(marks[0]?.page ?? page, marks[0] ?? null);
  }

  closed() {
    this.turn++;
    this.view?.close();
    this.view = null;
    this.asked = null;
    if (this.root.contains(document.activeElement) || document.activeElement === document.body) refocus(this.opener?.isConnected ? this.opener : null);
    if (document.activeElement === document.body) emit("talk:focus");
    this.opener = null;
  }

  /** @param {string} rest */
  path(rest) {
    return `/documents/${encodeURIComponent(this.asked?.document_id ?? "")}${rest}`;
  }

  /**
   * @param {string|null} words
   * @param {Record<string, unknown>} [args]
   */
  tell(words, args = {}) {
    this.note.hidden = !words;
    if (words) say(this.note, words, args);
    else delete this.note.dataset.t;
  }

  async original() {
    const path = this.path("/file");
    if (!sessionStorage.getItem("key")) return void open(url(path), "_blank", "noopener");
    try {
      const link = h("a", { download: this.asked?.document.split("/").pop() ?? "document" });
      link.href = URL.createObjectURL(await (await request("GET", path)).blob());
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 60000);
    } catch (error) {
      sayRefusal(error);
    }
  }

  // -- sources ------------------------------------------------------------------------------------------------------

  showCites() {
    const citations = this.asked?.citations ?? [], index = this.asked?.index ?? -1;
    this.cites.hidden = citations.length < 2 || index < 0;
    const leads = (/** @type {number} */ step) => () => {
      const next = (index + step + citations.length) % citations.length;
      emit("page:open", { ...citations[next], citations, index: next });
    };
    fill(this.cites, iconButton("left", "page.cite_before", leads(-1)), h("span", { class: "small", t: "page.cite", tArgs: { at: index + 1, n: citations.length } }), iconButton("right", "page.cite_next", leads(1)));
  }

  // -- moving -------------------------------------------------------------------------------------------------------

  current() {
    return Number(this.number.value) || 1;
  }

  /** @param {number} page */
  seen(page) {
    if (document.activeElement !== this.number) this.number.value = String(page);
    if (this.thumbs.hidden || this.thumb?.getAttribute("data-page") === String(page)) return;
    this.thumb?.removeAttribute("aria-current");
    this.thumb = this.thumbs.querySelector(`button[data-page="${page}"]`);
    this.thumb?.setAttribute("aria-current", "page");
    this.thumb?.scrollIntoView({ block: "nearest" });
  }

  /** @param {number} page */
  go(page) {
    const to = Math.min(Math.max(1, page || 1), this.pages.length);
    this.number.value = String(to);
    void this.view?.show(to, null);
  }

  /** @param {number} step */
  zoom(step) {
    if (!this.view) return;
    const at = ZOOMS.findIndex((zoom) => zoom >= (this.view?.zoom ?? 1));
    this.view.setZoom(ZOOMS[Math.min(ZOOMS.length - 1, Math.max(0, (at < 0 ? 3 : at) + step))]);
  }

  /** @param {KeyboardEvent} event */
  typed(event) {
    if (event.key === "Escape" && !this.findBar.hidden) {
      event.stopPropagation(); // the first one ends the search, the next one closes the page
      this.endFind();
      this.body.focus({ preventScroll: true });
    } else if ((event.ctrlKey || event.metaKey) && event.key === "f") {
      event.preventDefault();
      this.beginFind();
    } else if (event.target === this.body && (event.key === "PageDown" || event.key === "PageUp")) {
      event.preventDefault();
      this.go(this.current() + (event.key === "PageDown" ? 1 : -1));
    } else if (event.target === this.body && (event.key === "+" || event.key === "-")) this.zoom(event.key === "+" ? 1 : -1);
  }

  toggleThumbs() {
    this.thumbs.hidden = !this.thumbs.hidden;
    this.drawThumbs();
  }

  drawThumbs() {
    if (this.thumbs.hidden) return;
    this.view?.thumbs(this.thumbs, (page) => this.go(page));
    this.thumb = null;
    this.seen(this.current());
  }

  // -- finding ------------------------------------------------------------------------------------------------------

  beginFind() {
    this.findBar.hidden = false;
    this.findField.focus();
    this.findField.select();
  }

  endFind() {
    this.findBar.hidden = true;
    this.matches = [];
    this.match = -1;
    say(this.findCount, "page.empty");
    this.view?.mark([], "found");
  }

  /** @param {Event} event */
  async sought(event) {
    event.preventDefault();
    const q = this.findField.value.trim(), turn = this.turn;
    if (!q) return;
    if (this.findField.dataset.last === q && this.matches.length) return this.step(1);
    this.findField.dataset.last = q;
    try {
      const { matches, total } = await get(this.path("/find"), { q, limit: 200 });
      if (turn !== this.turn) return;
      this.matches = matches;
      this.findCount.dataset.total = String(total);
      this.match = -1;
      this.view?.mark(matches.map((/** @type {Match} */ match) => ({ ...match, kind: "found" })), "found");
      if (matches.length) this.step(1);
      else say(this.findCount, "page.none");
    } catch (error) {
      sayRefusal(error);
    }
  }

  /** @param {number} by */
  step(by) {
    if (!this.matches.length) return;
    this.match = (this.match + by + this.matches.length) % this.matches.length;
    const match = this.matches[this.match];
    say(this.findCount, "page.found", { at: this.match + 1, n: Number(this.findCount.dataset.total) });
    void this.view?.show(match.page, { ...match, kind: "found" });
  }
}

/** @param {HTMLElement} root */
export function mountPage(root) {
  return new PagePlace(root);
}
