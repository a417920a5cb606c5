// A question, and an answer as it comes and as it is kept.
import { send } from "./api.js";
import { emit } from "./bus.js";
import { chip, hideCard, openCitation, place, placed, stateClass, stateWords } from "./chips.js";
import { clip, dialog, fill, h, icon, iconButton, markup, say, sayRefusal, toast } from "./dom.js";
import { add, composes, t } from "./i18n.js";
import { inside } from "./inside.js";

/** @typedef {import("./types.js").Answer} Answer */
/** @typedef {import("./types.js").Citation} Citation */
/** @typedef {import("./types.js").Message} Message */
/** @typedef {import("./types.js").Passage} Passage */
/** @typedef {import("./types.js").Step} Step */

add({
  en: {
    "say.you": "You asked", "say.edit": "Edit and ask again", "say.ask_again": "Ask again", "say.cancel": "Cancel", "say.answer": "Answer", "say.searching": "Searching the documents …", "say.waiting": "Waiting: {n} {n|answer|answers} before this one …",
    "say.weighing": "Weighing what was found …", "say.writing": "Writing …", "say.stopped": "Stopped.", "say.cut": "The answer was cut at its longest.", "say.lost": "The connection was lost before the answer was complete.",
    "say.copy": "Copy the text", "say.copy_sources": "Copy as Markdown with sources", "say.copied": "Copied.", "say.regenerate": "Answer again", "say.good": "Good answer", "say.bad": "Bad answer", "say.inside": "Look inside",
    "say.sources": "Sources", "say.nothing": "Not in your documents", "say.nothing_more": "Nothing in the library answers this question. The nearest passages:",
    "say.unread": "{document}: {n} {n|page|pages} could not be read (pages {pages}). The answer may stand there.", "say.figure": "No cited passage holds this number", "say.comment": "What was good, or wrong? (kept in the library)", "say.keep": "Keep", "say.thanks": "Kept in the library.",
    "say.refused": "No answer: {message}", "say.made_by": "{seconds} s", "say.by": "written by {name}", "say.by_quotes": "quotes, word for word", "say.feedback": "Your judgement",
  },
  zh: {
    "say.you": "您的提问", "say.edit": "修改并重新提问", "say.ask_again": "重新提问", "say.cancel": "取消", "say.answer": "回答", "say.searching": "正在检索文档……", "say.waiting": "排队中：前面还有 {n} 个回答……",
    "say.weighing": "正在判断检索结果……", "say.writing": "正在撰写……", "say.stopped": "已停止。", "say.cut": "回答达到长度上限，已截断。", "say.lost": "回答完成之前连接中断。",
    "say.copy": "复制文字", "say.copy_sources": "复制为带来源的 Markdown", "say.copied": "已复制。", "say.regenerate": "重新回答", "say.good": "回答得好", "say.bad": "回答不好", "say.inside": "查看过程",
    "say.sources": "来源", "say.nothing": "您的文档中没有答案", "say.nothing_more": "文档库中没有内容能回答这个问题。最接近的段落：",
    "say.unread": "{document}：有 {n} 页无法读取（第 {pages} 页），答案可能在其中。", "say.figure": "所引段落中没有这个数字", "say.comment": "好在哪里，或错在哪里？（保存在文档库中）", "say.keep": "保存", "say.thanks": "已保存到文档库。",
    "say.refused": "没有回答：{message}", "say.made_by": "{seconds} 秒", "say.by": "由 {name} 撰写", "say.by_quotes": "逐字引用原文", "say.feedback": "您的评价",
  },
});

/** @type {WeakMap<HTMLElement, QuestionView>} */
const questions = new WeakMap();

/** What was asked. */
export class QuestionView {
  /**
   * @param {string} text
   * @param {string|null} id of the message, null until the server has kept it
   * @param {(text: string) => void} again
   */
  constructor(text, id, again) {
    this.text = text;
    this.id = id;
    this.again = again;
    this.body = h("p", { class: "talk-asked" }, text);
    this.root = h("article", { class: "talk-question", tLabel: "say.you" }, this.body, iconButton("edit", "say.edit", () => this.edit(), { class: "icon-button talk-edit" }));
    questions.set(this.root, this);
  }

  /** @param {HTMLElement} root */
  static of(root) {
    return questions.get(root);
  }

  edit() {
    const field = h("textarea", { rows: "2", tLabel: "say.edit" });
    field.value = this.text;
    const end = () => form.replaceWith(this.body);
    const submit = (/** @type {Event} */ event) => {
      event.preventDefault();
      if (field.value.trim()) this.again(field.value.trim());
    };
    const form = h("form", { class: "stack grow", onsubmit: submit }, field, h("div", { class: "row" }, h("button", { class: "primary", t: "say.ask_again" }), h("button", { type: "button", class: "secondary", t: "say.cancel", onclick: end })));
    field.addEventListener("keydown", (event) => {
      if (event.key === "Escape") end();
      else if (event.key === "Enter" && !event.shiftKey && !composes(event)) submit(event);
    });
    this.body.replaceWith(form);
    field.focus();
  }
}

/** An answer, while it is written and afterwards. */
export class AnswerView {
  /** @param {{regenerate: () => void, talk: () => string|null}} doors */
  constructor(doors) {
    this.doors = doors;
    /** @type {Answer|null} */
    this.answer = null;
    /** @type {string|null} */
    this.id = null;
    /** @type {Citation[]} */
    this.citations = [];
    /** @type {Passage[]} */
    this.passages = [];
    /** @type {Step[]} */
    this.steps = [];
    this.text = ""; // all that was written
    this.html = ""; // of the blocks
    this.tailText = "";
    this.tailShown = "";
    this.drawn = 0;
    this.over = false;
    this.status = h("p", { class: "talk-status muted", t: "say.searching" });
    this.blocks = h("div", { class: "talk-text" });
    this.tail = h("p", { class: "talk-tail" });
    this.body = h("div", {}, this.blocks, this.tail);
    this.foot = h("div", { class: "talk-foot" });
    this.root = h("article", { class: "talk-answer", tLabel: "say.answer" }, this.status, this.body, this.foot);
  }

  // -- as it comes --------------------------------------------------------------------------------------------------

  /**
   * @param {string} event
   * @param {any} data
   */
  take(event, data) {
    if (event === "start") this.id = data.message;
    else if (event === "waiting") say(this.status, "say.waiting", { n: data.position });
    else if (event === "step") this.step(data);
    else if (event === "found") this.passages = data.passages;
    else if (event === "token") this.token(data.text);
    else if (event === "block") this.block(data);
    else if (event === "cited") this.cited(data.citation);
    else if (event === "done") this.done({ ...data.answer, steps: data.steps ?? this.steps }, data.message ?? this.id);
    else if (event === "error") this.ended(data.error);
  }

  /** @param {Step} step */
  step(step) {
    this.steps.push(step);
    if (step.name === "search") say(this.status, "say.weighing");
    else if (step.name === "gather" || step.name === "prompt") say(this.status, "say.writing");
  }

  /** @param {string} text */
  token(text) {
    this.status.hidden = true;
    this.text += text;
    this.tailText += text;
    // Many tokens may come between two pictures on the screen: one drawing serves them all.
    this.drawn ||= requestAnimationFrame(() => this.draw());
  }

  /** What is new is put behind what stands there: chips stay, and so do focus, a selection, and a click half made. */
  draw() {
    this.drawn = 0;
    const last = this.tail.lastChild, more = this.tailText.slice(this.tailShown.length);
    if (!this.tailText.startsWith(this.tailShown)) fill(this.tail, this.tailText);
    else if (last instanceof Text) last.appendData(more);
    else this.tail.append(more);
    this.tailShown = this.tailText;
    chip(this.body, this.citations);
  }

  /**
   * Change what stands there, and leave the focus on the chip that has it, or on the one that stands for it then.
   * @param {() => void} change
   */
  keepFocus(change) {
    const chips = () => /** @type {HTMLElement[]} */ ([...this.body.querySelectorAll("button.chip")]);
    const at = chips().findIndex((one) => one === document.activeElement);
    change();
    if (at < 0 || document.activeElement !== document.body) return;
    hideCard();
    chips()[at]?.focus({ preventScroll: true });
  }

  /** @param {{html: string, tail: string}} block */
  block({ html, tail }) {
    this.keepFocus(() => {
      this.blocks.append(markup(html));
      this.html += html;
      this.tailText = tail;
      this.tailShown = "";
      fill(this.tail);
      this.draw();
    });
  }

  /** @param {Citation} citation */
  cited(citation) {
    this.citations.push(citation);
    this.draw();
  }

  /**
   * The end, without an answer that is whole.
   * @param {any} error null when the reader stopped it
   */
  ended(error) {
    if (this.answer || this.over) return;
    this.over = true;
    if (this.drawn) cancelAnimationFrame(this.drawn);
    this.draw();
    this.status.hidden = false;
    if (!error) say(this.status, "say.stopped");
    else if (error.message && !(error instanceof TypeError)) say(this.status, "say.refused", { message: `${error.message} ${error.hint ?? ""}` });
    else say(this.status, "say.lost");
    this.status.classList.toggle("talk-wrong", Boolean(error));
    const copies = this.text.trim() ? [iconButton("copy", "say.copy", () => copy(this.text))] : [];
    fill(this.foot, h("div", { class: "talk-actions" }, ...copies, iconButton("again", "say.regenerate", this.doors.regenerate)));
  }

  // -- as it is kept ------------------------------------------------------------------------------------------------

  /** @param {Message} message */
  stored(message) {
    this.id = message.id;
    if (message.answer) return this.done({ ...message.answer, html: message.html }, message.id, message.feedback);
    this.text = message.text;
    fill(this.blocks, markup(message.html));
    this.ended(null);
  }

  /**
   * @param {Answer} answer
   * @param {string|null} id
   * @param {{rating: number, comment: string}|null} [feedback]
   */
  done(answer, id, feedback = null) {
    if (this.drawn) cancelAnimationFrame(this.drawn);
    this.answer = answer;
    this.id = id;
    this.status.hidden = true;
    const refused = answer.finish_reason === "no_evidence";
    this.root.classList.toggle("refused", refused);
    this.citations = answer.citations;
    if (refused) fill(this.blocks, h("h3", { t: "say.nothing" }), h("p", { class: "muted", t: "say.nothing_more" }), ...answer.passages.slice(0, 3).map(nearest));
    this.keepFocus(() => this.whole(answer, refused));
    fill(this.foot, ...this.notes(answer), ...(answer.citations.length ? [sources(answer.citations)] : []), this.actions(answer, feedback));
  }

  /**
   * The answer's HTML: only what its blocks lack, where they are the beginning of it.
   * @param {Answer} answer
   * @param {boolean} refused
   */
  whole({ html = "", citations }, refused) {
    fill(this.tail);
    this.tailText = this.tailShown = "";
    if (refused) return;
    if (this.html && html.startsWith(this.html)) this.blocks.append(markup(html.slice(this.html.length)));
    else fill(this.blocks, markup(html));
    chip(this.body, citations);
    // What is wider than the talk scrolls by itself, also by keyboard.
    for (const wide of this.blocks.querySelectorAll("pre, table")) if (wide instanceof HTMLElement && wide.scrollWidth > wide.clientWidth) wide.tabIndex = 0;
    for (const link of this.blocks.querySelectorAll("a")) Object.assign(link, { target: "_blank", rel: "noopener noreferrer nofollow" });
  }

  /** @param {Answer} answer */
  notes(answer) {
    const notes = answer.warnings.map((warning) => h("p", { class: "talk-note" }, warning));
    if (answer.finish_reason === "cancelled") notes.push(h("p", { class: "talk-note", t: "say.stopped" }));
    if (answer.finish_reason === "length") notes.push(h("p", { class: "talk-note", t: "say.cut" }));
    for (const figure of answer.figures) notes.push(h("p", { class: "talk-note" }, h("span", { t: "say.figure" }), ": ", h("b", {}, figure.text)));
    for (const unread of answer.unread.slice(0, 3)) notes.push(h("p", { class: "talk-note", t: "say.unread", tArgs: { document: unread.document, n: unread.pages.length, pages: ranges(unread.pages) } }));
    return notes;
  }

  /**
   * @param {Answer} answer
   * @param {{rating: number, comment: string}|null} feedback
   */
  actions(answer, feedback) {
    const looked = h("div", { class: "talk-inside", hidden: true });
    const look = iconButton("inside", "say.inside", () => {
      if (!looked.childElementCount) looked.append(inside(answer));
      looked.hidden = !looked.hidden;
      look.setAttribute("aria-expanded", String(!looked.hidden));
    }, { "aria-expanded": "false" });
    const row = h(
      "div", { class: "talk-actions" },
      iconButton("copy", "say.copy", () => copy(answer.answer)), iconButton("download", "say.copy_sources", () => copy(markdown(answer))),
      iconButton("again", "say.regenerate", this.doors.regenerate), ...this.thumbs(feedback), look,
      h("span", { class: "tiny muted", t: "say.made_by", tArgs: { seconds: (answer.timings.total ?? 0).toFixed(2) } }), writer(answer),
    );
    return h("div", {}, row, looked);
  }

  /** @param {{rating: number, comment: string}|null} feedback */
  thumbs(feedback) {
    if (!this.id || !this.doors.talk()) return [];
    let now = feedback?.rating ?? 0, comment = feedback?.comment ?? "";
    const rate = (/** @type {number} */ rating) => async () => {
      now = now === rating ? 0 : rating;
      show();
      await this.judge(now, comment);
      if (now) this.askWhy(now, comment, (text) => (comment = text));
    };
    const up = iconButton("up", "say.good", rate(1)), down = iconButton("down", "say.bad", rate(-1));
    const show = () => {
      up.setAttribute("aria-pressed", String(now === 1));
      down.setAttribute("aria-pressed", String(now === -1));
    };
    show();
    return [up, down];
  }

  /**
   * @param {number} rating
   * @param {string} comment
   */
  async judge(rating, comment) {
    const path = `/conversations/${this.doors.talk()}/messages/${encodeURIComponent(this.id ?? "")}/feedback`;
    await send("PUT", path, { rating, comment }).catch(sayRefusal);
  }

  /**
   * @param {number} rating
   * @param {string} before
   * @param {(comment: string) => void} kept
   */
  askWhy(rating, before, kept) {
    dialog("say.feedback", (close) => {
      const field = h("textarea", { rows: "3", tLabel: "say.comment", tPlaceholder: "say.comment" });
      field.value = before;
      const keep = async (/** @type {Event} */ event) => {
        event.preventDefault();
        close();
        kept(field.value);
        await this.judge(rating, field.value);
        toast("say.thanks");
      };
      return [h("form", { class: "stack", onsubmit: keep }, field, h("div", { class: "row" }, h("button", { class: "primary", t: "say.keep" })))];
    });
  }
}

/**
 * Who wrote an answer; of one that was refused nobody did, and old ones do not say.
 * @param {Answer} answer
 */
function writer({ answerer, finish_reason }) {
  if (!answerer || finish_reason === "no_evidence") return null;
  return h("span", { class: "tiny muted talk-by", ...(answerer === "quotes" ? { t: "say.by_quotes" } : { t: "say.by", tArgs: { name: answerer }, title: answerer }) });
}

/** @param {Citation[]} citations */
function sources(citations) {
  const items = citations.map((citation) =>
    h("li", {}, h("button", { type: "button", class: "talk-source", onclick: () => openCitation(citation, citations) },
      h("span", { class: `chip ${stateClass(citation)}` }, citation.marker), h("span", { class: "grow talk-source-text" }, h("span", { class: "talk-source-place", ...placed(citation) }), h("q", {}, citation.quote)),
      h("span", { class: `pill ${stateClass(citation)}`, t: stateWords(citation) }))));
  return h("details", { class: "talk-sources" }, h("summary", {}, h("span", { t: "say.sources" }), ` (${citations.length})`), h("ul", {}, ...items));
}

/** @param {Passage} passage */
function nearest(passage) {
  return h("button", { type: "button", class: "talk-nearest", onclick: () => emit("page:open", { ...passage, focus: true }) }, h("span", { class: "small muted" }, icon("page"), h("span", placed(passage))), h("span", { class: "talk-nearest-text" }, clip(passage.text, 400)));
}

/** @param {number[]} pages */
function ranges(pages) {
  return pages.slice(0, 12).join(", ") + (pages.length > 12 ? " …" : "");
}

/** @param {string} text */
async function copy(text) {
  try {
    if (navigator.clipboard) await navigator.clipboard.writeText(text);
    else copyPlainly(text);
    toast("say.copied");
  } catch (error) {
    sayRefusal(error);
  }
}

/**
 * Copy without the clipboard's own interface: browsers have none for pages that came without TLS from another machine.
 * @param {string} text
 */
function copyPlainly(text) {
  const before = document.activeElement, field = h("textarea", { class: "visually-hidden" });
  field.value = text;
  document.body.append(field);
  field.select();
  document.execCommand("copy");
  field.remove();
  if (before instanceof HTMLElement) before.focus({ preventScroll: true });
}

/**
 * An answer with its sources below.
 * @param {Answer} answer
 */
export function markdown(answer) {
  const lines = answer.citations.map((citation) => `[${citation.marker}] ${place(citation)} (${t(stateWords(citation))}): “${citation.quote}”`);
  return lines.length ? `${answer.answer}\n\n${lines.map((line) => `- ${line}`).join("\n")}\n` : answer.answer;
}
