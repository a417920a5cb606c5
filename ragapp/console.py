"""Everything that is printed: data on standard output, talk and progress on standard error."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ragapp.config import Setting
    from ragapp.types import Answer, Citation, Passage


def out(text: str = "", end: str = "\n") -> None:
    """A piece of data. Text that the terminal's encoding lacks is replaced, never a reason to fail."""
    _write(sys.stdout, text + end)


def talk(text: str = "", end: str = "\n") -> None:
    _write(sys.stderr, text + end)


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
def ingest_progress() -> Iterator[Callable[[Any], None]]:
    """A bar on standard error with files, pages per second and what is being done; takes Progress reports."""
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("files"),
        TimeElapsedColumn(),
        TextColumn("{task.fields[rate]}"),
        TextColumn("{task.description}"),
    )
    console = Console(file=sys.stderr)
    started = time.perf_counter()
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("reading", total=None, rate="")

        def tell(now: Any) -> None:
            if now.stage == "read":
                return  # the reader runs ahead; what is being embedded is what there is to wait for
            rate = (now.pages_done + now.pages) / max(1e-6, time.perf_counter() - started)
            where = f"{escape(now.file)} (page {now.pages:,} of {now.of_pages:,})" if now.of_pages else escape(now.file)
            bar.update(task, total=now.files, completed=now.files_done, description=where, rate=f"{rate:.0f} pages/s")

        yield tell


def report(result: Any, *, dry_run: bool) -> None:
    """The end of an ingest."""
    verbs = ("to add", "to change", "unchanged") if dry_run else ("added", "changed", "unchanged")
    parts = [f"{n:,} {verb}" for n, verb in zip((result.added, result.changed, result.kept), verbs, strict=True)]
    if result.failed:
        parts.append(f"{len(result.failed):,} failed")
    line = ", ".join(parts)
    if result.pages:
        rate = result.pages / max(result.seconds, 1e-6)
        line += f"; {result.pages:,} pages, {result.chunks:,} chunks in {result.seconds:.1f} s ({rate:.0f} pages/s)"
    out(f"{line}.")
    for warning in result.warnings:
        talk(f"warning: {warning.path}: {warning.warning}")
    for failure in result.failed:
        error(failure.error, failure.hint)
    if result.others:
        talk(f"{result.others:,} files of other kinds were passed over.")


def passages(found: Sequence[Passage]) -> None:
    """Search results for people."""
    from ragapp.text import collapse

    for place, passage in enumerate(found, 1):
        by = ", ".join(f"{name} {rank.rank}" for name, rank in passage.found_by.items())
        out(f"{place}. {passage.document}, page {passage.chunk.page}  (score {passage.score:.3f}; {by})")
        text = collapse(passage.chunk.text)
        out(f"   {text if len(text) <= 300 else text[:300].rsplit(' ', 1)[0] + ' …'}\n")


def sources(answer: Answer) -> None:
    """What stands under an answer."""
    if answer.citations:
        out()
    for citation in answer.citations:
        out(source_line(citation))
    if answer.finish_reason == "no_evidence" and answer.passages:
        out("\nNearest passages:")
        for passage in answer.passages[:3]:
            out(f"  {passage.document}, page {passage.chunk.page}")


def source_line(citation: Citation) -> str:
    return f"[{citation.marker}] {citation.passage.document}, page {citation.page} ({citation.state})"


def setting_rows(settings: Sequence[Setting]) -> list[tuple[str, str, str, str]]:
    """Lines of ``ragapp config``; a secret is shown as set or not."""
    return [(s.key, shown(s), s.source, s.description) for s in settings]


def shown(setting: Setting) -> str:
    if setting.secret:
        return "(set)" if setting.value else ""
    return str(setting.value)
