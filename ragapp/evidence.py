"""Whether the library holds the answer: a calibrated probability from cheap facts about question and passages.

Logistic regression over a few numbers between 0 and 1 (``Facts``). Three sets of weights: with the built-in embedder's
meaning, for English; with words alone, for any other embedder, whose cosines have another scale; and for Chinese,
Japanese and Korean questions, which the built-in embedder cannot read: words alone again, as pairs of characters.

The probability is that for a mix of questions of which four in five can be answered (``PRIOR``): the mix at which
questions of libraries that were left out of the fit were refused wrongly about once in twenty times. It speaks of
subjects: a library that treats the subject of a question and lacks the fact looks much like one that has it.
"""

from __future__ import annotations

import json
import math
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ragapp.errors import ConfigError
from ragapp.ports import Embedder, TokenEmbedder, Words
from ragapp.questions import share, terms, token_weight
from ragapp.text import has_cjk, sentences
from ragapp.types import Passage, Query

LOOKED_AT = 5  # passages whose words and meaning are looked at; all are compared by their scores
BUILT_IN = "all-MiniLM-L6-v2:"  # how the fingerprint of the embedder begins whose cosines the weights were fitted to
WEAKEST = 0.25  # the quantile over the question's words that stands for the ones nothing speaks about
REST = slice(5, 20)  # of the BM25 scores in order: what the best one is compared with
PRIOR = 0.8
VERSION = 3  # of facts and weights: a calibration made with others does not fit

_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_NUMBER = re.compile(r"(?<![a-z\d])[a-z]*\d[a-z\d]*(?:\.\d+)*")
_DIGITS = re.compile(r"\d+(?:\.\d+)*")
_NAME_OF_NUMBER = re.compile(r"[a-z]+|[一二两兩三四五六七八九十]")
_NAMES_OF_NUMBERS = (
    "one first 一", "two second 二 两 兩", "three third 三", "four fourth 四", "five fifth 五", "six sixth 六",
    "seven seventh 七", "eight eighth 八", "nine ninth 九", "ten tenth 十", "eleven eleventh", "twelve twelfth",
)  # fmt: skip
_NAMED = {name: str(number) for number, names in enumerate(_NAMES_OF_NUMBERS, 1) for name in names.split()}

Vector = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of a question and its passages; of each the best passage counts, unless it says something else.

    words: share of the question's content words that stand in the passage or the line above it, all words alike.
    sentence: the same of one sentence, words weighed by what they tell (inverse document frequency).
    agreement: 1 / place that one ranker gives the other's best passage; 0 where there is one ranker only.
    lead: how far the best BM25 score is ahead of what follows, as a share of it.
    meaning: MaxSim of question and passage (Khattab & Zaharia 2020), a mean cosine over the question's words.
    weakest: the cosine at the lower quartile of the content words, in the passage of the best MaxSim.
    cosine: the greatest cosine of the question's and a passage's vectors.
    numbers: share of the question's numbers and codes that stand in any of the passages looked at; 1 if it has none.
    """

    words: float
    sentence: float
    agreement: float
    lead: float
    meaning: float = 0.0
    weakest: float = 0.0
    cosine: float = 0.0
    numbers: float = 1.0


@dataclass(frozen=True, slots=True)
class Odds:
    """Weights of facts, and the log-odds where all of them are 0."""

    shift: float
    weights: Mapping[str, float]

    def of(self, facts: Facts) -> float:
        """The log-odds that the answer is there."""
        return self.shift + sum(weight * float(getattr(facts, name)) for name, weight in self.weights.items())


# Fitted by `python -m ragapp.eval.judgement`, a logistic regression with a small ridge, over pairs of a question and a
# library: 2,787 in English (xquad_en, chunking_spans, pubmedqa, and the four sets of localGPT with their paraphrases)
# and 1,183 in Chinese (xquad_zh in two halves). Unanswerable pairs are questions asked to another set's library (4
# parts of 10), questions whose documents were held back (3), and whose answering passages were (3); PRIOR of all can be
# answered. Facts that did not help on sets that were left out are not here. The whole command, its figures, and what
# was tried stand in eval/LOG.md.
ENGLISH = Odds(-8.81, {"meaning": 7.38, "weakest": 3.29, "cosine": 1.46, "agreement": 1.29, "numbers": 2.99})
WORDS_ALONE = Odds(-5.72, {"words": 6.15, "agreement": 1.76, "numbers": 3.10})
CJK = Odds(-6.63, {"words": 8.25, "sentence": 7.45, "lead": 2.95, "numbers": 1.89})


@dataclass(frozen=True, slots=True)
class Calibration:
    """A scale and a shift of the log-odds for one library (Platt 1999)."""

    scale: float = 1.0
    shift: float = 0.0
    version: int = VERSION

    def probability(self, log_odds: float) -> float:
        """Between 0 and 1, and monotonous, as the scale is positive."""
        odds = self.scale * log_odds + self.shift
        # exp of a large number overflows, of a small one it does not.
        return 1 / (1 + math.exp(-odds)) if odds >= 0 else 1 - 1 / (1 + math.exp(odds))

    def save(self, file: Path) -> None:
        """Raises ConfigError where the file cannot be written."""
        try:
            file.write_text(json.dumps(asdict(self), indent=2) + "\n", encoding="utf-8")
        except OSError as error:
            raise ConfigError(f"The calibration {file} cannot be written: {error.strerror}.") from error


def calibration_of(file: Path) -> Calibration:
    """The calibration in a file. Raises ConfigError when it is missing, no calibration, or of another version."""
    hint = f"`python -m ragapp.eval.refusal LIBRARY QUESTIONS.jsonl --fit {file}` writes it."
    try:
        row = json.loads(file.read_text(encoding="utf-8"))
        found = Calibration(float(row["scale"]), float(row["shift"]), int(row["version"]))
    except OSError as error:
        raise ConfigError(f"The calibration {file} cannot be read: {error.strerror}.", hint) from None
    except (ValueError, KeyError, TypeError):
        raise ConfigError(f"{file} is not a calibration.", hint) from None
    if found.version != VERSION:
        raise ConfigError(f"The calibration {file} was made by another version of ragapp.", hint)
    if not (math.isfinite(found.scale) and math.isfinite(found.shift) and found.scale > 0):
        raise ConfigError(f"The calibration {file} has numbers that cannot be: {found.scale}, {found.shift}.", hint)
    return found


@dataclass(frozen=True, slots=True)
class Evidence:
    """ports.Judge: see the module. ``calibration`` names a file that eval/refusal.py wrote, or nothing.

    Looks at the standalone question, at the text of the first passages, and at the scores that the dense and the
    lexical ranker gave to all; never at the fused score. The same question and passages give the same probability.
    """

    embedder: Embedder
    words: Words
    threshold: float = 0.5
    calibration: str = ""
    _calibrated: Calibration = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        given = calibration_of(Path(self.calibration).expanduser()) if self.calibration else Calibration()
        object.__setattr__(self, "_calibrated", given)

    def confidence(self, query: Query, passages: Sequence[Passage]) -> float:
        """The probability that the library holds the answer; 0 without passages."""
        if not passages:
            return 0.0
        return self._calibrated.probability(self.odds(query).of(self.facts(query, passages)))

    def odds(self, query: Query) -> Odds:
        """The weights that fit the question's script and the embedder."""
        if has_cjk(query.sought):
            return CJK
        return ENGLISH if self._knows_meaning() else WORDS_ALONE

    def facts(self, query: Query, passages: Sequence[Passage]) -> Facts:
        """The facts; ``passages`` are best first, at least one."""
        facts = _word_facts(self.words, query.sought, passages)
        if has_cjk(query.sought) or not self._knows_meaning():
            return facts
        meaning, weakest = self._meaning(query.sought, passages[:LOOKED_AT])
        values = asdict(facts) | {"meaning": meaning, "weakest": weakest, "cosine": self._cosine(query, passages)}
        return Facts(**values)

    def _knows_meaning(self) -> bool:
        fingerprint = str(getattr(self.embedder, "fingerprint", ""))
        return fingerprint.startswith(BUILT_IN) and isinstance(self.embedder, TokenEmbedder)

    def _meaning(self, question: str, passages: Sequence[Passage]) -> tuple[float, float]:
        """The best passage's MaxSim, and how near its words come to the question's weakest ones."""
        embedder = self.embedder
        assert isinstance(embedder, TokenEmbedder)
        asked, *states = embedder.embed_tokens([question, *(passage.chunk.text for passage in passages)])
        spans = list(embedder.spans(question))
        weights = np.array([token_weight(question[start:end]) for start, end in spans])
        states = [state for state in states if len(state)]
        if not states or not weights.sum():
            return 0.0, 0.0
        near = np.stack([(asked @ state.T).max(axis=1) for state in states])
        totals = near @ weights / weights.sum()
        best = int(np.argmax(totals))
        words = [near[best, pieces].mean() for pieces in _content_words(spans, weights)]
        return float(totals[best]), float(np.quantile(words, WEAKEST))

    def _cosine(self, query: Query, passages: Sequence[Passage]) -> float:
        """The best cosine of the question; computed anew where the search had other vectors than the question's."""
        given = [passage.found_by["dense"].score for passage in passages if "dense" in passage.found_by]
        if given and not query.hypotheses:
            return max(given)
        texts = [f"{passage.chunk.header}\n{passage.chunk.text}" for passage in passages[:LOOKED_AT]]
        vectors: Vector = np.asarray(self.embedder.embed_documents(texts), dtype=np.float64)
        return float((vectors @ np.asarray(self.embedder.embed_query(query.sought), dtype=np.float64)).max())


def _content_words(spans: Sequence[tuple[int, int]], weights: Vector) -> list[list[int]]:
    """The tokens of each word that is no stop word; where there is none, of all words. Pieces of a word touch."""
    wanted = weights >= 1 if (weights >= 1).any() else weights > 0
    groups = [[0]]
    for at, (one, other) in enumerate(pairwise(spans), 1):
        if one[1] == other[0] and wanted[at - 1] and wanted[at]:
            groups[-1].append(at)
        else:
            groups.append([at])
    return [group for group in groups if wanted[group[0]]]


def _word_facts(words: Words, question: str, passages: Sequence[Passage]) -> Facts:
    """What index terms and scores tell."""
    wanted = terms(words, question)
    alike = dict.fromkeys(wanted, 1.0)
    looked_at = [passage.chunk for passage in passages[:LOOKED_AT]]
    whole = [set(words.words(f"{chunk.header}\n{chunk.text}")) for chunk in looked_at]
    said = (chunk.text[start:end] for chunk in looked_at for start, end in sentences(chunk.text))
    return Facts(
        words=max(share(alike, having) for having in whole),
        sentence=max((share(wanted, set(words.words(text))) for text in said), default=0.0),
        agreement=_agreement(passages),
        lead=_lead(passages),
        numbers=_numbers(question, [f"{chunk.header}\n{chunk.text}" for chunk in looked_at]),
    )


def _numbers(question: str, texts: Sequence[str]) -> float:
    """The share of the question's numbers and codes that some text has, those up to twelve as words too; 1 if none."""
    asked = _numbers_of(question)
    if not asked:
        return 1.0
    said = set().union(*map(_numbers_of, texts), *map(_named_in, texts))
    return len(asked & said) / len(asked)


def _numbers_of(text: str) -> set[str]:
    """Numbers without what is joined to them (4000 of "4,000h", 17 of "17th"), and codes whole (e42 of "E42")."""
    plain = _THOUSANDS.sub("", unicodedata.normalize("NFKC", text)).lower()
    found = _NUMBER.findall(plain)
    return {digits.group() if (digits := _DIGITS.match(number)) else number for number in found}


def _named_in(text: str) -> set[str]:
    """The numbers that are written as words, as digits."""
    return {_NAMED[name] for name in _NAME_OF_NUMBER.findall(text.lower()) if name in _NAMED}


def _agreement(passages: Sequence[Passage]) -> float:
    """1 / the place that one of the rankers gives the other's best passage, the better of both ways."""
    dense, lexical = _places(passages, "dense"), _places(passages, "lexical")
    if not dense or not lexical:
        return 0.0
    ways = ((dense, lexical), (lexical, dense))
    return max(1 / (1 + others.index(own[0])) if own[0] in others else 0.0 for own, others in ways)


def _places(passages: Sequence[Passage], ranker: str) -> list[int]:
    """The passages that a ranker found, in its order. Its own places may have gaps: some passages were dropped."""
    scores = {i: p.found_by[ranker].score for i, p in enumerate(passages) if ranker in p.found_by}
    return sorted(scores, key=lambda i: (-scores[i], i))


def _lead(passages: Sequence[Passage]) -> float:
    """How far the best BM25 score is ahead of the fifth to twentieth, or of the last where there are fewer."""
    scores = sorted((p.found_by["lexical"].score for p in passages if "lexical" in p.found_by), reverse=True)
    if not scores or scores[0] <= 0:
        return 0.0
    return float((scores[0] - np.mean(scores[REST] or scores[-1:])) / scores[0])
