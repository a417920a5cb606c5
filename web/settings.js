// How the answers of one conversation are made: model, flow, passages, reranker, HyDE, strictness.
import { get } from "./api.js";
import { dialog, h, sayRefusal } from "./dom.js";
import { add, t } from "./i18n.js";

add({
  en: {
    "wish.title": "How answers are made here", "wish.flow": "Flow", "wish.k": "Passages", "wish.reranker": "Reranker", "wish.hyde": "HyDE (needs a Llama)", "wish.strict": "Leave out sentences that no page bears out", "wish.default": "as the server has it ({value})",
    "wish.save": "Use", "wish.why": "These wishes belong to this conversation. What is left as the server has it follows its settings.", "wish.on": "always", "wish.off": "never", "wish.auto": "when the first search is weak",
    "wish.model": "Model", "wish.quotes": "quotes, without a model", "wish.remote": "{name} (not on this machine)", "wish.gone": "{name} (no longer offered)", "wish.model_why": "Offered are quotes and the models that were chosen for this library before. Another model is loaded for its first answer.",
  },
  zh: {
    "wish.title": "本对话的回答方式", "wish.flow": "流程", "wish.k": "段落数", "wish.reranker": "重排序", "wish.hyde": "HyDE（需要 Llama）", "wish.strict": "略去没有页面佐证的句子", "wish.default": "按服务器设置（{value}）",
    "wish.save": "使用", "wish.why": "这些选项只用于本对话；保持服务器设置的项目随其设置而变。", "wish.on": "总是", "wish.off": "从不", "wish.auto": "首次检索较弱时",
    "wish.model": "模型", "wish.quotes": "原文引用，不用模型", "wish.remote": "{name}（不在本机）", "wish.gone": "{name}（已不可用）", "wish.model_why": "可选原文引用，以及曾为本文档库选用过的模型。换用的模型会在首次回答时加载。",
  },
});

/**
 * @param {Record<string, any>} now
 * @param {(next: Record<string, unknown>) => Promise<unknown>} keep
 */
export async function openSettings(now, keep) {
  /** @type {import("./types.js").Answerer} */
  let answerer;
  try {
    answerer = await get("/answerer");
  } catch (error) {
    return sayRefusal(error);
  }
  dialog("wish.title", (close) => {
    const model = models(answerer, now.model ?? undefined);
    const flow = choice("flow", answerer.flows, now.flow, answerer.flow);
    const reranker = choice("reranker", answerer.rerankers, now.reranker, answerer.reranker);
    const hyde = choice("hyde", ["auto", "on", "off"], now.hyde, answerer.hyde, "wish.");
    const k = h("input", { type: "number", min: 1, max: 50, name: "k", placeholder: String(answerer.k), value: now.k ?? "" });
    const strict = h("input", { type: "checkbox", name: "strict" });
    strict.checked = now.strict ?? answerer.strict;
    const submit = async (/** @type {Event} */ event) => {
      event.preventDefault();
      const wishes = { flow: flow.value, reranker: reranker.value, hyde: hyde.value, k: k.value && Number(k.value), strict: strict.checked === answerer.strict ? "" : strict.checked };
      const next = Object.fromEntries(Object.entries(wishes).filter(([, value]) => value !== ""));
      if (model.value) next.model = model.value.slice(NAMED.length);
      close();
      await keep(next).catch(sayRefusal);
    };
    return [h("form", { class: "stack wish", onsubmit: submit }, h("p", { class: "small muted", t: "wish.why" }), line("wish.model", model), h("p", { class: "small muted wish-more", t: "wish.model_why" }), line("wish.flow", flow), line("wish.k", k), line("wish.reranker", reranker), line("wish.hyde", hyde),
      h("label", { class: "row" }, strict, h("span", { t: "wish.strict" })), h("div", { class: "row" }, h("button", { class: "primary", t: "wish.save" })))];
  });
}

const NAMED = "="; // before the name of a model: quotes have an empty one

/**
 * The models that may be chosen; one that was chosen and is not offered any more stays, until another one is.
 * @param {import("./types.js").Answerer} answerer
 * @param {string|undefined} now
 */
function models(answerer, now) {
  const usual = answerer.kind === "quotes" ? t("model.quotes") : answerer.name;
  const select = h("select", { name: "model" }, h("option", { value: "", t: "wish.default", tArgs: { value: usual } }), ...answerer.models.map(offered));
  if (now !== undefined && !answerer.models.some((offer) => offer.model === now)) select.append(h("option", { value: NAMED + now, t: "wish.gone", tArgs: { name: now } }));
  select.value = now === undefined ? "" : NAMED + now;
  return select;
}

/** @param {import("./types.js").ModelOffer} offer */
function offered(offer) {
  const value = NAMED + offer.model;
  if (offer.kind === "quotes") return h("option", { value, t: "wish.quotes" });
  return offer.local ? h("option", { value }, offer.name) : h("option", { value, t: "wish.remote", tArgs: { name: offer.name } });
}

/**
 * @param {string} words
 * @param {HTMLElement} field
 */
function line(words, field) {
  return h("label", { class: "wish-line" }, h("span", { t: words }), field);
}

/**
 * @param {string} name
 * @param {string[]} values
 * @param {string|undefined} now
 * @param {string} usual
 * @param {string} [words] where the values' words are, when they have any
 */
function choice(name, values, now, usual, words = "") {
  const select = h("select", { name }, h("option", { value: "", t: "wish.default", tArgs: { value: usual } }), ...values.map((value) => h("option", words ? { value, t: words + value } : { value }, words ? null : value)));
  select.value = now ?? "";
  return select;
}
