"""Which documents a question names: by file name and title, so by company, year, form or number too.

A name is compared word by word, in the index terms of the library, so inflected English words and Chinese names match.
Each word counts by how few names hold it (inverse document frequency over names): in "3M_2018_10K" beside other annual
reports, "3m" and "2018" tell nearly all and "10k" nothing. Numbers are compared however they are joined to letters:
"FY2018" holds 2018, "RFC 9000" is rfc9000, "10-K" is 10k.

Sections are not looked for here: the words of headings stand in each chunk's header, which both rankers read.
"""

from __future__ import annotations

import math
import re
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from pathlib import PurePosixPath

from ragapp.catalog import Catalog, Generation
from ragapp.ports import Words

NAMED = 0.5  # share of a name's weight that a question must hold to name the document
NEAR_BEST = 0.75  # a document that is named clearly less than another one is not meant
MOST = 8  # documents at most; a question that fits more of them names none

_MIXED = re.compile(r"([^\W\d_]+)(\d+)|(\d+)([^\W\d_]+)")
_SHORT = 5  # letters and digits at most in each part of a name like "RFC 9000"
_COMMON = (
    "a an and are as at be by can did do does for from had has have how i if in into is it its may more of on or our "
    "out that the their them there these they this to up was we were what when where which who whose why will with "
    "would you"
)


@dataclass(frozen=True)
class Names:
    """The names of a library's documents as sets of words, found by their words."""

    words: Sequence[frozenset[str]]
    documents: Sequence[str]  # the document of each name
    count: int  # how many documents there are

    @cached_property
    def weights(self) -> Mapping[str, float]:
        """Each word's inverse document frequency over the documents' names."""
        having: Mapping[str, set[str]] = defaultdict(set)
        for words, document in zip(self.words, self.documents, strict=True):
            for word in words:
                having[word].add(document)
        return {word: math.log((self.count + 1) / (len(found) + 0.5)) for word, found in having.items()}

    @cached_property
    def totals(self) -> Sequence[float]:
        return [sum(self.weights[word] for word in words) for words in self.words]

    @cached_property
    def with_word(self) -> Mapping[str, Sequence[int]]:
        places: dict[str, list[int]] = defaultdict(list)
        for place, words in enumerate(self.words):
            for word in words:
                places[word].append(place)
        return places

    def named(self, asked: Iterable[str]) -> dict[str, float]:
        """How strongly these words name each document, from NAMED to 1; the others are left out."""
        held: Counter[int] = Counter()
        shares: dict[int, float] = {}
        for word in sorted(set(asked)):
            for place in self.with_word.get(word, ()):
                held[place] += 1
                shares[place] = shares.get(place, 0.0) + self.weights[word]
        found: dict[str, float] = {}
        for place, weight in shares.items():
            # All words of a name are all of it, whatever the rounding of the sums says.
            share = 1.0 if held[place] == len(self.words[place]) else weight / self.totals[place]
            document = self.documents[place]
            found[document] = max(found.get(document, 0.0), share)
        least = max(NAMED, NEAR_BEST * max(found.values(), default=0.0))
        return {document: share for document, share in found.items() if share >= least}


@dataclass(frozen=True)
class Router:
    """Tells which documents of a library a question names. Safe to share between threads."""

    catalog: Catalog
    words: Words
    _lock: threading.Lock = field(default_factory=threading.Lock, compare=False, repr=False)
    _kept: dict[Generation, Names] = field(default_factory=dict, compare=False, repr=False)

    def named(self, question: str) -> dict[str, float]:
        """Ids of the documents that the question names, with how strongly (at most 1); mostly none.

        None in a library of one document, and none where more than MOST fit.
        """
        names = self._names()
        if names.count < 2:
            return {}
        found = names.named(asked_words(self.words.words, question))
        return found if len(found) <= MOST else {}

    def _names(self) -> Names:
        """The names of the library's present generation, read once."""
        with self._lock, self.catalog.snapshot():
            now = self.catalog.generation()
            if now not in self._kept:
                self._kept.clear()
                self._kept[now] = names_of(self.catalog.names(), self.words.words)
            return self._kept[now]


def names_of(documents: Mapping[str, Sequence[str]], words: Callable[[str], list[str]]) -> Names:
    """The names of documents (by id: title, then file names) as sets of index terms."""
    common = frozenset(words(_COMMON))
    found = [
        (frozenset(words(spelled.replace("_", " "))) - common, document)
        for document, (title, *files) in documents.items()
        for spelled in dict.fromkeys([title, *(PurePosixPath(file).stem for file in files)])
    ]
    found = [pair for pair in found if pair[0]]
    return Names([pair[0] for pair in found], [pair[1] for pair in found], len(documents))


def asked_words(words: Callable[[str], list[str]], question: str) -> set[str]:
    """The index terms of a question, with numbers both joined to the letters beside them and apart."""
    question = question.replace("_", " ")
    terms = re.findall(r"\w+", question.lower())
    joined = [
        one + two
        for one, two in pairwise(terms)
        if len(one) <= _SHORT and len(two) <= _SHORT and one.isdecimal() != two.isdecimal()
    ]
    apart = [part for term in terms for match in _MIXED.finditer(term) for part in match.groups() if part]
    return {*words(question), *words(" ".join((*joined, *apart)))}
