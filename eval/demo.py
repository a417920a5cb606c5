"""The questions that ship, over the sample documents that ship, in a library of their own in the cache folder."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from ragapp.config import Config
from ragapp.eval import data
from ragapp.eval.dataset import Dataset, load
from ragapp.ingest.report import Progress
from ragapp.minilm import cache_folder
from ragapp.rag import Rag

NAME = "demo"
FILE = Path(data.__file__).parent / "questions.jsonl"


def questions() -> Dataset:
    """The set: questions in English and Chinese, some of which the sample documents do not answer."""
    return replace(load(FILE), name=NAME)


def library(config: Config, progress: Callable[[Progress], None] = lambda _: None) -> Rag:
    """The library of the sample documents, made where it is not there yet: one for each embedder and chunker.

    Raises LibraryLocked while another process makes it.
    """
    made_by = config.embedder.model_dump_json() + config.chunker.model_dump_json()
    sources = b"".join(path.read_bytes() for path in data.samples())
    key = hashlib.sha256(made_by.encode() + sources).hexdigest()[:12]
    with ExitStack() as stack:  # closed where it could not be filled
        rag = stack.enter_context(Rag.open(cache_folder() / f"{NAME}-{key}", config=config))
        if len(rag.documents()) < len(data.samples()):
            rag.add(data.samples(), progress=progress)
        stack.pop_all()
    return rag
