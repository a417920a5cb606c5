// The conversations: found, opened, renamed, exported, deleted.
import { get, request, send } from "./api.js";
import { emit } from "./bus.js";
import { dialog, fill, h, icon, iconButton, sayRefusal } from "./dom.js";
import { add, when } from "./i18n.js";

/** @typedef {import("./types.js").TalkEntry} TalkEntry */

add({
  en: {
    "talks.title": "Conversations", "talks.find": "Search titles and texts", "talks.none": "No conversation is kept here.", "talks.rename": "Rename", "talks.delete": "Delete for good", "talks.delete_why": "“{title}” is removed from the library's files. This cannot be undone.",
    "talks.md": "Export as Markdown", "talks.json": "Export as JSON", "talks.keep": "Keep", "talks.name": "Title",
  },
  zh: {
    "talks.title": "对话", "talks.find": "搜索标题和内容", "talks.none": "这里没有保存的对话。", "talks.rename": "重命名", "talks.delete": "彻底删除", "talks.delete_why": "“{title}”将从文档库的文件中移除，无法恢复。",
    "talks.md": "导出为 Markdown", "talks.json": "导出为 JSON", "talks.keep": "保存", "talks.name": "标题",
  },
});

/** The list of conversations, in a dialog. */
export class TalkList {
  /**
   * @param {(id: string) => void} opened
   * @param {(id: string) => void} forgotten
   */
  constructor(opened, forgotten) {
    this.opened = opened;
    this.forgotten = forgotten;
    this.field = h("input", { type: "search", tLabel: "talks.find", tPlaceholder: "talks.find" });
    this.list = h("ul", { class: "talks" });
    /** @type {ReturnType<typeof setTimeout>|undefined} */
    this.later = undefined;
    this.field.addEventListener("input", () => {
      clearTimeout(this.later);
      this.later = setTimeout(() => this.load(), 200);
    });
  }

  open() {
    this.field.value = "";
    this.box = dialog("talks.title", () => [h("div", { class: "stack" }, this.field, this.list)]);
    void this.load();
  }

  async load() {
    try {
      const { data } = await get("/conversations", { q: this.field.value.trim() });
      fill(this.list, ...(data.length ? data.map((/** @type {TalkEntry} */ entry) => this.item(entry)) : [h("li", { class: "muted", t: "talks.none" })]));
    } catch (error) {
      sayRefusal(error);
    }
  }

  /** @param {TalkEntry} entry */
  item(entry) {
    const open = () => {
      this.box?.close();
      this.opened(entry.id);
    };
    /** @type {HTMLElement} */
    const item = h("li", { class: "talks-item" },
      h("button", { type: "button", class: "talks-open grow", onclick: open }, h("span", {}, entry.title), h("span", { class: "tiny muted" }, when(entry.updated))),
      iconButton("edit", "talks.rename", () => this.rename(entry, item)), iconButton("download", "talks.md", () => this.save(entry, "md")), iconButton("copy", "talks.json", () => this.save(entry, "json")), iconButton("trash", "talks.delete", () => this.remove(entry)));
    return item;
  }

  /**
   * @param {TalkEntry} entry
   * @param {HTMLElement} item
   */
  rename(entry, item) {
    const field = h("input", { tLabel: "talks.name", maxlength: 200 });
    field.value = entry.title;
    const keep = async (/** @type {Event} */ event) => {
      event.preventDefault();
      const title = field.value.trim() || entry.title;
      await send("PATCH", `/conversations/${entry.id}`, { title }).then(() => emit("talk:renamed", { id: entry.id, title }), sayRefusal);
      await this.load();
    };
    fill(item, h("form", { class: "row grow", onsubmit: keep }, field, h("button", { class: "primary", t: "talks.keep" })));
    field.focus();
    field.select();
  }

  /**
   * @param {TalkEntry} entry
   * @param {"md"|"json"} format
   */
  async save(entry, format) {
    try {
      const response = await request("GET", `/conversations/${entry.id}/export`, { query: { format } });
      const link = h("a", { download: `${entry.title.replace(/[\\/:*?"<>|]+/g, " ").slice(0, 80)}.${format}` });
      link.href = URL.createObjectURL(await response.blob());
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 10000);
    } catch (error) {
      sayRefusal(error);
    }
  }

  /** @param {TalkEntry} entry */
  remove(entry) {
    dialog("talks.delete", (close) => {
      const gone = async () => {
        close();
        await send("DELETE", `/conversations/${entry.id}`).catch(sayRefusal);
        this.forgotten(entry.id);
        await this.load();
      };
      return [h("p", { t: "talks.delete_why", tArgs: { title: entry.title } }), h("button", { type: "button", class: "primary", onclick: gone }, icon("trash"), h("span", { t: "talks.delete" }))];
    });
  }
}
