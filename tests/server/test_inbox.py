"""Files between the inbox and the originals: at whatever step the process dies, no version of a file is lost."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ragapp.errors import ReadError
from ragapp.server.inbox import Inbox

NAME = "folder/a.pdf"


class Killed(Exception):
    """The process is gone."""


class Deadline:
    """Lets so many calls that change the disk go through, and kills at the next one."""

    def __init__(self, calls: int) -> None:
        self._left = calls

    def watch(self, patch: pytest.MonkeyPatch) -> None:
        for where, name in ((os, "replace"), (os, "link"), (Path, "unlink"), (Path, "rmdir")):
            patch.setattr(where, name, self._counted(getattr(where, name)))

    def _counted(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*args: Any, **named: Any) -> Any:
            if self._left <= 0:
                raise Killed
            self._left -= 1
            return call(*args, **named)

        return counted


def received(tmp_path: Path, *, before: bytes | None) -> Inbox:
    """An inbox with a new version of a file, whose name may be that of an older one among the originals."""
    inbox = Inbox(tmp_path)
    if before is not None:
        (inbox.root / NAME).parent.mkdir(parents=True)
        (inbox.root / NAME).write_bytes(before)
        os.utime(inbox.root / NAME, ns=(1, 1))
    with inbox.receiving("job", 1) as box:
        (box.folder / "0").write_bytes(b"new version")
        box.is_kept = True
    return inbox


def held(inbox: Inbox) -> bytes | None:
    path = inbox.root / NAME
    return path.read_bytes() if path.exists() else None


@dataclass(frozen=True)
class Case:
    """What is done until the process dies, and by the next one."""

    first: str
    again: str
    before: bytes | None  # what had the name
    links: bool  # whether the file system knows links


CASES = [
    Case(*case)
    for case in itertools.product(
        ("place", "place and take back", "place and keep"),
        ("take back", "place and keep", "place and take back"),
        (b"old", None),
        (True, False),
    )
]


@pytest.mark.parametrize("calls", range(10))
@pytest.mark.parametrize("case", CASES, ids=str)
def test_no_version_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: Case, calls: int) -> None:
    before, first, again = case.before, case.first, case.again
    inbox = received(tmp_path, before=before)
    if not case.links:  # as on a stick

        def no_link(*_: object) -> None:
            raise OSError("no links here")

        monkeypatch.setattr(os, "link", no_link)
    with monkeypatch.context() as patch:
        Deadline(calls).watch(patch)
        try:
            steps(inbox, first)
            died = False
        except Killed:
            died = True
    # The name is never without a file, if it had one.
    assert held(inbox) in ((before, b"new version") if first != "place and keep" or died else (b"new version",))
    inbox = Inbox(tmp_path)
    if first == "place and keep" and not died:
        return
    if first == "place and keep" and not inbox.has("job", 0) and held(inbox) == b"new version":
        again = "place and keep"  # the library had it when the process died
    steps(inbox, again)
    if again == "place and keep":
        assert held(inbox) == b"new version"
        assert not inbox.has("job", 0)
    else:
        assert held(inbox) == before
        assert (inbox.root / ".incoming/job/0").read_bytes() == b"new version"
    assert not list((inbox.root / ".incoming").glob("*/*.old"))
    inbox.let_go()


def steps(inbox: Inbox, which: str) -> None:
    for step in which.split(" and "):
        if step == "place":
            assert inbox.place("job", 0, NAME).read_bytes() == b"new version"
        elif step == "keep":
            inbox.keep("job", 0)
        else:
            inbox.take_back("job", 0, NAME)


def test_what_was_never_put_there_takes_nothing_away(tmp_path: Path) -> None:
    inbox = received(tmp_path, before=b"somebody else's")
    inbox.take_back("job", 0, NAME)
    assert held(inbox) == b"somebody else's"
    assert inbox.has("job", 0)
    inbox.let_go()


def test_bytes_that_are_gone_are_said_to_be(tmp_path: Path) -> None:
    inbox = received(tmp_path, before=None)
    inbox.discard("job", 0)
    with pytest.raises(ReadError, match="gone"):
        inbox.place("job", 0, NAME)
    inbox.let_go()


def test_a_box_that_is_not_kept_goes(tmp_path: Path) -> None:
    inbox = Inbox(tmp_path)
    with inbox.receiving("job", 1) as box:
        (box.folder / "0").write_bytes(b"half")
    assert not (inbox.root / ".incoming/job").exists()
    inbox.let_go()
