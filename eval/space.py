"""What a search for settings may try: knobs, each with the values that it may have.

A knob for the index comes first: which chunker with which sizes. The others only say how is searched. The present value
of a setting is always among those tried. Settings are told as what differs from the present ones, and without those
that nothing would read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ragapp.config import Config
from ragapp.eval.dataset import Question
from ragapp.ports import TokenEmbedder
from ragapp.rag import Rag
from ragapp.text import has_cjk

if TYPE_CHECKING:
    from optuna.trial import Trial

Settings = Mapping[str, object]

# Those first that differ most, as the time may not suffice for all of them.
INDEXES: Sequence[Settings] = (
    {"chunker.name": "headings"},
    {"chunker.name": "tokens", "chunker.tokens": 120, "chunker.overlap": 0},
    {"chunker.name": "parent-child"},
    {"chunker.header": False},
    {"chunker.header": True},
    {"chunker.name": "sentences"},
    {"chunker.name": "tokens", "chunker.tokens": 200, "chunker.overlap": 40},
    {"chunker.name": "semantic"},
    {"chunker.name": "tokens", "chunker.tokens": 80, "chunker.overlap": 0},
    {"chunker.name": "headings", "chunker.tokens": 120},
    {"chunker.name": "tokens", "chunker.tokens": 160, "chunker.overlap": 0},
    {"chunker.name": "sentences", "chunker.sentences": 4},
    {"chunker.name": "parent-child", "chunker.child_tokens": 64, "chunker.parent_tokens": 256},
)
TENTHS = tuple(round(0.1 * n, 1) for n in range(11))
INDEX = "index"


@dataclass(frozen=True, slots=True)
class Knob:
    """Values of one setting; numbers rise, and their order means something."""

    key: str
    values: tuple[object, ...]

    @property
    def is_ordered(self) -> bool:
        return not isinstance(self.values[0], str)

    def draw(self, trial: Trial) -> object:
        if self.is_ordered:
            return self.values[trial.suggest_int(self.key, 0, len(self.values) - 1)]
        return trial.suggest_categorical(self.key, [str(value) for value in self.values])

    def parameter(self, value: object) -> object:
        """What optuna calls a value."""
        return self.values.index(value) if self.is_ordered else str(value)


@dataclass(frozen=True, slots=True)
class Space:
    """The knobs there are, the settings of each index, the first of which is the present one, and what is in force."""

    now: Mapping[str, object]
    indexes: tuple[Settings, ...]
    knobs: tuple[Knob, ...]

    def draw(self, trial: Trial) -> Settings:
        """Settings that an optuna trial wants."""
        place = trial.suggest_categorical(INDEX, [str(n) for n in range(len(self.indexes))])
        found = dict(self.indexes[int(place)])
        for knob in self.knobs:
            if is_read(knob.key, {**self.now, **found}):
                found[knob.key] = knob.draw(trial)
        return self.clean(found)

    def clean(self, settings: Settings) -> Settings:
        """The settings that differ from the present ones and that something reads."""
        merged = {**self.now, **settings}
        index = {key: value for key, value in settings.items() if key.startswith("chunker.")}
        rest = {
            key: value
            for key, value in settings.items()
            if key not in index and is_read(key, merged) and self.now.get(key) != value
        }
        return dict(sorted({**index, **rest}.items()))

    def starts(self) -> Iterator[Mapping[str, object]]:
        """Where every study begins, as optuna's parameters: the present settings, and each index and name by itself."""
        present = {INDEX: "0", **{knob.key: knob.parameter(self.now[knob.key]) for knob in self.knobs}}
        yield present
        for place in range(1, len(self.indexes)):
            yield {**present, INDEX: str(place)}
        for knob in self.knobs:
            if not knob.is_ordered:
                for value in knob.values:
                    if value != self.now[knob.key]:
                        yield {**present, knob.key: str(value)}

    def reverted(self, settings: Settings) -> Iterator[tuple[str, Settings]]:
        """The settings with one thing put back as it is now, each with the key of that; the chunker is one thing."""
        chunker = [key for key in settings if key.startswith("chunker.")]
        if chunker:
            yield "chunker", self.clean({key: value for key, value in settings.items() if key not in chunker})
        for gone in settings:
            if gone not in chunker:
                yield gone, self.clean({key: value for key, value in settings.items() if key != gone})


def is_read(key: str, settings: Settings) -> bool:
    """Whether anything looks at a setting beside these others."""
    if key == "search.rrf_constant":
        return settings["search.fusion"] == "rrf"
    if key == "reranker.weight":
        return settings["reranker.name"] == "late"
    if key == "reranker.candidates":
        return settings["reranker.name"] != "keep"
    return True


def space_of(rag: Rag, questions: Sequence[Question], indexes: Sequence[Settings], *, answers: bool) -> Space:
    """What may be tried on a library with these questions; ``answers`` says that answers are measured, not lists."""
    chinese = [has_cjk(question.text) for question in questions]
    knobs = [_fusion(rag.config)]
    if not all(chinese):
        knobs.append(_numbers(rag.config, "search.dense_weight", TENTHS))
    if any(chinese):
        knobs.append(_numbers(rag.config, "search.dense_weight_cjk", TENTHS))
    knobs.append(_numbers(rag.config, "search.depth", (10, 20, 40, 80, 160)))
    knobs.append(_numbers(rag.config, "search.rrf_constant", (5, 20, 60, 120)))
    if len(rag.documents()) > 1:
        knobs.append(_numbers(rag.config, "search.route_weight", (0.0, 0.1, 0.2, 0.3, 0.5, 0.8)))
    knobs += _reranking(rag)
    if rag.chat is not None:
        knobs.append(_names(rag.config, "search.hyde", ("auto", "on")))
    if answers:
        knobs.append(_numbers(rag.config, "answer.context_tokens", (0, 150, 300, 450, 700)))
        knobs.append(_numbers(rag.config, "answer.passages", (4, 8, 12)))
    now = {knob.key: value_of(rag.config, knob.key) for knob in knobs}
    return Space(now, ({}, *indexes), tuple(knobs))


def _fusion(config: Config) -> Knob:
    return _names(config, "search.fusion", ("minmax", "rrf"))


def _reranking(rag: Rag) -> list[Knob]:
    has_tokens = isinstance(rag.embedder, TokenEmbedder)
    names = ("late", "keep") if has_tokens else ("keep",)
    return [
        _names(rag.config, "reranker.name", names),
        _numbers(rag.config, "reranker.candidates", (10, 20, 30, 50)),
        *([_numbers(rag.config, "reranker.weight", (0.2, 0.3, 0.4, 0.5, 0.6))] if has_tokens else []),
    ]


def value_of(config: Config, key: str) -> object:
    """The value of a setting; of the late reranker's own weight, which no table has, its default."""
    if key == "reranker.weight":
        from ragapp.rerankers import WEIGHT

        return (config.reranker.model_extra or {}).get("weight", WEIGHT)
    table, name = key.split(".", 1)
    value: object = getattr(getattr(config, table), name)
    return value


def _names(config: Config, key: str, values: Sequence[str]) -> Knob:
    return Knob(key, tuple(dict.fromkeys([str(value_of(config, key)), *values])))


def _numbers(config: Config, key: str, values: Sequence[float]) -> Knob:
    now = value_of(config, key)
    return Knob(key, tuple(sorted({*values, now})))  # type: ignore[type-var]  # the settings of these keys are numbers
