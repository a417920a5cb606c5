"""The nouns. Frozen, slotted, standard library only; every other room speaks in these.

Offsets are characters into ``Document.text``, half open. Pages are physical and count from 1. Boxes are points
(1/72 inch) with the origin at the top left of the page as it is shown.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

CitationState = Literal["verified", "elsewhere", "not found"]
FinishReason = Literal["stop", "length", "no_evidence", "cancelled"]
PageQuality = Literal["good", "garbled", "empty", "image"]
ReadBy = Literal["text", "ocr"]


@dataclass(frozen=True, slots=True)
class Page:
    """One physical page: its text is ``document.text[start:end]``; the pages of a document cover its text without gaps.

    ``label`` is the number printed in the document's own scheme ("iv"), or what people call the page where it is none
    ("slide 3", a sheet's name); empty when it has none. ``quality`` judges the text that the file itself holds:
    "garbled" letters, nothing drawn at all ("empty"), or a picture without text ("image"); ``read_by`` says where the
    text came from in the end.

    Two ways lead from the text to boxes; offsets are relative to ``start``. ``runs`` are ``(offset, source, length)``:
    these characters are the file's own characters from ``source`` on; None where the n-th character is the file's
    n-th. ``words`` are ``(offset, end, x0, y0, x1, y1)`` in points from the top left of the page as shown, for pages
    that were read by OCR.
    """

    number: int
    start: int
    end: int
    label: str = ""
    quality: PageQuality = "good"
    read_by: ReadBy = "text"
    runs: tuple[tuple[int, int, int], ...] | None = None
    words: tuple[tuple[int, int, float, float, float, float], ...] = ()

    @property
    def is_unread(self) -> bool:
        """Whether something stands on the page that could not be read."""
        return self.quality in ("garbled", "image") and self.read_by == "text"


@dataclass(frozen=True, slots=True)
class Heading:
    """A heading that begins at ``start``; ``level`` 1 is the outermost."""

    level: int
    title: str
    start: int


@dataclass(frozen=True, slots=True)
class Table:
    """A table inside the text: ``rows`` are the spans of its body's rows, each on lines of its own, its cells set apart
    by tabs. ``columns`` are the heads of the columns, outer heads first ("2018 Net sales"); ``title`` is its caption.
    """

    page: int
    start: int
    end: int
    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Document:
    """A file as it was read. ``id`` is the sha256 of its bytes, ``uri`` where it lay when it was read."""

    id: str
    uri: str
    title: str
    media_type: str
    text: str
    pages: tuple[Page, ...]
    headings: tuple[Heading, ...] = ()
    metadata: Mapping[str, str] = field(default_factory=dict)
    tables: tuple[Table, ...] = ()

    @property
    def pages_unread(self) -> tuple[int, ...]:
        """Numbers of the pages that hold something which could not be read."""
        return tuple(page.number for page in self.pages if page.is_unread)

    @property
    def pages_without_text(self) -> tuple[int, ...]:
        """Numbers of the pages on which not one letter or digit was found (scans, pictures, blank pages)."""
        return tuple(p.number for p in self.pages if not any(c.isalnum() for c in self.text[p.start : p.end]))


@dataclass(frozen=True, slots=True)
class Excerpt:
    """Some whole pages of a document: ``text`` begins at ``start`` of its text. ``headings`` begin in it, ``tables``
    reach into it; their offsets are the document's.
    """

    start: int
    text: str
    headings: tuple[Heading, ...] = ()
    tables: tuple[Table, ...] = ()

    @property
    def end(self) -> int:
        return self.start + len(self.text)


@dataclass(frozen=True, slots=True)
class Chunk:
    """A span of a document: ``document.text[start:end] == text``.

    ``page`` is the page that holds most of it. ``header`` ("3M 2018 10-K › Cash flows") is embedded and indexed with
    the text and never shown or cited as text. ``id`` is 0 until the catalog has given one; ids are never used again.
    ``parent`` is the span to read where this chunk was found, for chunks that are made small to be found.
    """

    id: int
    document_id: str
    text: str
    start: int
    end: int
    page: int
    headings: tuple[str, ...] = ()
    header: str = ""
    parent: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Rank:
    """What one ranker thought of a passage: its place (from 1) and its own, uncalibrated score."""

    rank: int
    score: float


@dataclass(frozen=True, slots=True)
class Passage:
    """A chunk that was found. ``document`` is the name users know (the path below the folder that was ingested).

    ``label`` is that of the chunk's page ("slide 3"), empty where it has none.
    """

    chunk: Chunk
    document: str
    title: str
    score: float
    found_by: Mapping[str, Rank] = field(default_factory=dict)
    label: str = ""


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle on a page, in points from the top left corner."""

    page: int
    x0: float
    y0: float
    x1: float
    y1: float


@dataclass(frozen=True, slots=True)
class Citation:
    """The claim behind a marker ``[n]``: the quote, where it stands, and whether it was found there word for word.

    ``quote`` has its white space collapsed; ``start`` and ``end`` are the exact span in the document's text, equal to
    each other when the quote was not found. ``label`` is that of the page.
    """

    marker: int
    passage: Passage
    quote: str
    state: CitationState
    page: int
    start: int
    end: int
    boxes: tuple[Box, ...] = ()
    label: str = ""


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens, by the tokenizer of the model that answered; zeros where no model was asked."""

    prompt_tokens: int = 0
    completion_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Figure:
    """A number in an answer, ``answer.text[start:end]``, that stands in no passage which its sentence cites."""

    text: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Answer:
    """``timings`` are seconds by step, plus ``first_token`` and ``total`` from the start of the flow.

    ``unread`` are pages that could not be read, by document: those of the documents that were found, or of all
    documents where no answer was found. The answer may stand there.

    ``confidence`` is the probability that the library holds the answer, None where nobody judged it. ``figures`` are
    numbers that no cited passage bears out. ``warnings`` are sentences about what went less well than it should.
    """

    text: str
    citations: tuple[Citation, ...]
    passages: tuple[Passage, ...]
    finish_reason: FinishReason
    usage: Usage = Usage()
    timings: Mapping[str, float] = field(default_factory=dict)
    unread: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    confidence: float | None = None
    figures: tuple[Figure, ...] = ()
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Written:
    """A short text that a language model wrote on the way to an answer."""

    text: str
    usage: Usage = Usage()


@dataclass(frozen=True, slots=True)
class Expansion:
    """What is searched besides the question itself, where a language model is there to write it.

    ``hyde``: hypothetical passages, always, never, or where the first search is weak. ``variants``: how many other
    wordings of the question. ``step_back``: the more general question behind it.
    """

    hyde: Literal["auto", "on", "off"] = "auto"
    variants: int = 0
    step_back: bool = False


@dataclass(frozen=True, slots=True)
class Asked:
    """Wishes for one answer, None where the settings decide: how many passages may be cited (``k``), the name of a
    reranker (never a dotted path), HyDE, whether what no page bears out is left out, and the chat model that writes:
    one that the library offers, or "" for quotes.
    """

    k: int | None = None
    reranker: str | None = None
    hyde: Literal["auto", "on", "off"] | None = None
    strict: bool | None = None
    model: str | None = None


@dataclass(frozen=True, slots=True)
class Turn:
    """One earlier message of a conversation."""

    role: Literal["user", "assistant", "system"]
    text: str


@dataclass(frozen=True, slots=True)
class Query:
    """A question. ``where`` keeps only documents whose name matches one of its patterns (``fnmatch``).

    ``options`` are wishes for this one answer that a chat model understands: max_tokens, temperature, top_p, stop.

    ``standalone`` is the question with what it takes from the conversation written out, empty where that is nothing.
    ``parts`` are the questions that it holds, where a flow has found several: each of them wants an answer.
    ``hypotheses`` are texts whose vectors are averaged with the question's. ``deadline`` (``time.monotonic()``) and
    ``tokens_left`` end the writing of an answer.
    """

    text: str
    history: tuple[Turn, ...] = ()
    where: tuple[str, ...] = ()
    seed: int | None = None
    options: Mapping[str, object] = field(default_factory=dict)
    standalone: str = ""
    hypotheses: tuple[str, ...] = ()
    deadline: float | None = None
    tokens_left: int | None = None
    parts: tuple[str, ...] = ()

    @property
    def sought(self) -> str:
        """What is searched, ranked and quoted for: the standalone question, else the question as it was asked."""
        return self.standalone or self.text


@dataclass(frozen=True, slots=True)
class Step:
    """A stage of a flow has ended. A ``warning`` in its detail goes into the answer's."""

    name: str
    seconds: float
    detail: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Found:
    """The passages an answer may cite; always before the first token."""

    passages: tuple[Passage, ...]


@dataclass(frozen=True, slots=True)
class Token:
    """A piece of the answer. The tokens of a flow joined are the text of its answer."""

    text: str


@dataclass(frozen=True, slots=True)
class Cited:
    """A marker that the tokens so far have spelled was resolved. The answer's citation may have boxes besides."""

    citation: Citation


@dataclass(frozen=True, slots=True)
class Waiting:
    """The answer waits for its turn at the model: ``position`` requests are before it."""

    position: int


@dataclass(frozen=True, slots=True)
class Done:
    """The last event of every flow, exactly once."""

    answer: Answer


Event = Step | Found | Token | Cited | Waiting | Done
