"""FAISS indexes over unit vectors, scored by inner product (the cosine); ids are chunk ids, and can be removed.

Three kinds. ``flat`` holds the vectors as they are, and its scores are exact. ``plain`` holds a byte a number and looks
at all of them: a quarter of the memory, made without training. ``clustered`` also sorts them into lists around the
centres of a sample (an inverted file, Jégou et al. 2011; spherical k-means), and looks at the lists nearest to the
question: how many, is measured when it is made. The scores of the two that compress are off by some thousandths, so
whoever asks takes more candidates than wanted and scores them again.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Kind = Literal["flat", "plain", "clustered"]
Ids = NDArray[np.int64]
Rows = NDArray[np.float32]
Batches = Callable[[], Iterable[tuple[Ids, Rows]]]  # all vectors, in the same random order at every call

SAMPLE_PER_LIST = 64  # vectors that a centre is the mean of
ROUNDS = 10  # of k-means; more no longer change what is found
SLICE = 16_384  # vectors at once: what is held beside the index, and how soon a build notices that it is not wanted
CHECKS = 256  # questions of the check of a new index
CHECK_K = 10
RERANK = 4  # candidates of a compressed index for each result that is wanted
RECALL_AT_LEAST = 0.99  # of the best CHECK_K among RERANK times as many candidates
# Lists searched for each that the check asks for. Questions of people lie farther from all texts than any that can be
# made from the texts: on 9,070 chunks of real PDFs the check passed where 400 real questions had a recall of .96 (32 of
# 190 lists), and three times as many lists gave .998.
SPARE = 3
# Vectors that a search looks at in the mean, at the most. On a million vectors that are harder than text is, the check
# asked for nearly all lists (30 ms of processor time); a fifth of them take 9 ms and give .986 of the best ten.
LOOKED_AT = 200_000
MANY = 1000  # results from which on every list is looked at


class Abandoned(Exception):
    """A build was told to stop."""


class Index:
    """A FAISS index of one kind. Not safe to share between threads while it changes."""

    def __init__(self, kind: Kind, raw: Any) -> None:
        self.kind = kind
        self._raw = raw

    def __len__(self) -> int:
        return int(self._raw.ntotal)

    @property
    def width(self) -> int:
        return int(self._raw.d)

    @property
    def lists_searched(self) -> int:
        """Of a clustered index, how many lists a search looks at."""
        return int(self._raw.nprobe) if self.kind == "clustered" else 1

    @property
    def lists(self) -> int:
        return int(self._raw.nlist) if self.kind == "clustered" else 1

    def search(self, vector: Rows, k: int, among: Ids | None = None) -> list[tuple[int, float]]:
        """At most ``k`` ``(id, score)``, best first, of these ids only where some are given.

        Of a clustered index all lists are searched from MANY on, and for given ids, which should be few.
        """
        faiss = _faiss()
        if k < 1 or len(self) == 0 or (among is not None and not len(among)):
            return []
        with _threads(1):  # one question gains nothing from more, and the embedder needs the others
            given = {}
            chosen = {} if among is None else {"sel": faiss.IDSelectorBatch(among)}
            if self.kind == "clustered" and (chosen or k >= MANY):
                given["params"] = faiss.SearchParametersIVF(nprobe=self.lists, **chosen)
            elif chosen:
                given["params"] = faiss.SearchParameters(**chosen)
            query = np.ascontiguousarray(vector.reshape(1, -1), dtype=np.float32)
            scores, ids = self._raw.search(query, min(k, len(self)), **given)
        return [(int(i), float(s)) for i, s in zip(ids[0], scores[0], strict=True) if i >= 0]

    def add(self, ids: Ids, rows: Rows) -> None:
        if len(ids):
            self._raw.add_with_ids(np.ascontiguousarray(rows, dtype=np.float32), ids)

    def remove(self, ids: Ids) -> None:
        if len(ids):
            self._raw.remove_ids(ids)

    def ids(self) -> set[int]:
        faiss = _faiss()
        if self.kind != "clustered":
            return {int(i) for i in faiss.vector_to_array(self._raw.id_map)}
        lists = self._raw.invlists
        found: set[int] = set()
        for number in range(self.lists):
            size = lists.list_size(number)
            if size:
                found.update(faiss.rev_swig_ptr(lists.get_ids(number), size).tolist())
        return found

    def write(self, path: Path) -> None:
        """Write it to a file, without a copy in memory. Raises OSError."""
        faiss = _faiss()
        with path.open("wb") as file:
            try:
                faiss.write_index(self._raw, faiss.PyCallbackIOWriter(file.write))
            except RuntimeError as error:
                # What went wrong in Python comes back through C++ as text.
                raise OSError(f"The index cannot be written to {path}: {error}") from error

    @classmethod
    def read(cls, kind: Kind, path: Path) -> Index:
        """Raises OSError for a file that is gone, ValueError for one that holds something else."""
        faiss = _faiss()
        with path.open("rb") as file:
            try:
                return cls(kind, faiss.read_index(faiss.PyCallbackIOReader(file.read)))
            except RuntimeError as error:
                raise ValueError(f"{path} holds no index: {error}") from error


def _faiss() -> Any:
    """The library, which takes a tenth of a second to load, and whose stubs know half of it."""
    import faiss

    return faiss


def flat(width: int) -> Index:
    faiss = _faiss()
    return Index("flat", faiss.IndexIDMap(faiss.IndexFlatIP(width)))


def plain(sample: Rows) -> Index:
    """An empty index of bytes, whose steps fit the numbers of the sample."""
    faiss = _faiss()
    raw = faiss.IndexScalarQuantizer(sample.shape[1], faiss.ScalarQuantizer.QT_8bit, faiss.METRIC_INNER_PRODUCT)
    raw.train(np.ascontiguousarray(sample))
    return Index("plain", faiss.IndexIDMap(raw))


def lists_for(count: int) -> int:
    """How many lists suit a number of vectors: the centres and the vectors compared with a question stay in balance."""
    return max(4, round(2 * math.sqrt(count)))


def clustered(count: int, batches: Batches, threads: int = 0, tell: Callable[[float], None] = lambda _: None) -> Index:
    """An index of ``count`` vectors, checked against exact search; ``batches`` are read twice.

    Held in memory are the index, a sample of some SAMPLE_PER_LIST vectors a list, and one batch. ``tell`` hears the
    share that is done, and stops the work by raising; ``threads`` of 0 are all cores.
    """
    faiss = _faiss()
    with _threads(threads):
        lists = lists_for(count)
        sample, questions = _sample(batches(), min(count, lists * SAMPLE_PER_LIST))
        centres = _centres(sample, lists, lambda share: tell(0.5 * share))
        quantizer = faiss.IndexFlatIP(sample.shape[1])
        quantizer.add(centres)
        raw = faiss.IndexIVFScalarQuantizer(
            quantizer, sample.shape[1], lists, faiss.ScalarQuantizer.QT_8bit, faiss.METRIC_INNER_PRODUCT
        )
        raw.train(sample[: 4 * SLICE])  # only the steps of the bytes: the centres are there
        del sample
        index = Index("clustered", raw)
        truth = _Truth(questions)
        done = 0
        for ids, rows in batches():
            for at in range(0, len(ids), SLICE):
                index.add(ids[at : at + SLICE], rows[at : at + SLICE])
                truth.see(ids[at : at + SLICE], rows[at : at + SLICE])
                done += len(ids[at : at + SLICE])
                tell(0.5 + 0.5 * min(1.0, done / count))
        _tune(raw, questions, truth.best)
    return index


def _sample(batches: Iterable[tuple[Ids, Rows]], size: int) -> tuple[Rows, Rows]:
    """The first ``size`` vectors (their order is random), and questions to check with.

    A question lies between two vectors and half out of their space, for a question is seldom as near to one text as
    the texts are among themselves.
    """
    sample: Rows = np.empty((0, 0), dtype=np.float32)
    have = 0
    for _, rows in batches:
        if have == 0:
            sample = np.empty((size, rows.shape[1]), dtype=np.float32)
        part = rows[: size - have]
        sample[have : have + len(part)] = part
        have += len(part)
        if have >= size:
            break
    sample = sample[:have]
    ends = sample[-CHECKS:]
    noise = np.random.default_rng(len(sample)).standard_normal(ends.shape, dtype=np.float32)
    return sample, _unit(_unit(ends + np.roll(ends, 1, axis=0)) + _unit(noise))


def _centres(sample: Rows, lists: int, tell: Callable[[float], None]) -> Rows:
    """Unit centres by spherical k-means (Dhillon & Modha 2001), a slice at a time so that it can be stopped."""
    faiss = _faiss()
    random = np.random.default_rng(len(sample))
    centres = sample[random.choice(len(sample), lists, replace=len(sample) < lists)].copy()
    for turn in range(ROUNDS):
        nearest = faiss.IndexFlatIP(sample.shape[1])
        nearest.add(centres)
        sums = np.zeros_like(centres)
        sizes = np.zeros(lists, dtype=np.int64)
        for at in range(0, len(sample), SLICE):
            tell((turn + at / len(sample)) / ROUNDS)
            rows = sample[at : at + SLICE]
            own = nearest.search(rows, 1)[1][:, 0]
            np.add.at(sums, own, rows)
            sizes += np.bincount(own, minlength=lists)
        empty = np.flatnonzero(sizes == 0)
        sums[empty] = sample[random.choice(len(sample), len(empty), replace=len(sample) < len(empty))]
        centres = _unit(sums)
    return centres


class _Truth:
    """The exact nearest of some questions, gathered while the vectors pass by."""

    def __init__(self, questions: Rows) -> None:
        self._questions = questions
        self.best: Ids = np.full((len(questions), 0), -1, dtype=np.int64)
        self._scores: Rows = np.zeros((len(questions), 0), dtype=np.float32)

    def see(self, ids: Ids, rows: Rows) -> None:
        scores = np.concatenate([self._scores, self._questions @ rows.T], axis=1)
        held = np.concatenate([self.best, np.broadcast_to(ids, (len(self._questions), len(ids)))], axis=1)
        if scores.shape[1] > CHECK_K:
            keep = np.argpartition(-scores, CHECK_K - 1, axis=1)[:, :CHECK_K]
            scores, held = np.take_along_axis(scores, keep, 1), np.take_along_axis(held, keep, 1)
        self._scores, self.best = scores, held


def _tune(raw: Any, questions: Rows, best: Ids) -> None:
    """Search SPARE times as many lists as reach RECALL_AT_LEAST, within LOOKED_AT."""
    most = max(1, min(raw.nlist, raw.nlist * LOOKED_AT // max(1, raw.ntotal)))
    raw.nprobe = min(8, raw.nlist)
    while True:
        _, found = raw.search(questions, CHECK_K * RERANK)
        hits = [len(set(wanted) & set(got)) for wanted, got in zip(best.tolist(), found.tolist(), strict=True)]
        if sum(hits) >= RECALL_AT_LEAST * best.size or raw.nprobe >= most:
            raw.nprobe = min(most, SPARE * raw.nprobe)
            return
        raw.nprobe = min(most, math.ceil(raw.nprobe * 1.3))


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """FAISS in this thread works with so many threads (0: all); OpenMP keeps the number for each thread apart."""
    faiss = _faiss()
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(count or before)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)


def _unit(rows: Rows) -> Rows:
    scaled: Rows = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12, dtype=np.float32)
    return scaled
