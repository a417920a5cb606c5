"""Names of uploads: what a client calls a file becomes a path below the folder of originals, or is refused.

Unicode stays (composed, NFC), so that 说明书.pdf and résumé.pdf are called so. What could lead out of the folder, or
what no system could store, is refused and not repaired: a repaired name may be somebody else's.
"""

from __future__ import annotations

import os
import re
import unicodedata

from ragapp.server.errors import Refusal

MAX_PART_BYTES = 240  # of a folder's or file's name: systems allow 255, and an ending may be added
MAX_NAME_BYTES = 1000  # of the whole path
MAX_DEPTH = 32  # folders inside folders

_DRIVE = re.compile(r"^[A-Za-z]:")
_RESERVED = re.compile(r"^(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³])$", re.IGNORECASE)
_WINDOWS = frozenset('<>:"|?*')
# Control characters, halves of character pairs, and marks that turn the direction of what is read after them.
_TURNING = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\ufeff")


def clean_name(name: str, *, windows: bool = os.name == "nt") -> str:
    """The name as a relative path with forward slashes. Raises Refusal (400) for one that cannot be used."""
    path = unicodedata.normalize("NFC", name).replace("\\", "/")
    if path.startswith("/") or _DRIVE.match(path):
        raise _refused(name, "is not a relative path")
    parts = path.split("/")
    if len(path.encode("utf-8", "surrogatepass")) > MAX_NAME_BYTES or len(parts) > MAX_DEPTH:
        raise _refused(name, "is too long")
    for part in parts:
        if why := _fault(part, windows):
            raise _refused(name, why)
    return path


def _fault(part: str, windows: bool) -> str:
    """Why a folder or file cannot be called so, as the end of a sentence; empty when it can."""
    unseen = any(unicodedata.category(char) in ("Cc", "Cs") or char in _TURNING for char in part)
    stem = part.split(".", maxsplit=1)[0].strip()
    faults = {
        "leads to another folder": part in (".", ".."),
        "has an empty part": not part.strip(),
        "has a part that begins or ends with a space, or ends with a dot": part != part.strip() or part.endswith("."),
        "is that of a hidden file": part.startswith((".", "~$")),
        "is too long": len(part.encode("utf-8", "surrogatepass")) > MAX_PART_BYTES,
        "has characters that cannot be shown": unseen,
        "is reserved by some systems": bool(_RESERVED.match(stem)),
        "has characters that this system does not allow": windows and not _WINDOWS.isdisjoint(part),
    }
    return next((why for why, is_so in faults.items() if is_so), "")


def _refused(name: str, why: str) -> Refusal:
    shown = "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in name)[:100]
    return Refusal(400, "invalid_name", f"The name {shown!r} {why}.", "Give the file another name.", param="file")
