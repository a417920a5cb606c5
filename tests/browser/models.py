"""A chat model that takes its time, reached by its dotted path."""

from __future__ import annotations

from ragapp.scripted import ScriptedChat

WORDS = "The warranty of the pump lasts 24 months [1]."
LONG = " ".join([WORDS, *(f"It was said {number} times." for number in range(60))])


def slow() -> ScriptedChat:
    """An answer of about 250 words, which takes about ten seconds."""
    return ScriptedChat(replies=[LONG] * 20, delay_s=0.04)
