/**
 * What the server says, as types for `tsc --checkJs`; nothing of this is there at run time.
 *
 * @typedef {{page: number, x0: number, y0: number, x1: number, y1: number}} Box  points from the page's top left corner
 * @typedef {{document: string, document_id: string, page: number, label: string, score: number, text: string, start: number,
 *   end: number, found_by: Record<string, {rank: number, score: number}>, boxes: Box[]}} Passage
 * @typedef {"verified"|"elsewhere"|"not found"} CitationState
 * @typedef {{marker: number, document: string, document_id: string, page: number, label: string, quote: string,
 *   state: CitationState, start: number, end: number, boxes: Box[]}} Citation
 * @typedef {{name: string, seconds: number, at?: number, detail?: Record<string, unknown>}} Step
 * @typedef {{answer: string, html?: string, citations: Citation[], passages: Passage[],
 *   finish_reason: "stop"|"length"|"no_evidence"|"cancelled", timings: Record<string, number>,
 *   usage: {prompt_tokens: number, completion_tokens: number, total_tokens: number},
 *   unread: {document: string, pages: number[]}[], confidence: number|null,
 *   figures: {text: string, start: number, end: number}[], warnings: string[], steps?: Step[], answerer?: string}} Answer
 * @typedef {{id: string, role: "user"|"assistant", text: string, html: string, created: string, answer: Answer|null,
 *   feedback: {rating: number, comment: string}|null}} Message
 * @typedef {{id: string, title: string, created: string, updated: string, messages: number}} TalkEntry
 * @typedef {{id: string, title: string, created: string, updated: string, settings: Record<string, unknown>, messages: Message[]}} Talk
 * @typedef {{document: string, id: string, title: string, pages: number, chunks: number, bytes: number,
 *   pages_without_text: number, added: string, pages_unread: number[], media_type: string, original: boolean}} LibraryDocument
 * @typedef {{name: string, bytes: number, state: "queued"|"reading"|"done"|"kept"|"failed"|"cancelled", error: string|null,
 *   hint: string|null, needs_password: boolean, document_id: string|null, warning: string|null}} JobFile
 * @typedef {{stage: string, file: string, pages: number, of_pages: number, pages_per_second: number,
 *   seconds_left: number|null, fraction: number|null}} JobProgress
 * @typedef {{id: string, collection: string, kind: string, state: "queued"|"running"|"done"|"failed"|"cancelled",
 *   attempt: number, created: string, started: string|null, ended: string|null, files: JobFile[],
 *   progress: JobProgress|null, error: {message: string, hint: string}|null}} Job
 * @typedef {{name: string, default: boolean, documents: number, pages: number, chunks: number, writable: boolean}} CollectionEntry
 * @typedef {{model: string, name: string, kind: string, local: boolean, fixed: boolean}} ModelOffer  a model that a question may name
 * @typedef {{kind: string, name: string, local: boolean, flows: string[], rerankers: string[], models: ModelOffer[], flow: string,
 *   reranker: string, k: number, hyde: string, strict: boolean, ready: boolean, hint: string}} Answerer
 * @typedef {{document_id: string, document: string, page: number, start?: number, end?: number, boxes?: Box[],
 *   citations?: Citation[], index?: number, state?: CitationState, focus?: boolean}} PageRequest
 *   what the page place is asked to show: a page, and on it a span; `citations` are those that next and previous step through
 */
export {};
