// Who answers: always to be seen, and changed here.
import { Refused, get, request, send } from "./api.js";
import { emit, on } from "./bus.js";
import { dialog, fill, h, iconButton, name, say, sayRefusal, size, toast } from "./dom.js";
import { add, t } from "./i18n.js";

/** @typedef {import("./types.js").Answerer} Answerer */
/** @typedef {import("./types.js").Job} Job */

add({
  en: {
    "model.title": "Who answers", "model.quotes": "Quotes", "model.badge": "{name} answers. Change …", "model.quotes_why": "Answers are made of quotes from your documents; no language model is needed. For answers in its own words, add a Llama: a folder on this machine, or a hub id.",
    "model.gone": "{name} was chosen for this conversation and is no longer offered.", "model.here": "In the conversation that is open {name} answers, as chosen under “How answers are made”.", "model.local": "{name} answers, on this machine.", "model.remote": "{name} answers. Questions and passages are sent there.", "model.field": "Folder, GGUF file or hub id (org/name)", "model.use": "Use it", "model.back": "Answer with quotes",
    "model.size": "{model} is {size} in {files} files. It is downloaded from the hub only when you say so.", "model.download": "Download and use", "model.downloading": "{percent} % of {size}", "model.ask_size": "Ask the hub for its size", "model.loading": "The model is being loaded …", "model.changed": "{name} answers from now on.", "model.others": "Also to be chosen, for all or for one conversation", "model.use_this": "Use it: {name}", "model.withdraw": "Take {name} off this list; its files stay", "model.withdrawn": "{name} is not offered any more.", "model.failed": "The download failed: {message}", "model.cancel": "Cancel the download",
  },
  zh: {
    "model.title": "由谁回答", "model.quotes": "原文引用", "model.badge": "由 {name} 回答。更改……", "model.quotes_why": "回答由您文档中的原文引用组成，不需要语言模型。如果想要用自己的话作答，请添加一个 Llama：本机上的文件夹，或模型库编号。",
    "model.gone": "本对话选用的 {name} 已不可用。", "model.here": "当前打开的对话由 {name} 回答（在“回答方式”中选定）。", "model.local": "由本机上的 {name} 回答。", "model.remote": "由 {name} 回答。问题和段落会发送到那里。", "model.field": "文件夹、GGUF 文件或模型库编号（org/name）", "model.use": "使用", "model.back": "改用原文引用",
    "model.size": "{model} 大小为 {size}，共 {files} 个文件。只有在您同意后才会从模型库下载。", "model.download": "下载并使用", "model.downloading": "{size} 的 {percent} %", "model.ask_size": "向模型库查询大小", "model.loading": "正在加载模型……", "model.changed": "从现在起由 {name} 回答。", "model.others": "也可选用（全部对话或单个对话）", "model.use_this": "使用 {name}", "model.withdraw": "将 {name} 移出列表（文件保留）", "model.withdrawn": "{name} 已移出列表。", "model.failed": "下载失败：{message}", "model.cancel": "取消下载",
  },
});

const HUB_ID = /^[\w.-]+\/[\w.-]+$/;

/** The badge in the bar, and the dialog behind it. */
class ModelBadge {
  /** @param {HTMLElement} root */
  constructor(root) {
    this.root = root;
    /** @type {Answerer|null} */
    this.now = null;
    /** @type {string|undefined} the model that the open conversation wishes */
    this.wished = undefined;
    this.dot = h("i", { class: "model-dot warming" });
    this.words = h("span", { t: "model.quotes" });
    this.badge = h("button", { type: "button", class: "model-badge", onclick: () => this.open() }, this.dot, this.words);
    fill(root, this.badge);
    on("model:open", () => this.open());
    on("back", () => this.load());
    on("started", () => this.load());
    on("collection", () => this.load());
    on("wishes", (/** @type {Record<string, any>} */ wishes) => {
      this.wished = wishes.model ?? undefined; // other clients may write null where they wish nothing
      if (this.now) this.tell(this.here(this.now));
    });
  }

  async load() {
    try {
      this.show(await get("/answerer"));
    } catch {
      this.dot.className = "model-dot warming";
      return;
    }
    // A Llama takes its time to load: the dot turns green when it is there.
    if (this.now && !this.now.ready) setTimeout(() => this.load(), 2000);
  }

  /** @param {Answerer} now */
  show(now) {
    this.now = now;
    this.tell(this.here(now));
  }

  /**
   * Who answers in the conversation that is open: the model that was chosen for it, else the library's.
   * @param {Answerer} now
   * @returns {Answerer}
   */
  here(now) {
    if (this.wished === undefined) return now;
    const offer = now.models.find((one) => one.model === this.wished);
    if (!offer) return { ...now, kind: "gone", name: this.wished, local: true, ready: false };
    return { ...now, kind: offer.kind, name: offer.name, local: offer.local, ready: offer.name !== now.name || now.ready };
  }

  /** @param {Answerer} now */
  tell(now) {
    if (now.kind === "quotes") say(this.words, "model.quotes");
    else {
      delete this.words.dataset.t;
      this.words.textContent = now.name;
    }
    this.badge.dataset.tArgs = JSON.stringify({ name: this.words.textContent });
    const words = now.kind === "gone" ? "model.gone" : "model.badge";
    name(this.badge, { tLabel: words, tTitle: words });
    this.dot.className = `model-dot ${now.ready ? "" : "warming"} ${now.local ? "" : "remote"}`;
    emit("answerer", now);
  }

  open() {
    const now = this.now;
    dialog("model.title", (close) => {
      const kind = !now || now.kind === "quotes" ? "model.quotes_why" : now.local ? "model.local" : "model.remote";
      const field = h("input", { tLabel: "model.field", tPlaceholder: "model.field", spellcheck: "false", autocomplete: "off", required: true });
      const below = h("div", { class: "stack", role: "status" });
      const submit = (/** @type {Event} */ event) => {
        event.preventDefault();
        void this.use(field.value.trim(), below, close);
      };
      return [h("form", { class: "stack", onsubmit: submit }, h("p", { t: kind, tArgs: { name: now?.name ?? "" } }), now && this.instead(now), now?.hint && now.kind !== "quotes" ? h("p", { class: "small muted" }, now.hint) : null, field,
        h("div", { class: "row" }, h("button", { class: "primary", t: "model.use" }), now && now.kind !== "quotes" && h("button", { type: "button", class: "secondary", t: "model.back", onclick: () => this.use("", below, close) })), below), ...(now ? this.others(now, below, close) : [])];
    });
  }

  /**
   * The models that were chosen before, each with a way to choose it again and one to list it no longer.
   * @param {Answerer} now
   * @param {HTMLElement} below
   * @param {() => void} close
   */
  others(now, below, close) {
    const others = now.models.filter((offer) => offer.kind !== "quotes" && offer.name !== now.name);
    if (!others.length) return [];
    const list = h("ul", { class: "model-others", tLabel: "model.others" });
    const withdraw = async (/** @type {import("./types.js").ModelOffer} */ { model, name }, /** @type {HTMLButtonElement} */ button) => {
      button.disabled = true;
      try {
        await request("DELETE", "/answerer", { query: { model } });
      } catch (error) {
        // Somebody else may have been quicker.
        if (!(error instanceof Refused && error.status === 404)) {
          button.disabled = false;
          return sayRefusal(error);
        }
      }
      await this.load();
      toast("model.withdrawn", { name });
      // All of the dialog may read otherwise now.
      if (button.isConnected) {
        close();
        this.open();
      }
    };
    for (const offer of others) {
      const { model, name } = offer, args = { tArgs: { name } };
      const use = h("button", { type: "button", class: "secondary", t: "model.use", tLabel: "model.use_this", ...args, onclick: () => this.use(model, below, close) });
      const row = h("li", { class: "row" }, h("span", { class: "grow" }, name), use);
      if (!offer.fixed) row.append(iconButton("trash", "model.withdraw", (event) => withdraw(offer, /** @type {HTMLButtonElement} */ (event.currentTarget)), args));
      list.append(row);
    }
    return [h("div", { class: "stack" }, h("p", { class: "small muted", t: "model.others" }), list)];
  }

  /**
   * A line about the conversation that is open, where it has a model of its own.
   * @param {Answerer} now
   */
  instead(now) {
    const { kind, name } = this.here(now);
    if (this.wished === undefined) return null;
    return h("p", { class: "talk-note", t: kind === "gone" ? "model.gone" : "model.here", tArgs: { name: kind === "quotes" ? t("model.quotes") : name } });
  }

  /**
   * Let a model answer from now on, also when the dialog was closed while it was downloaded.
   * @param {string} model
   * @param {HTMLElement} below where it is told how that goes
   * @param {() => void} close
   */
  async use(model, below, close) {
    fill(below, h("p", { class: "muted", t: "model.loading" }));
    try {
      this.show(await send("POST", "/answerer", { model }));
      close();
      toast("model.changed", { name: this.now?.kind === "quotes" ? t("model.quotes") : this.now?.name });
      if (!this.now?.ready) void this.load();
    } catch (error) {
      if (!below.isConnected) return sayRefusal(error);
      const { message, hint } = /** @type {{message: string, hint?: string}} */ (error);
      fill(below, h("p", { class: "talk-note" }, `${message} ${hint ?? ""}`), ...(HUB_ID.test(model) ? [this.sizeButton(model, below, close)] : []));
    }
  }

  /**
   * @param {string} model
   * @param {HTMLElement} below
   * @param {() => void} close
   */
  sizeButton(model, below, close) {
    const ask = async () => {
      try {
        const found = await get("/answerer/size", { model });
        const start = h("button", { type: "button", class: "primary", t: "model.download", onclick: () => this.download(model, found.bytes, below, close) });
        fill(below, h("p", { t: "model.size", tArgs: { model, size: size(found.bytes), files: found.files } }), start);
      } catch (error) {
        sayRefusal(error);
      }
    };
    return h("button", { type: "button", class: "secondary", t: "model.ask_size", onclick: ask });
  }

  /**
   * @param {string} model
   * @param {number} bytes
   * @param {HTMLElement} below
   * @param {() => void} close
   */
  async download(model, bytes, below, close) {
    const fillBar = h("i"), words = h("span", { class: "small muted" });
    try {
      const { job } = await send("POST", "/answerer/download", { model });
      const cancel = h("button", { type: "button", class: "secondary", t: "model.cancel", onclick: () => send("DELETE", `/jobs/${job.id}`).catch(sayRefusal) });
      fill(below, h("div", { class: "bar-of" }, fillBar), words, cancel);
      const end = on("job", (/** @type {Job} */ seen) => {
        if (seen.id !== job.id) return;
        const part = seen.progress?.fraction ?? 0;
        fillBar.style.width = `${100 * part}%`;
        say(words, "model.downloading", { percent: Math.floor(100 * part), size: size(bytes) });
        if (!["done", "failed", "cancelled"].includes(seen.state)) return;
        end();
        if (seen.state === "done") void this.use(model, below, close);
        else say(words, "model.failed", { message: seen.error?.message ?? seen.state });
      });
    } catch (error) {
      sayRefusal(error);
    }
  }
}

/** @param {HTMLElement} root */
export function mountModel(root) {
  return new ModelBadge(root);
}
