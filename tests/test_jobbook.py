"""The book of jobs: what is written down is there again, and numbers rise whatever happens."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragapp.desk import DESK, Desk
from ragapp.errors import LibraryError
from ragapp.jobbook import BLOCK, Job, JobBook, JobFile

WORDS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
FILES = st.builds(
    JobFile,
    name=WORDS,
    bytes=st.integers(0, 2**53),
    state=st.sampled_from(["queued", "reading", "done", "kept", "failed", "cancelled"]),
    error=WORDS,
    hint=WORDS,
    needs_password=st.booleans(),
    document_id=st.none() | WORDS,
    warning=WORDS,
    tries=st.integers(0, 9),
)
JOBS = st.builds(
    Job,
    id=st.text("0123456789abcdef", min_size=1, max_size=8),
    kind=st.sampled_from(["ingest", "download"]),
    created=WORDS,
    files=st.lists(FILES, max_size=4).map(tuple),
    state=st.sampled_from(["queued", "running", "done", "failed", "cancelled"]),
    attempt=st.integers(1, 9),
    started=st.none() | WORDS,
    ended=st.none() | WORDS,
    report=st.none() | st.dictionaries(WORDS, st.integers() | WORDS, max_size=3),
    error=st.none() | st.fixed_dictionaries({"message": WORDS, "hint": WORDS}),
    number=st.integers(0, 2**53),
)


@given(st.lists(JOBS, max_size=4, unique_by=lambda job: job.id))
def test_what_is_put_is_there_again(tmp_path_factory: pytest.TempPathFactory, jobs: list[Job]) -> None:
    folder = tmp_path_factory.mktemp("desk")
    desk = Desk(folder)
    book = JobBook(desk)
    for job in jobs:
        book.put(job)
    desk.close()
    again = Desk(folder)
    assert JobBook(again).all() == jobs
    again.close()


def test_only_the_files_that_are_named_are_written(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    book = JobBook(desk)
    job = Job("a", "ingest", "now", (JobFile("1.pdf", 1), JobFile("2.pdf", 2)))
    book.put(job)
    changed = job.with_file(0, state="done").with_file(1, state="failed", error="torn")
    book.put(replace(changed, state="running", number=7), [1])
    (found,) = book.all()
    assert (found.state, found.number) == ("running", 7)
    assert [file.state for file in found.files] == ["queued", "failed"]
    desk.close()


def test_numbers_rise_over_restarts_and_between_two_books(tmp_path: Path) -> None:
    given_out: list[int] = []
    for _ in range(3):
        desk = Desk(tmp_path)
        book, other = JobBook(desk), JobBook(desk)
        given_out += [book.number() for _ in range(BLOCK + 3)]
        assert other.number() > given_out[-1] - BLOCK
        desk.close()
    assert given_out == sorted(set(given_out))


def test_dropped_jobs_are_gone_with_their_files(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    book = JobBook(desk)
    for key in "abc":
        book.put(Job(key, "ingest", "now", (JobFile(f"{key}.pdf", 1),)))
    book.drop(["a", "c", "unknown"])
    assert [job.id for job in book.all()] == ["b"]
    assert desk.row("SELECT count(*) FROM job_files")[0] == 1  # type: ignore[index]
    desk.close()


def test_what_is_blotted_out_is_not_on_the_disk(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    book = JobBook(desk)
    job = Job("a", "ingest", "now", (JobFile("the-secret-plan.pdf", 1, "done"), JobFile("other.pdf", 1, "done")))
    book.put(job)
    book.blot([replace(job, files=(JobFile("(deleted)", 0, "done"), job.files[1]))])
    on_disk = b"".join(path.read_bytes() for path in tmp_path.glob(f"{DESK}*"))
    assert b"the-secret-plan" not in on_disk
    assert b"other.pdf" in on_disk
    desk.close()


def test_a_desk_that_cannot_be_used_is_said(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    book = JobBook(desk)
    desk.close()
    with pytest.raises(LibraryError):
        book.put(Job("a", "ingest", "now"))
