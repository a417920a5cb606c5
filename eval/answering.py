"""How good an answer is, told without a model: its words, its citations, its refusals, its speed.

Words: exact match and token F1 as SQuAD has them (Rajpurkar et al. 2016), with MLQA's extension to other scripts
(Lewis et al. 2020): punctuation of every script is left out and each CJK character is a token. The best of the right
answers counts. ``answer.recall`` is F1's recall, which does not punish an answer for saying more, and ``answer.holds``
whether a right answer stands in it whole: fair to answers made of quotes, as F1 is not.

Citations, by place: ``citation.page_*`` against the gold pages, ``citation.span_*`` against the gold quotes.
``citation.recall`` and ``citation.precision`` are ALCE's (Gao et al. 2023): a sentence counts where all it cites
together bears it out; a citation counts where its sentence does and it is not idle, that is, where it bears the
sentence out alone or the others could not without it. ALCE asks a model whether a text entails a sentence; here
support.py decides, which looks for the words themselves in what was cited and verified. So a right paraphrase counts as
unsupported, and these two are lower bounds.

A measure that does not apply is absent, never 0. A refusal makes no claims: it has no measures of citations. An
answerable question that was refused has 0 in all measures of words that apply to it. Right answers of which SQuAD's
comparison leaves nothing ("A", "…") are left out: such a one stands in every answer.
"""

from __future__ import annotations

import re
import string
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from ragapp.citations import find
from ragapp.eval.questions import Gold, Question, is_same_document
from ragapp.eval.records import Cite, Record
from ragapp.support import Text, is_frame, is_introduction
from ragapp.text import CJK, NO_ANSWER_EN, NO_ANSWER_ZH, collapse, sentences

NAMES: Final = (
    "answer.em", "answer.f1", "answer.recall", "answer.holds", "answer.contains", "answer.length",
    "citation.page_precision", "citation.page_recall", "citation.span_precision", "citation.span_recall",
    "citation.precision", "citation.recall", "verbatim", "refusal.right", "refusal.false",
    "latency.first_token", "latency.total", "tokens_per_s",
)  # fmt: skip

_ARTICLES = re.compile(r"\b(?:a|an|the)\b")
_TOKEN = re.compile(f"[{CJK}]|[^\\s{CJK}]+")
_COUNTED = re.compile(f"[{CJK}]|[^\\W{CJK}]+(?:[-.,'’][^\\W{CJK}]+)*")
_LETTER = f"[^\\W_{CJK}]"  # or a figure, of a script that sets words apart
_MARK = re.compile(r"\s*\[(\d{1,3})\]")
_QUOTED = re.compile(r"[“\"「『]([^“”\"「」『』]{2,})[”\"」』]")
# What the quoting answerer puts behind the row of a table: heads that stand above the row and not in it.
_HEADS = re.compile(r"\s*(?:\(columns: .*?\)|（各列：.*?）)(?=\s|$)")
_OPENING, _CLOSING = "“「『", "”」』"
_BESIDE_CJK = re.compile(f"(?<=[{CJK}]) | (?=[{CJK}])")  # some write 24 个月, some 24个月
_STRAIGHT = str.maketrans("‘’“”‐‑–—−", "''\"\"-----")
_REFUSED = "no_evidence"


# -- everything about one answer ---------------------------------------------------------------------------------------


def scores(question: Question, record: Record) -> dict[str, float]:
    """The measures of one answer, as in NAMES; empty for a search, and for a record with an error."""
    if record.kind != "ask" or record.answer is None or record.error:
        return {}
    refused = is_refused(record)
    made = {"answer.length": float(length(record.answer)), **_speed(record)}
    made["refusal.false" if question.answerable else "refusal.right"] = float(refused)
    if question.answerable:
        words = _words(question, plain(record))
        made |= dict.fromkeys(words, 0.0) if refused else words
    if not refused:
        made |= _citations(question, record)
    return made


def is_refused(record: Record) -> bool:
    """Whether the answer says that the documents do not hold one: by its finish reason, or in nothing but words."""
    if record.finish_reason == _REFUSED:
        return True
    return normalised(record.answer or "") in _NO_ANSWERS


def plain(record: Record) -> str:
    """The answer without its citation marks; brackets that are no marks stay."""
    known = {str(cite.marker) for cite in record.citations}
    return _MARK.sub(lambda mark: "" if mark[1] in known else mark[0], record.answer or "")


def why_not(question: Question, record: Record, name: str) -> str:
    """Why an answer lacks a measure of NAMES, in words to count by."""
    kind, _, what = name.partition(".")
    by_place = what.startswith(("page", "span"))
    reasons = (
        (kind == "refusal", "answerable" if question.answerable else "unanswerable"),
        (kind in ("latency", "tokens_per_s"), "not measured"),
        (not question.answerable and (kind == "answer" or by_place), "unanswerable"),
        (what == "contains", "no text that must be contained"),
        (kind == "answer" and bool(question.answers), "no right answer with words"),
        (kind == "answer", "no right answer known"),
        (is_refused(record), "refused"),
        (what.startswith("page") and not _gold_pages(question), "no gold page"),
        (what.startswith("span") and not any(gold.quote for gold in _gold(question)), "no gold quote"),
        (what.startswith("span") and record.relevant.get("quotes") == 0, "gold quote not found in the document"),
        (not record.citations and what != "recall", "no citations"),
        (what.startswith("span"), "gold quote not found in the document"),
        (True, "no claims"),
    )
    return next(reason for holds_true, reason in reasons if holds_true)


def _speed(record: Record) -> dict[str, float]:
    """Seconds until the first token and in all, and tokens per second from the first to the last."""
    made = {f"latency.{step}": record.timings[step] for step in ("first_token", "total") if step in record.timings}
    writing = made.get("latency.total", 0.0) - made.get("latency.first_token", 0.0)
    if record.completion_tokens > 1 and writing > 0 and len(made) > 1:
        made["tokens_per_s"] = (record.completion_tokens - 1) / writing
    return made


# -- words -------------------------------------------------------------------------------------------------------------


def _words(question: Question, answer: str) -> dict[str, float]:
    made: dict[str, float] = {}
    known = [right for right in question.answers if tokens(right)]
    if known:
        made["answer.em"] = max(exact_match(answer, right) for right in known)
        made["answer.f1"] = max(f1(answer, right) for right in known)
        made["answer.recall"] = max(recall(answer, right) for right in known)
        made["answer.holds"] = max(float(holds(answer, right)) for right in known)
    if question.must_contain:
        there = [contains(answer, text) for text in question.must_contain]
        made["answer.contains"] = float(any(there) if question.match == "any" else all(there))
    return made


def normalised(text: str) -> str:
    """The text as SQuAD compares it: small letters, without punctuation, articles and needless white space."""
    bare = "".join(c for c in text.lower() if c not in string.punctuation and unicodedata.category(c)[0] != "P")
    return " ".join(_ARTICLES.sub(" ", bare).split())


def tokens(text: str) -> list[str]:
    """The tokens of the normalised text: words, and single CJK characters."""
    return _TOKEN.findall(normalised(text))


def length(text: str) -> int:
    """How many words and CJK characters a text has."""
    return len(_COUNTED.findall(_MARK.sub(" ", text)))


def exact_match(answer: str, right: str) -> float:
    """1 where the tokens are the same, else 0."""
    return float(tokens(answer) == tokens(right))


def f1(answer: str, right: str) -> float:
    """The harmonic mean of precision and recall over tokens; where one has none, whether both have none."""
    said, wanted = Counter(tokens(answer)), Counter(tokens(right))
    shared = (said & wanted).total()
    if not said or not wanted:
        return float(said == wanted)
    return 2 * shared / (said.total() + wanted.total())


def recall(answer: str, right: str) -> float:
    """The share of the right answer's tokens that the answer has; 1 where it has none."""
    wanted = Counter(tokens(right))
    return (Counter(tokens(answer)) & wanted).total() / wanted.total() if wanted else 1.0


def holds(answer: str, right: str) -> bool:
    """Whether the right answer's tokens stand in the answer one after the other."""
    said, wanted = ("\n".join(["", *tokens(text), ""]) for text in (answer, right))
    return wanted in said


def contains(answer: str, text: str) -> bool:
    """Whether a text stands in the answer, whatever the case, white space and quotation marks; as whole words.

    "12" does not stand in "2012" or in "12.5", nor "low" in "below".
    """
    wanted, said = _folded(text), _folded(answer)
    before = rf"(?<!{_LETTER})(?<!\d[.,])" if re.match(_LETTER, wanted) else ""
    after = rf"(?!{_LETTER})(?![.,]\d)" if re.match(_LETTER, wanted[-1:]) else ""
    return bool(wanted) and re.search(before + re.escape(wanted) + after, said) is not None


def _folded(text: str) -> str:
    return _BESIDE_CJK.sub("", collapse(unicodedata.normalize("NFKC", text))).translate(_STRAIGHT).casefold()


# -- citations ---------------------------------------------------------------------------------------------------------


def _citations(question: Question, record: Record) -> dict[str, float]:
    made: dict[str, float] = {}
    if record.citations:
        verified = [cite.state == "verified" for cite in record.citations]
        made["verbatim"] = sum(verified) / len(verified)
    if question.answerable:
        made |= _by_page(question, record.citations) | _by_span(question, record)
    return made | _by_claim(record)


def _by_page(question: Question, cites: Sequence[Cite]) -> dict[str, float]:
    """The share of the citations that are on gold pages, and of the gold pages that are cited."""
    gold = _gold_pages(question)
    if not gold:
        return {}
    right = [{place for place in gold if _is_on(place, cite)} for cite in cites]
    made = {"citation.page_recall": len(set().union(*right)) / len(gold)}
    return made | ({"citation.page_precision": sum(map(bool, right)) / len(right)} if right else {})


def _gold_pages(question: Question) -> set[tuple[str, int]]:
    return {(gold.document, page) for gold in _gold(question) for page in gold.pages}


def _gold(question: Question) -> list[Gold]:
    return [gold for gold in question.gold if gold.relevance > 0]


def _is_on(place: tuple[str, int], cite: Cite) -> bool:
    return place[1] == cite.page and is_same_document(place[0], cite.document)


def _by_span(question: Question, record: Record) -> dict[str, float]:
    """The share of the citations that overlap a gold quote, and of the gold quotes that are overlapped.

    Citations of which nobody knows whether they do are left out, and so are quotes that the documents do not hold.
    """
    known = [cite for cite in record.citations if cite.gold is not None]
    quotes = [gold for gold in _gold(question) if gold.quote]
    there = record.relevant.get("quotes", len(quotes) if known else 0)
    if not there:
        return {}
    right = [cite for cite in known if cite.gold]
    reached = sum(any(_reaches(cite, gold, quotes) for cite in right) for gold in quotes)
    made = {"citation.span_recall": min(reached, there) / there}
    return made | ({"citation.span_precision": len(right) / len(known)} if known else {})


def _reaches(cite: Cite, gold: Gold, quotes: Sequence[Gold]) -> bool:
    """Whether a citation that overlaps one of the quotes overlaps this one."""
    if not is_same_document(gold.document, cite.document):
        return False
    there = [other for other in quotes if is_same_document(other.document, cite.document)]
    if len(there) == 1:
        return True
    if cite.quote and (find(cite.quote, gold.quote) or find(gold.quote, cite.quote)):
        return True
    # Their words only overlap: the page tells, where it is that of no other quote.
    return [other for other in there if cite.page in other.pages] == [gold]


# -- ALCE --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Statement:
    """A sentence of an answer: what it claims, each part with words, and the marks that stand behind its parts."""

    claims: tuple[str, ...]
    marks: tuple[int, ...]


def _by_claim(record: Record) -> dict[str, float]:
    cited = _cited(record)
    found = list(statements(record.answer or "", cited.keys() | {cite.marker for cite in record.citations}))
    if not found:
        return {}
    borne = [bears_out(statement.claims, [cited.get(mark, "") for mark in statement.marks]) for statement in found]
    made = {"citation.recall": sum(borne) / len(borne)}
    used = [
        is_borne and not _is_idle(statement, mark, cited)
        for statement, is_borne in zip(found, borne, strict=True)
        for mark in statement.marks
    ]
    return made | ({"citation.precision": sum(used) / len(used)} if used else {})


def _cited(record: Record) -> dict[int, str]:
    """What each mark gives to read: the verified quotes behind it."""
    texts: dict[int, str] = {}
    for cite in record.citations:
        if cite.state == "verified":
            texts[cite.marker] = f"{texts[cite.marker]}\n\n{cite.quote}" if cite.marker in texts else cite.quote
    return texts


def _is_idle(statement: Statement, mark: int, cited: Mapping[int, str]) -> bool:
    """Whether a citation neither bears its statement out alone nor is missed by the others."""
    others = [cited.get(other, "") for other in statement.marks if other != mark]
    return not bears_out(statement.claims, [cited.get(mark, "")]) and bears_out(statement.claims, others)


def bears_out(claims: Sequence[str], texts: Sequence[str]) -> bool:
    """Whether every claim stands in one of the texts, or in all of them read one after the other."""
    read = [text for text in texts if text]
    together = [" ".join(read)] if len(read) > 1 else []
    return bool(read) and all(any(_stands(claim, text) for text in (*read, *together)) for claim in claims)


def _stands(claim: str, text: str) -> bool:
    """Whether words between quotation marks, with nothing said around them, or a claim's own words stand in a text."""
    quoted = [quote.strip(" ,.，。") for quote in _QUOTED.findall(claim)]
    if quoted and all(find(quote, text) for quote in quoted) and is_frame(_QUOTED.sub(" ", claim)):
        return True
    return Text(text).find(claim) is not None


def statements(answer: str, marks: Collection[int]) -> Iterator[Statement]:
    """The sentences of an answer that say something, with the marks among ``marks`` that they cite, each once.

    A quotation is not cut, whatever sentences it holds. Marks that stand behind a sentence are its own.
    """
    text = _HEADS.sub("", answer)
    for start, end in _spans(text, marks):
        claims, numbers = _parts(text[start:end], marks)
        if claims:
            yield Statement(tuple(claims), tuple(dict.fromkeys(numbers)))


def _spans(text: str, marks: Collection[int]) -> list[tuple[int, int]]:
    """Where the sentences stand; what is inside of one quotation, and marks behind it, go to the one before."""
    spans: list[tuple[int, int]] = []
    depth = 0
    for start, end in sentences(text):
        last = spans[-1][1] if spans else start
        gap = text[last:start]
        depth = 0 if "\n\n" in gap else depth  # a quotation that nobody ends does not go on through a whole answer
        head = _behind_marks(text, start, end, marks) if spans and "\n" not in gap else start
        if spans and (depth > 0 or not any(map(str.isalnum, text[head:end]))):
            spans[-1] = (spans[-1][0], end)
        elif spans and head > start:
            spans[-1:] = [(spans[-1][0], head), (head, end)]
        else:
            spans.append((start, end))
        depth = max(0, depth + sum((c in _OPENING) - (c in _CLOSING) for c in text[start:end]))
    return spans


def _behind_marks(text: str, start: int, end: int, marks: Collection[int]) -> int:
    """Where the words behind the marks at ``start`` begin."""
    while (mark := _MARK.match(text, start, end)) and int(mark[1]) in marks:
        start = mark.end()
    return start


def _parts(sentence: str, marks: Collection[int]) -> tuple[list[str], list[int]]:
    """What a sentence claims before each group of its marks, as the resolver of answers reads it, and the marks."""
    pieces, numbers, last = [""], list[int](), 0
    for mark in _MARK.finditer(sentence):
        if int(mark[1]) in marks:
            pieces[-1] += sentence[last : mark.start()]
            pieces.append("")
            numbers.append(int(mark[1]))
            last = mark.end()
    pieces[-1] += sentence[last:]
    if numbers and any(map(str.isalnum, pieces[-1])):
        # "The pump [1] weighs 3 kg." is one claim.
        pieces[-2:] = ["".join(pieces[-2:])]
    return [piece.strip() for piece in pieces if not is_introduction(piece)], numbers


_NO_ANSWERS = frozenset(map(normalised, (NO_ANSWER_EN, NO_ANSWER_ZH)))
