"""The command line: one function a command. Heavy libraries load inside the commands that need them."""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ragapp import console
from ragapp.errors import ConfigError, LibraryLocked, NotFound, RagappError
from ragapp.evalcli import bench, evaluate, tune
from ragapp.keycli import keys
from ragapp.options import ConfigFile, FlowName, Json, Library, Llm, Set, flags_of, opened

if TYPE_CHECKING:
    from ragapp.ingest.report import Progress, Report
    from ragapp.rag import Rag
    from ragapp.types import Turn

app = typer.Typer(
    name="ragapp",
    help="Ask your own documents. A folder of files becomes a library that answers with exact pages, on this machine.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

app.add_typer(keys, name="keys")
app.add_typer(evaluate, name="eval")

DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")]
JsonEvents = Annotated[
    bool, typer.Option("--json-events", help="Print every step as a line of JSON, and the report as the last one.")
]
PasswordFile = Annotated[
    Path | None, typer.Option("--password-file", help="File with one password a line, for encrypted PDFs.")
]
Batch = Annotated[
    Path | None, typer.Option("--batch", help='File with one {"id", "question"} a line; - is standard input.')
]
Hyde = Annotated[
    str | None, typer.Option("--hyde", help="Search with passages that the Llama imagines: auto, on or off.")
]
Strict = Annotated[bool, typer.Option("--strict", help="Leave out sentences that no cited page bears out.")]


def main() -> None:
    """The entry point: runs a command, and turns our errors into a sentence, a hint and an exit code."""
    try:
        app()
    except RagappError as error:
        console.error(error.message, error.hint)
        sys.exit(error.exit_code)
    except Exception:  # noqa: BLE001  a bug: the user gets a sentence, its traceback goes where it can be sent from
        log = Path(tempfile.gettempdir()) / "ragapp-error.log"
        with suppress(OSError):  # somebody else's file of that name
            log.write_text(traceback.format_exc(), encoding="utf-8")
        console.error("internal error: this is a bug in ragapp.", f"Please report it with {log}. Nothing is lost.")
        sys.exit(1)


@app.command()
def ingest(
    paths: Annotated[list[Path], typer.Argument(help="Files and folders.")],
    library: Library = None,
    config: ConfigFile = None,
    settings: Set = None,
    password_file: PasswordFile = None,
    dry_run: DryRun = False,
    as_json: Json = False,
    json_events: JsonEvents = False,
) -> None:
    """Put documents into the library. What is there and unchanged is kept."""
    passwords = _passwords(password_file)
    if all(wrong := [_what_is_wrong(path) for path in paths]):
        # Before the library is opened: a mistyped path must not leave an empty one behind.
        raise NotFound(f"{paths[0]} {wrong[0]}.", "Nothing was changed.")
    with opened(library, config, settings) as rag:
        result = _run_with_progress(
            lambda progress: rag.add(paths, passwords=passwords, progress=progress, dry_run=dry_run),
            as_json=as_json, json_events=json_events, dry_run=dry_run,
        )  # fmt: skip
    if result.failed:
        raise typer.Exit(3)


@app.command()
def sync(
    folders: Annotated[list[Path], typer.Argument(help="Folders to mirror.", metavar="DIR")],
    watch: Annotated[bool, typer.Option("--watch", help="Go on, and follow every change until Ctrl-C.")] = False,
    library: Library = None,
    config: ConfigFile = None,
    settings: Set = None,
    password_file: PasswordFile = None,
    dry_run: DryRun = False,
    as_json: Json = False,
    json_events: JsonEvents = False,
) -> None:
    """Make the library the mirror of a folder: like ingest, and what is gone from the folder is forgotten."""
    passwords = _passwords(password_file)
    for folder in folders:
        if not os.path.isdir(folder):  # unlike the method of Path, it raises for no name
            raise NotFound(f"{folder} is not a folder.", "Nothing was changed.")
    with opened(library, config, settings) as rag:

        def once() -> Report:
            return _run_with_progress(
                lambda progress: rag.sync(folders, passwords=passwords, progress=progress, dry_run=dry_run),
                as_json=as_json, json_events=json_events, dry_run=dry_run,
            )  # fmt: skip

        if watch:
            _follow(folders, once, rag.folder)
            return
        result = once()
    if result.failed:
        raise typer.Exit(3)


@app.command("list")
def list_(library: Library = None, config: ConfigFile = None, settings: Set = None, as_json: Json = False) -> None:
    """Show what is in the library."""
    with opened(library, config, settings, create=False) as rag:
        entries = rag.documents()
    if as_json:
        keys = ("document", "id", "title", "pages", "chunks", "bytes", "pages_without_text", "added", "pages_unread")
        console.out_json([{key: getattr(entry, key) for key in keys} for entry in entries])
        return
    rows = [
        (e.document, e.title, e.pages, e.chunks, e.bytes, e.pages_without_text, console.pages(e.pages_unread))
        for e in entries
    ]
    console.table(("document", "title", "pages", "chunks", "bytes", "without text", "could not be read"), rows)


@app.command()
def remove(
    document: Annotated[str, typer.Argument(help="Name (as in `ragapp list`) or id of a document.")],
    library: Library = None,
    config: ConfigFile = None,
    settings: Set = None,
    as_json: Json = False,
) -> None:
    """Forget a document: its text, vectors and words leave the library's files, which are searched for traces."""
    with opened(library, config, settings, create=False) as rag:
        receipt = rag.remove(document)
    if as_json:
        console.out_json(receipt.as_dict())
    else:
        console.receipt(receipt)
    if receipt.findings:
        raise typer.Exit(1)


@app.command()
def export(
    file: Annotated[Path, typer.Argument(help="File to write.")],
    force: Annotated[bool, typer.Option("--force", help="Overwrite a file that is there.")] = False,
    library: Library = None,
    config: ConfigFile = None,
    settings: Set = None,
    as_json: Json = False,
) -> None:
    """Write the whole library to one checksummed file."""
    from dataclasses import asdict

    with opened(library, config, settings, create=False, any_embedder=True) as rag:
        manifest = rag.export(file, force=force)
    if as_json:
        console.out_json({"file": str(file), **asdict(manifest)})
    else:
        console.out(f"Exported {manifest.documents:,} documents, {manifest.chunks:,} chunks to {file}.")


@app.command("import")
def import_(
    file: Annotated[Path, typer.Argument(help="File that `ragapp export` has written.")],
    library: Library = None,
    as_json: Json = False,
) -> None:
    """Make an exported file the library; it must hold no documents yet."""
    from dataclasses import asdict

    from ragapp.rag import Rag

    manifest = Rag.import_from(file, library)
    if as_json:
        console.out_json({"file": str(file), **asdict(manifest)})
    else:
        console.out(f"Imported {manifest.documents:,} documents, {manifest.chunks:,} chunks.")


@app.command()
def reindex(
    library: Library = None,
    config: ConfigFile = None,
    settings: Set = None,
    as_json: Json = False,
    json_events: JsonEvents = False,
) -> None:
    """Make chunks and vectors anew, with the chunker and embedder of the settings; no file is read again."""
    shown = console.json_progress() if json_events else console.no_progress() if as_json else console.ingest_progress()
    with opened(library, config, settings, create=False, any_embedder=True) as rag:
        try:
            with shown as progress:
                result = rag.reindex(progress=progress)
        except KeyboardInterrupt:
            console.talk("Stopped. The library is as it was, what was embedded is kept; the same command goes on.")
            raise typer.Exit(130) from None
    if json_events:
        console.out_json({"event": "report", **result.as_dict()})
    elif as_json:
        console.out_json(result.as_dict())
    else:
        console.reindexed(result)


@app.command()
def search(
    question: Annotated[str | None, typer.Argument(help="What to look for.")] = None,
    k: Annotated[int | None, typer.Option("-k", min=1, help="Number of passages.  [default: search.k]")] = None,
    batch: Batch = None,
    library: Library = None,
    config: ConfigFile = None,
    settings: Set = None,
    as_json: Json = False,
) -> None:
    """Find passages."""
    from ragapp.shapes import passage_dict

    _one_of(question, batch)
    with opened(library, config, settings, create=False) as rag:

        def found(query: Any) -> list[dict[str, Any]]:
            passages = rag.search(query, k, told=console.warning_of)
            return [passage_dict(*one) for one in zip(passages, rag.boxes_of_each(passages), strict=True)]

        if batch is not None:
            _run_batch(batch, lambda query: {"passages": found(query)})
        elif as_json:
            console.out_json(found(question))
        else:
            console.passages(rag.search(question or "", k, told=console.warning_of))


@app.command()
def ask(
    question: Annotated[str | None, typer.Argument(help="What you want to know.")] = None,
    flow: FlowName = None,
    llm: Llm = None,
    hyde: Hyde = None,
    strict: Strict = False,
    batch: Batch = None,
    save_trace: Annotated[
        Path | None, typer.Option("--save-trace", help="File for all that led to the answer; see `ragapp replay`.")
    ] = None,
    library: Library = None,
    config: ConfigFile = None,
    settings: Set = None,
    as_json: Json = False,
) -> None:
    """Answer a question from the library, with pages."""
    from ragapp.shapes import answer_dict

    _one_of(question, batch)
    if save_trace and batch:
        raise ConfigError("A trace holds one answer, and --batch asks for many.", "Leave out one of the two.")
    flags = _answer_flags(hyde, strict=strict)
    with opened(library, config, settings, create=False, llm=llm, flags=flags) as rag:
        if batch is not None:
            _run_batch(batch, lambda query: answer_dict(rag.ask(query, flow=flow)))
        elif as_json:
            console.out_json(answer_dict(rag.ask(question or "", flow=flow, save_trace=save_trace)))
        else:
            _print_answer(rag, question or "", flow, save_trace)


@app.command()
def why(
    question: Annotated[str, typer.Argument(help="A question.")],
    page: Annotated[str, typer.Option("--page", help="Which page, like manual.pdf:12.", metavar="DOC:N")],
    llm: Llm = None,
    library: Library = None,
    config: ConfigFile = None,
    settings: Set = None,
    as_json: Json = False,
) -> None:
    """Say why a page is, or is not, among the passages of an answer."""
    document, _, number = page.rpartition(":")
    if not document or not number.isdecimal():
        raise ConfigError(f"--page {page} names no page.", "Like --page manual.pdf:12.")
    with opened(library, config, settings, create=False, llm=llm) as rag:
        told = rag.why(question, document, int(number))
    if as_json:
        console.out_json(told.as_dict())
    else:
        for line in told.sentences():
            console.out(line)


@app.command()
def replay(
    file: Annotated[Path, typer.Argument(help="File that `ragapp ask --save-trace` has written.")],
    flow: FlowName = None,
    library: Library = None,
    config: ConfigFile = None,
    as_json: Json = False,
) -> None:
    """Ask the question of a trace again, with its settings, and compare; exits 1 where the answer is another one."""
    from ragapp.config import load
    from ragapp.rag import Rag
    from ragapp.trace import Trace, changes, check_answered, compare, config_of

    before = Trace.load(file)
    check_answered(before)
    with Rag.open(library, config=config_of(before, load({}, config)), create=False) as rag:
        notes = changes(before, rag.catalog)
        difference = compare(before, rag.ask(before.question, flow=flow or before.flow))
    if as_json:
        console.out_json({**difference.as_dict(), "notes": notes})
    else:
        for line in (*difference.sentences(), *notes):
            console.out(line)
    if not difference.same:
        raise typer.Exit(1)


@app.command()
def chat(
    flow: FlowName = None,
    llm: Llm = None,
    hyde: Hyde = None,
    strict: Strict = False,
    library: Library = None,
    config: ConfigFile = None,
    settings: Set = None,
) -> None:
    """Ask one question after another. An empty line, /quit or Ctrl-D ends; Ctrl-C stops an answer."""
    from ragapp.types import Query, Turn

    history: tuple[Turn, ...] = ()
    with opened(library, config, settings, create=False, llm=llm, flags=_answer_flags(hyde, strict=strict)) as rag:
        console.talk(f"{len(rag.documents()):,} documents; {_who_answers(rag)} An empty line ends.")
        while (question := _next_question()) not in ("", "/quit", "/exit"):
            try:
                text = _print_answer(rag, Query(question, history), flow)
            except KeyboardInterrupt:
                console.talk("\n(stopped)")
                continue
            except RagappError as error:
                # One wrong question does not end the conversation.
                console.error(error.message, error.hint)
                continue
            history = (*history, Turn("user", question), Turn("assistant", text))
            console.out()


@app.command()
def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on.  [default: 127.0.0.1]")] = None,
    port: Annotated[int | None, typer.Option(help="Port; 0 takes a free one.  [default: 8808]")] = None,
    also: Annotated[
        list[Path] | None, typer.Option("--also", help="Another library to serve beside it; may be repeated.")
    ] = None,
    certificate: Annotated[
        str | None, typer.Option("--ssl-certfile", help="Certificate (PEM), to serve over https.")
    ] = None,
    key: Annotated[str | None, typer.Option("--ssl-keyfile", help="Its key, where it is in another file.")] = None,
    llm: Llm = None,
    library: Library = None,
    config: ConfigFile = None,
    settings: Set = None,
) -> None:
    """The chatbot in the browser, and answers over HTTP: POST /v1/chat/completions and more."""
    flags: dict[str, object] = {
        "server.host": host, "server.port": port, "server.tls_certificate": certificate, "server.tls_key": key
    }  # fmt: skip
    # Many small products of matrices at once: threads inside of each would only wait for each other. It is read once,
    # when numpy is imported.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    with ExitStack() as stack:
        # Where none is named, one that is not there yet is made: documents can be dropped into the window.
        unnamed = library is None and not os.environ.get("RAGAPP_LIBRARY")
        rag = stack.enter_context(opened(library, config, settings, create=unnamed, llm=llm, flags=flags))
        others = [stack.enter_context(opened(path, config, settings, create=False, llm=llm)) for path in also or ()]
        from ragapp.server.app import serve as run

        names = ", ".join(served.name for served in (rag, *others))
        who = _who_answers(rag)
        run(rag, lambda url: console.talk(f"ragapp serves {names} at {url} ({who} Ctrl-C ends.)"), others)


@app.command()
def doctor(
    offline: Annotated[
        bool, typer.Option("--offline", help="Also ask a question and prove that nothing but loopback is contacted.")
    ] = False,
    check: Annotated[bool, typer.Option("--check", help="Only look; mend nothing.")] = False,
    library: Library = None,
    config: ConfigFile = None,
    settings: Set = None,
    as_json: Json = False,
) -> None:
    """Check the library and mend what can be mended; exits 0 when all was well, 1 when something was found."""
    from ragapp.config import load
    from ragapp.mending import mend

    contacted = _watch_sockets() if offline else []
    result = mend(library, load(flags_of(settings), config), check=check)
    findings = list(result.findings)
    if offline and (result.mended or not findings):
        with opened(library, config, settings, create=False) as rag:
            rag.ask("Is anything contacted outside this machine?")
        findings += [f"A connection to {address} was attempted." for address in contacted]
    if as_json:
        console.out_json(
            {"well": not findings, "findings": findings, "mended": list(result.mended), "lost": list(result.lost),
             "notes": list(result.notes), "documents": result.documents}
        )  # fmt: skip
    else:
        for line in findings:
            console.out(line)
        for line in result.mended:
            console.out(f"mended: {line}")
        for line in result.notes:
            console.out(f"note: {line}")
        if not findings:
            connections = ", no connection outside this machine" * offline
            console.out(f"All is well: {result.documents:,} documents{connections}.")
    if findings:
        raise typer.Exit(1)


@app.command("config")
def config_(config: ConfigFile = None, settings: Set = None, as_json: Json = False) -> None:
    """Show every setting, its value and where it came from."""
    from ragapp.config import explain, load

    found = list(explain(load(flags_of(settings), config)))
    if as_json:
        console.out_json([{"key": s.key, "value": console.shown(s), "source": s.source} for s in found])
    else:
        console.table(("setting", "value", "from", "meaning"), console.setting_rows(found))


@app.command()
def demo() -> None:
    """Show all of it in a minute: sample PDFs, three questions, answers with pages."""
    from ragapp.eval.data import samples
    from ragapp.rag import Rag

    questions = (
        "When is the fog signal started?",
        "Can I delete the search indexes?",
        "退出码 5 是什么意思？",
    )
    with tempfile.TemporaryDirectory(prefix="ragapp-demo-") as folder, Rag.open(Path(folder) / "library") as rag:
        console.talk(f"Ingesting {len(samples())} sample PDFs into a temporary library …")
        with console.ingest_progress() as progress:
            console.report(rag.add(samples(), progress=progress), dry_run=False)
        for question in questions:
            console.out(f"\n> {question}\n")
            _print_answer(rag, question, None)
    console.talk(
        "\nEvery quote was compared, word for word, with the page it names. Now your own documents:\n"
        "  ragapp ingest ./docs\n"
        '  ragapp ask "What do you want to know?"\n'
        "  ragapp serve\n"
        "For answers in a Llama's own words add --llm and the folder of a model."
    )


app.command()(tune)
app.command()(bench)


# -- what the commands share ---------------------------------------------------------------------------------------


def _answer_flags(hyde: str | None, *, strict: bool) -> dict[str, object]:
    return {"search.hyde": hyde, "answer.strict": strict or None}


def _run_with_progress(
    run: Callable[[Callable[[Progress], None]], Report], *, as_json: bool, json_events: bool, dry_run: bool
) -> Report:
    """Run an ingest with its progress on the screen, or as JSON; Ctrl-C ends it in good order."""
    shown = console.json_progress() if json_events else console.no_progress() if as_json else console.ingest_progress()
    try:
        with shown as progress:
            result = run(progress)
    except KeyboardInterrupt:
        console.talk("Stopped. What was ingested is kept; the same command goes on from there.")
        raise typer.Exit(130) from None
    if json_events:
        console.out_json({"event": "report", **result.as_dict()})
    elif as_json:
        console.out_json(result.as_dict())
    else:
        console.report(result, dry_run=dry_run)
    return result


def _what_is_wrong(path: Path) -> str:
    """Why a path cannot be used, as the end of a sentence; empty when it can."""
    try:
        path.stat()
    except FileNotFoundError:
        return "does not exist"
    except (OSError, ValueError) as error:  # a name that is too long, a folder that is closed, a null character
        return f"cannot be opened: {getattr(error, 'strerror', None) or error}"
    return ""


def _follow(folders: list[Path], once: Callable[[], object], library: Path) -> None:
    """Sync, and again after every change; somebody else's writing delays it, and nothing but Ctrl-C ends it."""
    from ragapp.ingest.watch import changes

    # The watch is on before the first sync, which may take hours: what changes meanwhile is not missed.
    following = changes(folders, ignored=[library])
    next(following, None)
    once()
    console.talk(f"Following {', '.join(str(folder) for folder in folders)}. Ctrl-C ends.")
    for _ in following:
        waits = False
        while True:
            try:
                once()
                break
            except LibraryLocked as error:
                if not waits:
                    console.talk(f"{error.message} This waits until it has finished.")
                waits = True
                time.sleep(1)
            except RagappError as error:
                console.error(error.message, error.hint)
                break


def _passwords(file: Path | None) -> list[str]:
    if file is None:
        return []
    try:
        lines = [line.removesuffix("\r") for line in file.read_text(encoding="utf-8-sig").split("\n")]
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"The password file {file} cannot be read: {error}.") from error
    return [line for line in lines if line]


def _one_of(question: str | None, batch: Path | None) -> None:
    if (question is None) == (batch is None):
        raise ConfigError("Give either a question or --batch FILE.", 'Like: ragapp search "How long is the warranty?"')


def _print_answer(rag: Rag, question: Any, flow: str | None, save_trace: Path | None = None) -> str:
    """Stream an answer to standard output with its sources below; returns its text."""
    from ragapp.types import Done, Token, Waiting

    events = rag.stream(question, flow=flow, save_trace=save_trace)
    before = 0
    try:
        for event in events:
            if isinstance(event, Token):
                console.out(event.text, end="")
            elif isinstance(event, Waiting):
                if event.position not in (0, before):  # it is told again and again while it stays the same
                    console.talk(f"(waiting: {event.position} before this one)")
                before = event.position
            elif isinstance(event, Done):
                console.out()
                console.sources(event.answer)
                return event.answer.text
    finally:
        events.close()  # type: ignore[attr-defined]  # a generator: Ctrl-C must reach the model
    return ""


def _next_question() -> str:
    console.talk("> ", end="")
    line = sys.stdin.readline() if sys.stdin else ""
    return line.strip()


def _who_answers(rag: Rag) -> str:
    return f"{rag.config.chat.model} answers." if rag.chat is not None else "Answers are quotes."


def _run_batch(file: Path, answer: Any) -> None:
    """Answer every line of a file in order; a question that fails gives a line with ``error``, and exit code 3."""
    failed = False
    for key, query in list(_batch_lines(file)):
        try:
            console.out_json({"id": key, **answer(query)})
        except RagappError as error:
            failed = True
            console.out_json({"id": key, "error": error.message, "hint": error.hint})
    if failed:
        raise typer.Exit(3)


def _batch_lines(file: Path) -> Iterator[tuple[Any, Any]]:
    """``(id, Query)`` of every line. Raises ConfigError with the number of a line that is wrong."""
    from ragapp.types import Query, Turn

    try:
        text = (sys.stdin.read() if sys.stdin else "") if str(file) == "-" else file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"The batch file {file} cannot be read: {error}.") from error
    shape = 'A line is {"id": "q1", "question": "…"}, with "history": [{"role": "user", "content": "…"}] if wanted.'
    # Not splitlines: JSON may hold line separators of Unicode as they are.
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            turns = tuple(Turn(turn["role"], _said(turn["content"])) for turn in row.get("history", ()))
            yield row["id"], Query(_said(row["question"]), turns)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ConfigError(f"Line {number} of {file} is not a question: {error!r}.", shape) from error


def _said(value: Any) -> str:
    """A text of a batch file. Raises TypeError for null, lists and the like: printed as text they would be asked."""
    if not isinstance(value, str | int | float) or isinstance(value, bool):
        raise TypeError(f"{value!r} is no text")
    return str(value)


def _watch_sockets() -> list[str]:
    """Record every address outside this machine that this process tries to reach from now on."""
    contacted: list[str] = []

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event not in ("socket.connect", "socket.getaddrinfo", "socket.sendto"):
            return
        target = arguments[0] if event == "socket.getaddrinfo" else arguments[1]
        host = target[0] if isinstance(target, tuple) else target
        # A path is a socket of this machine.
        local = isinstance(target, str) and event != "socket.getaddrinfo"
        if not local and str(host) not in ("localhost", "::1", "None", "") and not str(host).startswith("127."):
            contacted.append(str(host))

    sys.addaudithook(hook)
    return contacted


if __name__ == "__main__":
    main()
