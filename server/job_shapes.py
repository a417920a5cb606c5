"""Jobs as the doors show them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from ragapp.jobbook import Job

EXAMPLE_JOB: dict[str, Any] = {
    "id": "5d0f2c9ab1e04c77",
    "collection": "manuals",
    "kind": "ingest",
    "state": "running",
    "attempt": 1,
    "created": "2026-01-31T12:00:00.000+00:00",
    "started": "2026-01-31T12:00:00.100+00:00",
    "ended": None,
    "files": [
        {
            "name": "manuals/pump.pdf",
            "bytes": 1204112,
            "state": "reading",
            "error": None,
            "hint": None,
            "needs_password": False,
            "document_id": None,
            "warning": None,
        }
    ],
    "progress": {
        "stage": "embed",
        "file": "manuals/pump.pdf",
        "pages": 12,
        "of_pages": 48,
        "pages_per_second": 14.2,
        "seconds_left": 2.5,
        "fraction": 0.62,
    },
    "report": None,
    "error": None,
}


class JobFileOut(BaseModel):
    """A file of a job. ``needs_password``: retry the job with its password."""

    name: str
    bytes: int
    state: Literal["queued", "reading", "done", "kept", "failed", "cancelled"]
    error: str | None
    hint: str | None
    needs_password: bool
    document_id: str | None
    warning: str | None


class ProgressOut(BaseModel):
    """Where a job stands: ``stage`` is read, ocr, embed, waiting (somebody else is writing) or one of its kind's own.

    ``fraction`` is between 0 and 1. Work of other kinds than ingest may say more.
    """

    model_config = ConfigDict(extra="allow")

    stage: str
    file: str | None
    pages: int | None
    of_pages: int | None
    pages_per_second: float | None
    seconds_left: float | None
    fraction: float | None


class JobErrorOut(BaseModel):
    message: str
    hint: str


class JobOut(BaseModel):
    """Long work. ``kind`` is ingest or download; times are ISO 8601; ``report`` counts what was done."""

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE_JOB]})

    id: str
    collection: str
    kind: str
    state: Literal["queued", "running", "done", "failed", "cancelled"]
    attempt: int
    created: str
    started: str | None
    ended: str | None
    files: list[JobFileOut]
    progress: ProgressOut | None
    report: dict[str, Any] | None
    error: JobErrorOut | None


class JobList(BaseModel):
    object: Literal["list"] = "list"
    data: list[JobOut]


class JobAnswer(BaseModel):
    job: JobOut


def job_dict(
    job: Job, collection: str, progress: Mapping[str, Any] | None, clean: Callable[[str], str] = str
) -> dict[str, Any]:
    """A job as JSON (``JobOut``). ``clean`` takes the paths of this machine out of messages."""
    return {
        "id": job.id,
        "collection": collection,
        "kind": job.kind,
        "state": job.state,
        "attempt": job.attempt,
        "created": job.created,
        "started": job.started,
        "ended": job.ended,
        "files": [
            {
                "name": file.name,
                "bytes": file.bytes,
                "state": file.state,
                "error": clean(file.error) if file.error else None,
                "hint": clean(file.hint) if file.hint else None,
                "needs_password": file.needs_password,
                "document_id": file.document_id,
                "warning": file.warning or None,
            }
            for file in job.files
        ],
        "progress": None if progress is None else {**_NOTHING, **progress},
        "report": job.report,
        "error": None if job.error is None else {key: clean(text) for key, text in job.error.items()},
    }


_NOTHING: Mapping[str, Any] = {
    "stage": "",
    "file": None,
    "pages": None,
    "of_pages": None,
    "pages_per_second": None,
    "seconds_left": None,
    "fraction": None,
}
