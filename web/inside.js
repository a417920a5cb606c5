// Looking inside an answer: its stages in milliseconds, the passages with the rank each ranker gave them, what was cut.
import { emit } from "./bus.js";
import { clip, h } from "./dom.js";
import { add, number } from "./i18n.js";
import { placed } from "./chips.js";

/** @typedef {import("./types.js").Answer} Answer */
/** @typedef {import("./types.js").Step} Step */

add({
  en: {
    "inside.stages": "Stages", "inside.ms": "{ms} ms", "inside.first": "first words after {ms} ms", "inside.total": "{ms} ms in all", "inside.passages": "Passages", "inside.passage": "Passage", "inside.score": "Score", "inside.rank": "rank {rank} ({score})",
    "inside.confidence": "Probability that the library holds the answer: {percent} %", "inside.tokens": "{prompt} tokens read, {completion} written", "inside.details": "Details of the stages", "inside.cited": "cited", "inside.asked": "Model: {name}", "inside.no_model": "No model: quotes",
  },
  zh: {
    "inside.stages": "各阶段", "inside.ms": "{ms} 毫秒", "inside.first": "{ms} 毫秒后出现首个文字", "inside.total": "总计 {ms} 毫秒", "inside.passages": "段落", "inside.passage": "段落", "inside.score": "得分", "inside.rank": "第 {rank} 名（{score}）",
    "inside.confidence": "文档库含有答案的概率：{percent} %", "inside.tokens": "读入 {prompt} 个词元，写出 {completion} 个", "inside.details": "各阶段详情", "inside.cited": "已引用", "inside.asked": "模型：{name}", "inside.no_model": "不用模型：原文引用",
  },
});

/** @param {Answer} answer */
export function inside(answer) {
  const { timings, usage } = answer;
  const facts = h("p", { class: "small muted" });
  facts.append(h("span", { t: "inside.total", tArgs: { ms: ms(timings.total ?? 0) } }));
  if (timings.first_token) facts.append(" · ", h("span", { t: "inside.first", tArgs: { ms: ms(timings.first_token) } }));
  if (answer.confidence !== null) facts.append(" · ", h("span", { t: "inside.confidence", tArgs: { percent: Math.round(answer.confidence * 100) } }));
  if (usage.total_tokens) facts.append(" · ", h("span", { t: "inside.tokens", tArgs: { prompt: number(usage.prompt_tokens), completion: number(usage.completion_tokens) } }));
  if (answer.answerer) facts.append(" · ", h("span", answer.answerer === "quotes" ? { t: "inside.no_model" } : { t: "inside.asked", tArgs: { name: answer.answerer } }));
  return h("div", { class: "inside" }, h("h3", { t: "inside.stages" }), facts, waterfall(answer), h("h3", { t: "inside.passages" }), passages(answer), details(answer.steps ?? []));
}

/** @param {number} seconds */
function ms(seconds) {
  return number(seconds * 1000, seconds < 0.01 ? 1 : 0);
}

/**
 * The stages as bars on one line of time. A step is told when it ends, so it began its seconds before that.
 * @param {Answer} answer
 */
function waterfall(answer) {
  const steps = answer.steps ?? [], total = Math.max(answer.timings.total ?? 0, ...steps.map((step) => step.at ?? 0), 0.001);
  const rows = steps.map((step) => {
    const from = Math.max(0, (step.at ?? step.seconds) - step.seconds);
    const bar = h("i", { class: "inside-bar" });
    bar.style.marginInlineStart = `${(100 * from) / total}%`;
    bar.style.width = `${Math.max(0.5, (100 * step.seconds) / total)}%`;
    return h("tr", {}, h("th", { scope: "row" }, step.name), h("td", { class: "inside-track" }, bar), h("td", { class: "inside-ms", t: "inside.ms", tArgs: { ms: ms(step.seconds) } }));
  });
  return h("table", { class: "inside-waterfall" }, h("tbody", {}, ...rows));
}

/** @param {Answer} answer */
function passages(answer) {
  const rankers = [...new Set(answer.passages.flatMap((passage) => Object.keys(passage.found_by)))];
  const head = h("tr", {}, h("th", { scope: "col" }, "#"), h("th", { scope: "col", t: "inside.passage" }), h("th", { scope: "col", t: "inside.score" }), ...rankers.map((name) => h("th", { scope: "col" }, name)));
  const rows = answer.passages.map((passage, index) => {
    const cited = answer.citations.some((citation) => citation.document_id === passage.document_id && citation.start < passage.end && citation.end > passage.start);
    const open = () => emit("page:open", { ...passage, focus: true });
    return h("tr", {}, h("td", {}, index + 1),
      h("td", {}, h("button", { type: "button", class: "inside-open", onclick: open, title: clip(passage.text, 300), ...placed(passage) }), cited && h("span", { class: "pill verified", t: "inside.cited" })),
      h("td", {}, number(passage.score, 3)),
      ...rankers.map((name) => h("td", passage.found_by[name] ? { t: "inside.rank", tArgs: { rank: passage.found_by[name].rank, score: number(passage.found_by[name].score, 3) } } : {})));
  });
  return h("div", { class: "inside-scroll", tabindex: "0", role: "group", tLabel: "inside.passages" }, h("table", { class: "inside-passages" }, h("thead", {}, head), h("tbody", {}, ...rows)));
}

/** @param {Step[]} steps */
function details(steps) {
  const told = steps.filter((step) => Object.keys(step.detail ?? {}).length);
  if (!told.length) return h("span", { hidden: true });
  const rows = told.map((step) => h("tr", {}, h("th", { scope: "row" }, step.name), h("td", {}, h("pre", {}, JSON.stringify(step.detail, null, 1)))));
  return h("details", { class: "inside-details" }, h("summary", { t: "inside.details" }), h("table", {}, h("tbody", {}, ...rows)));
}
