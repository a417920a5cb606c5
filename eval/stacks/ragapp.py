"""ragapp as it is shipped: its default settings, whatever ragapp.toml or the environment say."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from ragapp.config import Config
from ragapp.rag import Rag


class Stack:
    modes = ("hybrid",)
    one_index = True
    window = 0  # a longer text is embedded in windows whose vectors are averaged

    def __init__(self, mode: str) -> None:
        self.rag: Rag | None = None

    def ingest(
        self, docs: Path, files: Sequence[Path], index: Path, mark: Callable[[str], None]
    ) -> tuple[int, list[str], list[str]]:
        with Rag.open(index, config=Config()) as rag:
            report = rag.add([docs])
            mark("all stages at once")
            texts = [f"{header}\n{text}" if header else text for _, header, text in rag.catalog.index_texts()]
            return report.pages, texts, [f"{failure.path}: {failure.error}" for failure in report.failed]

    def open(self, index: Path) -> None:
        self.rag = Rag.open(index, config=Config(), create=False)

    def search(self, question: str, k: int) -> list[tuple[str, int | None]]:
        assert self.rag is not None
        return [(passage.document, passage.chunk.page) for passage in self.rag.search(question, k=k)]
