"""Questions made of a library's own documents (`ragapp eval make`), each with the page and the words that answer.

A Llama writes them where there is one; what it quotes must stand in the passage word for word. Else, and where its
reply cannot be used, they are made of the documents' structure (facts.py). Documents take turns, and kinds of
questions do. A question that another place seems to answer in another way is asked with the document's title, or
dropped; one that another place answers alike has that place as gold, too. Each fact is asked once, in turn as the
document has it, in other words, or as what is typed into a search box (rewording.py): several wordings of one fact
would pass for several questions.

Unanswerable ones are made by holding a document out: its question is asked with ``where`` naming other documents, those
that the search finds nearest, when the answer's words do not stand there beside the question's. They are near misses,
and nobody has read the rest: a few can be answered all the same. The file is meant to be read and edited.
"""

from __future__ import annotations

import glob
import random
import re
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Literal, get_args

from ragapp.catalog import Entry
from ragapp.citations import find
from ragapp.errors import ConfigError, ContextTooLong
from ragapp.eval.dataset import Dataset, Gold, Question, of_questions
from ragapp.eval.facts import Fact, facts, titled, told
from ragapp.eval.rewording import defined_otherwise, dropped, paraphrased
from ragapp.rag import Rag
from ragapp.suggestions import Titles, is_readable, words_of
from ragapp.text import collapse, has_cjk, is_chinese, sentences
from ragapp.types import Chunk, Passage, Query
from ragapp.wording import content
from ragapp.writers import lines

Kind = Literal["model", "figure", "reason", "definition", "table", "heading", "cloze", "unanswerable"]
KINDS: tuple[Kind, ...] = get_args(Kind)
Language = Literal["en", "zh"]

UNANSWERABLE = 0.2  # share of a set
# So many for each of the other answerable ones, at most, unless nothing else is wanted: they test less than others do.
FEWER = {"heading": 0.4, "cloze": 0.2}
FEW = 4  # of each where there is hardly anything else
HELD = frozenset({"figure", "reason", "table", "definition"})  # the kinds that name no document and give none away
PAGES = 60  # of a document that are read
TRIES = 8  # facts of a document that are looked at in one turn
REPLIES = 2  # of the model for one question
RIVALS = 20  # passages among which another answer is looked for
OTHERS = 20  # documents that a question with its own one held out is asked of
LETTERS = 80  # of a passage that a model is shown, at least; a Chinese character counts as three
MAX_TOKENS = 200
SHORT = 40  # characters of an answer that may be wanted as it is


@dataclass(frozen=True, slots=True)
class _Draft:
    """A fact of a document, the question as it will be asked, and all places that answer it."""

    fact: Fact
    kind: Kind
    entry: Entry
    question: str
    gold: tuple[Gold, ...]


def make(
    rag: Rag,
    *,
    count: int = 50,
    seed: int = 0,
    kinds: Sequence[str] = KINDS,
    language: Language | None = None,
    variants: bool = True,
    progress: Callable[[int, int], None] = lambda done, total: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> Dataset:
    """At most ``count`` questions about the library's documents, a fifth of them unanswerable; the same for a seed.

    ``kinds`` are some of KINDS, ``language`` keeps questions in one. ``progress`` is told how many are made, of how
    many. Once ``cancelled()`` is true, what is made so far is the set. The warnings count what could not be made.
    Raises ConfigError for wrong settings and where no question can be made, ModelError where the model fails.
    """
    _check(count, kinds, language)
    maker = _Maker(rag, random.Random(seed), frozenset(kinds), language)
    is_apart = "unanswerable" in kinds
    held = count if set(kinds) == {"unanswerable"} else round(count * UNANSWERABLE) if is_apart else 0
    if is_apart and len(maker.entries) < 2:
        held = 0
        maker.warnings.append("No unanswerable questions were made: that wants two documents at least, and there is 1.")
    made: list[Question] = []
    apart: list[Question] = []
    held_out = maker.unanswerable(cancelled)
    for draft in maker.drafts(count - held, cancelled):
        made.append(_question(draft, len(made), maker.chance, variants=variants))
        # In turn, so that both kinds have their share where facts are few.
        if len(apart) < held * len(made) / (count - held):
            apart += islice(held_out, 1)
        progress(len(made) + len(apart), count)
    if count == held:
        for question in islice(held_out, count):
            apart.append(question)
            progress(len(apart), count)
    if not cancelled():
        maker.warn(count - held - len(made), "answerable", "the documents state too little that the rules understand")
        maker.warn(held - len(apart), "unanswerable", "the other documents may answer what could be asked")
    made += [replace(question, id=_id(len(made) + place)) for place, question in enumerate(apart)]
    if not made:
        raise ConfigError(
            f"No question could be made of the {len(maker.entries)} documents.",
            "Prose and tables give questions; pages without text give none. A Llama ([chat] model) finds more.",
        )
    return of_questions(f"{rag.name} (made, seed {seed})", made, maker.warnings)


def _check(count: int, kinds: Sequence[str], language: str | None) -> None:
    if count < 1:
        raise ConfigError(f"{count} questions cannot be made.", "Ask for 1 at least.")
    if not kinds or (unknown := [kind for kind in kinds if kind not in KINDS]):
        raise ConfigError(
            f"There is no kind of question {unknown[0]!r}." if kinds else "No kind of question was named.",
            f"Kinds are {', '.join(KINDS)}.",
        )
    if language not in (None, "en", "zh"):
        raise ConfigError(f"Questions cannot be made in {language!r}.", "Languages are en and zh.")


def _id(place: int) -> str:
    return f"made-{place + 1:03d}"


class _Maker:
    """Draws facts from the documents of a library, one after the other, and looks whether they make good questions."""

    def __init__(self, rag: Rag, chance: random.Random, kinds: frozenset[str], language: Language | None) -> None:
        self._rag = rag
        self._tools = rag.tools
        self.chance = chance
        self._kinds = kinds
        # What is held out is a fact of some other kind.
        self._wanted = kinds | HELD if not kinds & HELD else kinds
        self._language = language
        entries = {entry.id: entry for entry in rag.documents()}
        self.entries = sorted(entries.values(), key=lambda entry: entry.id)
        if not self.entries:
            raise ConfigError(
                "There are no documents in the library to make questions of.", "`ragapp ingest PATH` first."
            )
        self._titles = Titles(self.entries, self.entries)
        self._order = chance.sample(self.entries, len(self.entries))
        self._facts: dict[str, list[Fact]] = {}
        self._pages: dict[str, list[str]] = {}
        self._asked: set[str] = set()
        self.warnings: list[str] = []

    def warn(self, missing: int, kind: str, why: str) -> None:
        """Count the questions that are missing, where some are."""
        if missing > 0:
            self.warnings.append(f"{missing} {kind} questions fewer than asked for: {why}.")

    # -- answerable --------------------------------------------------------------------------------------------------

    def drafts(self, count: int, cancelled: Callable[[], bool]) -> Iterator[_Draft]:
        """At most so many drafts, the documents taking turns: by the model, of structure, what tests less at last."""
        used = Counter[str]()
        stages: list[tuple[frozenset[str], int]] = []
        if self._tools.writer is not None:
            stages.append((self._kinds & {"model"}, count))
        stages.append((self._kinds - {"model", "unanswerable", *FEWER}, count))
        is_all = self._kinds <= {"unanswerable", *FEWER}
        stages += [(self._kinds & {kind}, count if is_all else 0) for kind in FEWER]
        for kinds, most in stages:
            share = sum(FEWER.get(kind, 0.0) for kind in kinds)
            turns, left = deque(self._order), min(most or max(FEW, round(used.total() * share)), count - used.total())
            while turns and left and kinds and not cancelled():
                entry = turns.popleft()
                if (draft := self._by_model(entry) if "model" in kinds else self._next(entry, used, kinds)) is not None:
                    used[draft.kind] += 1
                    left -= 1
                    turns.append(entry)
                    yield draft

    def _next(self, entry: Entry, used: Counter[str], kinds: frozenset[str]) -> _Draft | None:
        """The next fact of a document that makes a question, of the kind that was made least so far."""
        for _ in range(TRIES):
            if (fact := self._drawn(entry, used, kinds)) is None:
                return None
            if (draft := self._checked(entry, fact, fact.kind)) is not None:
                return draft
        return None

    def _drawn(self, entry: Entry, used: Counter[str], kinds: frozenset[str]) -> Fact | None:
        """A fact of some kind by chance, which is then not drawn again."""
        stock = self._stock(entry)
        there = {fact.kind for fact in stock if fact.kind in kinds}
        if not there:
            return None
        kind = min(there, key=lambda each: (used[each], KINDS.index(each)))
        fact = self.chance.choice([fact for fact in stock if fact.kind == kind])
        stock.remove(fact)
        return fact

    def _stock(self, entry: Entry) -> list[Fact]:
        if entry.id not in self._facts:
            document = self._rag.catalog.document(entry.id)
            numbers = [page.number for page in document.pages]
            drawn = self.chance.sample(numbers, min(PAGES, len(numbers)))
            found = facts(document, drawn, self._title(entry))
            self._facts[entry.id] = [
                fact for fact in found if fact.kind in self._wanted and self._is_wanted(fact.question)
            ]
        return self._facts[entry.id]

    def _is_wanted(self, question: str) -> bool:
        return self._language is None or (self._language == "zh") == is_chinese(question)

    def _title(self, entry: Entry) -> str:
        excerpt = self._rag.catalog.excerpt(entry.id, 0, 1)
        return self._titles.of(entry, words_of(excerpt.text if excerpt else ""))

    def _checked(self, entry: Entry, fact: Fact, kind: Kind) -> _Draft | None:
        """The draft of a fact that nothing else in the library answers in another way; None where something does."""
        if fact.question in self._asked:
            return None
        alike, others = self._rivals(fact, entry)
        question = fact.question
        if others:
            title = self._title(entry)
            if (
                not title
                or title in question
                or fact.kind == "cloze"
                or any(rival.chunk.document_id == entry.id for rival in others)
            ):
                return None
            question = titled(question, title)
            if question in self._asked:
                return None
            alike = [gold for gold in alike if gold.document == entry.document]
        self._asked.add(question)
        text = self._rag.catalog.document(entry.id).text[fact.start : fact.end]
        return _Draft(fact, kind, entry, question, (Gold(entry.document, (fact.page,), collapse(text)), *alike))

    def _rivals(self, fact: Fact, entry: Entry) -> tuple[list[Gold], list[Passage]]:
        """Other places that answer alike, and passages that seem to answer in another way."""
        alike: dict[tuple[str, int], Gold] = {}
        others: list[Passage] = []
        terms = _terms(fact.question)
        for passage in self._tools.retriever.retrieve(Query(fact.question), RIVALS):
            for sentence in _sentences_beside(passage, fact, entry):
                if not _speaks_of(sentence, fact, terms):
                    continue
                if _folded(fact.answer) in _folded(sentence):
                    place = passage.document, passage.chunk.page
                    if place != (entry.document, fact.page) and self._stands_on(passage, sentence):
                        alike[place] = Gold(*(place[0], (place[1],)), quote=sentence)
                else:
                    others.append(passage)
        return list(alike.values()), others

    def _stands_on(self, passage: Passage, sentence: str) -> bool:
        """Whether a sentence of a passage stands on the page that most of the passage is on."""
        found = self._rag.catalog.page(passage.chunk.document_id, passage.chunk.page)
        return found is not None and find(sentence, found[1]) is not None

    # -- by a model --------------------------------------------------------------------------------------------------

    def _by_model(self, entry: Entry) -> _Draft | None:
        """A question that the model writes about a passage of the document, by chance."""
        chunks = [chunk for chunk in self._rag.catalog.chunks_of(entry.id) if _is_rich(chunk.text)]
        if self._language is not None:
            chunks = [chunk for chunk in chunks if (self._language == "zh") == is_chinese(chunk.text)]
        for chunk in self.chance.sample(chunks, min(REPLIES, len(chunks))):
            fact = self._written(chunk)
            if fact is not None and (draft := self._checked(entry, fact, "model")) is not None:
                return draft
        return None

    def _written(self, chunk: Chunk) -> Fact | None:
        """What the model makes of a passage; None where its quote does not stand there, or it gives the answer away."""
        writer = self._tools.writer
        assert writer is not None  # asked for only where there is one
        work = writer.write("make", Query(chunk.text), {"passages": chunk.text}, MAX_TOKENS)
        try:
            while True:
                next(work)
        except StopIteration as done:
            reply = str(done.value.text)
        except ContextTooLong:
            return None
        return _read(reply, chunk, self._rag)

    # -- unanswerable ------------------------------------------------------------------------------------------------

    def unanswerable(self, cancelled: Callable[[], bool]) -> Iterator[Question]:
        """Questions that are asked of documents which do not answer them, as long as there are facts."""
        turns, used = deque(self._order if len(self._order) > 1 else ()), Counter[str]()
        while turns and not cancelled():
            entry = turns.popleft()
            if (question := self._held_out(entry, used)) is not None:
                used[question.tags["kind"]] += 1
                turns.append(entry)
                yield question

    def _held_out(self, entry: Entry, used: Counter[str]) -> Question | None:
        for _ in range(TRIES):
            if (fact := self._drawn(entry, used, HELD)) is None:
                return None
            # A question that names its document asks for what is not there, and everybody sees it.
            if fact.question in self._asked or titled(fact.question, self._title(entry)) == fact.question:
                continue
            if names := self._others(fact, entry):
                self._asked.add(fact.question)
                tags = _tags(fact.question, fact.kind, "plain") | {"held_out": entry.document}
                where = tuple(glob.escape(name) for name in names)
                return Question("", fact.question, answerable=False, where=where, tags=tags)
        return None

    def _others(self, fact: Fact, entry: Entry) -> list[str]:
        """The documents nearest to a question besides its own, by name; none where one of them may answer it."""
        own = {each.document for each in self._rag.documents() if each.id == entry.id}
        near = dict.fromkeys(
            (passage.document, passage.chunk.document_id)
            for passage in self._tools.retriever.retrieve(Query(fact.question), RIVALS * 2)
            if passage.document not in own
        )
        chosen = list(near)[:OTHERS]
        terms = _terms(fact.question)
        if len(terms) < 2 or any(self._may_answer(key, fact, terms) for _, key in chosen):
            return []
        return [name for name, _ in chosen]

    def _may_answer(self, document_id: str, fact: Fact, terms: Sequence[str]) -> bool:
        """Whether a page has all of the question's words, or the answer's and half of them."""
        if document_id not in self._pages:
            texts = self._rag.catalog.page_texts(document_id)
            self._pages[document_id] = [_folded(text) for _, text in texts]
        answer = _folded(fact.answer)
        for page in self._pages[document_id]:
            there = sum(term in page for term in terms)
            if there == len(terms) or (answer in page and there * 2 >= len(terms)):
                return True
        return False


def _sentences_beside(passage: Passage, fact: Fact, entry: Entry) -> Iterator[str]:
    """The sentences of a passage but for the one that the fact was made of."""
    chunk = passage.chunk
    for start, end in sentences(chunk.text):
        is_own = chunk.document_id == entry.id and chunk.start + start < fact.end and chunk.start + end > fact.start
        if not is_own:
            yield collapse(chunk.text[start:end])


def _speaks_of(sentence: str, fact: Fact, terms: Sequence[str]) -> bool:
    """Whether a sentence might answer a fact's question, rightly or not."""
    if any(_bare(question) == _bare(fact.question) for _, question, _ in told(sentence, words_of(sentence))):
        return True
    if fact.kind == "definition":
        subject = _bare(fact.question).removeprefix("whatis").removeprefix("什么是").rstrip("?？")
        return bool(subject) and re.match(f"{re.escape(subject)}(?:is|是)", _bare(sentence)) is not None
    if fact.kind == "heading":
        return False  # the document is named, and a heading that it has once
    if fact.kind == "reason":
        folded = _folded(sentence)
        return len(terms) > 1 and all(term in folded for term in terms) and len(sentence) > len(fact.question)
    # Where a figure is asked for, a sentence without any does not answer.
    if any(c.isdigit() for c in fact.answer) and not any(c.isdigit() for c in sentence):
        return False
    folded = _folded(sentence)
    return len(terms) > 1 and all(term in folded for term in terms)


def _bare(text: str) -> str:
    """The text without articles, white space and capitals."""
    return _folded(re.sub(r"\b(?:an?|the) ", "", text, flags=re.IGNORECASE))


def _terms(question: str) -> list[str]:
    """The words that tell what a question is about, folded, singular; Chinese in pairs of characters."""
    found: list[str] = []
    for word in content(question):
        low = _folded(word)
        if has_cjk(low):
            found += [low[at : at + 2] for at in range(0, len(low) - 1, 2)] or [low]
        elif low not in _ASKS:
            found.append(low.removesuffix("s") if len(low) > 3 else low)
    return [term for term in found if term]


_ASKS = frozenset(("given", "many", "often", "number", "missing", "percentage", "within", "according"))


def _folded(text: str) -> str:
    return re.sub(r"\s+", "", text).casefold()


# -- what a model's reply means --------------------------------------------------------------------------------------

_PART = re.compile(
    r"^[\W\d]*(?P<name>question|answer|quote|问题|答案|原文)\W*?[:：]\s*(?P<said>.+)$", re.IGNORECASE | re.MULTILINE
)
_NAMES = {"问题": "question", "答案": "answer", "原文": "quote"}
_POINTS = re.compile(
    r"\b(?:this|the) (?:passage|text|document|excerpt|section)\b|这段|上文|本文|文中|该段|段落中|文档中", re.IGNORECASE
)


def _read(reply: str, chunk: Chunk, rag: Rag) -> Fact | None:
    """The fact that a reply states; None where it is incomplete, leans on the passage, or quotes what is not there."""
    parts = {_NAMES.get(m["name"], m["name"].lower()): m["said"] for m in _PART.finditer(reply)}
    said = {name: next(iter(lines(text, 1)), "") for name, text in parts.items()}
    question, answer, quote = (said.get(name, "") for name in ("question", "answer", "quote"))
    if not question.endswith(("?", "？")) or not answer or _POINTS.search(question) or not is_readable(question):
        return None
    span = find(quote, chunk.text) if quote else None
    if span is None or find(answer, quote) is None or _folded(answer) in _folded(question):
        return None
    start, end = chunk.start + span[0], chunk.start + span[1]
    pages = rag.catalog.pages(chunk.document_id, start, end)
    # A quote across a page border stands whole on no page.
    page = pages[0][0].number if len(pages) == 1 else 0
    return Fact("figure", question, answer, start, end, page) if page else None


def _is_rich(text: str) -> bool:
    """Whether there is enough prose in a passage to ask about."""
    letters = sum(3 if has_cjk(c) else c.isalpha() for c in text)
    return letters >= LETTERS and is_readable(collapse(text))


# -- the questions as they are kept ----------------------------------------------------------------------------------


def _question(draft: _Draft, place: int, chance: random.Random, *, variants: bool) -> Question:
    text, variant = _worded(draft, place if variants else 0, chance)
    tags = _tags(text, draft.kind, variant)
    answer = draft.fact.answer
    if draft.kind == "heading":  # what stands below it first is the place to find, and hardly all of the answer
        return Question(_id(place), text, draft.gold, tags=tags)
    wanted = _core(answer) if draft.kind not in ("definition", "reason") else ""
    return Question(_id(place), text, draft.gold, (answer,), (wanted,) if wanted else (), tags=tags)


def _worded(draft: _Draft, turn: int, chance: random.Random) -> tuple[str, str]:
    """The question in the wording whose turn it is, and that wording's name; as it is where there is none."""
    plain = draft.question, "plain"
    if draft.kind in ("cloze", "model") or turn % 3 == 0:
        return plain
    if draft.kind == "definition":
        text = defined_otherwise(draft.question, typed=turn % 3 == 2)
    elif turn % 3 == 2:
        text = dropped(draft.question, chance)
    else:
        # Heads of tables and headings are names, which nobody says in other words.
        text = paraphrased(draft.question) if draft.kind in ("figure", "reason") else ""
    return (text, "words" if turn % 3 == 2 else "paraphrase") if text else plain


def _tags(text: str, kind: str, variant: str) -> dict[str, str]:
    return {"kind": kind, "variant": variant, "language": "zh" if is_chinese(text) else "en"}


def _core(answer: str) -> str:
    """What must stand in an answer: its first figure, or all of it where it is short."""
    if found := re.search(r"\d[\d.,:]*\d|\d", answer):
        return found[0]
    return answer if len(answer) <= SHORT else ""
