// What is being added: uploads and the server's jobs, with their stage, speed and time left, and what failed and why.
import { get, send } from "./api.js";
import { on } from "./bus.js";
import { dialog, fill, h, icon, iconButton, sayRefusal, size } from "./dom.js";
import { add, number, t } from "./i18n.js";

/** @typedef {import("./types.js").Job} Job */
/** @typedef {import("./types.js").JobFile} JobFile */
/** @typedef {import("./upload.js").Upload} Upload */
/** @typedef {import("./upload.js").Uploads} Uploads */

add({
  en: {
    "job.list": "Being added", "job.uploading": "uploading, {percent} % of {size}", "job.waits": "waits to be sent", "job.files": "{n} files", "job.queued": "waits for its turn", "job.read": "being read", "job.ocr": "pages are recognised", "job.embed": "being indexed", "job.done": "in the library", "job.failed": "failed", "job.cancelled": "cancelled", "job.running": "at work",
    "job.speed": "{speed} pages/s", "job.left": "{left} left", "job.seconds": "{n} s", "job.minutes": "{n} min", "job.page": "page {pages} of {of}", "job.cancel": "Cancel {name}", "job.retry": "Try {name} again", "job.dismiss": "Put {name} away", "job.password": "Give the password of {name}", "job.password_title": "Password", "job.password_why": "{name} is encrypted. The password is used once and not kept.",
    "job.open": "Open it", "job.kept": "already in the library", "job.said_done": "{name} is in the library.", "job.said_failed": "{name} failed.", "job.waiting": "waits: another program writes to the library", "job.lost": "The upload was interrupted.",
  },
  zh: {
    "job.list": "正在加入", "job.uploading": "正在上传，{size} 的 {percent} %", "job.waits": "等待上传", "job.files": "{n} 个文件", "job.queued": "排队中", "job.read": "正在读取", "job.ocr": "正在识别页面", "job.embed": "正在建立索引", "job.done": "已加入文档库", "job.failed": "失败", "job.cancelled": "已取消", "job.running": "进行中",
    "job.speed": "{speed} 页/秒", "job.left": "还需 {left}", "job.seconds": "{n} 秒", "job.minutes": "{n} 分钟", "job.page": "第 {pages}/{of} 页", "job.cancel": "取消 {name}", "job.retry": "重试 {name}", "job.dismiss": "收起 {name}", "job.password": "输入 {name} 的密码", "job.password_title": "密码", "job.password_why": "{name} 已加密。密码只使用一次，不会保存。",
    "job.open": "打开", "job.kept": "已在文档库中", "job.said_done": "{name} 已加入文档库。", "job.said_failed": "{name} 失败。", "job.waiting": "等待中：另一个程序正在写入文档库", "job.lost": "上传中断。",
  },
});

const FINAL = ["done", "failed", "cancelled"];
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
    this.list = h("ul", { class: "job-list", tLabel: "job.list" });
    this.live = h("div", { class: "visually-hidden", role: "status" });
    this.root = h("div", { class: "jobs", hidden: true }, this.list, this.live);
    on("job", (job) => this.take(job));
    on("started", () => this.load());
    on("collection", () => this.load());
  }

  async load() {
    this.jobs.clear();
    const { data } = await get("/jobs").catch(() => ({ data: [] }));
    for (const job of data) if (!FINAL.includes(job.state) || job.state === "failed" || job.files.some((/** @type {JobFile} */ file) => file.state === "failed")) this.jobs.set(job.id, job);
    this.draw();
  }

  /** @param {Job} job */
  take(job) {
    if (job.kind !== "ingest") return;
    const before = this.jobs.get(job.id);
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
    this.root.hidden = !jobs.length && !this.uploads.all.length;
    const focused = document.activeElement instanceof HTMLElement && this.list.contains(document.activeElement) ? document.activeElement.dataset.key : "";
    fill(this.list, ...jobs.map((job) => this.job(job)), ...this.uploads.all.slice(0, 30).map((upload) => this.upload(upload)));
    if (focused) /** @type {HTMLElement|null} */ (this.list.querySelector(`[data-key="${CSS.escape(focused)}"]`))?.focus();
  }

  /** @param {Upload} upload */
  upload(upload) {
    const name = title(upload.files), part = upload.bytes ? Math.min(1, upload.sent / upload.bytes) : 0;
    const words = upload.error ? h("span", { class: "job-error" }, upload.error === "…" ? t("job.lost") : upload.error)
      : h("span", upload.request ? { t: "job.uploading", tArgs: { percent: Math.floor(100 * part), size: size(upload.bytes) } } : { t: "job.waits" });
    const buttons = [iconButton("close", "job.cancel", () => this.uploads.cancel(upload), { tArgs: { name }, data: { key: `u${upload.id}` } })];
    if (upload.error) buttons.unshift(iconButton("retry", "job.retry", () => this.uploads.again(upload), { tArgs: { name } }));
    return card(name, upload.error ? "failed" : "", buttons, upload.error ? null : part, words);
  }

  /** @param {Job} job */
  job(job) {
    const name = title(job.files), ended = FINAL.includes(job.state), failed = failures(job);
    const buttons = [];
    if (failed.some((file) => file.needs_password)) buttons.push(iconButton("key", "job.password", () => this.password(job, name), { tArgs: { name }, data: { key: `k${job.id}` } }));
    else if (job.state === "failed" || job.state === "cancelled" || failed.length) buttons.push(iconButton("retry", "job.retry", () => this.retry(job), { tArgs: { name }, data: { key: `r${job.id}` } }));
    if (ended) buttons.push(iconButton("close", "job.dismiss", () => this.putAway(job), { tArgs: { name }, data: { key: `d${job.id}` } }));
    else buttons.push(iconButton("close", "job.cancel", () => send("DELETE", `/jobs/${job.id}`).catch(sayRefusal), { tArgs: { name }, data: { key: `c${job.id}` } }));
    const state = failed.length && job.state === "done" ? "failed" : job.state;
    const body = ended && !failed.length && !job.error ? h("span", { t: `job.${state}` }) : ended ? reasons(job, failed) : progress(job);
    return card(name, state, buttons, ended ? null : job.progress?.fraction ?? 0, body);
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
  return files.length === 1 ? files[0].name : t("job.files", { n: files.length });
}

/**
 * @param {string} name
 * @param {string} state
 * @param {Node[]} buttons
 * @param {number|null} part done, null where there is no bar
 * @param {Node} body
 */
function card(name, state, buttons, part, body) {
  const bar = h("i");
  if (part !== null) bar.style.width = `${100 * part}%`;
  return h("li", { class: `job ${state}` }, h("div", { class: "job-head" }, icon("page"), h("span", { class: "grow job-name", title: name }, name), ...buttons), part !== null && h("div", { class: "bar-of", "aria-hidden": "true" }, bar), h("div", { class: "tiny job-body" }, body));
}

/** @param {Job} job */
function progress(job) {
  const seen = job.progress;
  if (job.state === "queued" || !seen) return h("span", { t: job.state === "queued" ? "job.queued" : "job.running" });
  const parts = [h("span", { t: `job.${seen.stage}` })];
  if (seen.of_pages) parts.push(h("span", { t: "job.page", tArgs: { pages: number(seen.pages), of: number(seen.of_pages) } }));
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
