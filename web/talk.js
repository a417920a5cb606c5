// The talk: one conversation, its questions and answers, and where the next question is written.
import { ask, chosenCollection, get, send } from "./api.js";
import { emit, on } from "./bus.js";
import { clip, fill, h, icon, iconButton, name, say, sayRefusal } from "./dom.js";
import { add, composes } from "./i18n.js";
import { AnswerView, QuestionView } from "./message.js";
import { SearchView } from "./search.js";
import { openSettings } from "./settings.js";
import { TalkList } from "./talks.js";

add({
  en: {
    "talk.new": "New conversation", "talk.list": "Conversations", "talk.untitled": "New conversation", "talk.settings": "How answers are made",
    "talk.question": "Your question", "talk.ask_hint": "Ask your documents …", "talk.search_hint": "Try a search: passages, with every ranker's rank …", "talk.send": "Ask", "talk.stop": "Stop",
    "talk.mode": "What the question does", "talk.ask": "Ask", "talk.search": "Search only", "talk.start": "What do you want to know?", "talk.start_more": "Every answer is made of your documents, and every claim leads to its page.",
    "talk.empty": "There are no documents yet. Drop files or folders anywhere in this window, or choose them in the library.", "talk.suggested": "To begin with",
    "talk.scope": "Only in {n} {n|document|documents}", "talk.scope_all": "Ask all documents again", "talk.log": "Conversation", "talk.done": "The answer is complete, with {n} {n|source|sources}.", "talk.refused": "The answer is not in your documents.", "talk.begun": "The answer is being written.", "talk.quotes": "Answers are quotes, word for word.", "talk.add_llama": "Add a Llama for answers in its own words …",
  },
  zh: {
    "talk.new": "新对话", "talk.list": "对话列表", "talk.untitled": "新对话", "talk.settings": "回答方式",
    "talk.question": "您的问题", "talk.ask_hint": "向您的文档提问……", "talk.search_hint": "试试检索：查看段落及各排序器的名次……", "talk.send": "提问", "talk.stop": "停止",
    "talk.mode": "提问方式", "talk.ask": "提问", "talk.search": "仅检索", "talk.start": "您想了解什么？", "talk.start_more": "回答全部来自您的文档，每个论断都能追溯到所在页面。",
    "talk.empty": "还没有文档。把文件或文件夹拖到窗口的任意位置，或在文档库中选择。", "talk.suggested": "可以先问",
    "talk.scope": "仅在 {n} 个文档中", "talk.scope_all": "恢复对全部文档提问", "talk.log": "对话内容", "talk.done": "回答完成，共 {n} 个来源。", "talk.refused": "您的文档中没有答案。", "talk.begun": "正在撰写回答。", "talk.quotes": "目前的回答是原文引用，逐字摘录。", "talk.add_llama": "添加 Llama，用它自己的话作答……",
  },
});

/** @typedef {import("./types.js").Talk} Talk */

const SETTLE_MS = 100;
const SETTLE_LOOKS = 20;

/** The place of the talk. */
class TalkPlace {
  /** @param {HTMLElement} root */
  constructor(root) {
    /** @type {Talk|null} */
    this.talk = null;
    /** @type {Record<string, unknown>} settings of a conversation that has not begun */
    this.wishes = {};
    /** @type {AbortController|null} */
    this.asking = null;
    /** @type {string[]} */
    this.scope = [];
    /** @type {AnswerView|null} an answer that was stopped, and that the server may be keeping just now */
    this.stopped = null;
    this.quotes = h("p", { class: "small muted talk-quotes", hidden: true }, h("span", { t: "talk.quotes" }), " ", h("button", { type: "button", class: "link", t: "talk.add_llama", onclick: () => emit("model:open") }));
    this.searching = false;
    this.documents = 0;
    this.title = h("button", { type: "button", class: "talk-title", onclick: () => this.list.open() });
    this.log = h("div", { class: "talk-log", role: "log", "aria-live": "off", tabindex: "0", tLabel: "talk.log" });
    this.live = h("div", { class: "visually-hidden", "aria-live": "polite" });
    this.list = new TalkList((id) => this.open(id), (id) => this.forgotten(id));
    this.field = h("textarea", { id: "question", rows: "1", tLabel: "talk.question", tPlaceholder: "talk.ask_hint", autocomplete: "off", enterkeyhint: "send" });
    this.button = h("button", { class: "primary talk-send", tLabel: "talk.send", tTitle: "talk.send" }, icon("send"));
    this.scopeLine = h("div", { class: "talk-scope", hidden: true });
    this.modes = h("div", { class: "talk-modes", role: "group", tLabel: "talk.mode" }, this.mode("talk.ask", false), this.mode("talk.search", true));
    this.form = h("form", { class: "talk-form", onsubmit: (/** @type {Event} */ event) => this.submit(event) }, this.scopeLine, h("div", { class: "talk-box" }, this.field, this.button), this.modes);
    fill(root, this.head(), this.log, this.form, this.live);
    this.field.addEventListener("keydown", (event) => this.typed(event));
    this.field.addEventListener("input", () => this.grow());
    this.listen();
  }

  head() {
    return h(
      "header", { class: "talk-head" },
      iconButton("menu", "talk.list", () => this.list.open()), this.title, h("div", { class: "grow" }),
      iconButton("settings", "talk.settings", () => this.openSettings()), iconButton("add", "talk.new", () => this.begin(), { id: "new-talk" }),
    );
  }

  /**
   * @param {string} words
   * @param {boolean} searching
   */
  mode(words, searching) {
    return h("button", { type: "button", class: "talk-mode", t: words, "aria-pressed": String(!searching), data: { searching: String(searching) }, onclick: () => this.setMode(searching) });
  }

  /** @param {boolean} searching */
  setMode(searching) {
    this.searching = searching;
    for (const button of this.modes.querySelectorAll("button")) button.setAttribute("aria-pressed", String(button.dataset.searching === String(searching)));
    name(this.field, { tPlaceholder: searching ? "talk.search_hint" : "talk.ask_hint" });
    this.field.focus();
  }

  listen() {
    on("talk:focus", () => this.field.focus());
    on("ask", ({ question }) => this.put(question));
    on("started", () => this.fromAddress());
    on("collection", () => this.begin());
    on("talk:renamed", ({ id, title }) => {
      if (this.talk?.id === id) this.title.textContent = title;
    });
    on("scope", (names) => this.setScope(names));
    on("library", ({ documents }) => {
      const first = this.documents === 0 && documents > 0;
      this.documents = documents;
      if (!this.talk && (first || documents === 0)) void this.welcome();
    });
    on("answerer", (/** @type {import("./types.js").Answerer} */ now) => (this.quotes.hidden = now.kind !== "quotes"));
    addEventListener("hashchange", () => this.fromAddress());
  }

  fromAddress() {
    const id = new URLSearchParams(location.hash.slice(1)).get("c");
    if (!id) return this.talk ? this.begin() : this.welcome();
    if (id !== this.talk?.id) return this.open(id);
  }

  // -- one conversation ---------------------------------------------------------------------------------------------

  /** An empty one, which is kept from its first question on. */
  begin() {
    this.asking?.abort();
    this.asking = this.stopped = null;
    this.setBusy(false);
    this.talk = null;
    this.wishes = {};
    emit("wishes", this.wishes);
    if (location.hash) history.replaceState(null, "", location.pathname);
    void this.welcome();
    this.field.focus();
  }

  /** @param {string} id */
  async open(id) {
    this.asking?.abort();
    this.asking = this.stopped = null;
    this.setBusy(false);
    try {
      this.show(await get(`/conversations/${encodeURIComponent(id)}`));
    } catch (error) {
      sayRefusal(error);
      this.begin();
    }
  }

  /** @param {Talk} talk */
  show(talk) {
    this.talk = talk;
    emit("wishes", talk.settings);
    history.replaceState(null, "", `#c=${talk.id}`);
    this.title.textContent = talk.title;
    delete this.title.dataset.t;
    fill(this.log);
    for (const message of talk.messages) {
      if (message.role === "user") this.addQuestion(message.text, message.id);
      else this.addAnswer().stored(message);
    }
    this.restore();
    this.down();
  }

  /** @param {string} id a conversation that was deleted */
  forgotten(id) {
    if (this.talk?.id === id) this.begin();
  }

  async welcome() {
    if (this.asking) return; // a question was put before the library had answered
    say(this.title, "talk.untitled");
    const start = h("div", { class: "talk-start" }, h("h2", { t: "talk.start" }), h("p", { class: "muted", t: "talk.start_more" }));
    fill(this.log, start);
    this.restore();
    const { questions } = await get("/suggestions", { n: 4 }).catch(() => ({ questions: [] }));
    const collections = await get("/collections").catch(() => ({ data: [] }));
    this.documents = collections.data.find((/** @type {import("./types.js").CollectionEntry} */ entry) => (chosenCollection() ? entry.name === chosenCollection() : entry.default))?.documents ?? 0;
    if (!start.isConnected) return;
    start.append(this.quotes);
    if (!this.documents) start.append(h("p", { class: "talk-none", t: "talk.empty" }));
    if (questions.length) start.append(h("h3", { t: "talk.suggested" }), h("div", { class: "talk-suggested" }, ...questions.map((/** @type {string} */ question) => h("button", { type: "button", class: "talk-suggestion", onclick: () => this.put(question) }, question))));
  }

  openSettings() {
    const now = /** @type {Record<string, any>} */ (this.talk?.settings ?? this.wishes);
    void openSettings(now, async (next) => {
      emit("wishes", next);
      if (!this.talk) return void (this.wishes = next);
      this.talk.settings = next; // in force for the next question, however soon it is put
      await send("PATCH", `/conversations/${this.talk.id}`, { settings: next });
    });
  }

  /** @param {string[]} names */
  setScope(names) {
    this.scope = names;
    this.scopeLine.hidden = !names.length;
    const line = h("span", { t: "talk.scope", tArgs: { n: names.length }, title: names.join("\n") });
    fill(this.scopeLine, line, iconButton("close", "talk.scope_all", () => emit("scope", [])));
  }

  // -- asking -------------------------------------------------------------------------------------------------------

  /** @param {KeyboardEvent} event */
  typed(event) {
    if (event.key !== "Enter" || event.shiftKey || composes(event)) return;
    event.preventDefault();
    // The next question can be written while an answer comes; only the button stops it.
    if (!this.asking) this.form.requestSubmit();
  }

  grow() {
    this.field.style.height = "auto";
    this.field.style.height = `${Math.min(this.field.scrollHeight + 2, innerHeight * 0.35)}px`;
  }

  /** @param {Event} event */
  submit(event) {
    event.preventDefault();
    if (this.asking) {
      this.asking.abort();
      return this.field.focus();
    }
    const question = this.field.value.trim();
    if (!question) return this.field.focus();
    this.field.value = "";
    this.grow();
    void this.put(question);
  }

  /** @param {string} question */
  async put(question) {
    if (this.asking) return;
    emit("show", "talk");
    if (this.log.querySelector(".talk-start")) fill(this.log);
    if (this.searching) return this.find(question);
    const asked = this.addQuestion(question, null), answer = this.addAnswer();
    this.down();
    await this.run(question, asked, answer);
  }

  /** @param {string} question */
  async find(question) {
    const view = new SearchView(question);
    this.log.append(view.root);
    this.down();
    await view.run({ where: this.scope.map(exactly), k: Number(this.settings().k) || 10 });
    view.root.scrollIntoView({ block: "start" });
  }

  /** @returns {Record<string, unknown>} */
  settings() {
    return this.talk?.settings ?? this.wishes;
  }

  /**
   * @param {string} question
   * @param {QuestionView} asked
   * @param {AnswerView} answer
   * @param {string} [replaces] id of the question that this one stands for: it and all after it are forgotten
   */
  async run(question, asked, answer, replaces) {
    const asking = (this.asking = new AbortController());
    this.setBusy(true);
    say(this.live, "talk.begun");
    this.remember(question);
    asked.id = replaces ?? null; // until it has an id of its own: asked once more, it still stands for that one
    try {
      await this.settled();
      await this.kept(question, asking.signal);
      const body = { question, conversation: this.talk?.id, replaces: this.talk ? replaces : undefined, where: this.scope.map(exactly), ...this.settings() };
      for await (const { event, data } of ask(body, asking.signal)) {
        const near = this.isDown();
        if (event === "start") this.started(asked, data);
        answer.take(event, data);
        if (near) this.down();
      }
      answer.ended(new TypeError("the stream ended before the answer did"));
    } catch (error) {
      answer.ended(asking.signal.aborted ? null : error);
      if (asking.signal.aborted) this.stopped = answer;
    } finally {
      if (this.asking === asking) {
        this.asking = null;
        this.setBusy(false);
      }
    }
    const made = answer.answer;
    if (made && answer.root.isConnected) say(this.live, made.finish_reason === "no_evidence" ? "talk.refused" : "talk.done", { n: made.citations.length });
  }

  /**
   * @param {QuestionView} asked
   * @param {{question_message: string|null}} data
   */
  started(asked, data) {
    asked.id = data.question_message;
    sessionStorage.removeItem("question");
  }

  /**
   * Until the server has a question, this tab remembers it: a reload gives it back, whatever happens in between.
   * @param {string} question
   */
  remember(question) {
    sessionStorage.setItem("question", JSON.stringify({ talk: this.talk?.id ?? "", question }));
  }

  /** Put a question that never reached the server back where it was written. */
  restore() {
    const kept = JSON.parse(sessionStorage.getItem("question") ?? "null");
    if (!kept || kept.talk !== (this.talk?.id ?? "") || this.asking || this.field.value) return;
    sessionStorage.removeItem("question");
    // The server may have had it all the same, and only not told of it in time.
    if (this.talk?.messages.filter((message) => message.role === "user").at(-1)?.text === kept.question) return;
    this.field.value = kept.question;
    this.grow();
  }

  /** Wait until the server has kept an answer that was stopped: what is asked next comes behind it, or instead of it. */
  async settled() {
    const answer = this.stopped, talk = this.talk;
    this.stopped = null;
    for (let look = 0; answer && talk && look < SETTLE_LOOKS; look++) {
      const { messages } = await get(`/conversations/${encodeURIComponent(talk.id)}`);
      if (messages.some((/** @type {import("./types.js").Message} */ message) => message.id === answer.id)) return;
      // Without a beginning there may be nothing to wait for.
      if (!answer.id && look > 3) return;
      await new Promise((resolve) => setTimeout(resolve, SETTLE_MS));
    }
  }

  /**
   * Make the conversation of a first question; without a place to keep it, it is answered all the same.
   * @param {string} question
   * @param {AbortSignal} signal
   */
  async kept(question, signal) {
    if (this.talk) return;
    const made = await send("POST", "/conversations", { title: clip(question, 80), settings: this.wishes }).catch(sayRefusal);
    if (!made || signal.aborted) return;
    this.talk = { ...made, messages: [] };
    this.remember(question);
    history.replaceState(null, "", `#c=${made.id}`);
    this.title.textContent = made.title;
    delete this.title.dataset.t;
  }

  /** @param {boolean} busy */
  setBusy(busy) {
    const words = busy ? "talk.stop" : "talk.send";
    fill(this.button, icon(busy ? "stop" : "send"));
    name(this.button, { tLabel: words, tTitle: words });
    this.button.classList.toggle("busy", busy);
    this.log.setAttribute("aria-busy", String(busy));
  }

  /**
   * @param {string} text
   * @param {string|null} id
   */
  addQuestion(text, id) {
    /** @type {QuestionView} */
    const view = new QuestionView(text, id, (changed) => this.again(view, changed));
    this.log.append(view.root);
    return view;
  }

  addAnswer() {
    /** @type {AnswerView} */
    const view = new AnswerView({ regenerate: () => this.regenerate(view), talk: () => this.talk?.id ?? null });
    this.log.append(view.root);
    return view;
  }

  /** @param {AnswerView} answer */
  regenerate(answer) {
    let before = answer.root.previousElementSibling;
    while (before && !before.classList.contains("talk-question")) before = before.previousElementSibling;
    const view = before && QuestionView.of(/** @type {HTMLElement} */ (before));
    if (view) void this.again(view, view.text);
  }

  /**
   * Ask a question anew: it and all that came after it are forgotten.
   * @param {QuestionView} view
   * @param {string} text
   */
  async again(view, text) {
    if (this.asking) return;
    let replaces = view.id;
    try {
      await this.settled();
      replaces ??= await this.keptAs(view);
    } catch (error) {
      return sayRefusal(error);
    }
    while (view.root.nextElementSibling) view.root.nextElementSibling.remove();
    view.root.remove();
    const asked = this.addQuestion(text, null), answer = this.addAnswer();
    this.down();
    this.field.focus({ preventScroll: true });
    await this.run(text, asked, answer, replaces ?? undefined);
  }

  /**
   * The id of a question that was stopped before the server told of it.
   * @param {QuestionView} view
   * @returns {Promise<string|null>} null when it was not kept
   */
  async keptAs(view) {
    if (!this.talk) return null;
    const known = new Set([...this.log.children].map((root) => QuestionView.of(/** @type {HTMLElement} */ (root))?.id));
    const { messages } = await get(`/conversations/${encodeURIComponent(this.talk.id)}`);
    return messages.find((/** @type {import("./types.js").Message} */ message) => message.role === "user" && message.text === view.text && !known.has(message.id))?.id ?? null;
  }

  // -- scrolling ----------------------------------------------------------------------------------------------------

  isDown() {
    return this.log.scrollHeight - this.log.scrollTop - this.log.clientHeight < 80;
  }

  down() {
    this.log.scrollTop = this.log.scrollHeight;
  }
}

/**
 * A document's name as a pattern that only it fits.
 * @param {string} name
 */
function exactly(name) {
  return name.replace(/[[*?]/g, "[$&]");
}

/** @param {HTMLElement} root */
export function mountTalk(root) {
  return new TalkPlace(root);
}
