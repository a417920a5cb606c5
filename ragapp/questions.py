"""What a question asks for, told from its words alone: its terms, and the kind of answer it wants.

For English and Chinese; other languages are read as English without stop words. Nothing here understands a question:
these are counts and patterns that a judge or a choice of sentences may weigh.
"""

from __future__ import annotations

import re

from ragapp.ports import Words

STOP_WORDS = frozenset(
    """
    a about all an and any are as at be been between but by can could did do does during for from had has have how i if
    in into is it its many me more most much my no not of on or our should so than that the their them there these they
    this to was we were what when where which who whom whose why will with would you your
    """.split()  # noqa: SIM905  a list of words is read as a text
)
FUNCTION_WORD_WEIGHT = 0.25  # what a stop word of the question counts beside a content word

_WORD = re.compile(r"[\w'’-]+")

_ASKS_DATE = re.compile(
    r"\bwhen\b|\b(?:what|which) (?:year|date|day|month)|哪一?年|什么时候|何时|哪一?天|哪一?月", re.I
)
_ASKS_NUMBER = re.compile(
    r"\bhow (?:many|much|long|old|far|often|large|big|high|fast|soon)\b|\b(?:price|cost|amount|salary|percent(?:age)?|"
    r"proportion|share|rate|fee|number|value|limit|size|length|duration|period|pressure|temperature|weight|capacity|"
    r"speed|dosage|version|deadline|figure|budget|revenue)\b|多少|几|多[久长大高远快]|比例|价格|数量",
    re.I,
)
_ASKS_NAME = re.compile(r"\bwho(?:m|se)?\b", re.I)
_DATE = re.compile(
    r"\b(?:1\d{3}|20\d\d)\b|\b(?:january|february|march|april|may|june|july|august|september|october|november|"
    r"december|century|days?|weeks?|months?|years?|hours?|minutes?)\b|\d\s*[年月日]|世纪|[年月日]",
    re.I,
)
_NUMBER = re.compile(
    r"\d[\d.,]*|\b(?:one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|twenty|thirty|forty|fifty|hundred|"
    r"thousand|million|billion|half|third|quarter|once|twice|first|second|none|zero)\b|[一二三四五六七八九十百千万两]",
    re.I,
)
_NAME = re.compile(r"(?<![.!?]\s)(?<!^)\b[A-Z][a-z]+")


def terms(words: Words, question: str) -> dict[str, float]:
    """The question's index terms that tell something, with their inverse document frequency."""
    content = " ".join(word for word in _WORD.findall(question) if word.lower() not in STOP_WORDS)
    return {word: words.weight(word) for word in words.words(content or question)}


def share(wanted: dict[str, float], having: frozenset[str] | set[str]) -> float:
    """How much of what the wanted terms tell some words carry, between 0 and 1."""
    total = sum(wanted.values())
    return sum(weight for word, weight in wanted.items() if word in having) / total if total else 0.0


def token_weight(token: str) -> float:
    """What a token of the question counts: nothing for punctuation, little for a stop word."""
    if not any(c.isalnum() for c in token):
        return 0.0
    return FUNCTION_WORD_WEIGHT if token.lower() in STOP_WORDS else 1.0


def kind_of_answer(question: str) -> re.Pattern[str] | None:
    """What an answer's words look like: a date, a number or a name; None where the question does not say."""
    if _ASKS_DATE.search(question):
        return _DATE
    if _ASKS_NUMBER.search(question):
        return _NUMBER
    return _NAME if _ASKS_NAME.search(question) else None


def is_of_kind(kind: re.Pattern[str] | None, question: str, text: str) -> bool:
    """Whether a text has a date, number or name of that kind that the question does not say itself."""
    if kind is None:
        return False
    asked = set(re.findall(r"\w+", question.lower()))
    return any(not asked & set(re.findall(r"\w+", match.group().lower())) for match in kind.finditer(text))
