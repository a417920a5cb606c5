// How the places speak to each other: by named events, so that none imports another.
//
//   page:open   PageRequest           show a page, with a span on it
//   page:shown  {document_id, page}    that page is on the screen; page:closed when the place was closed
//   ask         {question}            put a question
//   talk:focus  nothing: the question's field is to have the focus
//   talk:renamed {id, title}
//   scope       string[]              names of the documents that questions are limited to; [] is all of them
//   accepted    Job                   the job that an upload has become
//   job         Job                   a job has changed
//   library     {generation, documents, pages, chunks}
//   removed     string                the id of a document that was removed
//   back        nothing: the server answers again, and what was missed meanwhile is to be asked for
//   model:open  nothing: the dialog about who answers is to be seen
//   collection  string                another collection was chosen
//   answerer    Answerer              another model answers in the conversation that is open
//   wishes      Record                how answers are made in the conversation that is open now
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
