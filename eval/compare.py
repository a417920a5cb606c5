"""Two runs of the same questions side by side: what differs, by how much, and whether that is more than noise."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from ragapp.errors import ConfigError
from ragapp.eval import measures, stats
from ragapp.eval.records import Manifest, Record, RunFolder, unlike
from ragapp.eval.stats import Difference
from ragapp.eval.values import counted

Scores = Mapping[str, Mapping[str, float]]
_NOT_SHARES = ("latency.", "answer.length", "tokens_per_s")  # a change in them is no change of what was found or said


@dataclass(frozen=True, slots=True)
class Changed:
    """A question whose ``metric`` is not as it was; None where that run has no value for it."""

    id: str
    text: str
    metric: str
    before: float | None
    after: float | None

    @property
    def size(self) -> float:
        """How much it changed; a value that came or went counts as the whole of it, and at least a half."""
        if self.before is None or self.after is None:
            return max(0.5, abs((self.before or 0.0) - (self.after or 0.0)))
        return abs(self.after - self.before)


@dataclass(frozen=True, slots=True)
class Comparison:
    """Run ``b`` against run ``a``, by their names, over the ``questions`` that have a record in both.

    ``differences`` are by metric, the headline ones first, with Holm's correction over all of them. ``changed`` are the
    questions of which a headline metric changed, each once, with the one that changed most; the largest change first.
    ``notes`` are sentences about what makes the runs unlike.
    """

    a: str
    b: str
    questions: int
    differences: tuple[Difference, ...]
    changed: tuple[Changed, ...]
    notes: tuple[str, ...]


def compare(a: RunFolder, b: RunFolder, *, seed: int = 0, metrics: Sequence[str] = ()) -> Comparison:
    """What run ``b`` changed against run ``a``; of ``metrics`` only, where some are named.

    Raises ConfigError for runs of different questions, and for a metric that neither has.
    """
    if a.manifest.fingerprint != b.manifest.fingerprint:
        raise ConfigError(
            f"The runs {a.name} and {b.name} asked different questions: those of the set {a.manifest.set} "
            f"({a.manifest.questions:,}), and of {b.manifest.set} ({b.manifest.questions:,}) as it is in that run.",
            "Only runs of the same questions can be compared.",
        )
    sides = [(run.dataset(), run.records()) for run in (a, b)]
    before, after = (measures.of_run(dataset, records) for dataset, records in sides)
    texts = {question.id: question.text for dataset, _ in sides for question in dataset.questions}
    common = {record.id for record in sides[0][1]} & {record.id for record in sides[1][1]}
    names = _metrics(before, after, metrics)
    return Comparison(
        a.name,
        b.name,
        len(common),
        stats.holm(_differences(before, after, names, seed)),
        tuple(sorted(_changed(before, after, names, texts, common), key=lambda each: (-each.size, each.id))),
        (*_unlike(a.manifest, b.manifest), *_incomplete(a, sides[0][1]), *_incomplete(b, sides[1][1])),
    )


def _metrics(before: Scores, after: Scores, wanted: Sequence[str]) -> list[str]:
    """The metrics that both runs have, or those of them that are wanted: the headline ones first."""
    one, other = ({name for values in scores.values() for name in values} for scores in (before, after))
    for name in wanted:
        if name not in one | other:
            near = get_close_matches(name, sorted(one | other), n=1, cutoff=0.4)
            hint = f"Did you mean {near[0]}?" if near else f"There are: {', '.join(sorted(one | other)) or 'none'}."
            raise ConfigError(f"Neither run has the metric {name!r}.", hint)
    order = {name: place for place, name in enumerate(measures.HEADLINE)}
    kept = (one & other) & set(wanted or one)
    return sorted(kept, key=lambda name: (order.get(name, len(order)), name))


def _differences(before: Scores, after: Scores, names: Sequence[str], seed: int) -> Iterator[Difference]:
    for name in names:
        one, other = _values(before, name), _values(after, name)
        common = one.keys() & other.keys()
        if common:
            # Where no question differs there is nothing to draw: the answer is 0 however often it is asked.
            rounds = stats.ROUNDS if any(one[key] != other[key] for key in common) else 1
            better = measures.higher_is_better(name)
            yield stats.paired(one, other, metric=name, higher_is_better=better, seed=seed, rounds=rounds)


def _values(scores: Scores, name: str) -> dict[str, float]:
    return {key: values[name] for key, values in scores.items() if name in values}


def _changed(
    before: Scores, after: Scores, names: Sequence[str], texts: Mapping[str, str], common: set[str]
) -> Iterator[Changed]:
    """The questions that have records in both runs and changed, each with the metric that changed most."""
    told = [name for name in names if name in measures.HEADLINE and not name.startswith(_NOT_SHARES)]
    for key in sorted(common):
        each = [
            Changed(key, texts.get(key, ""), name, before.get(key, {}).get(name), after.get(key, {}).get(name))
            for name in told or names
        ]
        differing = [change for change in each if change.before != change.after]
        if differing:
            yield max(differing, key=lambda change: change.size)


def _unlike(a: Manifest, b: Manifest) -> Iterator[str]:
    """What the runs differ in, besides what was measured."""
    yield from unlike(a, b)
    for what in ("library", "machine", "workers"):
        one, other = getattr(a, what), getattr(b, what)
        if one != other:
            yield f"{what.capitalize()}: {one or 'unknown'} then, {other or 'unknown'} now."


def _incomplete(run: RunFolder, records: Sequence[Record]) -> Iterator[str]:
    missing, failed = run.manifest.questions - len(records), sum(bool(record.error) for record in records)
    if missing > 0:
        yield f"{missing:,} of {counted(run.manifest.questions, 'question')} of the run {run.name} not done."
    if failed:
        yield f"{counted(failed, 'question')} of the run {run.name} failed: in no measure."
