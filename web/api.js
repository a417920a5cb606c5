// The server's doors. Nothing else in the window makes requests.
import { emit } from "./bus.js";

/** What the server refused, in its own words. */
export class Refused extends Error {
  /**
   * @param {number} status
   * @param {{message?: string, hint?: string, code?: string|null}} error
   */
  constructor(status, error) {
    super(error.message ?? `HTTP ${status}`);
    this.status = status;
    this.hint = error.hint ?? "";
    this.code = error.code ?? "";
  }
}

// This tab's own choice first: another tab may look at another collection.
let collection = sessionStorage.getItem("collection") ?? localStorage.getItem("collection") ?? "";

export function chosenCollection() {
  return collection;
}

/** @param {string} name */
export function chooseCollection(name) {
  if (name === collection) return;
  collection = name;
  sessionStorage.setItem("collection", name);
  localStorage.setItem("collection", name);
  emit("collection", name);
}

/**
 * Kept for this tab alone.
 * @param {string} key
 */
export function setKey(key) {
  sessionStorage.setItem("key", key);
}

/** @returns {Record<string, string>} */
export function authorization() {
  const key = sessionStorage.getItem("key");
  return key ? { Authorization: `Bearer ${key}` } : {};
}

/**
 * A path below /v1 with its query, the collection among it.
 * @param {string} path
 * @param {Record<string, any>} [query]
 */
export function url(path, query = {}) {
  const asked = new URLSearchParams();
  for (const [name, value] of Object.entries({ ...query, collection })) if (value !== undefined && value !== null && value !== "") asked.set(name, String(value));
  const text = asked.toString();
  return `/v1${path}${text ? `?${text}` : ""}`;
}

/**
 * @param {string} method
 * @param {string} path
 * @param {{query?: Record<string, any>, body?: any, signal?: AbortSignal, headers?: Record<string, string>}} [how]
 * @returns {Promise<Response>} an answer of success; raises Refused
 */
export async function request(method, path, how = {}) {
  const { query, body, signal, headers } = how;
  const json = body !== undefined && !(body instanceof FormData);
  const response = await fetch(url(path, query), {
    method, signal, body: json ? JSON.stringify(body) : body,
    headers: { ...authorization(), ...(json ? { "Content-Type": "application/json" } : {}), ...headers },
  });
  if (!response.ok) {
    const refused = await refusal(response);
    if (response.status === 401) emit("key", refused);
    throw refused;
  }
  return response;
}

/** @param {Response} response */
async function refusal(response) {
  const body = await response.json().catch(() => ({}));
  return new Refused(response.status, body.error ?? {});
}

/**
 * @param {string} path
 * @param {Record<string, any>} [query]
 * @param {AbortSignal} [signal]
 * @returns {Promise<any>}
 */
export async function get(path, query, signal) {
  return (await request("GET", path, { query, signal })).json();
}

/**
 * @param {string} method
 * @param {string} path
 * @param {any} [body]
 * @returns {Promise<any>} the answer's JSON, null where there is none
 */
export async function send(method, path, body) {
  const response = await request(method, path, { body });
  return response.status === 204 ? null : response.json();
}

/**
 * A picture as an address for `src`: an <img> cannot carry a key. To be revoked by the caller.
 * @param {string} path
 * @param {Record<string, any>} query
 * @param {AbortSignal} [signal]
 */
export async function picture(path, query, signal) {
  const response = await request("GET", path, { query, signal });
  return URL.createObjectURL(await response.blob());
}

/**
 * The events of a stream.
 * @param {Response} response
 * @param {() => void} [alive] is called whenever anything has come
 * @returns {AsyncGenerator<{id: string, event: string, data: any}>}
 */
export async function* events(response, alive) {
  if (!response.body) return;
  const reader = response.body.getReader();
  const decoder = new TextDecoder();
  let rest = "";
  try {
    for (;;) {
      const { done, value } = await reader.read();
      alive?.();
      rest += decoder.decode(value ?? new Uint8Array(), { stream: !done });
      const parts = rest.split("\n\n");
      rest = parts.pop() ?? "";
      for (const part of parts) {
        const read = parsed(part);
        if (read) yield read;
      }
      if (done) return;
    }
  } finally {
    await reader.cancel().catch(() => undefined);
  }
}

/** @param {string} part */
function parsed(part) {
  let id = "", event = "message", data = "";
  for (const line of part.split("\n")) {
    if (line.startsWith("id:")) id = line.slice(3).trim();
    else if (line.startsWith("event:")) event = line.slice(6).trim();
    else if (line.startsWith("data:")) data += line.slice(5).trimStart();
  }
  return data && data !== "[DONE]" ? { id, event, data: JSON.parse(data) } : null;
}

/**
 * Put a question; the events as they come.
 * @param {Record<string, any>} asked
 * @param {AbortSignal} signal
 * @returns {AsyncGenerator<{id: string, event: string, data: any}>}
 */
export async function* ask(asked, signal) {
  yield* events(await request("POST", "/ask", { body: { ...asked, ...(collection ? { collection } : {}) }, signal }));
}

const SILENT_MS = 45000; // the server says something every few seconds: a stream that is silent for so long is dead
const HIDDEN_MS = 10000;

/** Listen to jobs and the library for ever: jobs and library events are put on the bus; it connects again when it is cut. */
export async function listen() {
  let wait = 500, cut = false;
  for (;;) {
    await shown();
    const asked = collection, ending = new AbortController(), stop = () => ending.abort();
    const over = watch(asked, stop);
    try {
      const response = await request("GET", "/events", { signal: ending.signal });
      emit("offline", false);
      if (cut) emit("back");
      for await (const { event, data } of events(response, over.alive)) {
        wait = 500;
        emit(event, data);
      }
    } catch (error) {
      if (!ending.signal.aborted) emit("offline", !(error instanceof Refused));
    } finally {
      over.end();
    }
    cut = true;
    await new Promise((resolve) => setTimeout(resolve, asked === collection ? wait : 0));
    wait = Math.min(wait * 2, 10000);
  }
}

/**
 * End a stream when another collection is chosen, when it has fallen silent, when the window is left, and when its tab
 * has not been seen for a while: a browser gives all tabs of a server six connections together.
 * @param {string} asked
 * @param {() => void} stop
 */
function watch(asked, stop) {
  let heard = Date.now(), seen = Date.now();
  addEventListener("pagehide", stop);
  const look = setInterval(() => {
    const now = Date.now();
    if (!document.hidden) seen = now;
    if (asked !== collection || now - heard > SILENT_MS || now - seen > HIDDEN_MS) stop();
  }, 300);
  const end = () => {
    clearInterval(look);
    removeEventListener("pagehide", stop);
  };
  return { alive: () => void (heard = Date.now()), end };
}

/** Wait until the tab is seen. */
async function shown() {
  while (document.hidden) await new Promise((resolve) => document.addEventListener("visibilitychange", resolve, { once: true }));
}
