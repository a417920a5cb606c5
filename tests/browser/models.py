"""A chat model that takes its time, reached by its dotted path."""

from __future__ import annotations

from ragapp.scripted import ScriptedChat

WORDS = "The warranty of the pump lasts 24 months [1]."
LONG = " ".join([WORDS, *(f"It was said {number} times." for number in range(60))])


def slow() -> ScriptedChat:
    """An answer of about 250 words, which takes about twenty seconds."""
    return ScriptedChat(replies=[LONG] * 20, delay_s=0.08)


def brisk() -> ScriptedChat:
    """The same answer in about three seconds."""
    return ScriptedChat(replies=[LONG] * 20, delay_s=0.01)


def wrong() -> ScriptedChat:
    """An answer with a claim that no page bears out, one mark used twice, and what would be markup."""
    claims = "The pump is made of gold and weighs ninety tons [1]. The pump is blue and weighs nine kilograms [1]."
    wide = "| " + " | ".join(f"column-number-{number}-of-many" for number in range(12)) + " |\n" + "|---" * 12 + "|\n"
    reply = f"{claims}\n\n{wide}\n<img src=x onerror=document.title='owned'> \u202egpj.exe\u202c\n"
    return ScriptedChat(replies=[reply] * 20)
