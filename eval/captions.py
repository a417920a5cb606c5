"""The words of a report, each in English and in Chinese.

``{n|one|many}`` chooses by the number ``n``, as in the window. Names of measures are the field's own where it has any.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal

Language = Literal["en", "zh"]
Name = tuple[str, str]  # what a measure is called, and what it means

LANGUAGES: tuple[Language, ...] = ("en", "zh")

_CHOICE = re.compile(r"\{(\w+)\|([^{}|]*)\|([^{}|]*)\}")
_CUTOFF = re.compile(r"^(?P<level>\w+)\.(?P<measure>[a-z_]+)(?:@(?P<k>\d+))?$")
LEVELS = ("pages", "passages", "documents")

WORDS: Mapping[str, tuple[str, str]] = {
    "colon": (": ", "："),
    "comma": (", ", "、"),
    "kicker": ("ragapp evaluation", "ragapp 评测"),
    "title.success": (
        "The right {thing} is among the first {k} for {right} of {n} questions",
        "{n} 个问题中有 {right} 个，正确的{thing}排在前 {k} 位之内",
    ),
    "title.metric": ("{metric}: {value}", "{metric}：{value}"),
    "title.empty": ("A run without a measure", "没有可用指标的运行"),
    "title.changed": (
        "{b} against {a}: {better|# measure|# measures} better, {worse} worse, {noise} within noise",
        "{b} 对比 {a}：{better} 项指标更好，{worse} 项更差，{noise} 项在噪声之内",
    ),
    "title.noise": ("No difference beyond noise between {b} and {a}", "{b} 与 {a} 之间没有超出噪声的差别"),
    "thing.pages": ("page", "页面"),
    "thing.passages": ("passage", "段落"),
    "thing.documents": ("document", "文档"),
    "stand": (
        "{n|One question|# questions} of the set {set}, asked to the library {library}.",
        "题集 {set} 的 {n} 个问题，对文库 {library} 提出。",
    ),
    "stand.partial": ("Only {done} of {n} are done so far.", "目前只完成了 {n} 个中的 {done} 个。"),
    "stand.errors": ("{n|One of them ended|# of them ended} with an error.", "其中 {n} 个以错误告终。"),
    "stand.other": (
        "Compared with the run {other}: figures in colour are this run’s, grey rings and lines the other’s.",
        "与运行 {other} 对比：彩色为本次运行，灰色圆环和线条为另一次运行。",
    ),
    "stand.interval": (
        "Lines show 95% intervals, from drawing the questions again and again (bootstrap).",
        "线段为 95% 区间，由反复重抽问题得出（自助法）。",
    ),
    "interval": ("95% interval {low} to {high}", "95% 区间 {low} 至 {high}"),
    "interval.head": ("95% interval", "95% 区间"),
    "was": ("was {value}", "原为 {value}"),
    "compare": ("What changed", "有何变化"),
    "compare.text": (
        "A difference whose interval holds 0 is noise: other questions could have given the opposite.",
        "区间包含 0 的差别只是噪声：换一批问题，结果可能相反。",
    ),
    "differences": ("Differences, {b} against {a}", "差别：{b} 对比 {a}"),
    "differences.note": (
        "Points of percent where the measure is a share. A line that crosses the middle is noise.",
        "指标为比例时，单位是百分点。线段跨过中线即为噪声。",
    ),
    "differences.noise": ("{n|One more is|# more are} within noise.", "另有 {n} 项在噪声之内。"),
    "differences.holm": (
        "Among so many measures some move by chance. What stays even so (Holm): {names}.",
        "指标多了，总有一些偶然变动。考虑到这一点仍然成立的（Holm）：{names}。",
    ),
    "differences.no_holm": (
        "Among so many measures some move by chance: none of these changes is sure even so (Holm).",
        "指标多了，总有一些偶然变动：考虑到这一点，这些变化没有一项是确定的（Holm）。",
    ),
    "measure": ("Measure", "指标"),
    "measure.of": ("{label}, {level}", "{label}（{level}）"),
    "before": ("Before", "之前"),
    "after": ("After", "之后"),
    "difference": ("Difference", "差别"),
    "verdict": ("Verdict", "结论"),
    "better": ("better", "更好"),
    "worse": ("worse", "更差"),
    "noise": ("noise", "噪声"),
    "pairs": ("Every question, {metric}", "逐题对比，{metric}"),
    "pairs.note": (
        "Each dot is a question, a larger one several. Above the line {b} is better, below it {a}.",
        "每个点是一个问题，大点为多个。线上方 {b} 更好，线下方 {a} 更好。",
    ),
    "pairs.up": ("↑ {name}", "↑ {name}"),
    "pairs.across": ("{name} →", "{name} →"),
    "pairs.text": (
        "{up|One question is|# questions are} better, {down|one is|# are} worse, {same|one is|# are} the same.",
        "{up} 个问题变好，{down} 个变差，{same} 个不变。",
    ),
    "pairs.better": ("{up} better", "{up} 个变好"),
    "pairs.worse": ("{down} worse", "{down} 个变差"),
    "same": ("the same", "不变"),
    "questions": ("Questions", "问题数"),
    "changed": ("Questions that changed", "发生变化的问题"),
    "changed.note": (
        "{all|One question|# questions} changed in a leading measure; {n|this one|these #} the most.",
        "{all} 个问题的主要指标有变化，以下 {n} 个变化最大。",
    ),
    "question": ("Question", "问题"),
    "measures": ("The measures", "各项指标"),
    "measures.text": (
        "Means over the questions that each measure applies to, in percent unless it says otherwise.",
        "对每项指标适用的问题取平均；除另有说明外，单位为百分比。",
    ),
    "measures.other": ("A grey ring is {other}.", "灰色圆环为 {other}。"),
    "group.pages": ("Pages found", "找到的页面"),
    "group.passages": ("Passages found", "找到的段落"),
    "group.documents": ("Documents found", "找到的文档"),
    "level.pages": ("pages", "页面"),
    "level.passages": ("passages", "段落"),
    "level.documents": ("documents", "文档"),
    "group.answer": ("Answers", "回答"),
    "group.citation": ("Citations", "引用"),
    "group.refusal": ("Refusals", "拒答"),
    "group.latency": ("Speed", "速度"),
    "group.rest": ("Other measures", "其他指标"),
    "figure.success": ("Right {thing} among the first {k}", "前 {k} 位内有正确{thing}"),
    "group.n": ("{group}, n = {n}", "{group}，n = {n}"),
    "mean": ("Mean", "平均"),
    "n": ("n", "n"),
    "recall": ("How deep one must look", "要往下看多深"),
    "recall.text": (
        "The share of what is right that is among the first k found.",
        "正确内容中，排在前 k 位之内的比例。",
    ),
    "recall.alt": ("Recall by how many are looked at: {values}.", "随查看数量变化的召回率：{values}。"),
    "recall.x": ("found passages looked at (k)", "查看的结果数（k）"),
    "refusal": ("When to refuse", "何时拒答"),
    "refusal.text": (
        "{answerable|One question has|# questions have} an answer in the documents, "
        "{unanswerable|one has|# have} none. "
        "{right|One of those without was|# of those without were} rightly refused, "
        "{false|one of those with an answer was|# of those with an answer were} wrongly refused.",
        "{answerable} 个问题在文档中有答案，{unanswerable} 个没有。"
        "没有答案的问题中，{right} 个被正确拒答；有答案的问题中，{false} 个被误拒。",
    ),
    "risk": ("Risk of answering", "作答的风险"),
    "risk.note": (
        "When only the surest questions are answered: how many of the answered have no answer in the documents.",
        "只回答最有把握的问题时，已作答的问题中有多少在文档里其实没有答案。",
    ),
    "risk.x": ("questions answered", "已作答的问题"),
    "risk.y": ("of them without an answer", "其中没有答案的"),
    "risk.mark": ("as set", "当前设置"),
    "risk.alt": (
        "Share of answered questions that have no answer, by how many are answered: {values}. As set, {coverage} "
        "are answered and {risk} of those have no answer.",
        "随作答比例变化，已作答问题中没有答案者的比例：{values}。按当前设置，作答 {coverage}，其中 {risk} 没有答案。",
    ),
    "refused": ("What was refused", "拒答情况"),
    "refused.note": (
        "Of the refusals {precision} were right; of the questions without an answer {recall} were refused.",
        "拒答中有 {precision} 是正确的；没有答案的问题中有 {recall} 被拒答。",
    ),
    "refused.none": ("Nothing was refused.", "没有问题被拒答。"),
    "refused.head": ("Refused", "拒答"),
    "answered.head": ("Answered", "作答"),
    "threshold": ("Threshold", "阈值"),
    "coverage": ("Answered", "作答"),
    "risk.head": ("Risk", "风险"),
    "confidence": ("How sure the judge was", "判断的把握"),
    "confidence.note": (
        "The probability that the library holds the answer, as it was judged before answering.",
        "作答之前判断的、文库中有答案的概率。",
    ),
    "confidence.x": ("confidence", "置信度"),
    "confidence.alt": (
        "Questions by confidence. With an answer: {above}. Without: {below}.",
        "按置信度统计的问题数。有答案：{above}。没有答案：{below}。",
    ),
    "confidence.above": ("{n|One with an answer|# with an answer}", "{n} 个有答案"),
    "confidence.below": ("{n|one without|# without}", "{n} 个没有答案"),
    "confidence.cut": ("refused below {value}", "低于 {value} 即拒答"),
    "with": ("With an answer", "有答案"),
    "without": ("Without", "没有答案"),
    "time": ("Where the time goes", "时间花在哪里"),
    "time.text": (
        "A bar is the median of a stage, the line how far the slowest twentieth reaches (p95). Stages follow each "
        "other.",
        "横条为各阶段的中位数，细线为最慢的二十分之一所达到的位置（p95）。各阶段依次进行。",
    ),
    "stage": ("Stage", "阶段"),
    "p50": ("Median", "中位数"),
    "p95": ("p95", "p95"),
    "step.rewrite": ("Complete the question", "补全问题"),
    "step.hypothesize": ("Imagine passages", "设想段落"),
    "step.split": ("Split the question", "拆分问题"),
    "step.route": ("Choose documents", "选择文档"),
    "step.search": ("Search", "搜索"),
    "step.pool": ("Join the searches", "合并搜索结果"),
    "step.widen": ("Search more widely", "扩大搜索"),
    "step.rerank": ("Rank again", "重新排序"),
    "step.weigh": ("Weigh the evidence", "权衡证据"),
    "step.missing": ("Look for gaps", "查找缺漏"),
    "step.gather": ("Gather the context", "汇集上下文"),
    "step.prompt": ("Pack the prompt", "组装提示"),
    "step.write": ("Write", "写作"),
    "step.refuse": ("Refuse", "拒答"),
    "stage.total": ("In all", "总计"),
    "stage.first_token": ("Until the first word", "到第一个词"),
    "tags": ("By kind of question", "按问题类别"),
    "tags.text": ("{metric}, by what the set says of its questions.", "{metric}，按题集对问题的标注分组。"),
    "lost": ("What went wrong", "哪里出了错"),
    "lost.text": (
        "{n|One question|# questions} of {all}, the gravest first. A question is counted once, by its gravest fault.",
        "{all} 个问题中的 {n} 个，最严重的在前。每个问题只按最严重的一项计一次。",
    ),
    "lost.none": ("No question went wrong.", "没有问题出错。"),
    "lost.more": ("{n|One more|# more}", "另有 {n} 个"),
    "lost.right": ("Went well", "没有出错"),
    "fault.error": ("Ended with an error", "以错误告终"),
    "fault.answered": ("Answered, though the documents hold no answer", "文档中没有答案，却作了答"),
    "fault.missed": ("Nothing right was found", "没有找到任何正确内容"),
    "fault.refused": ("Refused, though there is an answer", "有答案，却被拒答"),
    "fault.wrong": ("The answer has nothing of what was expected", "回答中没有任何应有的内容"),
    "fault.late": ("Found late, after the first {k} pages", "找到得太晚，在前 {k} 页之后"),
    "should": ("Should be", "应在"),
    "found": ("Found instead", "实际找到"),
    "found.first": ("Found first", "最先找到"),
    "place": ("right page at place {rank}", "正确页面排在第 {rank} 位"),
    "answer": ("Answer", "回答"),
    "expected": ("Expected", "应有的回答"),
    "no.answer": ("No answer in the documents", "文档中没有答案"),
    "nothing": ("Nothing was found.", "什么也没有找到。"),
    "page": ("page {page}", "第 {page} 页"),
    "pages": ("pages {pages}", "第 {pages} 页"),
    "sure": ("confidence {value}", "置信度 {value}"),
    "warnings": ("To be read with care", "阅读时请注意"),
    "warnings.partial": (
        "The run is not finished: {left|one question is|# questions are} left.",
        "运行尚未完成：还剩 {left} 个问题。",
    ),
    "warnings.na.head": (
        "What does not apply is left out, and never counted as zero.",
        "不适用的问题不计入，绝不算作零分。",
    ),
    "warnings.judge": (
        "The model that judged disagrees with the rules on {n|one question|# questions}.",
        "作评判的模型与规则在 {n} 个问题上不一致。",
    ),
    "why": ("Reason", "原因"),
    "right": ("right", "正确"),
    "differs": ("differs", "不同"),
    "made": ("How it was made", "如何得出"),
    "fact.name": ("Run", "运行"),
    "fact.set": ("Set", "题集"),
    "fact.kind": ("What was asked for", "所求"),
    "fact.flow": ("Flow", "流程"),
    "fact.k": ("Passages kept", "保留的段落数"),
    "fact.seed": ("Seed", "随机种子"),
    "fact.workers": ("Questions at a time", "同时提问数"),
    "fact.library": ("Library", "文库"),
    "fact.documents": ("Documents", "文档数"),
    "fact.chunker": ("Chunker", "切分器"),
    "fact.embedder": ("Embedder", "嵌入模型"),
    "fact.model": ("Model", "模型"),
    "fact.version": ("ragapp", "ragapp"),
    "fact.machine": ("Machine", "机器"),
    "fact.started": ("Started", "开始"),
    "fact.ended": ("Ended", "结束"),
    "fact.fingerprint": ("Fingerprint of the set", "题集指纹"),
    "kind.search": ("passages", "段落"),
    "kind.ask": ("answers", "回答"),
    "model.none": ("none: answers are quotes", "无：回答为引文"),
    "default": ("the default", "默认"),
    "this": ("This run", "本次运行"),
    "data": ("The figures", "数据"),
    "meanings": ("What the measures mean", "各指标的含义"),
    "seconds": ("{value} s", "{value} 秒"),
    "milliseconds": ("{value} ms", "{value} 毫秒"),
    "contents": ("On this page", "本页内容"),
}

# What a measure is called, and what it means. Those of found pages, passages and documents have a cut-off.
RANKED: Mapping[str, tuple[Name, Name]] = {
    "success": (
        ("Success", "The share of questions with at least one right one among the first k."),
        ("命中率", "前 k 个之中至少有一个正确的问题所占的比例。"),
    ),
    "recall": (
        ("Recall", "The share of all right ones that is among the first k."),
        ("召回率", "全部正确者之中排在前 k 个之内的比例。"),
    ),
    "precision": (
        ("Precision", "The share of the first k that is right."),
        ("精确率", "前 k 个之中正确者的比例。"),
    ),
    "mrr": (
        ("MRR", "1 divided by the place of the first right one, 0 beyond the first k (mean reciprocal rank)."),
        ("MRR", "第一个正确者名次的倒数，前 k 个之外为 0（平均倒数排名）。"),
    ),
    "ndcg": (
        ("nDCG", "How well the first k are ordered, by grade, against the best possible order."),
        ("nDCG", "前 k 个的次序按等级与最佳次序相比的优劣。"),
    ),
    "map": (
        ("MAP", "The precision at each right one, averaged (mean average precision)."),
        ("MAP", "在每个正确者处的精确率的平均（平均精确率均值）。"),
    ),
}
MEASURES: Mapping[str, tuple[Name, Name]] = {
    "answer.em": (
        ("Exact match", "The answer is a right one, but for case, articles and punctuation (SQuAD)."),
        ("完全一致", "除大小写、冠词和标点外，回答与某个正确答案相同（SQuAD）。"),
    ),
    "answer.f1": (
        ("Token F1", "How far the words of the answer and of a right one are the same (SQuAD)."),
        ("词 F1", "回答与正确答案用词重合的程度，中文按字计（SQuAD）。"),
    ),
    "answer.recall": (
        ("Words of the answer", "The share of a right answer’s words that are in the answer."),
        ("答案用词", "正确答案的词中出现在回答里的比例。"),
    ),
    "answer.holds": (
        ("Right answer inside", "A right answer stands in the answer whole."),
        ("含正确答案", "回答中完整含有某个正确答案。"),
    ),
    "answer.contains": (
        ("Must-contain", "What must stand in the answer does."),
        ("必含内容", "回答中含有必须出现的内容。"),
    ),
    "answer.length": (
        ("Length in words", "Words of the answer; Chinese by character."),
        ("词数", "回答的词数，中文按字计。"),
    ),
    "citation.page_precision": (
        ("Right pages, precision", "The share of the citations that name a right page."),
        ("页面引用精确率", "引用中指向正确页面的比例。"),
    ),
    "citation.page_recall": (
        ("Right pages, recall", "The share of the right places that are cited by page."),
        ("页面引用召回率", "正确位置中按页面被引用到的比例。"),
    ),
    "citation.span_precision": (
        ("Right words, precision", "The share of the citations that quote the right words."),
        ("原文引用精确率", "引用中引到正确文字的比例。"),
    ),
    "citation.span_recall": (
        ("Right words, recall", "The share of the right quotes that a citation reaches."),
        ("原文引用召回率", "正确原文中被引用触及的比例。"),
    ),
    "citation.precision": (
        ("Needed citations", "The share of the citations that bear their sentence out and are not idle (ALCE)."),
        ("必要的引用", "能支持所在句子且不多余的引用所占比例（ALCE）。"),
    ),
    "citation.recall": (
        ("Supported sentences", "The share of the sentences that their citations bear out, word for word (ALCE)."),
        ("有据的句子", "其引用逐字支持该句的句子所占比例（ALCE）。"),
    ),
    "verbatim": (
        ("Verbatim", "The share of the citations whose words stand on the page they name."),
        ("逐字引用", "引文确实见于所指页面的引用所占比例。"),
    ),
    "refusal.right": (
        ("Rightly refused", "Of the questions without an answer, the share that was refused."),
        ("正确拒答", "没有答案的问题中被拒答的比例。"),
    ),
    "refusal.false": (
        ("Wrongly refused", "Of the questions with an answer, the share that was refused; less is better."),
        ("误拒", "有答案的问题中被拒答的比例，越低越好。"),
    ),
    "latency.first_token": (
        ("Until the first word", "Time until the answer begins."),
        ("到第一个词", "到回答开始为止的时间。"),
    ),
    "latency.total": (
        ("Until the end", "Time until the answer is complete."),
        ("到回答结束", "到回答完成为止的时间。"),
    ),
    "tokens_per_s": (
        ("Tokens per second", "How fast the answer is written once it has begun."),
        ("每秒词元", "回答开始之后的书写速度。"),
    ),
}
# Why a measure does not apply to a question; the English words are the measures' own.
REASONS: Mapping[str, str] = {
    "answerable": "有答案",
    "unanswerable": "没有答案",
    "not measured": "未测量",
    "no text that must be contained": "没有必含内容",
    "no right answer known": "没有已知的正确答案",
    "refused": "被拒答",
    "no gold page": "没有标注页面",
    "no gold quote": "没有标注原文",
    "no gold": "没有标注",
    "no gold page or quote": "没有标注页面或原文",
    "number of right passages unknown": "正确段落的数目未知",
    "number of right pages unknown": "正确页面的数目未知",
    "no right answer with words": "正确答案中没有可比较的词",
    "no hits recorded": "没有记录到结果",
    "no citations": "没有引用",
    "gold quote not found in the document": "标注原文在文档中找不到",
    "no claims": "没有论断",
}


def say(language: Language, key: str, **values: object) -> str:
    """The words of a key with its values filled in. Raises KeyError for a key that has none, or for a missing value."""

    def chosen(match: re.Match[str]) -> str:
        number = values[match[1]]
        return (match[2] if number == 1 else match[3]).replace("#", _grouped(number))

    return _CHOICE.sub(chosen, WORDS[key][LANGUAGES.index(language)]).format(**values)


def _grouped(number: object) -> str:
    return f"{number:,}" if isinstance(number, int) else str(number)


def step_label(language: Language, name: str) -> str:
    """What a stage of an answer is called; one of somebody's own flow keeps its name."""
    return say(language, f"step.{name}") if f"step.{name}" in WORDS else name


def reason(language: Language, why: str) -> str:
    """Why a measure does not apply, in the report's language; a reason that nobody translated as it is."""
    return REASONS.get(why, why) if language == "zh" else why


def measure_label(language: Language, name: str, *, is_long: bool = False) -> str:
    """What a measure is called ("Success@5"); ``is_long`` says of what as well. An unknown one keeps its name."""
    ranked = _ranked(name)
    if not ranked:
        return _named(language, MEASURES[name])[0] if name in MEASURES else name
    level, names, k = ranked
    label = _named(language, names)[0] + (f"@{k}" if k else "")
    return say(language, "measure.of", label=label, level=say(language, f"level.{level}")) if is_long else label


def measure_meaning(language: Language, name: str) -> str:
    """What a measure means; empty for an unknown one."""
    ranked = _ranked(name)
    names = ranked[1] if ranked else MEASURES.get(name)
    return _named(language, names)[1] if names else ""


def _named(language: Language, names: tuple[Name, Name]) -> Name:
    return names[LANGUAGES.index(language)]


def _ranked(name: str) -> tuple[str, tuple[Name, Name], str] | None:
    """Level, names and cut-off of a measure of what was found; None for any other."""
    match = _CUTOFF.match(name)
    if not match or match["level"] not in LEVELS or match["measure"] not in RANKED:
        return None
    return match["level"], RANKED[match["measure"]], match["k"] or ""
