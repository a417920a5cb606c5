// The three places side by side: resizable, remembered; one at a time where the screen is narrow.
import { emit, on } from "./bus.js";
import { at, h, icon } from "./dom.js";

const NARROW = matchMedia("(max-width: 860px)");
/** Where the page was opened from, when only one place fits. */
let before = "talk";
const LEAST = { library: 220, page: 320 };

/**
 * @param {"library"|"page"} name
 * @param {number} width pixels
 */
function setWidth(name, width) {
  const most = Math.max(LEAST[name], innerWidth - 420);
  const set = Math.round(Math.min(Math.max(width, LEAST[name]), most));
  at("panes").style.setProperty(`--${name}-width`, `${set}px`);
  at(`split-${name}`).setAttribute("aria-valuenow", String(set));
  localStorage.setItem(`width-${name}`, String(set));
}

/** @param {"library"|"page"} name */
function resizable(name) {
  const split = at(`split-${name}`), grows = name === "library" ? 1 : -1;
  const width = () => at(name).getBoundingClientRect().width;
  split.setAttribute("aria-valuemin", String(LEAST[name]));
  split.setAttribute("aria-valuemax", "2000");
  setWidth(name, Number(localStorage.getItem(`width-${name}`)) || (name === "library" ? 300 : Math.round(innerWidth * 0.4)));
  split.addEventListener("pointerdown", (event) => {
    const from = event.clientX, before = width();
    split.setPointerCapture(event.pointerId);
    const move = (/** @type {PointerEvent} */ moved) => setWidth(name, before + grows * (moved.clientX - from));
    split.addEventListener("pointermove", move);
    split.addEventListener("pointerup", () => split.removeEventListener("pointermove", move), { once: true });
  });
  split.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -24, ArrowRight: 24 }[event.key];
    if (step === undefined) return;
    event.preventDefault();
    setWidth(name, width() + grows * step);
  });
}

/**
 * Show a place where only one fits.
 * @param {string} name
 */
export function show(name) {
  at("panes").dataset.shown = name;
  for (const tab of at("tabs").querySelectorAll("button")) tab.setAttribute("aria-pressed", String(tab.dataset.place === name));
  if (NARROW.matches) localStorage.setItem("place", name);
}

/**
 * Open or close the page's place.
 * @param {boolean} open
 */
export function showPage(open) {
  at("page").hidden = at("split-page").hidden = !open;
  const tab = at("tabs").querySelector("[data-place=page]");
  if (tab) tab.toggleAttribute("disabled", !open);
  at("panes").classList.toggle("with-page", open);
  if (open && at("panes").dataset.shown !== "page") before = at("panes").dataset.shown ?? "talk";
  show(open ? "page" : before);
}

export function mountPanes() {
  resizable("library");
  resizable("page");
  const places = /** @type {const} */ ([["library", "book"], ["talk", "chat"], ["page", "page"]]);
  for (const [name, drawing] of places) {
    at("tabs").append(h("button", { type: "button", data: { place: name }, disabled: name === "page", onclick: () => show(name) }, icon(drawing), h("span", { t: `app.${name}` })));
  }
  show(NARROW.matches && localStorage.getItem("place") === "library" ? "library" : "talk");
  on("show", show);
  on("page:open", () => showPage(true));
  on("page:closed", () => showPage(false));
  addEventListener("keydown", (event) => {
    if (event.key === "Escape" && !at("page").hidden && !document.querySelector("dialog[open]") && at("page").contains(document.activeElement)) emit("page:closed");
  });
}
