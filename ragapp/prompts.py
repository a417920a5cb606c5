"""Prompts: editable files with a checked set of variables, and the packing of passages into a token budget.

A prompt is a file ``task.language.md`` (``answer.en.md``, ``rewrite.zh.md``). What stands before its first section is a
note; ``--- system``, ``--- human`` and ``--- ai`` begin sections; ``{variable}`` is filled in, ``{{`` and ``}}`` are
braces. The turns of a conversation go in front of the last human section. Texts from documents and conversations are
values and never templates, so braces in them mean nothing.
"""

from __future__ import annotations

import re
import string
from collections.abc import Callable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from functools import cache
from importlib import resources
from itertools import pairwise
from pathlib import Path
from typing import Final

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage
from langchain_core.prompts import ChatPromptTemplate, MessagesPlaceholder

from ragapp.errors import ConfigError, ContextTooLong
from ragapp.injection import marked
from ragapp.shapes import place
from ragapp.text import collapse, is_chinese, join_broken, no_answer
from ragapp.types import Passage, Query, Turn

TASKS: Final[Mapping[str, frozenset[str]]] = {
    "answer": frozenset({"question", "passages", "no_answer"}),
    "rewrite": frozenset({"question", "history"}),
    "hyde": frozenset({"question", "count"}),
    "variants": frozenset({"question", "count"}),
    "step_back": frozenset({"question"}),
    "split": frozenset({"question", "count"}),
    "route": frozenset({"question", "history"}),
    "judge": frozenset({"question", "passages"}),
    "make": frozenset({"passages"}),
}
OPTIONAL = frozenset({"no_answer", "count"})  # a prompt may say these in words of its own
LANGUAGES = ("en", "zh")
SEPARATOR = " › "  # between the parts of a chunk's header line
HISTORY = "history_turns"

_SECTION = re.compile(r"--- *(\w+) *")
_ROLES = {"system": "system", "human": "human", "ai": "ai"}
_FENCE = re.compile(r"[<＜](?=\s*[/／]?\s*(?:passage|material)\b)", re.IGNORECASE)
_ITEM = re.compile(r"\s*(?:[•●○▪■◦‣–—*\uf0b7-]|\(?\d{1,3}(?:\.\d{1,3})*[.)]|\(?[a-zA-Z][.)])\s")
_MARKER = re.compile(r" ?\[\d{1,3}\]")


class Prompts:
    """The prompts of all tasks: those of ``folder``, and the built-in ones where it has none.

    Every file of the folder is checked at once. Raises ConfigError for a folder that is not there, and for a file with
    an unknown name, an unknown variable, without one that its task needs, or that is no template; with its line.
    """

    def __init__(self, folder: str = "") -> None:
        self._own: dict[str, ChatPromptTemplate] = {}
        if folder:
            self._own = dict(_read_folder(Path(folder).expanduser()))

    def answer(
        self,
        query: Query,
        passages: Sequence[Passage],
        history: Sequence[Turn] = (),
        numbers: Sequence[int] | None = None,
    ) -> list[BaseMessage]:
        """The messages that ask for an answer: rules and numbered passages, earlier turns, the question as asked;
        where there are no turns, the question by itself.

        ``numbers`` are those of the passages, 1, 2, 3 … unless given. What a client says as system joins our own
        system message, as many chat templates take only one, and only in front.
        """
        numbers = range(1, len(passages) + 1) if numbers is None else numbers
        turns = [_message(turn) for turn in history if turn.role != "system"]
        # Without the turns it takes something from, a question must stand by itself.
        asked = query.text if turns else query.sought
        blocks = (_block(number, passage, query.text) for number, passage in zip(numbers, passages, strict=True))
        values = {"passages": "\n\n".join(blocks), "question": asked, "no_answer": no_answer(query.text)}
        messages = self._filled("answer", query, values, turns)
        said = "\n\n".join(turn.text for turn in history if turn.role == "system")
        if not said:
            return messages
        if isinstance(messages[0], SystemMessage):
            return [SystemMessage(f"{messages[0].text}\n\n{said}"), *messages[1:]]
        return [SystemMessage(said), *messages]

    def task(self, task: str, query: Query, values: Mapping[str, str]) -> list[BaseMessage]:
        """The messages of one of the TASKS; raises ConfigError for an unknown task or values that are not its own."""
        if task not in TASKS or values.keys() - TASKS[task]:
            raise ConfigError(f"There is no prompt {task!r} with {', '.join(sorted(values))}.", _what_there_is())
        shown = {name: value if name == "question" else _fenced(value) for name, value in values.items()}
        if "passages" in shown:
            shown["passages"] = marked(shown["passages"], query.text)
        return self._filled(task, query, shown, ())

    def _filled(
        self, task: str, query: Query, values: Mapping[str, str], turns: Sequence[BaseMessage]
    ) -> list[BaseMessage]:
        name = f"{task}.{'zh' if is_chinese(query.text) else 'en'}"
        template = self._own[name] if name in self._own else _built_in(name)
        missing = set(template.input_variables) - {HISTORY} - values.keys()
        if missing:
            raise ConfigError(f"The prompt {name} was not told {', '.join(sorted(missing))}.", _what_there_is())
        return template.format_messages(**values, **{HISTORY: list(turns)})


def pack(
    prompts: Prompts,
    query: Query,
    passages: Sequence[Passage],
    budget: int,
    count: Callable[[Sequence[BaseMessage]], int],
    *,
    core: Callable[[Passage], Passage] = lambda passage: passage,
) -> tuple[list[BaseMessage], dict[int, Passage]]:
    """The messages with as many of the best passages, and then of the latest turns, as fit into ``budget`` tokens;
    and the passages that are in them, by their numbers, which are their places in ``passages`` from 1.

    ``count`` gives the tokens of messages by the model's own tokenizer, its chat template included. The longest run of
    best passages is taken, and then each one behind it that still fits. ``core`` gives what a passage was made of: it
    is taken where the whole does not fit. What a client says as system is always kept, and the turns that are begin
    with the user's. Raises ContextTooLong when not even the best passage fits. Nothing is cut in the middle.
    """
    said = [turn for turn in query.history if turn.role == "system"]
    turns = [turn for turn in query.history if turn.role != "system"]

    def messages(shown: Mapping[int, Passage], latest: int = 0) -> list[BaseMessage]:
        return prompts.answer(query, list(shown.values()), [*said, *turns[len(turns) - latest :]], list(shown))

    def fits(shown: Mapping[int, Passage], latest: int = 0) -> bool:
        return count(messages(shown, latest)) <= budget

    numbered = dict(enumerate(passages, 1))
    first = _most(len(passages), lambda n: fits(_first(numbered, n)))
    kept = _first(numbered, first)
    for number in range(first + 1, len(passages) + 1):
        whole, found = numbered[number], core(numbered[number])
        sizes = (whole, found) if len(found.chunk.text) < len(whole.chunk.text) else (whole,)
        fitting = next((passage for passage in sizes if fits({**kept, number: passage})), None)
        if fitting is not None:
            kept[number] = fitting
        elif not kept:
            break
    if not kept and (passages or not fits(kept)):
        raise ContextTooLong(
            f"The question and the best passage do not fit into the {budget} tokens that the model can read.",
            "Ask a shorter question, lower [chat] max_new_tokens, or use a model with a larger window.",
        )
    begins = [n for n in range(1, len(turns)) if turns[-n].role == "user"]
    lengths = [0, *begins, *([len(turns)] if turns else [])]
    latest = lengths[_most(len(lengths) - 1, lambda place: fits(kept, lengths[place]))]
    return messages(kept, latest), kept


def readable(text: str) -> str:
    """The text for a reader: lines of a paragraph joined, words that a line's end had broken whole; rows of tables and
    items of lists keep their lines, and tabs stay between cells."""
    lines: list[str] = []
    goes_on = False  # whether the next line belongs to the paragraph of the last one
    for line in join_broken(text).split("\n"):
        if not line.strip():
            goes_on = False
            continue
        is_row = "\t" in line.strip()
        if goes_on and not is_row and not _ITEM.match(line):
            lines[-1] = f"{lines[-1]} {line.strip()}"
        else:
            lines.append(line.strip())
        goes_on = not is_row
    return "\n".join("\t".join(map(collapse, line.split("\t"))) for line in lines)


def _block(number: int, passage: Passage, question: str) -> str:
    """A passage as the model reads it: where it stands, under which headings and heads of columns, and its text."""
    chunk = passage.chunk
    chinese = is_chinese(question)
    name = _fenced(marked(collapse(place(passage.document, chunk.page, passage.label)), question)).replace(">", "›")
    title = [] if passage.title.casefold() in passage.document.casefold() else [passage.title]
    path = [part for part in (*title, *chunk.headings) if part]
    about = []
    if path:
        about.append(f"{'章节：' if chinese else 'Section: '}{collapse(SEPARATOR.join(path))}")
    if heads := _table_heads(passage):
        about.append(f"{'表格：' if chinese else 'Table: '}{collapse(heads)}")
    parts = [_fenced(marked(part, question)) for part in (*about, readable(chunk.text))]
    return "\n".join([f"<passage {number}: {name}>", *parts, "</passage>"])


def _table_heads(passage: Passage) -> str:
    """The title and the heads of the columns of a table, which stand in the header line of its chunks only."""
    chunk = passage.chunk
    if "\t" not in chunk.text:
        return ""
    _, *parts = chunk.header.split(SEPARATOR)
    return "; ".join(part for part in parts if part not in chunk.headings and part not in chunk.text)


def _fenced(text: str) -> str:
    """Text that can neither end the passage it stands in nor begin another."""
    return _FENCE.sub("‹", text)


def _message(turn: Turn) -> BaseMessage:
    """An earlier turn. The markers of an earlier answer are left out: they number other passages."""
    return AIMessage(_MARKER.sub("", turn.text)) if turn.role == "assistant" else HumanMessage(turn.text)


def _first(numbered: Mapping[int, Passage], count: int) -> dict[int, Passage]:
    return {number: passage for number, passage in numbered.items() if number <= count}


def _most(limit: int, fits: Callable[[int], bool]) -> int:
    """The largest number up to ``limit`` that fits, sizes growing; 0 is not asked for."""
    if limit and fits(limit):
        return limit
    low, high = 0, max(0, limit - 1)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle) else (low, middle - 1)
    return low


# -- files -----------------------------------------------------------------------------------------------------------


@cache
def _built_in(name: str) -> ChatPromptTemplate:
    text = (resources.files("ragapp") / "templates" / f"{name}.md").read_text(encoding="utf-8")
    return _template(text, name.partition(".")[0], f"{name}.md")


def _read_folder(folder: Path) -> Iterator[tuple[str, ChatPromptTemplate]]:
    """Name and template of every prompt in a folder; files of other kinds are left alone."""
    names = [f"{task}.{language}" for task in TASKS for language in LANGUAGES]
    try:
        files = sorted(file for file in folder.iterdir() if file.suffix == ".md")
        texts = {file: file.read_text(encoding="utf-8-sig") for file in files if file.stem.endswith((".en", ".zh"))}
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"The prompts in {folder} cannot be read: {error}", "See [answer] prompts in the settings."
        ) from None
    for file, text in texts.items():
        if file.stem not in names:
            near = get_close_matches(file.stem, names, n=1)
            raise ConfigError(
                f"{file} is no prompt that is used.", f"Did you mean {near[0]}.md?" if near else _what_there_is()
            )
        yield file.stem, _template(text, file.stem.partition(".")[0], str(file))


def _template(text: str, task: str, file: str) -> ChatPromptTemplate:
    """The template that a file spells; ``file`` is its name in messages."""
    sections = list(_sections(text, file))
    used = {name for line, _, body in sections for name in _variables(body, line, task, file)}
    if missing := sorted(TASKS[task] - OPTIONAL - used):
        raise ConfigError(
            f"{file} does not use {{{missing[0]}}}, and the prompt {task!r} says nothing without it.",
            f"Write {{{missing[0]}}} where it belongs.",
        )
    last = max((place for place, (_, role, _) in enumerate(sections) if role == "human"), default=None)
    if last is None:
        raise ConfigError(f"{file} has no section for what is asked.", "Begin one with a line `--- human`.")
    parts: list[tuple[str, str] | MessagesPlaceholder] = [(role, body) for _, role, body in sections]
    parts.insert(last, MessagesPlaceholder(HISTORY, optional=True))
    return ChatPromptTemplate.from_messages(parts)


def _sections(text: str, file: str) -> Iterator[tuple[int, str, str]]:
    """``(number of its first line, role, text)`` of every section."""
    lines = text.splitlines()
    heads = [(number, match.group(1)) for number, line in enumerate(lines) if (match := _SECTION.fullmatch(line))]
    for (number, role), (end, _) in pairwise([*heads, (len(lines), "")]):
        if role not in _ROLES:
            raise ConfigError(f"{file}, line {number + 1}: there is no section {role!r}.", f"Use {', '.join(_ROLES)}.")
        first = next((n for n in range(number + 1, end) if lines[n].strip()), end)
        yield first + 1, role, "\n".join(lines[first:end]).rstrip()


def _variables(body: str, first: int, task: str, file: str) -> Iterator[str]:
    """The variables of a section that begins on line ``first``; raises ConfigError for one that there is not."""
    allowed = ", ".join(f"{{{name}}}" for name in sorted(TASKS[task]))
    for number, line in enumerate(body.split("\n"), first):
        try:
            fields = [(name, kind, way) for _, name, kind, way in string.Formatter().parse(line) if name is not None]
        except ValueError as error:
            raise ConfigError(
                f"{file}, line {number}: {error}.", "A brace that is meant as one is written twice: {{ or }}."
            ) from None
        for name, kind, way in fields:
            if name not in TASKS[task] or kind or way:
                near = get_close_matches(name, TASKS[task], n=1)
                spelled = f"{{{name}{f'!{way}' if way else ''}{f':{kind}' if kind else ''}}}"
                raise ConfigError(
                    f"{file}, line {number}: there is no variable {spelled} in the prompt {task!r}.",
                    f"{f'Did you mean {{{near[0]}}}? ' if near else ''}It has {allowed}; a brace is written twice.",
                )
            yield name


def _what_there_is() -> str:
    return f"Prompts are {', '.join(TASKS)}, each as .en.md and .zh.md."
