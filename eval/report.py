"""The report of a run: one page of HTML that needs nothing else, Markdown, or JSON.

The page holds its style and its pictures, runs no script and asks for nothing over the network; it follows the reader's
light or dark, and can be printed. Whatever stands in documents and questions is text in it and never markup.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from ragapp.eval import cases, framing, sections
from ragapp.eval.captions import Language, say
from ragapp.eval.cases import Case, Heap, Place
from ragapp.eval.exhibits import Exhibit
from ragapp.eval.findings import Lost, Report, Side, report
from ragapp.trace import plain

if TYPE_CHECKING:
    from jinja2 import Template

__all__ = ["Report", "as_html", "as_json", "as_markdown", "report"]

_UNWRITABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff\ufffe\uffff]")
_MARKDOWN = re.compile(r"([\\`*_{}\[\]<>#|~])")


def as_html(held: Report, *, language: Language = "en") -> str:
    """One self-contained page. Characters that no page can hold are replaced by U+FFFD."""
    page = _template().render(
        language=language,
        say=lambda key, **values: say(language, key, **values),
        title=framing.title(held, language),
        standing=framing.standing(held, language),
        figures=framing.figures(held, language),
        sections=sections.sections(held, language),
        faults=cases.faults(held, language),
        heaps=cases.heaps(held, language),
        warnings=framing.warnings(held, language),
        left_out=framing.left_out(held, language),
        meanings=framing.meanings(held, language),
        made=framing.made(held, language),
        report=held,
    )
    return _UNWRITABLE.sub("\ufffd", page)


@cache
def _template() -> Template:
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string((files("ragapp.eval") / "report.html.j2").read_text("utf-8"))


# -- JSON ------------------------------------------------------------------------------------------------------------


def as_json(held: Report) -> dict[str, Any]:
    """The figures behind the page, in values that JSON knows. Words are in neither language but the field's names."""
    shape: dict[str, Any] = {
        "set": held.dataset.name,
        "metric": held.metric,
        "headline": held.headline,
        "warnings": held.dataset.warnings,
        "run": _side(held.run),
        "lost": [_lost(lost) for lost in held.lost],
    }
    if held.other:
        shape |= {"other": _side(held.other), "comparison": held.comparison, "pairs": held.pairs}
    # Half of a character pair cannot be written as UTF-8, and a reader of JSON may refuse it spelled out.
    made: dict[str, Any] = json.loads(_UNWRITABLE.sub("\ufffd", json.dumps(plain(shape), ensure_ascii=False)))
    return made


def _side(side: Side) -> Mapping[str, Any]:
    return {"manifest": side.manifest, "done": side.done, "summary": side.summary, "scores": side.scores}


def _lost(lost: Lost) -> Mapping[str, Any]:
    found = [{"document": hit.document, "page": hit.page, "score": hit.score} for hit in lost.record.hits]
    return {
        "id": lost.question.id,
        "question": lost.question.text,
        "fault": lost.fault,
        "rank": lost.rank,
        "gold": lost.question.gold,
        "found": found,
        "answer": lost.record.answer,
        "confidence": lost.record.confidence,
        "error": lost.record.error,
    }


# -- Markdown --------------------------------------------------------------------------------------------------------


def as_markdown(held: Report, *, language: Language = "en") -> str:
    """The report as Markdown: the tables of the page, without its pictures."""
    return _UNWRITABLE.sub("\ufffd", "\n".join(_lines(held, language)).rstrip() + "\n")


def _lines(held: Report, language: Language) -> Iterator[str]:
    yield from (f"# {escaped(framing.title(held, language))}", "", escaped(framing.standing(held, language)), "")
    for figure in framing.figures(held, language):
        told = "; ".join(part for part in (figure.detail, figure.change) if part)
        yield f"- {escaped(figure.label)}: **{figure.value}** ({escaped(told)})"
    yield ""
    for section in sections.sections(held, language):
        yield from (f"## {escaped(section.title)}", "")
        yield from ([escaped(section.text), ""] if section.text else [])
        yield from ([*(f"- {escaped(note)}" for note in section.notes), ""] if section.notes else [])
        for exhibit in section.exhibits:
            yield from _exhibit_lines(exhibit)
    yield from _lost_lines(held, language)
    yield from _closing_lines(held, language)


def _exhibit_lines(exhibit: Exhibit) -> Iterator[str]:
    if exhibit.title:
        yield from (f"### {escaped(exhibit.title)}", "")
    if exhibit.note:
        yield from (escaped(exhibit.note), "")
    yield from _table(exhibit)


def _table(exhibit: Exhibit) -> Iterator[str]:
    """A table, numbers to the right."""
    yield _row(exhibit.head)
    yield "|" + "|".join("---:" if kind.startswith("num") else "---" for kind in exhibit.kinds) + "|"
    yield from map(_row, exhibit.rows)
    yield ""


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(escaped(cell) for cell in cells) + " |"


def _lost_lines(held: Report, language: Language) -> Iterator[str]:
    yield from (f"## {say(language, 'lost')}", "")
    if not held.lost:
        yield from (say(language, "lost.none"), "")
        return
    yield from (say(language, "lost.text", n=len(held.lost), all=held.run.done), "")
    yield from _exhibit_lines(cases.faults(held, language))
    for heap in cases.heaps(held, language):
        yield from _heap_lines(heap, language)


def _heap_lines(heap: Heap, language: Language) -> Iterator[str]:
    yield from (f"### {heap.title} ({heap.count})", "")
    for case in heap.cases:
        yield from (f"**{escaped(case.question)}** ({escaped(case.id)})", "")
        yield from _case_lines(case, language)
        yield ""
    if heap.others:
        yield from (say(language, "lost.more", n=len(heap.others)) + ":", "")
        yield from (f"- {escaped(text)} ({escaped(name)})" for name, text in heap.others)
        yield ""


def _case_lines(case: Case, language: Language) -> Iterator[str]:
    told = [("should", _place(place, language)) for place in case.gold]
    told.append(("expected", escaped(case.expected)))
    told += [("found", _place(place, language)) for place in case.found]
    told.append(("answer", escaped(case.answer)))
    yield from (f"- {say(language, key)}{say(language, 'colon')}{text}" for key, text in told if text)
    yield from (f"- {escaped(remark)}" for remark in (*case.remarks, case.error) if remark)


def _place(place: Place, language: Language) -> str:
    where = ", ".join(escaped(part) for part in (place.document, place.page) if part)
    if place.is_right:
        where += f" ({say(language, 'right')})"
    return f"{where}{say(language, 'colon')}“{escaped(place.text)}”" if place.text else where


def _closing_lines(held: Report, language: Language) -> Iterator[str]:
    colon = say(language, "colon")
    said = framing.warnings(held, language)
    if said:
        yield from (f"## {say(language, 'warnings')}", "", *(f"- {escaped(each)}" for each in said), "")
    left_out = framing.left_out(held, language)
    if left_out.rows:
        yield from (f"## {left_out.title}", "", *_table(left_out))
    yield from (f"## {say(language, 'made')}", "", *_exhibit_lines(framing.made(held, language)))
    yield from (f"## {say(language, 'meanings')}", "")
    yield from (f"- {escaped(name)}{colon}{escaped(text)}" for name, text in framing.meanings(held, language).items())


def escaped(text: str) -> str:
    """A text as Markdown that shows just this text, on one line."""
    return _MARKDOWN.sub(r"\\\1", " ".join(text.split()))
