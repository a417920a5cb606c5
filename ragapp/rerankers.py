"""Rerankers: a closer look at passages that were found.

Late interaction with the embedder's own token vectors, any CrossEncoder, and a time limit around either or around
somebody else's. Scores of a reranker are kept in ``Passage.found_by`` under its name, beside those of the rankers.
"""

from __future__ import annotations

import contextvars
import math
import os
import re
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from ragapp import modelfiles
from ragapp.errors import ConfigError, ModelError, RagappError
from ragapp.ports import Reranker, TokenEmbedder
from ragapp.text import has_cjk
from ragapp.types import Passage, Rank

# Passages computed together: between two batches the time is looked at, and memory stays bounded. For late interaction
# the usual candidates all at once, as every batch more costs 8 %.
BATCH = 16
BATCH_LATE = 20
CANDIDATES = 20  # from the 20th on MaxSim lifts as many wrong passages as right ones, and each costs 7 ms
WEIGHT = 0.4  # of MaxSim beside the fused score: less than half, as the fusion knows words that the model does not
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_TOKENIZER_FILES = ("tokenizer.json", "vocab.txt", "vocab.json", "tokenizer.model", "spiece.model", "spm.model",
                    "sentencepiece.bpe.model")  # fmt: skip


@runtime_checkable
class Timed(Reranker, Protocol):
    """A reranker that looks at the clock itself."""

    def rerank_until(self, question: str, passages: Sequence[Passage], deadline: float) -> list[Passage]:
        """Like ``rerank``; raises TimeoutError when ``time.monotonic()`` passes ``deadline`` before it is done."""
        ...


class KeepOrder:
    """Leaves the order of the fusion as it is."""

    def rerank(self, question: str, passages: Sequence[Passage]) -> list[Passage]:
        return list(passages)

    def rerank_until(self, question: str, passages: Sequence[Passage], deadline: float) -> list[Passage]:
        return list(passages)


@dataclass(frozen=True, slots=True)
class LateInteraction:
    """MaxSim over the embedder's token vectors (Khattab & Zaharia 2020), added to the fused score.

    The first ``candidates`` passages are read, each with its header line in front, ``batch`` of them together. MaxSim
    and fused score are put between 0 and 1 over these; ``weight`` is the share of the MaxSim in their sum. What MaxSim
    itself thought is kept as ``found_by["late"]``.

    After the sum pages take turns, as they do after the fusion: a second passage of a page keeps ``same_page`` of its
    sum, a third the square of it; 1 leaves it alone. Passages beyond ``candidates`` follow as they were, with no score
    above those that were read: so the first places do not depend on how many passages are wanted.

    Chinese, Japanese and Korean questions have a weight of their own. It is 0, as the built-in model cannot read them,
    and with a weight of 0 nothing is read and all stays as it was given.
    """

    embedder: TokenEmbedder
    weight: float = WEIGHT
    weight_cjk: float = 0.0
    batch: int = BATCH_LATE
    candidates: int = CANDIDATES
    same_page: float = 1.0

    def rerank(self, question: str, passages: Sequence[Passage]) -> list[Passage]:
        return self.rerank_until(question, passages, math.inf)

    def rerank_until(self, question: str, passages: Sequence[Passage], deadline: float) -> list[Passage]:
        weight = self.weight_cjk if has_cjk(question) else self.weight
        if not passages or not weight:
            return list(passages)
        read, rest = passages[: self.candidates], passages[self.candidates :]
        late = max_sim(self.embedder, question, [_read(passage) for passage in read], self.batch, deadline)
        fused = scaled(np.array([passage.score for passage in read]))
        total = in_turns(weight * scaled(late) + (1 - weight) * fused, read, self.same_page)
        best = ordered(read, total, "late", late)
        return best + [replace(passage, score=min(passage.score, best[-1].score)) for passage in rest]


def in_turns(totals: NDArray[np.float64], passages: Sequence[Passage], same_page: float) -> NDArray[np.float64]:
    """The totals, not negative, each multiplied by ``same_page`` once for every better passage of its page."""
    result = totals.copy()
    seen: Counter[tuple[str, int]] = Counter()
    for i in _falling(totals):
        page = (passages[i].chunk.document_id, passages[i].chunk.page)
        result[i] *= same_page ** seen[page]
        seen[page] += 1
    return result


def _read(passage: Passage) -> str:
    """What a model reads of a passage: its header line, and its text."""
    chunk = passage.chunk
    return f"{chunk.header}\n{chunk.text}" if chunk.header else chunk.text


def max_sim(
    embedder: TokenEmbedder, question: str, texts: Sequence[str], batch: int = BATCH_LATE, deadline: float = math.inf
) -> NDArray[np.float64]:
    """For every text the mean over the question's tokens of the best cosine with one of its tokens, ``(texts,)``.

    ``batch`` texts are embedded together; raises TimeoutError where ``deadline`` (``time.monotonic()``) passes first.
    """
    (asked,) = embedder.embed_tokens([question])
    found = np.zeros(len(texts))
    if len(asked) == 0:
        return found
    for part in batches(texts, batch):
        _check_time(deadline)
        for i, tokens in zip(part, embedder.embed_tokens([texts[i] for i in part]), strict=True):
            found[i] = float((asked @ tokens.T).max(axis=1).mean()) if len(tokens) else 0.0
    return found


class CrossEncoderReranker:
    """A CrossEncoder of sentence-transformers, which reads question and passage together (Nogueira & Cho 2019).

    ``model`` is a folder, or a hub id that the user named, which is fetched with the first question. ``device`` is
    auto, cpu, cuda or mps; ``batch`` passages are read together. A passage is given with its header line in front;
    what is longer than the model reads is cut off by its tokenizer. The score is the model's own, kept as
    ``found_by["cross-encoder"]`` too. Loads on first use; safe to share between threads, which take turns at batches.

    Raises ConfigError for a name that can be no model, and ModelError for a folder that holds none, both at once; later
    ModelError for whatever goes wrong inside. Models that bring code of their own, or pickled weights, are refused.
    """

    def __init__(self, model: str, batch: int = BATCH, device: str = "auto") -> None:
        if batch < 1:
            raise ConfigError(f"A CrossEncoder cannot read {batch} passages together.", "batch is at least 1.")
        self.model = model
        self.batch = batch
        self.device = device
        self._lock = threading.Lock()
        self._loaded: Any = None
        self._folder = _local_folder(model)
        if self._folder is not None:
            check_cross_encoder(self._folder)

    def warm(self) -> None:
        """Load the model now. Raises ModelError."""
        if self._loaded is None:  # whoever has it need not wait for a turn
            with self._lock:
                self._ready()

    def rerank(self, question: str, passages: Sequence[Passage]) -> list[Passage]:
        return self.rerank_until(question, passages, math.inf)

    def rerank_until(self, question: str, passages: Sequence[Passage], deadline: float) -> list[Passage]:
        if not passages:
            return []
        texts = [_read(passage) for passage in passages]
        scores = np.zeros(len(texts))
        for part in batches(texts, self.batch):
            scores[part] = self._scores([(question, texts[i]) for i in part], deadline)
        return ordered(passages, scores, "cross-encoder", scores)

    def _scores(self, pairs: list[tuple[str, str]], deadline: float) -> NDArray[np.float64]:
        """The model's score of every pair, ``(pairs,)``; one batch."""
        _check_time(deadline)
        if not self._lock.acquire(timeout=_waiting_time(deadline)):
            raise TimeoutError
        try:
            found = self._ready().predict(pairs, batch_size=len(pairs), show_progress_bar=False)
        except RagappError:
            raise
        except Exception as error:  # torch and the tokenizers raise whatever they like
            raise ModelError(
                f"The CrossEncoder {self.model} failed: {_first_line(error)}",
                "Less [reranker] batch takes less memory; `--set reranker.name=keep` does without it.",
            ) from error
        finally:
            self._lock.release()
        scores = np.asarray(found, dtype=np.float64)
        if scores.shape != (len(pairs),) or not np.isfinite(scores).all():
            raise ModelError(
                f"The CrossEncoder {self.model} does not give one number for each passage.",
                "Name a model that was trained to rank: it has one label.",
            )
        return scores

    def _ready(self) -> Any:
        """The model, loaded on first use; the lock must be held."""
        if self._loaded is None:
            folder = self._folder or _fetched(self.model)
            self._loaded = _cross_encoder(folder, self.model, None if self.device == "auto" else self.device)
        return self._loaded


def check_cross_encoder(folder: Path) -> None:
    """Raise ModelError for the first thing that a CrossEncoder's folder lacks, seen from names and headers of files.

    Without a classification head or a tokenizer transformers makes one up, and the scores would mean nothing.
    """
    hint = "Name a folder that CrossEncoder.save_pretrained() has written."
    if not (folder / "config.json").is_file():
        raise ModelError(f"The reranker's folder {folder} has no config.json.", hint)
    kinds = modelfiles.read_json(folder / "config.json").get("architectures") or []
    if not (_is_made_of_parts(folder) or any(str(kind).endswith("ForSequenceClassification") for kind in kinds)):
        kind = ", ".join(map(str, kinds)) or "a model without a name"
        raise ModelError(f"{folder} holds no CrossEncoder: {kind} scores no pairs.", hint)
    weights = sorted(folder.rglob("*.safetensors"))
    if not weights:
        raise ModelError(f"The reranker's folder {folder} has no weights (*.safetensors).", hint)
    for file in weights:
        modelfiles.weight_bytes(file, None)
    if not any((folder / name).is_file() for name in _TOKENIZER_FILES):
        raise ModelError(f"The reranker's folder {folder} has no tokenizer.", hint)


def _is_made_of_parts(folder: Path) -> bool:
    """Whether sentence-transformers saved it as a CrossEncoder of modules, with whatever network inside."""
    about = folder / "config_sentence_transformers.json"
    is_one = about.is_file() and modelfiles.read_json(about).get("model_type") == "CrossEncoder"
    return is_one and (folder / "modules.json").is_file()


@dataclass(frozen=True, slots=True)
class Reranked:
    """Passages in a new order; ``warning`` says why it is the old one, and is empty otherwise."""

    passages: tuple[Passage, ...]
    warning: str = ""


class Limited:
    """A reranker that has ``seconds`` for each question; where they do not suffice, the order given stays.

    It also stays where the model fails (ModelError, and whatever a reranker of somebody else's raises). Questions and
    settings that are wrong still raise. Loading is no part of the time.

    Rerankers of ours look at the clock themselves. Another one works in a thread of its own, one question at a time;
    when its time is over the thread is left to itself, and until it has ended later questions keep their order at once.
    """

    def __init__(self, reranker: Reranker, seconds: float) -> None:
        self.reranker = reranker
        self.seconds = seconds
        self._turn = threading.Lock()  # held by the thread that works, also when nobody waits for it any more
        self._left_alone: threading.Event | None = None  # set when the thread nobody waits for any more has ended

    @property
    def name(self) -> str:
        """What warnings call it."""
        inner = getattr(self.reranker, "compressor", self.reranker)
        return type(inner).__name__

    def warm(self) -> None:
        """Load what the reranker loads. Raises ModelError."""
        warm = getattr(self.reranker, "warm", None)
        if callable(warm):
            warm()

    def rerank(self, question: str, passages: Sequence[Passage]) -> list[Passage]:
        return list(self.rerank_noted(question, passages).passages)

    def rerank_noted(self, question: str, passages: Sequence[Passage]) -> Reranked:
        """The passages, and a sentence for the reader where they could not be put into a new order."""
        given = tuple(passages)
        if not given:
            return Reranked(())
        try:
            self.warm()
            deadline = time.monotonic() + self.seconds
            if isinstance(self.reranker, Timed):
                return Reranked(tuple(self.reranker.rerank_until(question, given, deadline)))
            return Reranked(self._in_a_thread(question, given, deadline))
        except TimeoutError:
            what = f"The reranker {self.name} did not finish in {self.seconds:g} s."
        except _StillBusyError:
            what = f"The reranker {self.name} is still busy with an earlier question."
        except ModelError as error:
            what = error.message
        return Reranked(given, f"{what.rstrip(' .')}. The passages stand in the order of the search.")

    def _in_a_thread(self, question: str, passages: tuple[Passage, ...], deadline: float) -> tuple[Passage, ...]:
        if self._left_alone is not None and not self._left_alone.is_set():
            raise _StillBusyError
        if not self._turn.acquire(timeout=_waiting_time(deadline)):
            raise TimeoutError
        result: list[Any] = []
        done = threading.Event()

        def work() -> None:
            try:
                result.append(self.reranker.rerank(question, list(passages)))
            except Exception as error:  # noqa: BLE001  raised again, or explained, by whoever waits
                result.append(error)
            finally:
                done.set()
                self._turn.release()

        # What belongs to a request (LangChain's callbacks) goes along.
        work_here = contextvars.copy_context().run
        threading.Thread(target=work_here, args=(work,), name="ragapp-reranker", daemon=True).start()
        try:
            done.wait(_waiting_time(deadline))
        finally:
            if not done.is_set():
                self._left_alone = done
        if not result:
            raise TimeoutError
        return _believed(result[0], passages, self.name)


class _StillBusyError(Exception):
    """The thread of an earlier question has not ended."""


def _believed(result: Any, given: Sequence[Passage], name: str) -> tuple[Passage, ...]:
    """What a foreign reranker gave back, once it is known to be an order of what it was given."""
    if isinstance(result, RagappError):
        raise result
    if isinstance(result, Exception):
        raise ModelError(f"The reranker {name} failed: {type(result).__name__}: {_first_line(result)}") from result
    known = {_span(passage) for passage in given}
    fits = isinstance(result, Sequence) and all(isinstance(p, Passage) and _span(p) in known for p in result)
    if not fits or len({_span(passage) for passage in result}) < len(result):
        raise ModelError(f"The reranker {name} gave back something else than passages it was given, each once.")
    return tuple(result)


def _span(passage: Passage) -> tuple[str, int, int]:
    return passage.chunk.document_id, passage.chunk.start, passage.chunk.end


def batches(texts: Sequence[str], size: int) -> Iterator[list[int]]:
    """Indices of texts of like length, longest first, ``size`` at a time."""
    order = sorted(range(len(texts)), key=lambda i: (-len(texts[i]), i))
    for at in range(0, len(order), size):
        yield order[at : at + size]


def ordered(
    passages: Sequence[Passage], totals: NDArray[np.float64], name: str, scores: NDArray[np.float64]
) -> list[Passage]:
    """The passages by their totals, best first, equal ones as they were; ``scores`` are kept under ``name``."""
    places = {i: place for place, i in enumerate(_falling(scores), 1)}
    return [
        replace(
            passages[i],
            score=float(totals[i]),
            found_by=_with(passages[i], name, Rank(places[i], float(scores[i]))),
        )
        for i in _falling(totals)
    ]


def scaled(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Between 0 and 1; all 1 where they do not differ."""
    span = values.max() - values.min() if len(values) else 0.0
    result: NDArray[np.float64] = (values - values.min()) / span if span > 0 else np.ones_like(values)
    return result


def _falling(values: NDArray[np.float64]) -> list[int]:
    return sorted(range(len(values)), key=lambda i: (-values[i], i))


def _with(passage: Passage, name: str, rank: Rank) -> Mapping[str, Rank]:
    return {**passage.found_by, name: rank}


def _check_time(deadline: float) -> None:
    if time.monotonic() >= deadline:
        raise TimeoutError


def _waiting_time(deadline: float) -> float:
    """Seconds until a deadline, as locks want them: not negative, and not longer than they can wait."""
    return max(0.0, min(deadline - time.monotonic(), threading.TIMEOUT_MAX))


def _local_folder(model: str) -> Path | None:
    """The folder that a name means, None for a hub id; raises ConfigError for what can be neither."""
    path = Path(os.path.expanduser(model))  # Path.expanduser raises for an unknown ~user
    if model and path.is_dir():
        return path
    if path.exists() or path.is_absolute() or model.startswith((".", "~")) or not _HUB_ID.fullmatch(model):
        raise ConfigError(
            f"The reranker {model!r} is neither a folder on this machine nor a hub id like org/name.",
            'Name the folder of a CrossEncoder in [reranker], or "late" or "keep".',
        )
    return None


def _fetched(repo: str) -> Path:
    """The folder of a hub model: from the hub's cache, else from the hub, as the user has named it."""
    may_go_online = "_RAGAPP_TOOK_HUB_OFFLINE" in os.environ or "HF_HUB_OFFLINE" not in os.environ
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    folder = modelfiles.cached(repo, weights=True) or modelfiles.fetch(repo, weights=True, may_go_online=may_go_online)
    check_cross_encoder(folder)
    return folder


def _cross_encoder(folder: Path, name: str, device: str | None) -> Any:
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    from sentence_transformers import CrossEncoder
    from transformers.utils import logging

    logging.disable_progress_bar()
    try:
        model = CrossEncoder(
            str(folder),
            device=device,
            local_files_only=True,
            trust_remote_code=False,
            model_kwargs={"use_safetensors": True},
        )
    except Exception as error:  # errors of safetensors, torch and transformers have no common root
        raise ModelError(
            f"The CrossEncoder {name} cannot be loaded: {_first_line(error)}",
            "Name a folder that CrossEncoder.save_pretrained() has written, and a device that is there.",
        ) from error
    if model.num_labels != 1:
        raise ModelError(
            f"The CrossEncoder {name} sorts into {model.num_labels} classes; one that ranks gives a single score.",
            "Name a model that was trained to rank: it has one label.",
        )
    return model


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), "") or type(error).__name__
