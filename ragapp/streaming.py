"""From tokens to text while they come: whole characters only, and nothing of a stop string. Standard library only."""

from __future__ import annotations

from collections.abc import Callable, Sequence

__all__ = ["Stops", "Text"]

_BROKEN = "\ufffd"


class Stops:
    """Lets text through up to the stop string that is complete first; holds back what may yet become one."""

    def __init__(self, stops: Sequence[str]) -> None:
        self.stops = [stop for stop in stops if stop]
        self.held = ""
        self.hit = False

    def feed(self, text: str, *, end: bool = False) -> str:
        if self.hit:
            return ""
        text = self.held + text
        found = [(at + len(stop), at) for stop in self.stops if (at := text.find(stop)) >= 0]
        if found:
            self.hit, self.held = True, ""
            return text[: min(found)[1]]
        heads = (n for stop in self.stops for n in range(1, len(stop)) if text.endswith(stop[:n]))
        cut = len(text) - (0 if end else max(heads, default=0))
        self.held = text[cut:]
        return text[:cut]


class Text:
    """Tokens in, pieces of text out, which joined are ``decode`` of all the tokens.

    ``decode`` turns a list of tokens into text. A token's text may depend on the tokens before it (SentencePiece drops
    the space of the first word, bytes join to characters), so each is decoded behind those that went out last, and
    only what comes on top is new. A replacement character at the end is, as a rule, a character of which some bytes
    are still to come, and waits for them. ``is_open`` says which tokens are a single byte, as SentencePiece has
    them, or leave no text: a run of bytes is decoded as a whole, and one wrong byte breaks all of them, so a run waits
    for its end.
    """

    def __init__(self, decode: Callable[[list[int]], str], is_open: Callable[[int], bool] = lambda _: False) -> None:
        self.decode, self.is_open = decode, is_open
        self.ids: list[int] = []
        self._start = self._sent = 0  # ids[start:sent] went out last, and what follows has not gone out

    def feed(self, token: int) -> str:
        self.ids.append(token)
        return self._advance(end=False)

    def end(self) -> str:
        """What was held back."""
        return self._advance(end=True)

    def _advance(self, *, end: bool) -> str:
        if not end and self.is_open(self.ids[-1]):
            return ""
        before, after = self.decode(self.ids[self._start : self._sent]), self.decode(self.ids[self._start :])
        if not end and (len(after) <= len(before) or after.endswith(_BROKEN)):
            return ""
        self._start, self._sent = self._sent, len(self.ids)
        return after[len(before) :]
