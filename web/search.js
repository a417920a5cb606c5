// A search without an answer: the passages, with the rank and score that each ranker gave them.
import { chosenCollection, send } from "./api.js";
import { emit } from "./bus.js";
import { fill, h, say } from "./dom.js";
import { add, number } from "./i18n.js";
import { placed } from "./chips.js";

/** @typedef {import("./types.js").Passage} Passage */

add({
  en: { "find.found": "{n} {n|passage|passages} in {ms} ms", "find.none": "Nothing was found.", "find.rank": "{name}: rank {rank} ({score})", "find.results": "Search for “{question}”" },
  zh: { "find.found": "{n} 个段落，用时 {ms} 毫秒", "find.none": "没有找到任何内容。", "find.rank": "{name}：第 {rank} 名（{score}）", "find.results": "检索“{question}”" },
});

/** One search and what it found. */
export class SearchView {
  /** @param {string} question */
  constructor(question) {
    this.question = question;
    this.status = h("p", { class: "small muted", role: "status" });
    this.list = h("ol", { class: "talk-found" });
    this.root = h("section", { class: "talk-search" }, h("h3", { t: "find.results", tArgs: { question } }), this.status, this.list);
  }

  /** @param {{where: string[], k: number}} how */
  async run(how) {
    const before = performance.now();
    try {
      const { passages } = await send("POST", "/search", { question: this.question, ...how, collection: chosenCollection() || undefined });
      say(this.status, passages.length ? "find.found" : "find.none", { n: passages.length, ms: Math.round(performance.now() - before) });
      fill(this.list, ...passages.map(item));
    } catch (error) {
      const { message, hint } = /** @type {{message: string, hint?: string}} */ (error);
      this.status.textContent = `${message} ${hint ?? ""}`;
    }
  }
}

/** @param {Passage} passage */
function item(passage) {
  const ranks = Object.entries(passage.found_by).map(([name, rank]) => h("span", { class: "pill", t: "find.rank", tArgs: { name, rank: rank.rank, score: number(rank.score, 3) } }));
  const open = () => emit("page:open", { ...passage, focus: true });
  return h("li", {}, h("button", { type: "button", class: "talk-nearest", onclick: open }, h("span", { class: "row talk-found-head" }, h("b", placed(passage)), h("span", { class: "small muted" }, number(passage.score, 3))), h("span", { class: "row talk-found-ranks" }, ...ranks), h("span", { class: "talk-nearest-text" }, passage.text)));
}
