"""What the figures were measured on, in words: cores, processor, memory, system."""

from __future__ import annotations

import os
import platform
import re
from contextlib import suppress
from pathlib import Path


def machine() -> str:
    """As far as the system tells: "2 cores, AMD EPYC 9R14, 23 GB, Linux, Python 3.11.2"."""
    words = [f"{os.cpu_count() or 1} cores", _processor(), _memory(), platform.system()]
    return ", ".join(word for word in (*words, f"Python {platform.python_version()}") if word)


def _processor() -> str:
    with suppress(OSError):
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
        if found := re.search(r"model name\s*:\s*(.+)", text):
            return " ".join(found[1].split())
    return platform.processor() or platform.machine()


def _memory() -> str:
    with suppress(ValueError, OSError, AttributeError):  # not every system has these names
        return f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GB"
    return ""
