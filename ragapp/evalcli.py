"""The commands that measure: ``ragapp eval …``, ``ragapp tune`` and ``ragapp bench``."""

from __future__ import annotations

import json
import shlex
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ragapp import console, evalview
from ragapp.errors import ConfigError, NotFound, RagappError
from ragapp.options import ConfigFile, FlowName, Json, Library, Llm, Set, flags_of, opened

if TYPE_CHECKING:
    from ragapp.eval.dataset import Dataset
    from ragapp.eval.judging import Judged
    from ragapp.eval.records import Record, RunFolder
    from ragapp.rag import Rag

evaluate = typer.Typer(
    help="Measure search and answers with questions of your own.", no_args_is_help=True, rich_markup_mode=None
)

RUNS = Path("ragapp-runs")
STOPPED = 130  # the exit code of a command that Ctrl-C ended
FAILED = 3  # some questions failed

Questions = Annotated[str, typer.Argument(help="File of questions, BEIR folder, or the word demo.", metavar="SET")]
Runs = Annotated[Path, typer.Option("--runs", help="Folder of the runs.")]
Seed = Annotated[int, typer.Option("--seed", help="Number that everything drawn at random begins with.")]
Run = Annotated[str, typer.Argument(help="Name or folder of a run.", metavar="RUN")]


# -- sets --------------------------------------------------------------------------------------------------------------


@evaluate.command("import")
def import_(
    source: Annotated[Path, typer.Argument(help="SQuAD's JSON, a BEIR folder, CSV or TSV, JSON lines.")],
    out: Annotated[Path, typer.Argument(help="File to write, one question a line.")],
    *,
    documents: Annotated[
        Path | None, typer.Option("--documents", help="Folder for the set's own texts, to be ingested.")
    ] = None,
    originals: Annotated[
        list[Path] | None,
        typer.Option("--originals", help="Set that paraphrases take gold and answers from. May be repeated."),
    ] = None,
    split: Annotated[str, typer.Option("--split", help="Which qrels of a BEIR folder.")] = "test",
    format_: Annotated[
        str, typer.Option("--format", help="Name of the format, where it cannot be told from the file.")
    ] = "",
    force: Annotated[bool, typer.Option("--force", help="Overwrite a file that is there.")] = False,
    as_json: Json = False,
) -> None:
    """Turn a set of questions into a file that `ragapp eval run` reads and people can edit."""
    from ragapp.eval.dataset import completed, load, save
    from ragapp.eval.formats import export
    from ragapp.eval.values import counted

    _check_free(out, force=force)
    if documents is None:
        dataset, written = load(source, format=format_, split=split), 0
    else:
        made = export(source, documents, format=format_, split=split)
        dataset, written = made.dataset, len(made.files)
    if originals:
        dataset = completed(dataset, *map(load, originals))
    save(dataset, out)
    if as_json:
        console.out_json({"file": str(out), "questions": len(dataset.questions), "documents": written,
                          "warnings": list(dataset.warnings)})  # fmt: skip
        return
    _warn(dataset)
    console.out(f"{counted(len(dataset.questions), 'question')} written to {out}.")
    if documents is not None:
        console.out(f"{counted(written, 'document')} written to {documents}.")
        console.talk(f"Next: ragapp ingest {documents}; ragapp eval run {out}")


@evaluate.command()
def make(
    out: Annotated[Path, typer.Argument(help="File to write, one question a line.")],
    *,
    count: Annotated[int, typer.Option("--count", min=1, help="Questions at the most.")] = 50,
    language: Annotated[
        Literal["en", "zh"] | None, typer.Option("--language", help="Only of documents in this language.")
    ] = None,
    kinds: Annotated[
        list[str] | None, typer.Option("--kind", help="Only questions of this kind. May be repeated.")
    ] = None,
    variants: Annotated[
        bool, typer.Option("--variants/--no-variants", help="Other wordings, so that shared words do not flatter.")
    ] = True,
    seed: Seed = 0,
    force: Annotated[bool, typer.Option("--force", help="Overwrite a file that is there.")] = False,
    llm: Llm = None,
    library: Library = None,
    config: ConfigFile = None,
    settings: Set = None,
    as_json: Json = False,
) -> None:
    """Make questions of the library's own documents: by the Llama where one is set, else from their structure."""
    from ragapp.eval import synth
    from ragapp.eval.dataset import save
    from ragapp.eval.values import counted

    _check_free(out, force=force)
    with (
        opened(library, config, settings, create=False, llm=llm) as rag,
        evalview.progress(quiet=as_json) as tell,
        _stoppable() as stopped,
    ):
        dataset = synth.make(
            rag, count=count, seed=seed, kinds=kinds or synth.KINDS, language=language, variants=variants,
            progress=lambda done, total: tell("questions", done, total, ""), cancelled=stopped,
        )  # fmt: skip
    save(dataset, out)
    if as_json:
        console.out_json({"file": str(out), "questions": len(dataset.questions), "warnings": list(dataset.warnings)})
        return
    _warn(dataset)
    console.out(f"{counted(len(dataset.questions), 'question')} written to {out}.")
    console.talk(f"Read them first: it is a file to be edited. Next: ragapp eval run {out}")


# -- runs --------------------------------------------------------------------------------------------------------------


@evaluate.command("run")
def run_(
    questions: Questions,
    *,
    search: Annotated[bool, typer.Option("--search", help="Only search, without answers.")] = False,
    flow: FlowName = None,
    llm: Llm = None,
    k: Annotated[int, typer.Option("-k", min=1, help="Hits to record; never fewer than 20.")] = 20,
    name: Annotated[str | None, typer.Option("--name", help="Name of the run.  [default: made of what is run]")] = None,
    runs: Runs = RUNS,
    fresh: Annotated[bool, typer.Option("--fresh", help="Begin anew where a run of this name is there.")] = False,
    workers: Annotated[int, typer.Option("--workers", min=0, help="Questions at a time; 0: as many as help.")] = 0,
    seed: Seed = 0,
    judge: Annotated[bool, typer.Option("--judge", help="Also let the Llama say which answers are right.")] = False,
    ragas: Annotated[
        list[str] | None, typer.Option("--ragas", help="Also a metric of ragas, like Faithfulness. May be repeated.")
    ] = None,
    traces: Annotated[bool, typer.Option("--traces/--no-traces", help="Keep all that led to each answer.")] = True,
    library: Library = None,
    config: ConfigFile = None,
    settings: Set = None,
    as_json: Json = False,
) -> None:
    """Ask every question of a set and measure. A run that was stopped goes on with the same command."""
    from ragapp.eval import judging, runner

    if search and flow:
        raise ConfigError("A flow makes answers, and --search asks for none.", "Leave out one of the two.")
    if search and (judge or ragas):
        raise ConfigError("--judge and --ragas look at answers, and --search asks for none.", "Leave out --search.")
    with _asked(questions, library, config, settings, llm=llm, quiet=as_json) as (rag, dataset):
        _check_judges(rag, dataset, judge=judge, ragas=ragas or ())
        kind: Literal["search", "ask"] = "search" if search else "ask"
        at_once = workers or _helpful(rag, search=search)
        planned = runner.planned(rag, dataset, kind=kind, flow=flow, k=k, seed=seed, workers=at_once)
        called = name or runner.free_name(runs, planned)
        with evalview.progress(quiet=as_json) as tell:
            means = _Means(runs, called)
            try:
                made = runner.run(
                    rag, dataset, name=called, runs=runs, kind=kind, flow=flow, k=k, seed=seed, workers=at_once,
                    resume=not fresh, traces=traces,
                    progress=lambda done, total, record: tell("questions", done, total, means.note(record)),
                )  # fmt: skip
            except KeyboardInterrupt:
                console.talk(f"Stopped. What was done is kept in {runs / called}; the same command goes on from there.")
                raise typer.Exit(STOPPED) from None
        judged, stopped = _judged(rag, made, quiet=as_json) if judge else (None, False)
        more = judging.ragas_scores(ragas, made.dataset(), made.records(), model=rag.chat) if ragas else {}
    _end(made, runs, judged, more, as_json=as_json)
    if stopped:
        raise typer.Exit(STOPPED)


def _check_judges(rag: Rag, dataset: Dataset, *, judge: bool, ragas: Sequence[str]) -> None:
    """Raise ConfigError where nobody can judge, or ragas cannot be used: before the work."""
    from ragapp.eval import judging

    if judge and rag.chat is None:
        raise ConfigError("No model is set that could judge.", "Name one with --llm.")
    if judge and not any(map(judging.references, dataset.questions)):
        raise ConfigError("No question says what a right answer is, so none can be judged.", "Add answers to the set.")
    if ragas:
        judging.ragas_scores(ragas, dataset, (), model=rag.chat)


def _judged(rag: Rag, run: RunFolder, *, quiet: bool) -> tuple[Judged | None, bool]:
    """What the library's model says of the answers of a run, also at earlier times; and whether it was stopped."""
    from ragapp.eval import judging
    from ragapp.trace import without_login

    judge = judging.ModelJudge(rag.chat, without_login(rag.config.chat.model))
    before = judging.kept(run.path, judge.name)
    known = before.verdicts if before else {}
    left = [each for each in run.records() if each.id not in known and judging.is_judgeable(each)]
    with evalview.progress(quiet=quiet) as tell, _stoppable() as stopped:

        def note(said: judging.Judgement) -> None:
            judging.keep(run.path, judge.name, said)
            done.append(said.id)
            tell("answers judged", len(done), len(left), "")

        done: list[str] = []
        judging.judged(judge, run.dataset(), left, progress=note, cancelled=stopped)
        return judging.kept(run.path, judge.name), stopped()


def _end(
    run: RunFolder, runs: Path, judged: Judged | None, more: Mapping[str, Mapping[str, float]], *, as_json: bool
) -> None:
    from ragapp.eval.measures import summary
    from ragapp.trace import plain

    found = summary(run.dataset(), run.records(), judged=judged, more=more)
    if as_json:
        console.out_json({"run": str(run.path), "manifest": plain(run.manifest), "summary": plain(found)})
    else:
        evalview.run_end(run, found)
        elsewhere = "" if runs == RUNS else f" --runs {runs}"
        console.talk(
            f"The run is kept as {run.name}. Next:\n"
            f"  ragapp eval report {run.name}{elsewhere}\n"
            f"  ragapp eval show {run.name} ID{elsewhere}\n"
            f"  ragapp eval compare {run.name} OTHER{elsewhere}"
        )
    if found.errors:
        raise typer.Exit(FAILED)


class _Means:
    """The running mean of the first headline measure that applies, over what this and earlier commands have done."""

    def __init__(self, runs: Path, name: str) -> None:
        self._runs, self._name = runs, name
        self._values: dict[str, dict[str, float]] | None = None
        self._dataset: Dataset | None = None

    def note(self, record: Record) -> str:
        from ragapp.eval.measures import HEADLINE, of_run
        from ragapp.eval.records import RunFolder

        if self._values is None or self._dataset is None:
            run = RunFolder.open(self._runs / self._name)
            self._dataset = run.dataset()
            self._values = of_run(self._dataset, run.records())
        self._values.update(of_run(self._dataset, [record]))
        for metric in HEADLINE:
            values = [scores[metric] for scores in self._values.values() if metric in scores]
            if values:
                return f"{metric} {sum(values) / len(values):.3f}"
        return ""


@evaluate.command("list")
def list_(runs: Runs = RUNS, as_json: Json = False) -> None:
    """Show the runs of a folder."""
    from ragapp.eval.records import runs_in
    from ragapp.trace import plain

    found = [(run.manifest, _done(run)) for run in runs_in(runs)]
    if as_json:
        console.out_json([{**plain(manifest), "done": done} for manifest, done in found])
    elif found:
        console.table(("name", "set", "kind", "done", "begun (UTC)", "settings"), evalview.run_rows(found))
    else:
        console.talk(f"There are no runs in {runs}. `ragapp eval run SET` makes one.")


def _done(run: RunFolder) -> int | None:
    """How many questions of a run have a record; None where its records are damaged: the other runs are fine."""
    try:
        return len(run.records())
    except RagappError as error:
        console.talk(f"warning: {error.message}")
        return None


@evaluate.command()
def show(
    run: Run,
    question: Annotated[str, typer.Argument(help="Id of a question.", metavar="ID")],
    runs: Runs = RUNS,
    as_json: Json = False,
) -> None:
    """Show one question of a run: its gold, what was found, what was answered, how long each step took."""
    from difflib import get_close_matches

    from ragapp.eval.dataset import shape_of
    from ragapp.eval.measures import of_run
    from ragapp.eval.records import find_run
    from ragapp.trace import plain

    folder = find_run(runs, run)
    dataset, records = folder.dataset(), {record.id: record for record in folder.records()}
    asked = next((each for each in dataset.questions if each.id == question), None)
    if asked is None:
        near = get_close_matches(question, [each.id for each in dataset.questions], n=1, cutoff=0.4)
        hint = f"Did you mean {near[0]!r}?" if near else f"They are in {folder.path / 'questions.jsonl'}."
        raise NotFound(f"The run {folder.name} has no question {question!r}.", hint)
    record = records.get(question)
    if record is None:
        raise NotFound(f"The run {folder.name} has not asked {question!r} yet.", "The command that began it goes on.")
    scores = of_run(dataset, [record])[question]
    if as_json:
        console.out_json({"question": shape_of(asked), "record": plain(record), "scores": scores})
        return
    evalview.question(asked, record, scores)
    if record.trace:
        console.talk(f"All that led to it: {folder.trace_path(record.trace)} (`ragapp replay` asks it again)")


@evaluate.command()
def compare(
    before: Annotated[str, typer.Argument(help="Name or folder of a run.", metavar="A")],
    after: Annotated[str, typer.Argument(help="Name or folder of another.", metavar="B")],
    *,
    metrics: Annotated[list[str] | None, typer.Option("--metric", help="Only this measure. May be repeated.")] = None,
    full: Annotated[bool, typer.Option("--all", help="Every measure, not only the headline ones.")] = False,
    seed: Seed = 0,
    runs: Runs = RUNS,
    as_json: Json = False,
) -> None:
    """Say what run B changed against run A, and whether that is more than noise."""
    from dataclasses import replace

    from ragapp.eval.compare import compare as compared
    from ragapp.eval.measures import HEADLINE
    from ragapp.eval.records import find_run
    from ragapp.trace import plain

    found = compared(find_run(runs, before), find_run(runs, after), seed=seed, metrics=metrics or ())
    if as_json:
        console.out_json(plain(found))
        return
    if not full and not metrics:
        found = replace(found, differences=tuple(d for d in found.differences if d.metric in HEADLINE))
    evalview.comparison(found)


@evaluate.command()
def report(
    run: Run,
    other: Annotated[str | None, typer.Argument(help="An earlier run to compare with.", metavar="OTHER")] = None,
    *,
    out: Annotated[
        Path | None, typer.Option("--out", help="File to write: .html, .md or .json.  [default: in the run's folder]")
    ] = None,
    language: Annotated[Literal["en", "zh"], typer.Option("--language", help="Language of the page.")] = "en",
    runs: Runs = RUNS,
    as_json: Json = False,
) -> None:
    """Write a page about a run, or about two of them, that needs no network to be looked at."""
    from ragapp.eval import report as reports
    from ragapp.eval.records import find_run

    folder = find_run(runs, run)
    file = out or folder.path / "report.html"
    writers: dict[str, Callable[[reports.Report], str]] = {
        ".html": lambda made: reports.as_html(made, language=language),
        ".md": lambda made: reports.as_markdown(made, language=language),
        ".json": lambda made: json.dumps(reports.as_json(made), ensure_ascii=False),
    }
    write = writers.get(file.suffix.lower())
    if write is None:
        raise ConfigError(f"{file} says by its ending that it is no report.", "Name a .html, .md or .json file.")
    text = write(reports.report(folder, find_run(runs, other) if other else None))
    try:
        file.write_bytes(text.encode("utf-8", "replace"))
    except OSError as error:
        raise ConfigError(f"The report {file} cannot be written: {error.strerror}.", "Name another --out.") from error
    if as_json:
        console.out_json({"file": str(file)})
    else:
        console.out(str(file))


# -- tune and bench ----------------------------------------------------------------------------------------------------


def tune(
    questions: Questions,
    *,
    seconds: Annotated[float, typer.Option("--seconds", min=1, help="Time for the search.")] = 600.0,
    folds: Annotated[int, typer.Option("--folds", min=2, help="Parts of the questions, each held out once.")] = 5,
    rounds: Annotated[int | None, typer.Option("--rounds", min=1, help="Trials of every study, at most.")] = None,
    metric: Annotated[str, typer.Option("--metric", help="The measure to be raised.")] = "pages.mrr@10",
    out: Annotated[
        Path | None, typer.Option("--out", help="Settings file to write.  [default: --config, else ./ragapp.toml]")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Also change a settings file that somebody wrote.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what was found; write nothing.")] = False,
    seed: Seed = 0,
    llm: Llm = None,
    library: Library = None,
    config: ConfigFile = None,
    settings: Set = None,
    as_json: Json = False,
) -> None:
    """Search the settings that find your own questions best, and write them down if the gain is more than noise."""
    from ragapp.config import FILE_NAME
    from ragapp.eval import tune as tuning
    from ragapp.minilm import cache_folder
    from ragapp.trace import plain

    file = out or config or Path(FILE_NAME)
    if not dry_run:
        tuning.check_target(file, force=force)  # not after ten minutes
    with (
        _asked(questions, library, config, settings, llm=llm, quiet=as_json) as (rag, dataset),
        evalview.progress(quiet=as_json) as tell,
        _stoppable() as stopped,
    ):

        def told(now: tuning.State) -> None:
            known = now.now is not None and now.best is not None
            best = f"{metric} {now.now:.3f} now, {now.best:.3f} at best" if known else ""
            tell(f"seconds, {now.trials:,} trials, {now.what}", round(now.seconds), round(now.budget), best)

        found = tuning.tune(
            rag, dataset, folder=cache_folder() / "tune", seconds=seconds, folds=folds, seed=seed, metric=metric,
            rounds=rounds, progress=told, cancelled=stopped,
        )  # fmt: skip
    written = () if dry_run else tuning.write(found, file, force=force)
    if as_json:
        console.out_json({**plain(found), "significant": found.significant, "written": [str(path) for path in written]})
    else:
        console.out(tuning.as_markdown(found), end="")
        for path in written:
            console.talk(f"Written: {path}")
        if not written:
            console.talk("Nothing was written.")
    if found.cancelled:
        raise typer.Exit(STOPPED)


def bench(
    docs: Annotated[Path | None, typer.Argument(help="Folder of PDFs.  [default: pages that are made up]")] = None,
    *,
    questions: Annotated[Path | None, typer.Option("--questions", help="A set about these PDFs.")] = None,
    peers: Annotated[
        str | None, typer.Option("--peers", help="Stacks to compare with, commas between; none for ragapp alone.")
    ] = None,
    growth: Annotated[str, typer.Option("--growth", help="Sizes of libraries in pages, like 500,5000,50000.")] = "",
    llm: Annotated[
        str, typer.Option("--llm", help="Folder of a Llama; 135M or 1.2B for random weights; none to leave it out.")
    ] = "135M",
    rounds: Annotated[int, typer.Option("--rounds", min=1, help="Times that everything is measured.")] = 3,
    limit: Annotated[
        float, typer.Option("--limit", min=1, help="Seconds that one side may take for one size of library.")
    ] = 900.0,
    out: Annotated[Path | None, typer.Option("--out", help="File to write, too: .md or .json.")] = None,
    as_json: Json = False,
) -> None:
    """Measure ragapp beside the stacks that pip can install: same PDFs, same weights, by turns."""
    from ragapp.eval import bench as benching
    from ragapp.eval import benchtable

    if out is not None:
        benchtable.check(out)
    with _stoppable() as stopped:
        found = benching.bench(
            docs, questions=questions, peers=benching.PEERS if peers is None else _names(peers), growth=_sizes(growth),
            llm=llm, rounds=rounds, limit_s=limit, command=shlex.join(["ragapp", *sys.argv[1:]]),
            progress=console.talk, cancelled=stopped,
        )  # fmt: skip
        was_stopped = stopped()
    if out is not None:
        benchtable.write(found, out)
        console.talk(f"Written: {out}")
    console.out(benchtable.as_json(found) if as_json else benchtable.as_markdown(found).rstrip("\n"))
    if was_stopped:
        raise typer.Exit(STOPPED)


def _names(listed: str) -> list[str]:
    """The names of a list with commas; "none" is none."""
    return [name for part in listed.split(",") if (name := part.strip()) and name != "none"]


def _sizes(listed: str) -> list[int]:
    try:
        return [int(part.replace("_", "")) for part in listed.split(",") if part.strip()]
    except ValueError:
        raise ConfigError(f"--growth {listed} is no list of numbers.", "Like --growth 500,5000.") from None


# -- what the commands share -------------------------------------------------------------------------------------------


@contextmanager
def _asked(
    questions: str,
    library: Path | None,
    config: Path | None,
    settings: list[str] | None,
    *,
    llm: str | None = None,
    quiet: bool = False,
) -> Iterator[tuple[Rag, Dataset]]:
    """The library and the set that a command is about; the set is read first, as it is the sooner wrong."""
    from ragapp.eval import demo
    from ragapp.eval.dataset import load

    if questions == demo.NAME:
        with _demo_library(library, config, settings, llm=llm, quiet=quiet) as rag:
            yield rag, demo.questions()
        return
    dataset = load(Path(questions))
    with opened(library, config, settings, create=False, llm=llm) as rag:
        yield rag, dataset


def _demo_library(
    library: Path | None, config: Path | None, settings: list[str] | None, *, llm: str | None, quiet: bool
) -> Rag:
    """The library that was named, else that of the sample documents, made where it is not there yet."""
    if library is not None:
        return opened(library, config, settings, create=False, llm=llm)
    from ragapp.config import load
    from ragapp.eval import demo

    chosen = load({**flags_of(settings), **({"chat.model": llm} if llm else {})}, config)
    with console.no_progress() if quiet else console.ingest_progress() as progress:
        return demo.library(chosen, progress)


@contextmanager
def _stoppable() -> Iterator[Callable[[], bool]]:
    """Whether Ctrl-C was pressed, for work that keeps what it has when it is stopped; a second one ends it at once."""
    pressed = threading.Event()
    before = signal.getsignal(signal.SIGINT)

    def press(number: int, frame: object) -> None:
        signal.signal(signal.SIGINT, before)
        pressed.set()
        console.talk("Stopping; what is done is kept. Ctrl-C again ends at once.")

    try:
        signal.signal(signal.SIGINT, press)
    except ValueError:  # another thread than the main one hears no signals
        yield pressed.is_set
        return
    try:
        yield pressed.is_set
    finally:
        signal.signal(signal.SIGINT, before)


def _helpful(rag: Rag, *, search: bool) -> int:
    """How many questions are best asked at a time: several where a server far away writes, one on this machine.

    Here they would wait for each other's cores, and a reranker that waits gives up.
    """
    from ragapp.models import kind_of

    is_remote = rag.chat is not None and kind_of(rag.config.chat.model) in ("server", "provider")
    return rag.config.chat.batch if is_remote and not search else 1


def _check_free(out: Path, *, force: bool) -> None:
    """Raise ConfigError where a file would be overwritten: to be asked before the work."""
    if out.exists() and not force:
        raise ConfigError(f"{out} is there already.", "Name another file, or overwrite it with --force.")


def _warn(dataset: Dataset) -> None:
    for warning in dataset.warnings:
        console.talk(f"warning: {warning}")
