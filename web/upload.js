// Files on their way to the server. From there on they are jobs, which the server keeps: closing the window loses only
// what has not arrived.
import { authorization, url } from "./api.js";
import { emit } from "./bus.js";

/** @typedef {{file: File, name: string}} Chosen */
/** @typedef {{id: number, files: Chosen[], sent: number, bytes: number, error: string, request: XMLHttpRequest|null}} Upload */

const AT_ONCE = 2;
const ALONE = 12; // up to so many files each is a job of its own, which can be cancelled by itself
const TOGETHER = 25;
const TOGETHER_BYTES = 64e6;

/** The uploads that go on, and those that failed. */
export class Uploads {
  /** @param {() => void} changed */
  constructor(changed) {
    this.changed = changed;
    /** @type {Upload[]} */
    this.all = [];
    this.next = 1;
    addEventListener("beforeunload", (event) => {
      if (this.all.some((upload) => !upload.error)) event.preventDefault();
    });
  }

  /** @param {Chosen[]} files */
  add(files) {
    for (const group of groups(files)) {
      const bytes = group.reduce((sum, { file }) => sum + file.size, 0);
      this.all.push({ id: this.next++, files: group, sent: 0, bytes, error: "", request: null });
    }
    this.go();
  }

  go() {
    const at_work = this.all.filter((upload) => upload.request).length;
    for (const upload of this.all.filter((one) => !one.request && !one.error).slice(0, AT_ONCE - at_work)) this.send(upload);
    this.changed();
  }

  /** @param {Upload} upload */
  send(upload) {
    const form = new FormData(), request = new XMLHttpRequest();
    for (const { file, name } of upload.files) form.append("file", file, name);
    upload.request = request;
    // Unlike fetch, this tells how much has been sent.
    request.upload.addEventListener("progress", (event) => {
      upload.sent = event.loaded;
      this.changed();
    });
    request.addEventListener("loadend", () => this.ended(upload, request));
    request.open("POST", url("/documents"));
    for (const [name, value] of Object.entries(authorization())) request.setRequestHeader(name, value);
    request.send(form);
  }

  /**
   * @param {Upload} upload
   * @param {XMLHttpRequest} request
   */
  ended(upload, request) {
    upload.request = null;
    if (request.status === 202) {
      this.forget(upload);
      emit("accepted", JSON.parse(request.responseText).job);
    } else upload.error = reason(request);
    if (request.status === 401) emit("key");
    this.go();
  }

  /** @param {Upload} upload */
  again(upload) {
    upload.error = "";
    upload.sent = 0;
    this.go();
  }

  /** @param {Upload} upload */
  cancel(upload) {
    this.forget(upload);
    upload.request?.abort();
    this.go();
  }

  /** @param {Upload} upload */
  forget(upload) {
    this.all = this.all.filter((one) => one !== upload);
  }
}

/**
 * @param {XMLHttpRequest} request
 * @returns {string} the server's own words, empty where it had none
 */
function reason(request) {
  try {
    const { message, hint } = JSON.parse(request.responseText).error;
    return `${message} ${hint ?? ""}`;
  } catch {
    return request.status ? `HTTP ${request.status}` : "…";
  }
}

/** @param {Chosen[]} files */
function groups(files) {
  if (files.length <= ALONE) return files.map((file) => [file]);
  /** @type {Chosen[][]} */
  const made = [];
  let bytes = Infinity;
  for (const chosen of files) {
    if (bytes + chosen.file.size > TOGETHER_BYTES || (made.at(-1)?.length ?? 0) >= TOGETHER) {
      made.push([]);
      bytes = 0;
    }
    made.at(-1)?.push(chosen);
    bytes += chosen.file.size;
  }
  return made;
}
