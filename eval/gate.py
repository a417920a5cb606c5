"""Whether a change has made search or answers worse: the shipped questions against stored scores.

    python -m ragapp.eval.gate [--write]

The sample documents are ingested into a library of their own, with the settings that ship and the built-in parts, and
the questions of data/questions.jsonl are asked. A metric has fallen when its mean is worse than the stored one by more
than the noise stored with it: how far the mean reaches down in its 95 % interval over the questions, and two questions
at least, as a mean of 1 has no interval. Times are not looked at, as machines differ. ``--write`` stores what is
measured now: for a change that is meant, with the reason in LOG.md.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ragapp.config import Config
from ragapp.errors import ConfigError, ReadError
from ragapp.eval import measures
from ragapp.eval.data import samples
from ragapp.eval.dataset import Dataset
from ragapp.eval.demo import questions
from ragapp.eval.runner import run
from ragapp.rag import Rag

SCORES = Path(__file__).parent / "data" / "demo-scores.json"
COMMAND = "python -m ragapp.eval.gate --write"
METRICS = tuple(name for name in measures.HEADLINE if not name.startswith("latency."))
LEAST = 2  # questions that a metric may lose, however sure its mean is
DIGITS = 4

Values = Mapping[str, Mapping[str, float]]  # by question, then by metric


@dataclass(frozen=True, slots=True)
class Score:
    """The mean of a metric over ``n`` questions, and how much worse it may be before that is called a fall."""

    mean: float
    noise: float
    n: int


@dataclass(frozen=True, slots=True)
class Scores:
    """What was measured: by metric, and by question to tell where a fall comes from; ``set`` is its fingerprint."""

    set: str
    means: Mapping[str, Score]
    questions: Values


@dataclass(frozen=True, slots=True)
class Fall:
    """A metric that is worse by more than its noise, and the questions that are worse in it."""

    metric: str
    stored: Score
    mean: float
    questions: tuple[str, ...]

    def __str__(self) -> str:
        return (
            f"{self.metric} was {self.stored.mean:.3f} ± {self.stored.noise:.3f} and is {self.mean:.3f}; "
            f"worse in {', '.join(self.questions)}."
        )


def measured(dataset: Dataset, folder: Path, config: Config | None = None) -> Scores:
    """Ingest the sample documents into a library below ``folder`` and ask; ``config`` are the shipped settings."""
    with Rag.open(folder / "library", config=config or Config()) as rag:
        report = rag.add(samples())
        if report.failed:
            raise ReadError(f"The sample documents cannot be read: {report.failed[0].error}")
        done = run(rag, dataset, name="gate", runs=folder / "runs", traces=False)
    records = list(done.records())
    failed = [record.error for record in records if record.error]
    if failed:
        raise ConfigError(f"{len(failed)} of {len(records)} questions failed: {failed[0]}")
    return scores_of(dataset, measures.of_run(dataset, records))


def scores_of(dataset: Dataset, values: Values) -> Scores:
    """The means of METRICS with their noise. A metric that no question has is left out."""
    means = {
        name: Score(round(mean.value, DIGITS), round(max(_reach(name, mean), LEAST / mean.n), DIGITS), mean.n)
        for name, mean in sorted(measures.means_of(values, names=METRICS).items())
    }
    kept = {key: {name: round(each[name], DIGITS) for name in means if name in each} for key, each in values.items()}
    return Scores(dataset.fingerprint, means, kept)


def _reach(name: str, mean: measures.Mean) -> float:
    """How far a mean's interval reaches to the worse side."""
    return mean.value - mean.low if measures.higher_is_better(name) is not False else mean.high - mean.value


def falls(stored: Scores, now: Scores) -> list[Fall]:
    """The metrics that are worse by more than their noise. Raises ConfigError where the two are of different sets."""
    if stored.set != now.set:
        raise ConfigError("The stored scores are of other questions.", f"`{COMMAND}` stores those of the present ones.")
    return list(_falls(stored, now))


def _falls(stored: Scores, now: Scores) -> Iterator[Fall]:
    for name, score in stored.means.items():
        # A metric that nobody has any more is as bad as can be: nothing was cited, or nothing found.
        mean = now.means[name].mean if name in now.means else (0.0 if _sign(name) > 0 else 1.0)
        if _sign(name) * (score.mean - mean) > score.noise + 10**-DIGITS:
            yield Fall(name, score, mean, tuple(_worse(name, stored.questions, now.questions)))


def _worse(name: str, stored: Values, now: Values) -> Iterator[str]:
    for key, values in stored.items():
        if name in values and _sign(name) * (values[name] - now.get(key, {}).get(name, 0.0)) > 10**-DIGITS:
            yield key


def _sign(name: str) -> int:
    return -1 if measures.higher_is_better(name) is False else 1


# -- the file ----------------------------------------------------------------------------------------------------------


def stored(path: Path | None = None) -> Scores:
    """The stored scores. Raises ReadError where they cannot be read."""
    path = path or SCORES
    try:
        shape = json.loads(path.read_text("utf-8"))
        means = {name: Score(each["mean"], each["noise"], each["n"]) for name, each in shape["means"].items()}
        return Scores(shape["set"], means, shape["questions"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ReadError(f"The stored scores in {path} cannot be read: {error}", f"`{COMMAND}` writes them.") from error


def write(scores: Scores, path: Path | None = None) -> None:
    """Store scores, a question a line."""
    means = {name: {"mean": each.mean, "noise": each.noise, "n": each.n} for name, each in scores.means.items()}
    head = {"command": COMMAND, "set": scores.set, "means": means}
    rows = ",\n".join(f"    {json.dumps(key)}: {json.dumps(values)}" for key, values in scores.questions.items())
    text = json.dumps(head, indent=2)[:-2] + ',\n  "questions": {\n' + rows + "\n  }\n}\n"
    (path or SCORES).write_text(text, "utf-8")


def lines(scores: Scores, before: Scores | None = None) -> Iterator[str]:
    """The scores as a Markdown table, beside stored ones."""
    yield "| metric | questions | stored | noise | now |"
    yield "|---|---|---|---|---|"
    for name, score in scores.means.items():
        old = before.means.get(name) if before else None
        shown = f"{old.mean:.3f} | {old.noise:.3f}" if old else " | "
        yield f"| {name} | {score.n} | {shown} | {score.mean:.3f} |"


def main(arguments: Sequence[str] | None = None) -> int:
    """The script; returns the exit code: 1 where something has fallen."""
    parser = argparse.ArgumentParser(prog="python -m ragapp.eval.gate", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--write", action="store_true", help=f"store what is measured now in {SCORES.name}")
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="ragapp-gate-") as folder:
        now = measured(questions(), Path(folder))
    before = stored() if SCORES.exists() else None
    sys.stdout.write("\n".join([*lines(now, before), ""]))
    if given.write:
        write(now)
        return 0
    found = falls(before, now) if before else []
    sys.stderr.writelines(f"{fall}\n" for fall in found)
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
