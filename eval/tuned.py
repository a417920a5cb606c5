"""What a search for better settings found, and how far it may be believed; the files that are made of it.

The settings file is edited line by line, so that comments and everything that was not tuned stay as they are; what the
edited file says is then compared with what it should say. Not covered: files that spell a tuned table in another way
than with a header of its own ("search = {k = 5}"); those are refused, with the lines to put in by hand.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import tomllib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ragapp.errors import ConfigError
from ragapp.eval.stats import Difference
from ragapp.eval.variants import meant_still

MARK = "# Made by `ragapp tune`."
REPORT = "ragapp-tune.md"

_TABLE = re.compile(r"\s*\[\s*([A-Za-z0-9_-]+)\s*\]\s*(?:#.*)?")
_ANY_TABLE = re.compile(r"\s*\[")
_KEY = re.compile(r"\s*([A-Za-z0-9_-]+)\s*=")


@dataclass(frozen=True, slots=True)
class Fold:
    """One fold of the cross-validation: what was chosen on the other questions, and what it did for these.

    ``settings`` are those that differ from the present ones. ``trained`` is the mean gain over the questions it was
    chosen on, ``before`` and ``after`` are means over the ``questions`` that were held out.
    """

    settings: Mapping[str, object]
    trained: float
    questions: int
    before: float
    after: float


@dataclass(frozen=True, slots=True)
class Effect:
    """What one setting is worth beside the others: the mean over all questions falls by ``worth`` without it."""

    key: str
    before: object
    after: object
    worth: float


@dataclass(frozen=True, slots=True)
class Tuned:
    """The settings that a study of all questions chose, and the gain that the folds measured for such a choice.

    ``settings`` are the winner's that differ from the present ones; none where nothing was better. ``gain`` compares,
    question by question, what a fold's choice did for questions that it was not chosen on with the present settings;
    ``others`` does the same for further metrics. ``fitted`` are the means of all questions before and after, with the
    winner that was chosen on them: an upper bound, and no evidence. ``groups`` counts questions with different gold:
    questions of one gold lie in one fold and count as one. ``trials`` were measured on all their questions, ``pruned``
    were given up earlier. ``left_out`` are sentences about what was not searched, and why.
    """

    metric: str
    settings: Mapping[str, object]
    gain: Difference
    others: tuple[Difference, ...]
    fitted: tuple[float, float]
    folds: tuple[Fold, ...]
    effects: tuple[Effect, ...]
    questions: int
    groups: int
    set: str
    library: str
    trials: int
    pruned: int
    indexes: tuple[str, ...]
    left_out: tuple[str, ...]
    seed: int
    budget: float
    seconds: float
    cancelled: bool = False
    warnings: tuple[str, ...] = ()

    @property
    def significant(self) -> bool:
        """Whether the gain on held-out questions is more than noise, and there is something to be changed."""
        return self.gain.verdict == "better" and bool(self.settings)

    @property
    def needs_reindex(self) -> bool:
        """Whether the settings take effect only after a reindex."""
        return any(key.startswith(("chunker.", "embedder.")) for key in self.settings)


def write(tuned: Tuned, path: Path, *, force: bool = False) -> tuple[Path, ...]:
    """Write the winning settings into a settings file, and a report beside it; the files that were written.

    Nothing is written, and the result empty, where the gain is not significant. What the file says besides stays; keys
    that mean nothing to another chunker or reranker go. The old file is kept under a name that ends in ``.bak``. Raises
    ConfigError for a file that was not made here, unless ``force``, and for one that cannot be read, edited or written.
    """
    if not tuned.significant:
        return ()
    path = Path(os.path.expanduser(path))
    old = check_target(path, force=force)
    new = edited(old, tuned.settings, str(path))
    report = path.with_name(REPORT)
    try:
        if path.exists():
            shutil.copy2(path, _free(path))
        _put(path, new)
        _put(report, as_markdown(tuned))
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror or error}.", "Check its permissions.") from error
    return path, report


def check_target(path: Path, *, force: bool = False) -> str:
    """What a settings file says now; to be asked before a long search too. Raises ConfigError as ``write`` does."""
    path = Path(os.path.expanduser(path))
    try:
        old = path.read_text(encoding="utf-8") if path.exists() else ""
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"The settings file {path} cannot be read: {error}") from None
    _parsed(old, str(path))
    if old.strip() and MARK not in old and not force:
        raise ConfigError(
            f"{path} is there, and was not made by `ragapp tune`.",
            "--force changes only what was tuned and keeps a copy; or write to another file and use it with --config.",
        )
    if not os.access(path if path.exists() else path.absolute().parent, os.W_OK):
        raise ConfigError(f"{path} cannot be written.", "Is its folder there, and may it be written?")
    return old


# -- the settings file -----------------------------------------------------------------------------------------------


def edited(text: str, settings: Mapping[str, object], name: str = "the settings file") -> str:
    """The text of a settings file with these settings in it ({"search.depth": 80}), all else as it was.

    Raises ConfigError for a text that is no TOML, and for one that spells a tuned table in a way that is not edited.
    """
    before = _parsed(text, name)
    gone = _gone(before, settings)
    lines = text.splitlines()
    for key in gone:
        lines = _without(lines, *key.split(".", 1))
    for key, value in settings.items():
        table, name_in_it = key.split(".", 1)
        lines = _with(lines, table, name_in_it, _spelled(value))
    if MARK not in text:
        lines = [MARK, *lines]
    made = "\n".join(lines) + "\n"
    if _said(made) != _wanted(before, settings, gone):
        by_hand = "; ".join(
            f"[{key.split('.')[0]}] {key.split('.', 1)[1]} = {_spelled(v)}" for key, v in settings.items()
        )
        raise ConfigError(f"{name} spells a table in a way that is not edited here.", f"Put in by hand: {by_hand}.")
    return made


def _parsed(text: str, name: str) -> dict[str, dict[str, object]]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{name} is not valid TOML: {error}") from None


def _said(text: str) -> object:
    """What a text says; None where it is no TOML."""
    with suppress(tomllib.TOMLDecodeError):
        return tomllib.loads(text)
    return None


def _gone(before: Mapping[str, object], settings: Mapping[str, object]) -> list[str]:
    """Keys of a file that mean nothing to the chunker or reranker that is named instead."""
    found = []
    for kind in ("chunker", "reranker"):
        named, table = settings.get(f"{kind}.name"), before.get(kind)
        if named is not None and isinstance(table, dict):
            kept = {"name", *meant_still(kind, str(named))}
            found += [f"{kind}.{key}" for key in table if key not in kept and f"{kind}.{key}" not in settings]
    return found


def _wanted(
    before: Mapping[str, Mapping[str, object]], settings: Mapping[str, object], gone: Sequence[str]
) -> dict[str, object]:
    wanted = {table: dict(content) if isinstance(content, dict) else content for table, content in before.items()}
    for key in gone:
        table, name = key.split(".", 1)
        wanted[table].pop(name)  # type: ignore[union-attr]  # a table: it had the key
    for key, value in settings.items():
        table, name = key.split(".", 1)
        wanted.setdefault(table, {})[name] = value  # type: ignore[index]  # so is this, or the comparison fails
    return dict(wanted)


def _with(lines: Sequence[str], table: str, key: str, value: str) -> list[str]:
    """The lines with a key in a table, in the place where it stands or at the end of the table."""
    span = _span(lines, table)
    if span is None:
        return [*lines, *([""] if lines and lines[-1].strip() else []), f"[{table}]", f"{key} = {value}"]
    start, end = span
    at = _place(lines, start, end, key)
    if at is not None:
        return [*lines[:at], f"{key} = {value}", *lines[at + 1 :]]
    while end > start and not lines[end - 1].strip():
        end -= 1
    return [*lines[:end], f"{key} = {value}", *lines[end:]]


def _without(lines: Sequence[str], table: str, key: str) -> list[str]:
    span = _span(lines, table)
    at = None if span is None else _place(lines, *span, key)
    return list(lines) if at is None else [*lines[:at], *lines[at + 1 :]]


def _span(lines: Sequence[str], table: str) -> tuple[int, int] | None:
    """The lines of a table, without its header."""
    for place, line in enumerate(lines):
        match = _TABLE.fullmatch(line)
        if match and match[1] == table:
            start = place + 1
            return start, next((n for n in range(start, len(lines)) if _ANY_TABLE.match(lines[n])), len(lines))
    return None


def _place(lines: Sequence[str], start: int, end: int, key: str) -> int | None:
    for place in range(start, end):
        match = _KEY.match(lines[place])
        if match and match[1] == key:
            return place
    return None


def _spelled(value: object) -> str:
    """A value as TOML: JSON spells numbers, strings and truth alike."""
    return json.dumps(value, ensure_ascii=False)


def _free(path: Path) -> Path:
    """A name for a copy that nothing has yet."""
    names = [path.with_name(f"{path.name}.bak"), *(path.with_name(f"{path.name}.{n}.bak") for n in range(2, 1000))]
    return next((name for name in names if not name.exists()), names[-1])


def _put(path: Path, text: str) -> None:
    """Write a file whole or not at all, with the permissions it had: it may hold a key."""
    made = path.with_name(f".{path.name}-{secrets.token_hex(6)}")
    try:
        made.write_text(text, encoding="utf-8")
        if path.exists():
            shutil.copymode(path, made)
        os.replace(made, path)
    finally:
        made.unlink(missing_ok=True)


# -- the report ------------------------------------------------------------------------------------------------------


def as_markdown(tuned: Tuned) -> str:
    """The report that people read."""
    parts = [
        f"# Settings for {cell(tuned.library)}, tuned with {cell(tuned.set)}",
        verdict(tuned),
        *_table("## What the chosen settings change", ("setting", "now", "chosen", f"worth ({tuned.metric})"),
                [(e.key, e.before, e.after, f"{e.worth:+.3f}") for e in tuned.effects]),
        *_chosen(tuned),
        *_table("## On questions that were held out", ("metric", "now", "chosen", "change", "95 % interval", "verdict"),
                [_difference(each) for each in (tuned.gain, *tuned.others)]),
        *_table("## The folds", ("fold", "questions", "gain where it was chosen", "now", "chosen", "settings"),
                [_fold(n, fold) for n, fold in enumerate(tuned.folds, 1)]),
        _how(tuned),
        *_list("## Not searched", tuned.left_out),
        *_list("## Warnings", tuned.warnings),
    ]  # fmt: skip
    return "\n\n".join(parts) + "\n"


def verdict(tuned: Tuned) -> str:
    """What came out, in sentences."""
    gain = tuned.gain
    change = (
        f"{gain.difference:+.3f} ({gain.low:+.3f} to {gain.high:+.3f}), from {gain.mean_a:.3f} to {gain.mean_b:.3f}"
    )
    counted = f"over {gain.n} questions that the choice had not seen"
    stopped = "The search was stopped early. " if tuned.cancelled else ""
    if tuned.significant:
        again = " Run `ragapp reindex` for the new chunks." if tuned.needs_reindex else ""
        return f"{stopped}{tuned.metric} rises by {change} {counted}: more than noise.{again}"
    if not tuned.settings:
        few = "" if tuned.trials else "No trial was finished in the time: give it more (--seconds). "
        return f"{stopped}{few}Nothing was better than the present settings. Keep them."
    if gain.verdict == "worse":
        return (
            f"{stopped}What is chosen on some questions makes others worse: {tuned.metric} changes by {change} "
            f"{counted}. Keep the present settings."
        )
    return (
        f"{stopped}{tuned.metric} changes by {change} {counted}: within noise. Keep the present settings, "
        "or try again with more questions."
    )


def _chosen(tuned: Tuned) -> list[str]:
    if not tuned.settings:
        return []
    said = edited("", tuned.settings).removeprefix(f"{MARK}\n").strip()
    title = "## As `ragapp.toml`" if tuned.significant else "## The choice, which is not written to any file"
    return [title, f"```toml\n{said}\n```"]


def _difference(each: Difference) -> tuple[object, ...]:
    return (
        each.metric, f"{each.mean_a:.3f}", f"{each.mean_b:.3f}", f"{each.difference:+.3f}",
        f"{each.low:+.3f} to {each.high:+.3f}", each.verdict,
    )  # fmt: skip


def _fold(number: int, fold: Fold) -> tuple[object, ...]:
    said = ", ".join(f"{key}={value}" for key, value in fold.settings.items()) or "as they are"
    return number, fold.questions, f"{fold.trained:+.3f}", f"{fold.before:.3f}", f"{fold.after:.3f}", said


def _how(tuned: Tuned) -> str:
    before, after = tuned.fitted
    return (
        f"## How\n\n{tuned.questions} questions with {tuned.groups} different gold places; questions of one gold place "
        f"count as one. {tuned.trials} trials, {tuned.pruned} more given up early, in {tuned.seconds:.0f} of "
        f"{tuned.budget:.0f} s, seed {tuned.seed}. Indexes: {'; '.join(tuned.indexes)}. On the very questions that the "
        f"settings were chosen with, {tuned.metric} goes from {before:.3f} to {after:.3f}: that is no evidence, as any "
        "choice looks good on what it was chosen with."
    )


def _table(title: str, heads: Sequence[str], rows: Sequence[Sequence[object]]) -> list[str]:
    if not rows:
        return []
    lines = [heads, ["---"] * len(heads), *rows]
    return [title, "\n".join(f"| {' | '.join(cell(each) for each in line)} |" for line in lines)]


def _list(title: str, sentences: Sequence[str]) -> list[str]:
    return [title, "\n".join(f"- {cell(sentence)}" for sentence in sentences)] if sentences else []


def cell(value: object) -> str:
    """A text as it may stand in a table: in one line, with no mark of a table or of HTML."""
    said = " ".join(str(value).split())
    return said.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;")
