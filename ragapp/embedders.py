"""Texts to unit vectors: the built-in MiniLM, any sentence-transformers model, and the hashing double.

Every embedder has a fingerprint that names what decides its vectors (weights, pooling, length, header template). Two
embedders of equal fingerprint give the same vectors to rounding; a library keeps the one it was made with.
"""

from __future__ import annotations

import hashlib
import os
import re
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from ragapp import minilm
from ragapp.errors import ConfigError, ModelError
from ragapp.ports import Embedder
from ragapp.turns import Rank, Turns

if TYPE_CHECKING:
    from tokenizers import Tokenizer as HFTokenizer

Vectors = NDArray[np.float32]
Batch = list[list[int]]  # token ids of some windows
Output = tuple[Vectors, list[Vectors]]  # a batch's unit vectors, and each window's token states
Forward = Callable[[Sequence[Batch], bool, Rank], Iterator[Output]]
REMEMBERED_BYTES = 32_000_000  # of token vectors: about a hundred passages
SLICE_TOKENS = 512  # that an ingest computes together while others wait for their turn; costs it a tenth of its speed
SHARES = 2  # into how many parts the tokens of one answer are split at least
# The first arrays that OpenVINO hands over may not be two threads': one holds Python's lock and waits for the other's
# guard, the other the reverse, and nothing in the process moves any more.
_FIRST_USE = threading.Lock()
HEADER_TEMPLATE = "header-1"  # changes when the line in front of a chunk is spelled in another way


class Machine(Embedder, Protocol):
    """An embedder of ours: also the chunker's tokenizer, with a fingerprint. Vectors are float32, of unit length."""

    @property
    def fingerprint(self) -> str: ...

    @property
    def max_tokens(self) -> int: ...

    def spans(self, text: str) -> Sequence[tuple[int, int]]: ...

    def embed_documents(self, texts: list[str]) -> Vectors: ...

    def embed_query(self, text: str) -> Vectors: ...


class BuiltinEmbedder:
    """all-MiniLM-L6-v2 from the installed package (see minilm): 384 numbers, 256 tokens, English.

    A text that is longer than the model reads is embedded in windows whose vectors are averaged, so no part of it is
    left out. Loads on first use; safe to share between threads.
    """

    def __init__(self, runtime: Literal["auto", "openvino", "torch"] = "auto", batch_tokens: int = 2048) -> None:
        self.runtime = runtime
        self.batch_tokens = batch_tokens
        self.max_tokens = minilm.MAX_TOKENS - 2
        self.fingerprint = f"all-MiniLM-L6-v2:{minilm.WEIGHTS_SHA256[:16]}:mean:{minilm.MAX_TOKENS}:{HEADER_TEMPLATE}"
        self._lock = threading.Lock()
        self._loaded_tokenizer: HFTokenizer | None = None
        self._forward: Forward | None = None
        self._remembered: OrderedDict[str, Vectors] = OrderedDict()

    # -- tokens --------------------------------------------------------------------------------------------------

    def spans(self, text: str) -> list[tuple[int, int]]:
        """Where the model's tokens lie in the text."""
        return list(self._tokenizer().encode(text, add_special_tokens=False).offsets)

    def _tokenizer(self) -> HFTokenizer:
        with self._lock:
            if self._loaded_tokenizer is None:
                os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
                from tokenizers import Tokenizer

                path = minilm.checked_file("tokenizer.json", minilm.TOKENIZER_SHA256)
                self._loaded_tokenizer = Tokenizer.from_file(str(path))
                self._loaded_tokenizer.no_truncation()
                self._loaded_tokenizer.no_padding()
            return self._loaded_tokenizer

    def _windows(self, text: str) -> list[list[int]]:
        """Token ids with the special tokens, in one window or, for a long text, in several of equal size."""
        ids = self._tokenizer().encode(text).ids
        if len(ids) <= minilm.MAX_TOKENS:
            return [ids]
        inner = ids[1:-1]
        count = -(-len(inner) // self.max_tokens)
        size = -(-len(inner) // count)
        return [[ids[0], *inner[at : at + size], ids[-1]] for at in range(0, len(inner), size)]

    # -- vectors -------------------------------------------------------------------------------------------------

    def embed_documents(self, texts: list[str]) -> Vectors:
        """``(len(texts), 384)`` unit vectors. Gives way to questions and answers that come meanwhile."""
        return self._embedded(texts, Rank.INGEST)

    def _embedded(self, texts: Sequence[str], rank: Rank) -> Vectors:
        owners: list[int] = []
        windows: list[list[int]] = []
        for owner, text in enumerate(texts):
            for window in self._windows(text):
                owners.append(owner)
                windows.append(window)
        rows = np.zeros((len(texts), minilm.WIDTH), dtype=np.float32)
        batches = list(_batches(windows, self.batch_tokens))
        for batch, (vectors, _) in zip(batches, self._run(windows, batches, rank), strict=True):
            np.add.at(rows, [owners[i] for i in batch], vectors)
        return _unit(rows)

    def embed_query(self, text: str) -> Vectors:
        """``(384,)``, a unit vector."""
        vector: Vectors = self._embedded([text], Rank.QUESTION)[0]
        return vector

    def embed_tokens(self, texts: Sequence[str]) -> list[Vectors]:
        """A unit vector for every token of each text, ``(tokens, 384)``, without the special tokens; read-only.

        Those of the last texts are remembered: several steps of one answer look at the same passages.
        """
        with self._lock:
            known = {text: self._remembered[text] for text in texts if text in self._remembered}
        new = [text for text in dict.fromkeys(texts) if text not in known]
        known.update(zip(new, self._token_vectors(new), strict=True))
        self._remember(known)
        return [known[text] for text in texts]

    def _remember(self, vectors: Mapping[str, Vectors]) -> None:
        with self._lock:
            for text, rows in vectors.items():
                self._remembered[text] = rows
                self._remembered.move_to_end(text)
            size = sum(rows.nbytes for rows in self._remembered.values())
            while size > REMEMBERED_BYTES:
                size -= self._remembered.popitem(last=False)[1].nbytes

    def _token_vectors(self, texts: Sequence[str]) -> list[Vectors]:
        windows = [self._windows(text) for text in texts]
        flat = [window for group in windows for window in group]
        tokens: list[Vectors] = [np.empty((0, minilm.WIDTH), dtype=np.float32)] * len(flat)
        # An answer waits for this: spread over all requests rather than packed into full batches.
        share = sum(map(len, flat)) // SHARES + minilm.MAX_TOKENS
        batches = list(_batches(flat, min(self.batch_tokens, share)))
        for batch, (_, states) in zip(batches, self._run(flat, batches, Rank.ANSWER, states=True), strict=True):
            for place, state in zip(batch, states, strict=True):
                tokens[place] = _unit(state[1:-1])
        found = iter(tokens)
        whole = [np.concatenate([next(found) for _ in group]) for group in windows]
        for rows in whole:
            rows.flags.writeable = False  # they are handed out more than once
        return whole

    def _run(
        self, windows: Sequence[list[int]], batches: Sequence[list[int]], rank: Rank, *, states: bool = False
    ) -> Iterator[Output]:
        """What the model gives for every batch of windows, in the order of the batches; token states if wanted."""
        with self._lock:
            if self._forward is None:
                self._forward = self._load()
        return self._forward([[windows[i] for i in batch] for batch in batches], states, rank)

    def _load(self) -> Forward:
        if self.runtime == "torch":
            return _torch_forward()
        try:
            return _openvino_forward()
        except ImportError as error:
            if self.runtime == "openvino":
                raise ModelError("OpenVINO is not installed.", 'Set [embedder] runtime = "torch".') from error
            return _torch_forward()


def _openvino_forward() -> Forward:
    model = minilm.compile_model()
    count = int(model.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS"))
    requests = [model.create_infer_request() for _ in range(count)]
    with _FIRST_USE:
        for request in requests:
            request.infer(list(_padded([[0]])))
            _ = request.get_output_tensor(0).data
    turns = Turns(requests)
    # A pool for each rank: what waits in the queue of a pool cannot be overtaken.
    workers = {rank: ThreadPoolExecutor(count, thread_name_prefix=f"ragapp-embed-{rank.name.lower()}") for rank in Rank}

    def infer(batch: Batch, states: bool, rank: Rank) -> Output:
        with turns.taken(rank) as request:
            request.infer(list(_padded(batch)))
            hidden = request.get_output_tensor(1).data
            kept = [hidden[i, : len(window)].copy() for i, window in enumerate(batch)] if states else []
            return request.get_output_tensor(0).data.copy(), kept

    def one(batch: Batch, states: bool, rank: Rank) -> Output:
        if rank < Rank.INGEST or not turns.is_sought(rank):
            return infer(batch, states, rank)
        # A batch is in order of length already, so its parts come in its own order.
        parts = [infer([batch[i] for i in part], states, rank) for part in _batches(batch, SLICE_TOKENS)]
        return np.concatenate([rows for rows, _ in parts]), [row for _, kept in parts for row in kept]

    def forward(batches: Sequence[Batch], states: bool, rank: Rank) -> Iterator[Output]:
        run = map if min(len(batches), count) == 1 else workers[rank].map
        return run(one, batches, repeat(states), repeat(rank))

    return forward


def _torch_forward() -> Forward:
    minilm.checked_file("model.safetensors", minilm.WEIGHTS_SHA256)
    import torch

    model = _sentence_transformer(str(minilm.model_folder()))

    def one(batch: Batch, states: bool) -> Output:
        ids, mask = _padded(batch)
        with torch.inference_mode():
            out = model.forward({"input_ids": torch.from_numpy(ids), "attention_mask": torch.from_numpy(mask)})
        hidden = out["token_embeddings"].float().numpy()
        kept = [hidden[i, : len(window)] for i, window in enumerate(batch)] if states else []
        return out["sentence_embedding"].float().numpy(), kept

    return lambda batches, states, rank: map(one, batches, repeat(states))


class SentenceTransformerEmbedder:
    """Any sentence-transformers model: a folder on this machine, or the hub id that a user named.

    The fingerprint of a folder covers its small files whole and of each weights file its size and 3 MiB (head, middle,
    tail), so that it costs milliseconds whatever the model's size. Raises ModelError when the model cannot be loaded.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._lock = threading.Lock()
        self._loaded: Any = None
        folder = Path(name).expanduser()
        self.is_local = folder.is_dir()
        if not self.is_local and not re.fullmatch(r"[\w.-]+/[\w.-]+", name):
            raise ConfigError(
                f"The embedder {name!r} is neither a folder on this machine nor a hub id like org/name.",
                'Use name = "builtin" in [embedder] for the built-in one.',
            )
        identity = _folder_fingerprint(folder) if self.is_local else "hub"
        self.fingerprint = f"{folder.name if self.is_local else name}:{identity}:{HEADER_TEMPLATE}"

    @property
    def max_tokens(self) -> int:
        return int(self._model().max_seq_length or 512) - 2

    def spans(self, text: str) -> list[tuple[int, int]]:
        backend = getattr(self._model().tokenizer, "backend_tokenizer", None)
        if backend is None:
            # A slow tokenizer knows no offsets: take words and single CJK characters, a safe upper estimate is
            # not to be had, so the embedder's windows must catch what is longer.
            return [m.span() for m in re.finditer(r"\w{1,6}|[^\w\s]", text)]
        backend.no_truncation()
        return list(backend.encode(text, add_special_tokens=False).offsets)

    def embed_documents(self, texts: list[str]) -> Vectors:
        if not texts:
            return np.empty((0, 0), dtype=np.float32)
        with self._held() as model:
            rows = model.encode(texts, normalize_embeddings=True, show_progress_bar=False, convert_to_numpy=True)
        return np.asarray(rows, dtype=np.float32).reshape(len(texts), -1)

    def embed_query(self, text: str) -> Vectors:
        vector: Vectors = self.embed_documents([text])[0]
        return vector

    def _model(self) -> Any:
        with self._held() as model:
            return model

    @contextmanager
    def _held(self) -> Iterator[Any]:
        """The model, loaded on first use, for one thread at a time."""
        with self._lock:
            if self._loaded is None:
                name = str(Path(self.name).expanduser()) if self.is_local else self.name
                self._loaded = _sentence_transformer(name, local=self.is_local)
            yield self._loaded


def _sentence_transformer(name: str, *, local: bool = True) -> Any:
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    from sentence_transformers import SentenceTransformer
    from transformers.utils import logging

    logging.disable_progress_bar()
    try:
        return SentenceTransformer(name, local_files_only=local)
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        raise ModelError(
            f"The embedder {name} cannot be loaded: {str(error).splitlines()[0]}",
            "Name a folder that SentenceTransformer.save() has written.",
        ) from error


def _folder_fingerprint(folder: Path) -> str:
    digest = hashlib.sha256()
    mebibyte = 1 << 20
    for path in sorted(p for p in folder.rglob("*") if p.is_file() and p.suffix != ".md"):
        size = path.stat().st_size
        digest.update(f"{path.relative_to(folder).as_posix()}:{size}\n".encode())
        with path.open("rb") as file:
            for at in sorted({0, max(0, size // 2), max(0, size - mebibyte)}):
                file.seek(at)
                digest.update(file.read(mebibyte))
    return digest.hexdigest()[:16]


class HashingEmbedder:
    """The double: words hashed into ``width`` signed counts (Weinberger et al. 2009). No model, no meaning."""

    def __init__(self, width: int = 256, max_tokens: int = 254) -> None:
        self.width = width
        self.max_tokens = max_tokens
        self.fingerprint = f"hashing:{width}:{HEADER_TEMPLATE}"

    def spans(self, text: str) -> list[tuple[int, int]]:
        return [m.span() for m in re.finditer(r"[\u3400-\u9fff]|[^\W\u3400-\u9fff]+|[^\w\s]", text)]

    def embed_documents(self, texts: list[str]) -> Vectors:
        rows = np.zeros((len(texts), self.width), dtype=np.float32)
        for row, text in zip(rows, texts, strict=True):
            for start, end in self.spans(text):
                digest = hashlib.blake2b(text[start:end].lower().encode(), digest_size=8).digest()
                value = int.from_bytes(digest, "little")
                row[value % self.width] += 1.0 if value >> 63 else -1.0
        return _unit(rows)

    def embed_query(self, text: str) -> Vectors:
        vector: Vectors = self.embed_documents([text])[0]
        return vector


def _batches(windows: Sequence[Sequence[int]], budget: int) -> Iterator[list[int]]:
    """Indices in batches of like length, longest first, each within ``budget`` tokens counted with its padding."""
    order = sorted(range(len(windows)), key=lambda i: len(windows[i]), reverse=True)
    at = 0
    while at < len(order):
        size = max(1, budget // max(1, len(windows[order[at]])))
        yield order[at : at + size]
        at += size


def _padded(batch: list[list[int]]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    ids = np.zeros((len(batch), max(map(len, batch))), dtype=np.int64)
    mask = np.zeros_like(ids)
    for i, row in enumerate(batch):
        ids[i, : len(row)] = row
        mask[i, : len(row)] = 1
    return ids, mask


def _unit(rows: Vectors) -> Vectors:
    """Rows at length one; a row of zeros stays zero."""
    lengths = np.linalg.norm(rows, axis=-1, keepdims=True)
    scaled: Vectors = rows / np.maximum(lengths, 1e-12, dtype=np.float32)
    return scaled
