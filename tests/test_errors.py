"""The tree of errors and what each one means at the doors."""

from __future__ import annotations

import inspect
import re

import pytest

from ragapp import errors
from ragapp.errors import RagappError

EXPECTED = {
    "RagappError": (1, 500),
    "ConfigError": (2, 400),
    "QuestionError": (2, 400),
    "LibraryError": (1, 500),
    "ReadError": (3, 422),
    "EmbedderChanged": (2, 409),
    "LibraryLocked": (5, 409),
    "LibraryNewer": (2, 409),
    "NotFound": (1, 404),
    "ModelError": (4, 502),
    "ContextTooLong": (2, 400),
    "Overloaded": (1, 429),
}
CLASSES = {name: kind for name, kind in vars(errors).items() if inspect.isclass(kind) and issubclass(kind, RagappError)}


def test_every_class_is_expected_here() -> None:
    assert CLASSES.keys() == EXPECTED.keys()


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_exit_code_and_status(name: str) -> None:
    assert (CLASSES[name].exit_code, CLASSES[name].status) == EXPECTED[name]


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_message_and_hint(name: str) -> None:
    error = CLASSES[name]("It happened.", "Do this.")
    assert (str(error), error.message, error.hint) == ("It happened.", "It happened.", "Do this.")
    assert CLASSES[name]("It happened.").hint == ""


def test_the_drawing_in_the_docstring_is_true() -> None:
    drawn = {}
    for line in (errors.__doc__ or "").splitlines():
        match = re.search(r"─ (\w+) .*exit (\d)   HTTP (\d+)", line)
        if match:
            drawn[match[1]] = (int(match[2]), int(match[3]))
    assert drawn == {name: value for name, value in EXPECTED.items() if name != "RagappError"}


def test_overloaded_says_when_to_come_back() -> None:
    assert errors.Overloaded("No seat.", retry_after=7).retry_after == 7
