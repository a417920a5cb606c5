"""Everything that is printed: data on standard output, talk and progress on standard error."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ragapp.config import Setting
    from ragapp.ingest.reindex import Reindexed
    from ragapp.ingest.report import Progress, Report
    from ragapp.types import Answer, Citation, Event, Passage

MAX_UNREAD = 3  # documents named under an answer
LINE_SECONDS = 5.0  # between two lines of progress where there is no terminal
STAGES = {"read": "reading", "ocr": "recognising", "embed": "embedding", "done": "done"}


def out(text: str = "", end: str = "\n") -> None:
    """A piece of data. Text that the terminal's encoding lacks is replaced, never a reason to fail."""
    _write(sys.stdout, text + end)


def talk(text: str = "", end: str = "\n") -> None:
    _write(sys.stderr, text + end)


def warning_of(event: Event) -> None:
    """What a stage that has ended warns of, where it does."""
    warning = getattr(event, "detail", {}).get("warning")
    if warning:
        talk(f"note: {warning}")


def out_json(value: object) -> None:
    out(json.dumps(value, ensure_ascii=False))


def error(message: str, hint: str) -> None:
    talk(f"error: {message}")
    if hint:
        talk(f"hint: {hint}")


def _write(stream: Any, text: str) -> None:
    if stream is None:
        return  # closed by who started us
    encoding = stream.encoding or "utf-8"
    try:
        stream.write(text.encode(encoding, "replace").decode(encoding))
        stream.flush()
    except BrokenPipeError:
        # Who read our output has left (`| head`). Nothing more can be said, not even at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        raise SystemExit(141) from None


def table(headers: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Rows under headers; numbers to the right."""
    from rich import box
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    made = Table(box=box.SIMPLE, header_style="bold", pad_edge=False)
    for column, header in enumerate(headers):
        numeric = bool(rows) and all(isinstance(row[column], int | float) for row in rows)
        made.add_column(header, justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        made.add_row(*(escape(f"{value:,}" if isinstance(value, int) else str(value)) for value in row))
    console = Console(file=sys.stdout)
    if not console.is_terminal:
        console.width = 10_000  # a pipe has no width to wrap at
    with console.capture() as printed:
        console.print(made)
    out(printed.get(), end="")


@contextmanager
def ingest_progress() -> Iterator[Callable[[Progress], None]]:
    """Progress on standard error: a bar on a terminal, a line every few seconds elsewhere."""
    from rich.console import Console

    console = Console(file=sys.stderr)
    if not console.is_terminal:
        yield _progress_lines()
        return
    from rich.markup import escape
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar

    columns = (
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("files"),
        TimeElapsedColumn(),
        TextColumn("{task.fields[rate]}"),
        TextColumn("{task.description}"),
    )
    with Bar(*columns, console=console, transient=True) as bar:
        task = bar.add_task("reading", total=None, rate="")

        def tell(now: Progress) -> None:
            if now.stage == "read" and now.files_done:
                return  # the reader runs ahead; what is being embedded is what there is to wait for
            bar.update(
                task, total=now.files, completed=now.files_done, description=escape(_doing(now)), rate=_rate(now)
            )

        yield tell


def _progress_lines() -> Callable[[Progress], None]:
    """A plain line at most every few seconds, none for a run that is over before the first."""
    last = [0.0]

    def tell(now: Progress) -> None:
        if now.seconds - last[0] >= LINE_SECONDS:
            last[0] = now.seconds
            talk(f"{now.files_done:,} of {now.files:,} files, {now.pages_done:,} pages, {_rate(now)}: {_doing(now)}")

    return tell


@contextmanager
def json_progress() -> Iterator[Callable[[Progress], None]]:
    """Every step as a line of JSON on standard output."""

    def tell(now: Progress) -> None:
        left = now.seconds_left
        figures = {
            "pages_per_second": round(now.pages_per_second, 2),
            "seconds_left": None if left is None else round(left, 1),
        }
        out_json({"event": "progress", **asdict(now), **figures})

    yield tell


@contextmanager
def no_progress() -> Iterator[Callable[[Progress], None]]:
    """Nothing at all."""
    yield lambda _: None


def _rate(now: Progress) -> str:
    left = now.seconds_left
    rate = f"{now.pages_per_second:.0f} pages/s"
    return rate if left is None else f"{rate}, {_duration(left)} left"


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def _doing(now: Progress) -> str:
    if not now.of_pages:
        return now.file
    return f"{STAGES.get(now.stage, now.stage)} {now.file} (page {now.pages:,} of {now.of_pages:,})"


def pages(numbers: Sequence[int]) -> str:
    """Page numbers for a column: ``4-9, 12``."""
    from ragapp.ingest.report import page_ranges

    return page_ranges(numbers)


def report(result: Report, *, dry_run: bool) -> None:
    """The end of an ingest."""
    verbs = ("to add", "to change", "unchanged") if dry_run else ("added", "changed", "unchanged")
    parts = [f"{n:,} {verb}" for n, verb in zip((result.added, result.changed, result.kept), verbs, strict=True)]
    if result.dropped:
        parts.append(f"{result.dropped:,} {'to drop' if dry_run else 'dropped'}")
    if result.failed:
        parts.append(f"{len(result.failed):,} failed")
    line = ", ".join(parts)
    if result.pages:
        rate = result.pages / max(result.seconds, 1e-6)
        line += f"; {result.pages:,} pages in {result.seconds:.1f} s ({rate:.0f} pages/s)"
        line += f", {result.embedded:,} of {result.chunks:,} chunks embedded"
    out(f"{line}.")
    if result.erased is not None:
        receipt(result.erased)
    if result.pages_by_ocr:
        pages = "1 page was" if result.pages_by_ocr == 1 else f"{result.pages_by_ocr:,} pages were"
        talk(f"{pages} read by OCR.")
    for warning in result.warnings:
        talk(f"warning: {warning.path}: {warning.warning}")
    for failure in result.failed:
        error(failure.error, failure.hint)
    if result.others:
        talk(f"{result.others:,} files of other kinds were passed over.")


def reindexed(result: Reindexed) -> None:
    """The end of a reindex."""
    if not result.documents:
        out("Nothing to do: the library was made with these settings.")
        return
    line = f"{result.embedded:,} of {result.chunks:,} chunks embedded, {result.reused:,} reused"
    out(f"{result.documents:,} documents, {result.rechunked:,} cut anew; {line} in {result.seconds:.1f} s.")


def receipt(result: Any) -> None:
    """What ``ragapp remove`` deleted, and what a search of the library's files for it has found."""
    for entry in result.documents:
        out(f"Removed {entry.document} ({entry.pages:,} pages, {entry.chunks:,} chunks).")
    left = f"{result.traces:,} traces of it are left" if result.traces else "no trace of it is left"
    out(
        f"{result.vectors:,} vectors deleted; {result.files_scanned:,} files, {result.bytes_scanned:,} bytes searched "
        f"for {result.needles:,} texts: {left}."
    )
    for finding in result.findings:
        talk(f"warning: {finding}")


def passages(found: Sequence[Passage]) -> None:
    """Search results for people."""
    from ragapp.text import collapse

    for rank, passage in enumerate(found, 1):
        by = ", ".join(f"{name} {rank.rank}" for name, rank in passage.found_by.items())
        out(f"{rank}. {_place(passage)}  (score {passage.score:.3f}; {by})")
        text = collapse(passage.chunk.text)
        out(f"   {text if len(text) <= 300 else text[:300].rsplit(' ', 1)[0] + ' …'}\n")


def sources(answer: Answer) -> None:
    """What stands under an answer."""
    if answer.citations:
        out()
    # A Llama may cite a page for several sentences: there is one line for all that stands there in the same way.
    for line in dict.fromkeys(map(source_line, answer.citations)):
        out(line)
    if answer.finish_reason == "no_evidence" and answer.passages:
        out("\nNearest passages:")
        for passage in answer.passages[:3]:
            out(f"  {_place(passage)}")
    if answer.figures:
        figures = ", ".join(figure.text for figure in answer.figures)
        talk(f"note: no cited passage bears out these figures: {figures}")
    for warning in answer.warnings:
        talk(f"note: {warning}")
    shown = list(answer.unread.items())[:MAX_UNREAD]
    for document, numbers in shown:
        talk(f"note: {document}: pages that could not be read: {pages(numbers)}")
    if len(answer.unread) > len(shown):
        talk(f"note: {len(answer.unread) - len(shown):,} more documents have such pages; `ragapp list` names them.")


def source_line(citation: Citation) -> str:
    from ragapp.shapes import place

    return f"[{citation.marker}] {place(citation.passage.document, citation.page, citation.label)} ({citation.state})"


def _place(passage: Passage) -> str:
    from ragapp.shapes import place

    return place(passage.document, passage.chunk.page, passage.label)


def setting_rows(settings: Sequence[Setting]) -> list[tuple[str, str, str, str]]:
    """Lines of ``ragapp config``; a secret is shown as set or not."""
    return [(s.key, shown(s), s.source, s.description) for s in settings]


def shown(setting: Setting) -> str:
    if setting.secret:
        return "(set)" if setting.value else ""
    return str(setting.value)
