"""The search for the settings that serve one's own documents best, cross-validated.

First other indexes are made, as many as fit into a part of the time; then settings are tried, one study for every fold
and one for all questions, by turns. A fold's study sees nothing of the questions that its choice is measured on: not
even where to look. What is measured once serves all studies. Trials begin with a quarter of the questions; the worse
half of them goes no further (successive halving, Jamieson & Talwalkar 2016; the sampler is optuna's TPE).

A study's choice is put back to the present settings one by one, as long as its own questions do not get worse. The
settings to write are those of the study of all questions; what they are worth is told by the folds alone: for each
question the score under the choice of a study that did not know it, against that under the present settings.

Not covered: times (a trial reads rankings that were kept) and readers of files, which would need the files.
"""

from __future__ import annotations

import random
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ragapp.errors import ConfigError
from ragapp.eval.dataset import Dataset, Question, placed
from ragapp.eval.measures import higher_is_better
from ragapp.eval.retrieval import why_not
from ragapp.eval.space import INDEXES, Settings, Space, space_of
from ragapp.eval.stats import Difference, holm, paired
from ragapp.eval.trials import Trials, key_of, kind_of
from ragapp.eval.tuned import Effect, Fold, Tuned, as_markdown, check_target, write
from ragapp.eval.variants import Variants
from ragapp.rag import Rag

if TYPE_CHECKING:
    from optuna.study import Study
    from optuna.trial import Trial

__all__ = ["Effect", "Fold", "State", "Tuned", "as_markdown", "check_target", "groups_of", "parted", "tune", "write"]

INDEXING = 0.4  # of the time, for other indexes
SEARCHING = 0.85  # of the time, until no more trials are begun; the rest is for the choices
AT_LEAST = 0.65  # of the time, until which trials are begun, however long one takes
SAMPLING = 0.02  # of the time, that one trial of all questions may take, or fewer questions are looked at …
FAIR = 40  # … but not fewer than these
FEWEST = 10  # questions of different gold: with less no gain could be told from noise
MOST = 500  # questions that are looked at
SHARES = (0.25, 0.5, 1.0)  # of the questions, after which a trial may be given up
TINY = 1e-9
OTHERS = (
    "pages.mrr@10", "pages.success@1", "pages.success@5", "pages.recall@10", "passages.success@5",
    "documents.success@1", "answer.f1", "answer.holds", "citation.page_recall", "refusal.false",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class State:
    """Where a search stands: ``stage`` is "present", "indexes", "trials" or "choices", ``what`` says what is tried.

    ``best`` is the best mean over all questions so far, ``now`` that of the present settings; None before they are
    known. ``seconds`` have gone by of ``budget``.
    """

    stage: str
    what: str
    trials: int
    seconds: float
    budget: float
    now: float | None = None
    best: float | None = None


class _Over(Exception):
    """The time is over, or somebody wants no more."""


def tune(
    rag: Rag,
    dataset: Dataset,
    *,
    folder: Path,
    seconds: float = 600.0,
    folds: int = 5,
    seed: int = 0,
    metric: str = "pages.mrr@10",
    rounds: int | None = None,
    progress: Callable[[State], None] = lambda _: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> Tuned:
    """Search better settings for a library and its questions for ``seconds``, and say what they gain.

    ``folder`` holds the other indexes; a later search of the same library finds them there. ``rounds`` are trials of
    every study at most: with enough time, the same seed gives the same result. Once ``cancelled()`` is true the search
    ends with the best so far. Nothing of the library and its settings is changed; see ``write``.

    Raises ConfigError for a metric that is unknown or not to be raised, for too few questions or folds, and where the
    time does not suffice for the present settings.
    """
    clock = _Clock(seconds, cancelled)
    if seconds <= 0 or folds < 2 or (rounds is not None and rounds < 1):
        raise ConfigError("A search takes more than 0 seconds, at least 2 folds and at least 1 round.")
    if higher_is_better(metric) is not True or metric.startswith("tokens_"):
        raise ConfigError(
            f"{metric} cannot be tuned: it is a time, or more of it is not better.", "pages.mrr@10 is a usual choice."
        )
    kind = kind_of(metric)
    asked = placed(dataset, [entry.document for entry in rag.documents()])
    with Variants(rag, folder) as variants:
        metrics = (metric, *OTHERS)
        trials = Trials(variants, asked.questions, kind=kind, seed=seed, metrics=metrics, check=clock.check)
        search = _Search(rag, asked, variants, trials, metric, seed, clock, progress, warnings=[*asked.warnings])
        try:
            return search.run(folds, rounds)
        finally:
            trials.close()


@dataclass(slots=True)
class _Clock:
    """The time there is. ``until`` is what ``check`` looks at: a share of it."""

    budget: float
    cancelled: Callable[[], bool]
    until: float = 1.0
    started: float = field(default_factory=time.monotonic)

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.started

    @property
    def left(self) -> float:
        """Seconds until ``until``."""
        return self.until * self.budget - self.seconds

    def check(self) -> None:
        """Raise _Over when the time is over, or nobody wants more."""
        if self.left <= 0 or self.cancelled():
            raise _Over


@dataclass(slots=True)
class _Study:
    """One optuna study: the questions it sees, those held out from it, and what was measured on all it sees."""

    study: Study
    seen: Sequence[str]
    held: Sequence[str]
    measured: dict[str, tuple[float, Settings]] = field(default_factory=dict)

    @property
    def rungs(self) -> list[Sequence[str]]:
        """The questions of each step of a trial: the first ones, in an order that was drawn once."""
        return [self.seen[: max(1, round(share * len(self.seen)))] for share in SHARES]


@dataclass(slots=True)
class _Search:
    """One search under way."""

    rag: Rag
    dataset: Dataset
    variants: Variants
    trials: Trials
    metric: str
    seed: int
    clock: _Clock
    progress: Callable[[State], None]
    left_out: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    done: int = 0
    pruned: int = 0
    now: float | None = None
    best: float | None = None
    trial_seconds: float = 0.0

    def run(self, folds: int, rounds: int | None) -> Tuned:
        groups = self._measurable()
        parts = parted(groups, folds, self.seed)
        space = self._space([name for part in parts for name in part])
        studies = [self._study(parts, held, space) for held in range(-1, len(parts))]
        self._try(studies, space, rounds)
        return self._chosen(studies, space, groups)

    # -- the questions -------------------------------------------------------------------------------------------

    def _measurable(self) -> list[list[str]]:
        """The questions that have the metric under the present settings, by gold. Raises ConfigError for too few."""
        order = [name for group in self._sampled() for name in group]
        self._tell("present", "the settings as they are")
        try:
            looked_at = self._affordable(order)
            kept = list(self.trials.scores({}, looked_at, self.metric))
        except _Over:
            raise self._too_late() from None
        self._count(looked_at, kept)
        groups = groups_of([self.trials.questions[name] for name in kept])
        if len(groups) < FEWEST:
            raise ConfigError(
                f"{len(groups)} questions with different gold have {self.metric}; at least {FEWEST} are needed to "
                "choose settings by some of them and to measure the choice with the others.",
                "Write more questions, or let `ragapp eval make` write some.",
            )
        self.now = self.trials.mean({}, kept, self.metric)
        return groups

    def _sampled(self) -> list[list[str]]:
        """The questions by gold in an order of chance, at most MOST of them."""
        groups = groups_of(self.dataset.questions)
        random.Random(self.seed).shuffle(groups)
        found: list[list[str]] = []
        for group in groups:
            if found and sum(map(len, found)) + len(group) > MOST:
                break
            found.append(group)
        return found

    def _affordable(self, order: Sequence[str]) -> Sequence[str]:
        """As many of the questions as one trial may have."""
        # The first questions load models, so the next ones tell how long a question takes.
        self.trials.scores({}, order[:FEWEST], self.metric)
        begun = self.clock.seconds
        self.trials.scores({}, order[FEWEST : 2 * FEWEST], self.metric)
        each = (self.clock.seconds - begun) / FEWEST
        found = order[: max(FAIR, int(SAMPLING * self.clock.budget / max(each, TINY)))]
        self.trial_seconds = each * len(found)
        return found

    def _count(self, looked_at: Sequence[str], kept: Sequence[str]) -> None:
        everything = len(self.dataset.questions)
        if len(looked_at) < everything:
            self.left_out.append(
                f"{everything - len(looked_at):,} of {everything:,} questions, drawn by chance: the time does not "
                "suffice for more."
            )
        reasons: dict[str, int] = defaultdict(int)
        for name in set(looked_at) - set(kept):
            reasons[why_not(self.trials.questions[name], self.metric)] += 1
        for reason, count in sorted(reasons.items()):
            self.warnings.append(f"{count:,} questions have no {self.metric}: {reason}.")

    def _too_late(self) -> ConfigError:
        return ConfigError(
            f"The search ended after {self.clock.seconds:.0f} s, before the present settings were measured.",
            "Give it more time (--seconds), or fewer questions.",
        )

    # -- the indexes ---------------------------------------------------------------------------------------------

    def _space(self, names: Sequence[str]) -> Space:
        """What may be tried, with the indexes that could be made in time."""
        questions = [self.trials.questions[name] for name in names]
        kind = kind_of(self.metric)
        space = space_of(self.rag, questions, self._indexes(), answers=kind == "ask")
        if kind == "search":
            self.left_out.append(
                "[answer] context_tokens: it only changes answers, and lists of passages are measured."
            )
        if self.rag.chat is None:
            self.left_out.append("[search] hyde: no Llama is set.")
        elif kind == "search" and not self._can_imagine(questions):
            space = replace(space, knobs=tuple(knob for knob in space.knobs if knob.key != "search.hyde"))
        return space

    def _can_imagine(self, questions: Sequence[Question]) -> bool:
        """Whether the Llama can imagine a passage for every question within a part of the time."""
        some = [question.id for question in questions][:2]
        begun = self.clock.seconds
        try:
            self.trials.scores({"search.hyde": "on"}, some, self.metric)
        except _Over:
            return False
        wanted = (self.clock.seconds - begun) / len(some) * len(questions)
        if wanted <= INDEXING * self.clock.left:
            return True
        self.left_out.append(f"[search] hyde: the Llama would write about {wanted:.0f} s for all questions.")
        return False

    def _indexes(self) -> list[Settings]:
        """Other indexes, made as far as the time for them goes."""
        made: list[Settings] = []
        missing: list[Settings] = []
        known = {""}
        self.clock.until = INDEXING
        for settings in INDEXES:
            try:
                name = self.variants.index_of(settings)
            except ConfigError as error:  # a chunker that this embedder does not go with
                self.left_out.append(f"{_named(settings)}: {error.message}")
                continue
            if name not in known:
                known.add(name)
                (made if self._make(settings) else missing).append(settings)
        self.clock.until = 1.0
        if missing:
            self.left_out.append(self._not_made(made, missing))
        return made

    def _not_made(self, made: Sequence[Settings], missing: Sequence[Settings]) -> str:
        which = f"{len(missing)} of {len(missing) + len(made)} other indexes ({'; '.join(map(_named, missing))})"
        if self.clock.cancelled():
            return f"{which}: the search was stopped."
        wanted = max(self.variants.expected(settings) for settings in missing)
        may = INDEXING * self.clock.budget
        return f"{which}: one takes about {wanted:.0f} s, and all may take {may:.0f} s."

    def _make(self, settings: Settings) -> bool:
        """Make one index; False where the time does not suffice."""
        self._tell("indexes", _named(settings))

        def tell(_: object) -> None:
            self.clock.check()
            self._tell("indexes", _named(settings))

        try:
            self.clock.check()
            # A guess may be wrong: the first index is begun even so, and can be stopped.
            if self.variants.expected(settings) > self.clock.left * (1 if self.variants.has_timed else 2):
                return False
            self.variants.open(settings, progress=tell).close()
        except _Over:
            return False
        return True

    # -- the trials ----------------------------------------------------------------------------------------------

    def _study(self, parts: Sequence[Sequence[str]], held: int, space: Space) -> _Study:
        """The study that does not see one part; of all of them for -1."""
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        seed = self.seed * 1009 + held + 1
        study = optuna.create_study(
            direction="maximize",
            sampler=optuna.samplers.TPESampler(seed=seed),
            pruner=optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=2),
        )
        for start in space.starts():
            study.enqueue_trial(dict(start))
        seen = [name for place, part in enumerate(parts) if place != held for name in part]
        random.Random(seed).shuffle(seen)
        return _Study(study, seen, parts[held] if held >= 0 else ())

    def _try(self, studies: Sequence[_Study], space: Space, rounds: int | None) -> None:
        """Trials by turns, until the time for them is over."""
        number = 0
        try:
            while rounds is None or number < rounds:
                for study in studies:
                    self._one(study, space)
                number += 1
        except _Over:
            pass
        self.clock.until = 1.0

    def _one(self, study: _Study, space: Space) -> None:
        """One trial of one study, given up when it is no good."""
        from optuna.trial import TrialState

        # What the folds choose is measured afterwards: about as much as one trial.
        self.clock.until = max(AT_LEAST, SEARCHING - self.trial_seconds / self.clock.budget)
        self.clock.check()
        begun = self.clock.seconds
        trial = study.study.ask()
        settings = space.draw(trial)
        self._tell("trials", _named(settings) or "the settings as they are")
        try:
            mean = self._climbed(study, trial, settings)
        except _Over:
            study.study.tell(trial, state=TrialState.FAIL)
            raise
        if mean is None:
            self.pruned += 1
            study.study.tell(trial, state=TrialState.PRUNED)
            return
        self.done += 1
        self.trial_seconds += (self.clock.seconds - begun - self.trial_seconds) / 2
        study.measured[key_of(settings)] = mean, settings
        if not study.held:
            self.best = max(mean, self.best or 0.0)
        study.study.tell(trial, mean)

    def _climbed(self, study: _Study, trial: Trial, settings: Settings) -> float | None:
        """The mean over all that a study sees; None where a part of it showed that there are better ones."""
        mean = 0.0
        for step, names in enumerate(study.rungs):
            mean = self.trials.mean(settings, names, self.metric)
            trial.report(mean, 2**step)
            if len(names) < len(study.seen) and trial.should_prune():
                return None
        return mean

    # -- the choice ----------------------------------------------------------------------------------------------

    def _chosen(self, studies: Sequence[_Study], space: Space, groups: Sequence[Sequence[str]]) -> Tuned:
        stopped = self.clock.cancelled()
        everything, *folds = studies
        self._tell("choices", "what the folds chose")
        winner = self._winner(everything, space)
        choices = [self._winner(study, space) for study in folds]
        names = everything.seen
        effects = self._effects(winner, space, names)
        # What is left is measured in any case: it is little, and without it nothing is known.
        self.clock.until = float("inf")
        self.clock.cancelled = lambda: False
        held = {name: choice for study, choice in zip(folds, choices, strict=True) for name in study.held}
        gain, *others = self._compared(held, groups)
        return Tuned(
            metric=self.metric,
            settings=winner,
            gain=gain,
            others=tuple(others),
            fitted=(self._mean({}, names), self._mean(winner, names)),
            folds=tuple(self._fold(study, choice) for study, choice in zip(folds, choices, strict=True)),
            effects=effects,
            questions=len(names),
            groups=len(groups),
            set=self.dataset.name,
            library=self.rag.name,
            trials=self.done,
            pruned=self.pruned,
            indexes=tuple(_named(settings) or "as it is" for settings in space.indexes),
            left_out=tuple(self.left_out),
            seed=self.seed,
            budget=self.clock.budget,
            seconds=round(self.clock.seconds, 1),
            cancelled=stopped,
            warnings=(*self.warnings, *_elsewhere(self.rag)),
        )

    def _winner(self, study: _Study, space: Space) -> Settings:
        """What a study chose: its best, without changes that do its questions no good."""
        measured = [(mean, settings) for mean, settings in study.measured.values()]
        now = self.trials.mean({}, study.seen, self.metric) if study.seen else 0.0
        best, settings = max(measured, key=lambda pair: (pair[0], -len(pair[1]), key_of(pair[1])), default=(now, {}))
        if best <= now + TINY:
            return {}
        try:
            while True:
                simpler = next((s for _, s in space.reverted(settings) if self._is_no_worse(s, best, study)), None)
                if simpler is None:
                    return settings
                settings = simpler
        except _Over:
            return settings

    def _is_no_worse(self, settings: Settings, best: float, study: _Study) -> bool:
        return self.trials.mean(settings, study.seen, self.metric) >= best - TINY

    def _mean(self, settings: Settings, names: Iterable[str]) -> float:
        return self.trials.mean(settings, names, self.metric)

    def _fold(self, study: _Study, choice: Settings) -> Fold:
        return Fold(
            choice,
            self._mean(choice, study.seen) - self._mean({}, study.seen),
            len(study.held),
            self._mean({}, study.held),
            self._mean(choice, study.held),
        )

    def _effects(self, winner: Settings, space: Space, names: Sequence[str]) -> tuple[Effect, ...]:
        """What each change is worth, as far as there is time to find out."""
        found: list[Effect] = []
        with suppress(_Over):
            best = self._mean(winner, names)
            for key, without in space.reverted(winner):
                worth = best - self._mean(without, names)
                if key == "chunker":
                    chosen = _named({name: value for name, value in winner.items() if name.startswith("chunker.")})
                    found.append(Effect(key, _chunker(self.rag), chosen, worth))
                else:
                    found.append(Effect(key, space.now[key], winner[key], worth))
        return tuple(found)

    def _compared(self, held: Mapping[str, Settings], groups: Sequence[Sequence[str]]) -> list[Difference]:
        """The gain on held-out questions, first that of the metric; questions of one gold count as one."""
        found: list[Difference] = []
        for metric in dict.fromkeys((self.metric, *OTHERS)):
            before: dict[str, float] = {}
            after: dict[str, float] = {}
            for group in groups:
                a = self.trials.scores({}, group, metric)
                b = self.trials.scores(held[group[0]], group, metric)
                if a and b:
                    before[group[0]], after[group[0]] = sum(a.values()) / len(a), sum(b.values()) / len(b)
            if before:
                better = higher_is_better(metric)
                found.append(paired(before, after, metric=metric, higher_is_better=better, seed=self.seed))
        return [found[0], *holm(found[1:])]

    def _tell(self, stage: str, what: str) -> None:
        self.progress(State(stage, what, self.done, self.clock.seconds, self.clock.budget, self.now, self.best))


def groups_of(questions: Iterable[Question]) -> list[list[str]]:
    """Ids of questions, those of the same gold places together: they say the same in other words.

    Where only the document is known, each question is one of its own.
    """
    groups: dict[object, list[str]] = defaultdict(list)
    for question in questions:
        places = frozenset((gold.document, gold.pages, gold.quote) for gold in question.gold)
        is_telling = any(gold.pages or gold.quote for gold in question.gold)
        groups[places if is_telling else question.id].append(question.id)
    return list(groups.values())


def parted(groups: Sequence[Sequence[str]], folds: int, seed: int) -> list[list[str]]:
    """The questions in at most ``folds`` parts of like size, by chance; those of a group lie in one part."""
    order = list(groups)
    random.Random(seed).shuffle(order)
    parts: list[list[str]] = [[] for _ in range(min(folds, len(order)))]
    for group in sorted(order, key=len, reverse=True):
        min(parts, key=len).extend(group)
    return parts


def _named(settings: Settings) -> str:
    """Settings in a line: "chunker.name=headings, search.depth=80"."""
    return ", ".join(f"{key}={value}" for key, value in settings.items())


def _chunker(rag: Rag) -> str:
    return f"{rag.config.chunker.name} {rag.config.chunker.tokens}"


def _elsewhere(rag: Rag) -> list[str]:
    """What a settings file alone would not say: settings that were given in other ways."""
    keys = sorted(key for key, source in rag.config.sources.items() if source == "flag" or source.startswith("$"))
    if not keys:
        return []
    return [f"Settings from flags or the environment were in force and are not written to the file: {', '.join(keys)}."]
