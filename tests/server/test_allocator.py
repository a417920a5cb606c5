"""The heap stays small when many threads have worked."""

from __future__ import annotations

import subprocess
import sys

import pytest

from ragapp.server import allocator

# Forty threads that each free what they have allocated: how much of it does the process keep?
PROGRAM = """
import sys, threading
from ragapp.server import allocator
if "few" in sys.argv:
    assert allocator.few_heaps()
turn = threading.Barrier(40)
def work():
    kept = [bytes(50_000) for _ in range(100)]
    turn.wait()
    del kept[:-1]
    held.append(kept)
held = []
threads = [threading.Thread(target=work) for _ in range(40)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
if "few" in sys.argv:
    allocator.give_back()
print(int(open("/proc/self/statm").read().split()[1]) * 4096 // 1_000_000)
"""


@pytest.mark.skipif(not allocator.few_heaps(), reason="there is no glibc")
def test_what_threads_have_freed_is_given_back() -> None:
    def megabytes(*arguments: str) -> int:
        command = [sys.executable, "-c", PROGRAM, *arguments]
        return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)

    assert megabytes("few") < megabytes() - 20
