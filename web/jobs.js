// What is being added: uploads and the server's jobs, with their stage, speed and time left, and what failed and why.
import { get, send } from "./api.js";
import { on } from "./bus.js";
import { arrange, dialog, fill, h, icon, iconButton, refocus, say, sayRefusal, size } from "./dom.js";
import { add, current, number, plain, t } from "./i18n.js";

/** @typedef {import("./types.js").Job} Job */
/** @typedef {import("./types.js").JobFile} JobFile */
/** @typedef {import("./upload.js").Upload} Upload */
/** @typedef {import("./upload.js").Uploads} Uploads */

add({
  en: {
    "job.list": "Being added", "job.uploading": "uploading, {percent} % of {size}", "job.waits": "waits to be sent", "job.files": "{name} and {n} more", "job.more": "{n} more {n|upload|uploads}", "job.model": "The model", "job.fetched": "is on this machine", "job.download": "downloading", "job.queued": "waits for its turn", "job.read": "being read", "job.ocr": "pages are recognised", "job.embed": "being indexed", "job.done": "in the library", "job.failed": "failed", "job.cancelled": "cancelled", "job.running": "at work",
    "job.speed": "{speed} pages/s", "job.left": "{left} left", "job.seconds": "{n} s", "job.minutes": "{n} min", "job.page": "page {pages} of {of}", "job.cancel": "Cancel {name}", "job.retry": "Try {name} again", "job.dismiss": "Put {name} away", "job.password": "Give the password of {name}", "job.password_title": "Password", "job.password_why": "{name} is encrypted. The password is used once and not kept.",
    "job.open": "Open it", "job.kept": "already in the library", "job.said_done": "{name} is in the library.", "job.said_failed": "{name} failed.", "job.waiting": "waits: another program writes to the library", "job.lost": "The upload was interrupted.",
  },
  zh: {
    "job.list": "正在加入", "job.uploading": "正在上传，{size} 的 {percent} %", "job.waits": "等待上传", "job.files": "{name} 等 {n} 个文件", "job.more": "另有 {n} 个上传", "job.model": "模型", "job.fetched": "已在本机", "job.download": "正在下载", "job.queued": "排队中", "job.read": "正在读取", "job.ocr": "正在识别页面", "job.embed": "正在建立索引", "job.done": "已加入文档库", "job.failed": "失败", "job.cancelled": "已取消", "job.running": "进行中",
    "job.speed": "{speed} 页/秒", "job.left": "还需 {left}", "job.seconds": "{n} 秒", "job.minutes": "{n} 分钟", "job.page": "第 {pages}/{of} 页", "job.cancel": "取消 {name}", "job.retry": "重试 {name}", "job.dismiss": "收起 {name}", "job.password": "输入 {name} 的密码", "job.password_title": "密码", "job.password_why": "{name} 已加密。密码只使用一次，不会保存。",
    "job.open": "打开", "job.kept": "已在文档库中", "job.said_done": "{name} 已加入文档库。", "job.said_failed": "{name} 失败。", "job.waiting": "等待中：另一个程序正在写入文档库", "job.lost": "上传中断。",
  },
});

const FINAL = ["done", "failed", "cancelled"];
const UPLOADS_SHOWN = 30;
const SHOWN_MS = 4000; // for what ended well

/** The list of what is being added. */
export class Jobs {
  /** @param {Uploads} uploads */
  constructor(uploads) {
    this.uploads = uploads;
    /** @type {Map<string, Job>} */
    this.jobs = new Map();
    /** @type {Set<string>} */
    this.away = new Set(JSON.parse(localStorage.getItem("jobs-away") ?? "[]"));
    /** @type {Map<string, Card>} */
    this.cards = new Map();
    this.more = h("li", { class: "tiny muted" });
    this.list = h("ul", { class: "job-list", tLabel: "job.list" });
    this.live = h("div", { class: "visually-hidden", role: "status" });
    this.root = h("div", { class: "jobs", hidden: true }, this.list, this.live);
    /** @type {Set<string>} */
    this.over = new Set();
    on("job", (job) => this.take(job));
    // The stream of events may have been quicker than the answer to the upload.
    on("accepted", (job) => !this.jobs.has(job.id) && !this.over.has(job.id) && this.take(job));
    on("started", () => this.load());
    on("back", () => this.load());
    on("collection", () => this.load());
  }

  async load() {
    const { data } = await get("/jobs").catch(() => ({ data: [] }));
    this.jobs.clear();
    for (const job of data) if (!FINAL.includes(job.state) || job.state === "failed" || job.files.some((/** @type {JobFile} */ file) => file.state === "failed")) this.jobs.set(job.id, job);
    this.draw();
  }

  /** @param {Job} job */
  take(job) {
    const before = this.jobs.get(job.id);
    if (FINAL.includes(job.state)) this.over.add(job.id);
    if (FINAL.includes(job.state) && (!before || FINAL.includes(before.state)) && !failures(job).length) return;
    this.jobs.set(job.id, job);
    if (FINAL.includes(job.state)) this.ended(job);
    this.draw();
  }

  /** @param {Job} job */
  ended(job) {
    const well = job.state !== "failed" && !failures(job).length;
    this.live.textContent = t(well ? "job.said_done" : "job.said_failed", { name: title(job.files) });
    if (well) setTimeout(() => this.putAway(job), SHOWN_MS);
  }

  /** @param {Job} job */
  putAway(job) {
    this.jobs.delete(job.id);
    this.away.add(job.id);
    localStorage.setItem("jobs-away", JSON.stringify([...this.away].slice(-200)));
    this.draw();
  }

  draw() {
    const jobs = [...this.jobs.values()].filter((job) => !this.away.has(job.id)).sort((a, b) => a.created.localeCompare(b.created));
    const uploads = this.uploads.all.slice(0, UPLOADS_SHOWN), more = this.uploads.all.length - uploads.length;
    const was = this.root.contains(document.activeElement);
    this.root.hidden = !jobs.length && !uploads.length;
    const cards = [...jobs.map((job) => this.job(job)), ...uploads.map((upload) => this.upload(upload))];
    const shown = new Set(cards);
    for (const [key, card] of this.cards) if (!shown.has(card)) this.cards.delete(key);
    say(this.more, "job.more", { n: more });
    arrange(this.list, [...cards.map((card) => card.root), ...(more > 0 ? [this.more] : [])]);
    if (was && this.root.hidden) refocus(this.root.parentElement);
  }

  /** @param {string} key */
  card(key) {
    const card = this.cards.get(key) ?? new Card();
    this.cards.set(key, card);
    return card;
  }

  /** @param {Upload} upload */
  upload(upload) {
    const name = title(upload.files), part = upload.bytes ? Math.min(1, upload.sent / upload.bytes) : 0;
    const words = upload.error ? h("span", { class: "job-error" }, upload.error === "…" ? t("job.lost") : upload.error)
      : h("span", upload.request ? { t: "job.uploading", tArgs: { percent: Math.floor(100 * part), size: size(upload.bytes) } } : { t: "job.waits" });
    const acts = [...(upload.error ? [act("retry", "job.retry", () => this.uploads.again(upload))] : []), act("close", "job.cancel", () => this.uploads.cancel(upload))];
    return this.card(`upload ${upload.id}`).show(name, upload.error ? "failed" : "", acts, upload.error ? null : part, words);
  }

  /** @param {Job} job */
  job(job) {
    const name = job.kind === "download" ? t("job.model") : title(job.files), ended = FINAL.includes(job.state), failed = failures(job);
    const acts = [];
    if (failed.some((file) => file.needs_password)) acts.push(act("key", "job.password", () => this.password(job, name)));
    else if (job.kind === "ingest" && (job.state === "failed" || job.state === "cancelled" || failed.length)) acts.push(act("retry", "job.retry", () => this.retry(job)));
    if (ended) acts.push(act("close", "job.dismiss", () => this.putAway(job)));
    else acts.push(act("close", "job.cancel", () => send("DELETE", `/jobs/${job.id}`).catch(sayRefusal)));
    const state = failed.length && job.state === "done" ? "failed" : job.state;
    const body = ended && !failed.length && !job.error ? h("span", { t: job.kind === "download" && state === "done" ? "job.fetched" : `job.${state}` }) : ended ? reasons(job, failed) : progress(job);
    return this.card(job.id).show(name, state, acts, ended ? null : job.progress?.fraction ?? 0, body);
  }

  /**
   * @param {Job} job
   * @param {string} [password]
   */
  async retry(job, password) {
    try {
      const answered = await send("POST", `/jobs/${job.id}/retry`, password === undefined ? {} : { password });
      this.jobs.set(job.id, answered.job ?? answered);
      this.draw();
    } catch (error) {
      sayRefusal(error);
    }
  }

  /**
   * @param {Job} job
   * @param {string} name
   */
  password(job, name) {
    dialog("job.password_title", (close) => {
      const field = h("input", { type: "password", autocomplete: "off", required: true, tLabel: "job.password_title" });
      const submit = (/** @type {Event} */ event) => {
        event.preventDefault();
        close();
        void this.retry(job, field.value);
      };
      return [h("form", { class: "stack", onsubmit: submit }, h("p", { t: "job.password_why", tArgs: { name } }), field, h("div", {}, h("button", { class: "primary", t: "job.open" })))];
    });
  }
}

/** @param {Job} job */
function failures(job) {
  return job.files.filter((file) => file.state === "failed");
}

/** @param {{name: string}[]} files */
function title(files) {
  const name = files[0]?.name ?? "";
  return files.length < 2 ? name : t("job.files", { name, n: current() === "zh" ? files.length : files.length - 1 });
}

/** @typedef {{drawing: "retry"|"close"|"key", words: string, run: () => void}} Act */

/**
 * @param {"retry"|"close"|"key"} drawing
 * @param {string} words
 * @param {() => void} run
 * @returns {Act}
 */
function act(drawing, words, run) {
  return { drawing, words, run };
}

/** One upload or job. Its buttons stay the same elements while it goes on, however often it is told of anew. */
class Card {
  constructor() {
    this.name = h("span", { class: "grow job-name" });
    this.buttons = h("span", { class: "job-buttons" });
    this.fill = h("i");
    this.bar = h("div", { class: "bar-of", "aria-hidden": "true" }, this.fill);
    this.body = h("div", { class: "tiny job-body" });
    this.root = h("li", { class: "job" }, h("div", { class: "job-head" }, icon("page"), this.name, this.buttons), this.bar, this.body);
    /** @type {Map<string, {act: Act, button: HTMLElement}>} */
    this.acts = new Map();
  }

  /**
   * @param {string} name
   * @param {string} state
   * @param {Act[]} acts
   * @param {number|null} part done, null where there is no bar
   * @param {HTMLElement} body
   */
  show(name, state, acts, part, body) {
    this.root.className = `job ${state}`;
    this.name.textContent = this.name.title = plain(name);
    arrange(this.buttons, acts.map((one) => this.button(one, name)));
    this.bar.hidden = part === null;
    this.fill.style.width = `${100 * (part ?? 0)}%`;
    if (this.body.innerHTML !== body.outerHTML) fill(this.body, body);
    return this;
  }

  /**
   * @param {Act} one
   * @param {string} name
   */
  button(one, name) {
    const known = this.acts.get(one.words);
    if (known) {
      known.act = one;
      return known.button;
    }
    /** @type {{act: Act, button: HTMLElement}} */
    const made = { act: one, button: iconButton(one.drawing, one.words, () => made.act.run(), { tArgs: { name } }) };
    this.acts.set(one.words, made);
    return made.button;
  }
}

/** @param {Job} job */
function progress(job) {
  const seen = job.progress;
  if (job.state === "queued" || !seen) return h("span", { t: job.state === "queued" ? "job.queued" : "job.running" });
  const parts = [h("span", { t: `job.${seen.stage}` })];
  if (seen.of_pages) parts.push(h("span", { t: "job.page", tArgs: { pages: seen.pages, of: seen.of_pages } }));
  if (seen.pages_per_second) parts.push(h("span", { t: "job.speed", tArgs: { speed: number(seen.pages_per_second, 1) } }));
  if (seen.seconds_left !== null && seen.seconds_left !== undefined) parts.push(h("span", { t: "job.left", tArgs: { left: left(seen.seconds_left) } }));
  return h("span", { class: "job-parts" }, ...parts);
}

/** @param {number} seconds */
function left(seconds) {
  return seconds < 90 ? t("job.seconds", { n: Math.max(1, Math.round(seconds)) }) : t("job.minutes", { n: Math.round(seconds / 60) });
}

/**
 * @param {Job} job
 * @param {JobFile[]} failed
 */
function reasons(job, failed) {
  const lines = failed.slice(0, 20).map((file) => h("li", {}, failed.length > 1 || job.files.length > 1 ? h("b", {}, `${file.name}: `) : null, `${file.error ?? ""} ${file.hint ?? ""}`));
  if (job.error && !lines.length) lines.push(h("li", {}, `${job.error.message} ${job.error.hint ?? ""}`));
  if (!lines.length) lines.push(h("li", { t: `job.${job.state}` }));
  return h("ul", { class: "job-error" }, ...lines);
}
