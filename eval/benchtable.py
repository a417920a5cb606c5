"""A benchmark as Markdown for people and as JSON for programs; figures with the spread of their rounds.

A cell is the median over the rounds, and in brackets the least and the most where there were several. Ratios are taken
round by round, each side against ragapp in the same round, before the median.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

from ragapp.errors import ConfigError, LibraryError
from ragapp.eval.benched import Asked, Bench, Grown, Hits, Ingested, Roof, Side, Spread, Writing

BEGIN, END = "<!-- ragapp bench: begin -->", "<!-- ragapp bench: end -->"
NONE = "–"
Cells = Sequence[str]
Row = tuple[str, list[Spread | None]]  # a label, and a figure for each side
Measured = TypeVar("Measured", Ingested, Asked)

INGEST: Sequence[tuple[str, Callable[[Ingested], float]]] = (
    ("pages a second", lambda one: one.pages_per_s),
    ("tokens embedded a second", lambda one: one.tokens_per_s),
    ("text that the embedder never reads, %", lambda one: 100 * one.unread_share),
    ("chunks that are cut by it, %", lambda one: 100 * one.cut_share),
    ("peak memory of the ingest, MB", lambda one: one.peak_mb),
    ("index, MB", lambda one: one.index_mb),
)
ASKED: Sequence[tuple[str, Callable[[Asked], float]]] = (
    ("cold: from the start of a process to the first result, s", lambda one: one.cold_s),
    ("warm query, median, ms", lambda one: one.warm_ms),
    ("warm query, 95 %, ms", lambda one: one.p95_ms),
)
BETTER_INGEST: Sequence[tuple[str, Callable[[Ingested], float]]] = (
    ("faster ingest", lambda one: one.ingest_s),
    ("less memory", lambda one: one.peak_mb),
    ("smaller index", lambda one: one.index_mb),
)
BETTER_ANSWERS: Sequence[tuple[str, Callable[[Asked], float]]] = (
    ("faster cold start", lambda one: one.cold_s),
    ("faster warm query", lambda one: one.warm_ms),
)
FOUND: Sequence[tuple[str, Callable[[Hits], tuple[float, float]]]] = (
    ("page hit@5, exact / ±1", lambda one: (one.at_5, one.near_5)),
    ("page MRR@10, exact / ±1", lambda one: (one.mrr, one.near_mrr)),
)


def as_json(bench: Bench) -> str:
    """All that was measured, round by round, with what follows from it in ``summary``; two spaces of indentation."""
    plain: dict[str, Any] = asdict(bench)
    plain["summary"] = {
        "figures": _plain(bench.sides, (*_ingests(bench.sides), *_answers(bench.sides))),
        "times_better": _plain(bench.sides[1:], _ratios(bench)),
        "roofline": {roof.what: roof.share for roof in bench.roofs},
    }
    return json.dumps(plain, ensure_ascii=False, indent=2)


def _plain(sides: Sequence[Side], rows: Iterable[Row]) -> dict[str, dict[str, Any]]:
    return {
        label: {side.name: asdict(one) for side, one in zip(sides, spreads, strict=True) if one is not None}
        for label, spreads in rows
    }


def as_markdown(bench: Bench) -> str:
    """What people read: tables of the sides, ratios, growth and the Llama path, the roofline, and remarks."""
    parts = [_introduction(bench), _sides_table(bench), _ratio_table(bench), _growth_table(bench.grown)]
    parts += [_writing_table(bench.writing), _roof_lines(bench.roofs), _remarks(bench)]
    return "\n\n".join("\n".join(lines) for part in parts if (lines := list(part))) + "\n"


def write(bench: Bench, path: Path) -> None:
    """Write ``.json`` or ``.md``. In a Markdown file that has both marks only what stands between them is replaced.

    Raises ConfigError for another ending, or for a Markdown file with text and without the marks, which is left as it
    is; LibraryError when it cannot be written.
    """
    path = path.expanduser()
    with _translated(path):
        _put(path, as_json(bench) + "\n" if _kind(path) == ".json" else _within(path, as_markdown(bench)))


def check(path: Path) -> None:
    """Raise what ``write`` would raise of the file's name and content, before anything is measured."""
    path = path.expanduser()
    with _translated(path):
        if _kind(path) == ".md":
            _within(path, "")


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise LibraryError(f"{path} cannot be written: {error.strerror}.", "Name another file with --out.") from error


def _kind(path: Path) -> str:
    kind = path.suffix.lower()
    if kind not in {".md", ".json"}:
        raise ConfigError(f"{path} is neither Markdown nor JSON.", "Name a file that ends in .md or .json.")
    return kind


def _within(path: Path, table: str) -> str:
    """The file's text with the table in its place."""
    whole = f"{BEGIN}\n{table}{END}"
    try:
        before = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        before = ""
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not text in UTF-8.", "Name another file with --out.") from error
    if not before.strip():
        return whole + "\n"
    head, begun, rest = before.partition(BEGIN)
    _, ended, tail = rest.partition(END)
    if not begun or not ended:
        raise ConfigError(
            f"{path} has text, and no place for the table.",
            f"Put the two lines {BEGIN} and {END} where it should stand.",
        )
    return f"{head}{whole}{tail}"


def _put(path: Path, text: str) -> None:
    """Whole, or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        if path.exists():
            os.chmod(name, path.stat().st_mode & 0o777)
        os.replace(name, path)
    finally:
        Path(name).unlink(missing_ok=True)


# -- the sides -------------------------------------------------------------------------------------------------------


def _introduction(bench: Bench) -> Iterator[str]:
    pages = max((one.pages for side in bench.sides for one in side.ingested), default=0)
    asked = f", {bench.questions} questions" if bench.questions else ""
    rounds = "one round" if bench.rounds == 1 else f"{bench.rounds} rounds by turns, median (least to most)"
    yield f"{_plural(bench.files, 'PDF')} ({bench.docs}), {_plural(pages, 'page')}{asked}; {rounds}."
    yield f"{bench.machine}; {bench.started[:10]}; `{bench.command}`."


def _sides_table(bench: Bench) -> Iterator[str]:
    if not bench.sides:
        return
    yield from _head(["", *(side.name for side in bench.sides)])
    for label, spreads in (*_ingests(bench.sides), *_answers(bench.sides)):
        yield _row([label, *map(_cell, spreads)])
    for mode in _modes(bench.sides):
        for label, pair in FOUND:
            if any(mode in side.hits for side in bench.sides):
                yield _row([f"{label}, {mode}", *(_pair(side.hits.get(mode), pair) for side in bench.sides)])


def _ingests(sides: Sequence[Side]) -> Iterator[Row]:
    for label, figure in INGEST:
        yield label, [Spread.of(map(figure, side.ingested)) for side in sides]


def _answers(sides: Sequence[Side]) -> Iterator[Row]:
    for mode in _modes(sides):
        for label, figure in ASKED:
            yield f"{label}, {mode}", [Spread.of(map(figure, side.asked.get(mode, ()))) for side in sides]


def _pair(hits: Hits | None, figures: Callable[[Hits], tuple[float, float]]) -> str:
    if hits is None:
        return NONE
    return " / ".join(f"{share:.2f}".removeprefix("0") for share in figures(hits))


def _modes(sides: Iterable[Side]) -> list[str]:
    return list(dict.fromkeys(mode for side in sides for mode in side.asked))


# -- ratios ----------------------------------------------------------------------------------------------------------


def _ratio_table(bench: Bench) -> Iterator[str]:
    rows = [(label, spreads) for label, spreads in _ratios(bench) if any(spreads)]
    if not rows:
        return
    yield "How many times better ragapp is, round by round (below 1: worse):"
    yield ""
    yield from _head(["", *(side.name for side in bench.sides[1:])])
    for label, spreads in rows:
        yield _row([label, *map(_cell, spreads)])


def _ratios(bench: Bench) -> Iterator[Row]:
    """Each peer's seconds, megabytes or milliseconds by ragapp's, which answers in its default mode."""
    if not bench.sides:
        return
    ours, *peers = bench.sides
    for label, figure in BETTER_INGEST:
        yield label, [_ratio(side.ingested, ours.ingested, figure) for side in peers]
    default = next(iter(ours.asked.values()), ())
    for mode in _modes(peers):
        for label, answer in BETTER_ANSWERS:
            yield f"{label} than {mode}", [_ratio(side.asked.get(mode, ()), default, answer) for side in peers]


def _ratio(theirs: Sequence[Measured], ours: Sequence[Measured], figure: Callable[[Measured], float]) -> Spread | None:
    return Spread.of(figure(a) / figure(b) for a, b in zip(theirs, ours, strict=False) if figure(b))


# -- the other parts -------------------------------------------------------------------------------------------------


def _growth_table(grown: Sequence[Grown]) -> Iterator[str]:
    if not grown:
        return
    yield "Growth, on made-up pages of about a hundred words, one run each:"
    yield ""
    yield from _head(["pages", "side", "pages a second", "peak memory, MB", "index, MB", "cold, s", "warm query, ms"])
    for one in grown:
        yield _row([f"{one.pages:,}", one.side, *_grown_cells(one)])


def _grown_cells(one: Grown) -> Cells:
    if one.ingested is None or one.asked is None:
        return [f"not run: {_safe(one.skipped)}", *[NONE] * 4]
    made, asked = one.ingested, one.asked
    return [*map(_number, (made.pages_per_s, made.peak_mb, made.index_mb, asked.cold_s, asked.warm_ms))]


def _writing_table(writing: Writing | None) -> Iterator[str]:
    if writing is None:
        return
    yield (
        f"The Llama path ({_safe(writing.model)}, {writing.dtype}, {writing.prompt_tokens} tokens read and "
        f"{writing.tokens} written) beside `generate` of plain transformers:"
    )
    yield ""
    names = list(writing.first_s)
    yield from _head(["", *names, "times better"])
    first, rates = (list(side.values()) for side in (writing.first_s, writing.tokens_per_s))
    yield _writing_row("time to the first token, s", first, [b / a for a, b in zip(*first, strict=True)])
    yield _writing_row("tokens a second from there on", rates, [a / b for a, b in zip(*rates, strict=True)])
    for case, ratios in writing.lookup.items():
        yield _row([f"prompt lookup on, by off: {case}", NONE, NONE, _cell(Spread.of(ratios))])


def _writing_row(label: str, sides: Sequence[Sequence[float]], ratios: Sequence[float]) -> str:
    return _row([label, *(_cell(Spread.of(side)) for side in sides), _cell(Spread.of(ratios))])


def _roof_lines(roofs: Sequence[Roof]) -> Iterator[str]:
    for roof in roofs:
        unit = "GB" if roof.unit == "bytes" else "billion operations"
        yield (
            f"- Roofline, {roof.what}: {100 * roof.share:.0f} % of what the machine can do, {roof.reached / 1e9:,.0f} "
            f"of {roof.limit / 1e9:,.0f} {unit} a second; {_safe(roof.how)}."
        )


def _remarks(bench: Bench) -> Iterator[str]:
    for side in bench.sides:
        if side.error:
            yield f"- {side.name} failed: {_safe(side.error)}"
        if failed := max((len(one.failed) for one in side.ingested), default=0):
            yield f"- {side.name} could not read {_plural(failed, 'file')}."
    for note in bench.notes:
        yield f"- {_safe(note)}"
    for side in bench.sides:
        if side.versions:
            yield f"- {side.name}: {_listed(side.versions)}."


def _listed(versions: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in versions.items())


# -- cells -----------------------------------------------------------------------------------------------------------


def _head(cells: Cells) -> list[str]:
    return [_row(cells), _row(["---", *["---:"] * (len(cells) - 1)])]


def _row(cells: Cells) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(spread: Spread | None) -> str:
    if spread is None:
        return NONE
    if spread.low == spread.high:
        return _number(spread.median)
    return f"{_number(spread.median)} ({_number(spread.low)} to {_number(spread.high)})"


def _number(value: float) -> str:
    """Three digits that mean something, and never a bare 0 for what is not 0."""
    if value == 0:
        return "0"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}" if abs(value) >= 0.1 else f"{value:.2g}"


def _plural(count: int, noun: str) -> str:
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def _safe(text: str) -> str:
    """Text of others on one line, without what would end a cell or begin markup."""
    plain = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;")
    return plain.replace("|", r"\|")
