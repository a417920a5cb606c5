"""How far one file may go before it is given up: what it costs must stay in proportion to what it is."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of one document: pages it may claim, characters of text, bytes it may unpack to (zip bombs)."""

    pages: int = 20_000
    chars: int = 100_000_000
    expanded_bytes: int = 1 << 30
