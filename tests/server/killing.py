"""``kill -9`` of a real server while documents are uploaded and read, again and again.

    python -m tests.server.killing --rounds 20

Each round starts a server over one library, uploads from two threads, and kills the process at a moment that is drawn
by chance. In the end a server runs until every job is over, and the books are compared: each upload that was answered
with 202 is in the library with its very bytes, or its job says why not; nothing is there twice; `ragapp doctor` finds
nothing. Prints a line a round, and raises AssertionError where something is wrong.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import httpx

from ragapp.rag import Rag
from tests.libraries import child_environment
from tests.server.desks import pdf

SETTINGS = {"RAGAPP_EMBEDDER_NAME": "hashing", "RAGAPP_INGEST_WORKERS": "2"}


class Server:
    """``ragapp serve`` in a process of its own."""

    def __init__(self, library: Path) -> None:
        command = [sys.executable, "-m", "ragapp", "serve", "--library", str(library), "--port", "0"]
        environment = {**child_environment(), **SETTINGS}
        self._process = subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        self.url = self._address()

    def _address(self) -> str:
        assert self._process.stdout is not None
        seen = ""
        for line in self._process.stdout:
            seen += line
            if "http://" in line:
                return "http://" + line.split("http://")[1].split()[0].rstrip("/.,")
        self._process.stdout.close()
        raise AssertionError(f"The server did not start: {seen}")

    def kill(self) -> None:
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        self._end(signal.SIGTERM)

    def _end(self, number: int) -> None:
        os.kill(self._process.pid, number)
        self._process.wait(30)
        assert self._process.stdout is not None
        self._process.stdout.close()


class Ledger:
    """What was uploaded, and what of it was accepted."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._drawn = 0
        self.accepted: dict[str, tuple[str, bytes]] = {}  # by name: the job, and the bytes

    def next(self, chance: random.Random) -> tuple[str, bytes]:
        """A file to upload: mostly a new one, of one page or of many, some of them broken."""
        with self._lock:
            self._drawn += 1
            name = f"folder{self._drawn % 3}/文件 {self._drawn:04}.pdf"
            content = pdf(f"upload {self._drawn}", chance.choice((1, 1, 3, 40)))
            return name, content[:600] if chance.random() < 0.1 else content

    def accept(self, name: str, job_id: str, content: bytes) -> None:
        with self._lock:
            self.accepted[name] = job_id, content


def upload_until_it_dies(url: str, ledger: Ledger, chance: random.Random) -> None:
    with httpx.Client(base_url=url, timeout=30) as client:
        while True:
            time.sleep(chance.uniform(0, 0.2))
            files = [ledger.next(chance) for _ in range(chance.choice((1, 1, 4)))]
            try:
                answer = client.post("/v1/documents", files=[("file", file) for file in files])
            except httpx.HTTPError:
                return
            assert answer.status_code == 202, answer.text
            for name, content in files:
                ledger.accept(name, answer.json()["job"]["id"], content)


def one_round(library: Path, ledger: Ledger, chance: random.Random) -> float:
    """Start, upload, kill; how long the server lived under uploads, in seconds."""
    server = Server(library)
    threads = [
        threading.Thread(target=upload_until_it_dies, args=(server.url, ledger, random.Random(chance.random())))
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    lived = chance.uniform(0.05, 4)  # the process that reads documents needs a second to start
    time.sleep(lived)
    server.kill()
    for thread in threads:
        thread.join()
    return lived


def settled(library: Path) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """All jobs when they are over, and all documents, from a server that is stopped in good order afterwards."""
    server = Server(library)
    with httpx.Client(base_url=server.url, timeout=60) as client:
        while any(job["state"] in ("queued", "running") for job in client.get("/v1/jobs").json()["data"]):
            time.sleep(0.1)
        jobs, documents = client.get("/v1/jobs").json()["data"], client.get("/v1/documents").json()["data"]
    server.stop()
    return jobs, documents


def check(library: Path, ledger: Ledger) -> Counter[str]:
    """Compare the books; how many uploads came to which end."""
    jobs, documents = settled(library)
    by_id = {job["id"]: job for job in jobs}
    by_name = {entry["document"]: entry for entry in documents}
    ends: Counter[str] = Counter()
    for name, (job_id, content) in ledger.accepted.items():
        file = next(file for file in by_id[job_id]["files"] if file["name"] == name)
        ends[file["state"]] += 1
        if file["state"] in ("done", "kept"):
            assert by_name[name]["id"] == hashlib.sha256(content).hexdigest() == file["document_id"], name
            assert by_name[name]["original"], name
            assert (library / "files" / name).read_bytes() == content, name
        else:
            assert file["state"] == "failed", (name, file)
            assert file["error"], name
            assert name not in by_name, name
    assert len({entry["id"] for entry in documents}) == len(documents) == len(by_name)
    # A job may have been written down whose answer did not come through; no file is there without a job.
    known = {file["name"] for job in jobs for file in job["files"] if file["state"] in ("done", "kept")}
    assert set(by_name) == known
    stored = {path.relative_to(library / "files").as_posix() for path in (library / "files").rglob("*.pdf")}
    assert stored == set(by_name)
    doctor = subprocess.run(
        [sys.executable, "-m", "ragapp", "doctor", "--check", "--library", str(library)],
        env={**child_environment(), **SETTINGS}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert doctor.returncode == 0, doctor.stdout + doctor.stderr
    return ends


def kill_again_and_again(library: Path, rounds: int, seed: int) -> Counter[str]:
    Rag.open(library, embedder__name="hashing").close()
    ledger, chance = Ledger(), random.Random(seed)
    for number in range(1, rounds + 1):
        lived = one_round(library, ledger, chance)
        print(f"round {number}: killed after {lived:.2f} s, {len(ledger.accepted)} uploads accepted so far", flush=True)  # noqa: T201
    return check(library, ledger)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        ends = kill_again_and_again(Path(folder) / "library", given.rounds, given.seed)
    print(f"all is well: {dict(ends)}")  # noqa: T201


if __name__ == "__main__":
    main()
