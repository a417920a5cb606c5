// How the places speak to each other: by named events, so that none imports another.
//
//   page:open   PageRequest           show a page, with a span on it
//   page:shown  {document_id, page}    that page is on the screen; page:closed when the place was closed
//   ask         {question}            put a question
//   talk:renamed {id, title}
//   scope       string[]              names of the documents that questions are limited to; [] is all of them
//   job         Job                   a job has changed
//   library     {generation, documents, pages, chunks}
//   collection  string                another collection was chosen
//   answerer    Answerer              another model answers
//   language    "en" | "zh"
//   show        "library" | "talk" | "page"   which place is to be seen where only one fits

const target = new EventTarget();

/**
 * @param {string} name
 * @param {(detail: any) => void} listener
 * @returns {() => void} ends the listening
 */
export function on(name, listener) {
  const heard = (/** @type {Event} */ event) => listener(/** @type {CustomEvent} */ (event).detail);
  target.addEventListener(name, heard);
  return () => target.removeEventListener(name, heard);
}

/**
 * @param {string} name
 * @param {any} [detail]
 */
export function emit(name, detail) {
  target.dispatchEvent(new CustomEvent(name, { detail }));
}
