"""SQuAD 1.1 and 2.0: articles of paragraphs with questions, as published, or a question a row with its ``context``.

A document is an article: its title, then its paragraphs. The gold quote is the sentence that holds the answer, as the
answer alone ("308") stands in too many places. An impossible question is asked of its own article only: nobody looked
whether another one answers. Source: Rajpurkar et al. 2016, 2018; DRCD (Chinese) has the same shape.
"""

from __future__ import annotations

import glob
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ragapp.errors import ReadError
from ragapp.eval.sources import Rows, Source, Text, file_names, readable
from ragapp.eval.values import counted
from ragapp.text import sentences

SHAPE = (
    'SQuAD is {"data": [{"title", "paragraphs": [{"context", "qas": [{"id", "question", "answers": [{"text"}]}]}]}]}.'
)


@dataclass(frozen=True, slots=True)
class Asked:
    """A question with its paragraph. ``article`` is the title, or a stand-in where there is none."""

    place: str
    article: str
    context: str
    row: Mapping[str, Any]


def is_published(row: object) -> bool:
    return isinstance(row, Mapping) and isinstance(row.get("data"), list)


def is_row(row: Mapping[str, Any]) -> bool:
    """Whether a row is a question as Hugging Face's copies of SQuAD have it."""
    return isinstance(row.get("context"), str) and isinstance(row.get("answers"), Mapping) and "question" in row


def of_published(name: str, found: object) -> Source:
    """The questions of a published file. Raises ReadError for a part that is not what it should be."""
    return _source(list(_asked(name, _part(found, "data", list, name))))


def of_rows(rows: Rows) -> Source:
    """The questions of rows; their texts are the paragraphs that rows of one title have. Raises ReadError for a row
    without its paragraph.
    """
    found = ((place, _part(row, "context", str, place), row) for place, row in rows)
    return _source([Asked(place, str(row.get("title") or context[:60]), context, row) for place, context, row in found])


def _asked(name: str, articles: Sequence[object]) -> Iterator[Asked]:
    for a, article in enumerate(articles, 1):
        place = f"{name}: article {a}"
        paragraphs = _part(article, "paragraphs", list, place)
        title = _part(article, "title", str, place, "") or f"article {a}"
        for p, paragraph in enumerate(paragraphs, 1):
            place = f"{name}: article {a}, paragraph {p}"
            context = _part(paragraph, "context", str, place)
            for q, row in enumerate(_part(paragraph, "qas", list, place), 1):
                if not isinstance(row, Mapping):
                    raise ReadError(f"{place}, question {q}: this is no object.", SHAPE)
                yield Asked(f"{place}, question {q}", title, context, row)


def _part(value: object, name: str, kind: type, place: str, default: object = None) -> Any:
    part = value.get(name, default) if isinstance(value, Mapping) else None
    if not isinstance(part, kind):
        raise ReadError(f'{place}: there is no "{name}", or not as it should be.', SHAPE)
    return part


def _source(asked: Sequence[Asked]) -> Source:
    names = file_names(each.article for each in asked)
    rows = [(each.place, _row(each, names[each.article])) for each in asked]
    lost = sum(bool(row["answers"]) and "quote" not in row["gold"][0] for _, row in rows if row["gold"])
    told = (
        (f"{counted(lost, 'question')} whose answer does not stand in its paragraph: no quote there.",) if lost else ()
    )
    return Source(rows, SHAPE, told, lambda: _texts(asked, names))


def _row(asked: Asked, document: str) -> dict[str, Any]:
    row = {name: asked.row[name] for name in ("id", "question", "is_impossible") if name in asked.row}
    impossible = asked.row.get("is_impossible")
    found = [] if impossible is True else list(_answers(asked))
    row["answers"] = [text for text, _ in found]
    # The rows of Hugging Face say it by an empty list alone.
    if impossible is True or (impossible is None and "answers" in asked.row and not found):
        return {**row, "answerable": False, "gold": [], "where": [glob.escape(document)]}
    quote = _quote(asked.context, found)
    return {**row, "gold": [{"document": document, **({"quote": quote} if quote else {})}]}


def _answers(asked: Asked) -> Iterator[tuple[str, int]]:
    """The texts of the answers, and where they say that they begin."""
    value = asked.row.get("answers", [])
    if isinstance(value, Mapping):
        texts = value.get("text", [])
        value = [dict(zip(("text", "answer_start"), pair, strict=False)) for pair in _pairs(texts, value)]
    if not isinstance(value, list):
        raise ReadError(f'{asked.place}: "answers" is no list.', SHAPE)
    for answer in value:
        text = _part(answer, "text", str, asked.place)
        start = answer.get("answer_start")
        yield text, start if isinstance(start, int) else -1


def _pairs(texts: object, value: Mapping[str, Any]) -> Iterable[tuple[Any, ...]]:
    texts = texts if isinstance(texts, list) else [texts]
    starts = value.get("answer_start")
    return zip(texts, starts if isinstance(starts, list) else [-1] * len(texts), strict=False)


def _quote(context: str, answers: Sequence[tuple[str, int]]) -> str:
    """The sentences that hold most of the answers; nothing where none stands in the paragraph."""
    spans = list(sentences(context))
    found: Counter[str] = Counter()
    for text, start in answers:
        at = start if start >= 0 and context[start : start + len(text)] == text else context.find(text)
        over = [span for span in spans if span[0] < at + len(text) and at < span[1]]
        if at >= 0 and over:
            found[context[over[0][0] : over[-1][1]]] += 1
    return found.most_common(1)[0][0] if found else ""


def _texts(asked: Sequence[Asked], names: Mapping[str, str]) -> Iterator[Text]:
    contexts: dict[str, dict[str, None]] = {}
    for each in asked:
        contexts.setdefault(each.article, {})[each.context] = None
    for article, paragraphs in contexts.items():
        title = article.replace("_", " ")
        yield Text(names[article], readable("\n\n".join((title, *paragraphs))))
