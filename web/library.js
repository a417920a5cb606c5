// The library: its documents, with what is in them, and the way in for more.
import { get, request, send, url } from "./api.js";
import { emit, on } from "./bus.js";
import { arrange, dialog, fill, h, icon, iconButton, refocus, rove, say, sayRefusal, size, toast } from "./dom.js";
import { add, current, plain, t, when } from "./i18n.js";
import { Jobs } from "./jobs.js";
import { Uploads } from "./upload.js";

/** @typedef {import("./types.js").LibraryDocument} LibraryDocument */

add({
  en: {
    "lib.title": "Library", "lib.add": "Add files", "lib.add_folder": "Add a folder", "lib.filter": "Find a document by name or title", "lib.none": "No documents yet", "lib.none_more": "Drop PDF, office, web or text files anywhere in this window.", "lib.no_match": "No document matches.",
    "lib.count": "{documents} {documents|document|documents} · {pages} {pages|page|pages}", "lib.pages": "{n} {n|page|pages}", "lib.chunks": "{n} {n|chunk|chunks}", "lib.scope": "Ask only {name}", "lib.more": "About {name}", "lib.open": "Open {name}", "lib.delete": "Remove from the library", "lib.original": "Open the original file",
    "lib.delete_why": "“{name}” and every trace of its text are removed from the library. An original that was uploaded here is removed too.", "lib.deleted": "{name} is removed.", "lib.added": "added {when}", "lib.strip": "Text of the pages", "lib.text": "text", "lib.ocr": "read by OCR", "lib.empty": "without text", "lib.unread": "could not be read",
    "lib.run": "{pages}: {state}", "lib.run_pages": "pages {from}–{to}", "lib.run_page": "page {from}", "lib.list": "Documents", "lib.drop": "Drop to add to the library", "lib.removing": "Removing …", "lib.unread_pill": "{n} unread", "lib.too_many": "A question can be limited to {n} documents at most.",
  },
  zh: {
    "lib.title": "文档库", "lib.add": "添加文件", "lib.add_folder": "添加文件夹", "lib.filter": "按名称或标题查找文档", "lib.none": "还没有文档", "lib.none_more": "把 PDF、办公文档、网页或文本文件拖到窗口的任意位置。", "lib.no_match": "没有匹配的文档。",
    "lib.count": "{documents} 个文档 · {pages} 页", "lib.pages": "{n} 页", "lib.chunks": "{n} 个片段", "lib.scope": "只问 {name}", "lib.more": "关于 {name}", "lib.open": "打开 {name}", "lib.delete": "从文档库移除", "lib.original": "打开原文件",
    "lib.delete_why": "“{name}”及其文本的所有痕迹都会从文档库移除；在此上传的原文件也会一并移除。", "lib.deleted": "已移除 {name}。", "lib.added": "{when} 加入", "lib.strip": "各页的文字", "lib.text": "文字", "lib.ocr": "由 OCR 读取", "lib.empty": "无文字", "lib.unread": "无法读取",
    "lib.run": "{pages}：{state}", "lib.run_pages": "第 {from}–{to} 页", "lib.run_page": "第 {from} 页", "lib.list": "文档", "lib.drop": "松开即可加入文档库", "lib.removing": "正在移除……", "lib.unread_pill": "{n} 页未读", "lib.too_many": "一次最多只能限定 {n} 个文档。",
  },
});

const MOST_CHOSEN = 100; // as many as the server takes in one question
const TOGETHER_MS = 250; // changes of the library that come together are shown together

/** The place of the library. */
class LibraryPlace {
  /** @param {HTMLElement} root */
  constructor(root) {
    /** @type {LibraryDocument[]} */
    this.documents = [];
    /** @type {Set<string>} */
    this.scope = new Set();
    /** @type {string|null} the document that is told about */
    this.told = null;
    /** @type {Map<string, {made: string, row: HTMLElement}>} rows by document, with what they were made from */
    this.rows = new Map();
    /** @type {ReturnType<typeof setTimeout>|undefined} */
    this.later = undefined;
    this.uploads = new Uploads(() => this.jobs.draw());
    this.jobs = new Jobs(this.uploads);
    this.files = h("input", { type: "file", multiple: true, hidden: true, onchange: () => this.chosen(this.files) });
    this.folder = h("input", { type: "file", webkitdirectory: true, hidden: true, onchange: () => this.chosen(this.folder) });
    this.filter = h("input", { type: "search", class: "grow", tLabel: "lib.filter", tPlaceholder: "lib.filter", oninput: () => this.draw() });
    this.list = h("ul", { class: "lib-list", tLabel: "lib.list" });
    this.rove = rove(this.list, ".lib-row :is(input, button)");
    this.count = h("p", { class: "lib-count small muted" });
    const head = h("header", { class: "lib-head" }, h("h2", { t: "lib.title" }), h("div", { class: "grow" }),
      iconButton("add", "lib.add", () => this.files.click(), { id: "add-files" }), iconButton("book", "lib.add_folder", () => this.folder.click()), this.files, this.folder);
    fill(root, head, h("div", { class: "lib-filter row" }, this.filter), this.jobs.root, this.list, this.count);
    this.listen();
  }

  listen() {
    on("started", () => this.load());
    on("collection", () => {
      this.documents = [];
      this.setScope(new Set());
      void this.load();
    });
    on("back", () => this.load());
    on("library", () => {
      clearTimeout(this.later);
      this.later = setTimeout(() => this.load(), TOGETHER_MS);
    });
    on("language", () => {
      this.draw();
      this.jobs.draw();
    });
    on("scope", (names) => {
      if (!names.length && this.scope.size) this.setScope(new Set());
    });
    droppable((entries) => this.uploads.add(entries));
  }

  /** @param {HTMLInputElement} input */
  chosen(input) {
    this.uploads.add([...(input.files ?? [])].map((file) => ({ file, name: file.webkitRelativePath || file.name })).filter(isSeen));
    input.value = "";
  }

  async load() {
    try {
      this.documents = (await get("/documents")).data;
      this.draw();
    } catch (error) {
      if (/** @type {{status?: number}} */ (error).status !== 401) sayRefusal(error);
    }
  }

  draw() {
    const sought = this.filter.value.trim().toLowerCase();
    const shown = this.documents.filter((entry) => `${entry.document} ${entry.title}`.toLowerCase().includes(sought));
    const pages = this.documents.reduce((sum, entry) => sum + entry.pages, 0);
    say(this.count, "lib.count", { documents: this.documents.length, pages });
    const known = new Set(this.documents.map((entry) => entry.id));
    for (const id of this.rows.keys()) if (!known.has(id)) this.rows.delete(id);
    if (shown.length) {
      this.list.querySelector(":scope > .lib-none")?.remove();
      arrange(this.list, shown.map((entry) => this.row(entry)));
      return this.rove();
    }
    const none = this.documents.length ? [h("p", { class: "muted", t: "lib.no_match" })] : [h("p", { t: "lib.none" }), h("p", { class: "muted small", t: "lib.none_more" })];
    fill(this.list, h("li", { class: "lib-none" }, ...none));
  }

  /**
   * The row of a document: the one that is there, when nothing of it has changed.
   * @param {LibraryDocument} entry
   */
  row(entry) {
    const told = this.told === entry.id, made = JSON.stringify([entry, told && current()]), there = this.rows.get(entry.id);
    if (there?.made === made) return there.row;
    const row = this.item(entry);
    this.rows.set(entry.id, { made, row });
    return row;
  }

  /** @param {LibraryDocument} entry */
  item(entry) {
    const name = entry.document;
    const chosen = h("input", { type: "checkbox", tabindex: -1, tLabel: "lib.scope", tTitle: "lib.scope", tArgs: { name }, data: { name }, onchange: () => this.toggle(name) });
    chosen.checked = this.scope.has(name);
    const open = h("button", { type: "button", class: "lib-open grow", tabindex: -1, tTitle: "lib.open", tArgs: { name }, onclick: () => emit("page:open", { document_id: entry.id, document: name, page: 1, focus: true }) },
      h("span", { class: "lib-name" }, plain(name)), h("span", { class: "tiny muted lib-line" }, h("span", { t: "lib.pages", tArgs: { n: entry.pages } }), entry.title && entry.title !== name ? ` · ${plain(entry.title)}` : ""));
    const more = iconButton("more", "lib.more", () => this.tell(entry), { tabindex: -1, "aria-expanded": String(this.told === entry.id), tArgs: { name }, data: { about: entry.id } });
    const unread = entry.pages_unread.length ? h("span", { class: "pill warn", t: "lib.unread_pill", tArgs: { n: entry.pages_unread.length } }) : null;
    return h("li", { class: "lib-item" }, h("div", { class: "lib-row" }, h("label", { class: "lib-pick" }, chosen), open, unread, more), this.told === entry.id && this.about(entry));
  }

  /** @param {LibraryDocument} entry */
  tell(entry) {
    this.told = this.told === entry.id ? null : entry.id;
    this.draw();
    /** @type {HTMLElement|null} */ (this.list.querySelector(`[data-about="${CSS.escape(entry.id)}"]`))?.focus();
  }

  /** @param {LibraryDocument} entry */
  about(entry) {
    const strip = h("div", { class: "lib-strip", role: "img", tLabel: "lib.strip" });
    const legend = h("p", { class: "tiny muted" });
    void this.strip(entry, strip, legend);
    const facts = h("p", { class: "tiny muted" }, h("span", { t: "lib.chunks", tArgs: { n: entry.chunks } }), ` · ${size(entry.bytes)} · `, h("span", {}, t("lib.added", { when: when(entry.added) })));
    return h("div", { class: "lib-about" }, facts, strip, legend,
      h("div", { class: "row" }, entry.original && h("button", { type: "button", class: "secondary small", onclick: () => openFile(entry) }, icon("open"), h("span", { t: "lib.original" })),
        h("button", { type: "button", class: "secondary small", onclick: () => this.remove(entry) }, icon("trash"), h("span", { t: "lib.delete" }))));
  }

  /**
   * The pages as a strip: runs of pages of one kind, as wide as they are long.
   * @param {LibraryDocument} entry
   * @param {HTMLElement} strip
   * @param {HTMLElement} legend
   */
  async strip(entry, strip, legend) {
    const { pages } = await get(`/documents/${encodeURIComponent(entry.id)}/pages`).catch(() => ({ pages: [] }));
    /** @type {{from: number, to: number, state: string}[]} */
    const runs = [];
    for (const { number: page, state } of pages) {
      const last = runs.at(-1);
      if (last && last.state === state) last.to = page;
      else runs.push({ from: page, to: page, state });
    }
    const words = runs.map((run) => t("lib.run", { pages: t(run.from === run.to ? "lib.run_page" : "lib.run_pages", { from: run.from, to: run.to }), state: t(`lib.${run.state}`) }));
    fill(strip, ...runs.map((run, index) => {
      const part = h("i", { class: `lib-run ${run.state}`, title: words[index] });
      part.style.flexGrow = String(run.to - run.from + 1);
      return part;
    }));
    const odd = words.filter((_, index) => runs[index].state !== "text");
    legend.textContent = odd.length ? odd.slice(0, 4).join(" · ") + (odd.length > 4 ? " …" : "") : words.length ? t("lib.run", { pages: t("lib.pages", { n: entry.pages }), state: t("lib.text") }) : "";
    strip.setAttribute("aria-label", legend.textContent);
  }

  /** @param {LibraryDocument} entry */
  remove(entry) {
    dialog("lib.delete", (close) => {
      const gone = async () => {
        say(words, "lib.removing");
        button.disabled = true;
        try {
          await send("DELETE", `/documents/${encodeURIComponent(entry.id)}`);
          toast("lib.deleted", { name: entry.document });
          this.setScope(new Set([...this.scope].filter((name) => name !== entry.document)));
          emit("removed", entry.id);
          await this.load();
        } catch (error) {
          sayRefusal(error);
        }
        close();
        if (document.activeElement === document.body) refocus(this.list.querySelector("[tabindex='0']") ?? this.filter);
      };
      const words = h("span", { t: "lib.delete" });
      const button = h("button", { type: "button", class: "primary", onclick: gone }, icon("trash"), words);
      return [h("p", { t: "lib.delete_why", tArgs: { name: entry.document } }), button];
    });
  }

  /** @param {string} name */
  toggle(name) {
    const next = new Set(this.scope);
    if (!next.delete(name)) next.add(name);
    if (next.size > MOST_CHOSEN) toast("lib.too_many", { n: MOST_CHOSEN }, "error");
    this.setScope(next.size > MOST_CHOSEN ? this.scope : next);
  }

  /** @param {Set<string>} scope */
  setScope(scope) {
    this.scope = scope;
    for (const { row } of this.rows.values()) {
      const box = row.querySelector("input");
      if (box) box.checked = scope.has(box.dataset.name ?? "");
    }
    emit("scope", [...scope]);
  }
}

/**
 * Whether a file is none of those that a system hides.
 * @param {{name: string}} file
 */
function isSeen({ name }) {
  return !name.split("/").some((part) => part.startsWith("."));
}

/**
 * Open the original in a tab of its own. It is fetched with the key, and shown from this window's memory.
 * @param {LibraryDocument} entry
 */
async function openFile(entry) {
  try {
    const path = `/documents/${encodeURIComponent(entry.id)}/file`;
    if (!sessionStorage.getItem("key")) return void open(url(path), "_blank", "noopener");
    const blob = await (await request("GET", path)).blob();
    const link = h("a", { download: entry.document.split("/").pop() ?? entry.document });
    link.href = URL.createObjectURL(blob);
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60000);
  } catch (error) {
    sayRefusal(error);
  }
}

/**
 * Take files and folders that are dropped anywhere.
 * @param {(files: {file: File, name: string}[]) => void} dropped
 */
function droppable(dropped) {
  const veil = h("div", { class: "lib-veil", hidden: true }, h("p", { t: "lib.drop" }));
  document.body.append(veil);
  let inside = 0;
  const holdsFiles = (/** @type {DragEvent} */ event) => event.dataTransfer?.types.includes("Files");
  addEventListener("dragenter", (event) => {
    if (holdsFiles(event) && inside++ === 0) veil.hidden = false;
  });
  addEventListener("dragleave", (event) => {
    if (holdsFiles(event) && --inside <= 0) end();
  });
  addEventListener("dragover", (event) => holdsFiles(event) && event.preventDefault());
  addEventListener("drop", async (event) => {
    if (!event.dataTransfer || !holdsFiles(event)) return;
    event.preventDefault();
    end();
    const entries = [...event.dataTransfer.items].map((item) => item.webkitGetAsEntry?.() ?? item.getAsFile());
    const found = await Promise.all(entries.map((entry) => (entry instanceof File ? [{ file: entry, name: entry.name }] : entry ? filesIn(entry) : [])));
    dropped(found.flat().filter(isSeen));
  });
  function end() {
    inside = 0;
    veil.hidden = true;
  }
}

/**
 * @param {FileSystemEntry} entry
 * @returns {Promise<{file: File, name: string}[]>} the files of a dropped folder, with their paths in it
 */
async function filesIn(entry) {
  const name = entry.fullPath.replace(/^\//, "");
  if (entry.isFile) {
    const file = await new Promise((resolve, reject) => /** @type {FileSystemFileEntry} */ (entry).file(resolve, reject));
    return [{ file, name }];
  }
  const reader = /** @type {FileSystemDirectoryEntry} */ (entry).createReader();
  const found = [];
  // A reader gives a hundred entries at a time.
  for (;;) {
    const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (!some.length) return found;
    for (const child of some) found.push(...(await filesIn(child)));
  }
}

/** @param {HTMLElement} root */
export function mountLibrary(root) {
  return new LibraryPlace(root);
}
