"""Follow-up questions made to stand by themselves, without a language model, in English and Chinese.

A question that leans on the conversation ("And how long does it last?") cannot be searched: what it is about stands in
an earlier turn. The telling words of the earlier questions are put behind it, which is all that a search by words and
vectors needs. The rules are about wording only: what leans, and what a pronoun may stand for inside its own sentence
(an object pronoun never means the subject of its own clause, so "Does the warranty cover it?" leans, though it has a
noun). Non-goals: resolving which of several nouns is meant, and writing good English.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from ragapp.ports import Words
from ragapp.text import collapse, has_cjk
from ragapp.types import Turn
from ragapp.wording import ASKING, AUXILIARIES, PREPOSITIONS, STOP_WORDS, content, is_small_talk, names, tokens

LONG_QUESTION = 400  # characters; a longer one says what it is about
TURN_CHARS = 1000  # of an earlier question that are looked at
LOOK_BACK = 6  # earlier questions that are looked at
MOST_WORDS = 10  # carried over from earlier questions …
MOST_FROM_ANSWER = 4  # … and from the last answer
ANSWER_CHARS = 400  # of the last answer that are looked at
SHORT_ANSWER = 160  # characters; names in a longer one, which may quote a page, are seldom what "it" means
MIN_INFORMATION = 0.9  # below it a question says too little to be searched; 1 is a word that stands nowhere
POINTING = 1.5  # the same where "the" points at something
SHORT_ZH = 2  # characters of content that leave open what a Chinese question is about
ABSENT = "\uffff"  # a word that no library holds: its weight is the largest there is


def standalone(question: str, history: Sequence[Turn], words: Words) -> str:
    """The question with the subject it takes from the history behind it; unchanged where it stands by itself."""
    told = (_beginning(turn.text) for turn in history if turn.role == "user" and turn.text.strip())
    asked = [text for text in told if not is_small_talk(text)][-LOOK_BACK:]
    if not asked or not leans(question, words):
        return question
    known = {word.lower() for word in tokens(question)}
    carried = _carried(asked, known, words)
    answered = [turn.text for turn in history if turn.role == "assistant"]
    if answered and _asks_for_something(asked[-1]) and (_PERSON.search(question) or len(answered[-1]) <= SHORT_ANSWER):
        carried += _named(answered[-1], known | {word.lower() for word in carried})
    return f"{question.strip()} ({' '.join(carried)})" if carried else question


def leans(question: str, words: Words) -> bool:
    """Whether a question takes something from the conversation it stands in."""
    plain = collapse(question).strip()
    if len(plain) > LONG_QUESTION:
        return False
    if has_cjk(plain):
        return _leans_zh(plain) or _says_little(plain, words)
    return _leans_en(plain) or _says_little(plain, words)


# -- what is carried over ----------------------------------------------------------------------------------------------


def _carried(asked: Sequence[str], known: set[str], words: Words) -> list[str]:
    """The telling words of the latest questions, back to one that stands by itself, the most telling ones kept."""
    found: dict[str, str] = {}
    for text in reversed(asked):
        for word in content(text):
            if word.lower() not in known:
                found.setdefault(word.lower(), word)
        if not leans(text, words):
            break
    most_telling = sorted(found, key=lambda key: -_weight(found[key], words))[:MOST_WORDS]
    return [word for key, word in found.items() if key in most_telling]


def _beginning(text: str) -> str:
    """What is looked at of a turn, without the word that the cut goes through."""
    cut = text[:TURN_CHARS]
    return cut if cut == text or " " not in cut else cut[: cut.rindex(" ")]


def _weight(word: str, words: Words) -> float:
    """What a word tells: the mean weight of its index terms, of which a run of CJK characters has several."""
    terms = words.words(word)
    return sum(words.weight(term) for term in terms) / len(terms) if terms else 0.0


def _asks_for_something(question: str) -> bool:
    """Whether the answer to a question names what a pronoun after it may mean: who, which, what, where."""
    return re.search(r"\b(?:who|whom|whose|which|what|where)\b|谁|哪|什么", question, re.I) is not None


_PERSON = re.compile(r"\b(?:he|she|him|her|his|hers|they|them|their)\b|(?<![其吉维])他|她", re.I)


def _named(answer: str, known: set[str]) -> list[str]:
    """The names in the beginning of an answer, or its words where it is little more than a name itself."""
    begin = re.sub(r"\[\d+\]", " ", answer)[:ANSWER_CHARS]
    found = names(begin)
    if not found:
        told = content(begin)
        found = told if sum(len(word) for word in told) <= 24 else []
    return [name for name in found if not {part.lower() for part in tokens(name)} <= known][:MOST_FROM_ANSWER]


# -- too little said ---------------------------------------------------------------------------------------------------

_DEFINITION = re.compile(
    r"(?:what|who)(?:'s| is| are| was| were) (?!the\b)|what does .* (?:mean|do|stand for)\b|"
    r"(?:什么|谁)是|是(?:什么(?!时候|地方)|谁)",
    re.I,
)


def _says_little(question: str, words: Words) -> bool:
    """Whether a question names nothing, and its one or two words leave open what they are about.

    "What is rust?" asks for a meaning and needs nothing more. "What is the limit?" points at something, and only rare
    words tell at what.
    """
    told = content(question)
    if not told or all(word.isdigit() for word in told):
        return True
    if names(question) or len(told) > 2 or not _is_asked(question) or _DEFINITION.search(question):
        return False
    if sum(_length(word) for word in told) <= (1 if not has_cjk(question) else SHORT_ZH):
        return True
    # Chinese has no article: there it may point as well.
    least = POINTING if has_cjk(question) or re.search(r"\bthe\b", question, re.I) else MIN_INFORMATION
    most = words.weight(ABSENT)
    return most > 0 and sum(_weight(word, words) * _count(word) for word in told) < least * most


def _is_asked(question: str) -> bool:
    """Whether it is worded as a question: a few key words typed into a search box stand by themselves."""
    first = next(iter(tokens(question)), "").lower()
    return question.rstrip().endswith(("?", "？")) or first in ASKING | AUXILIARIES


# -- English -----------------------------------------------------------------------------------------------------------

_OPENER = re.compile(
    r"(?:and|but|also|plus)\b|(?:ok(?:ay)?,? |so,? |then,? )?(?:what|how) about\b|(?:what|anything|who|where) else\b|"
    r"(?:and )?(?:why|(?:since )?when|where|how|who|which|how (?:so|come|long|much|many|often|far|soon))\s*\??$|"
    r"why not\b|"
    r"same (?:for|question)\b|(?:only|just|even) (?:for|in|on|at|if|with)\b",
    re.I,
)
_ONE = re.compile(
    r"\b(?:the|that|this|which|each|either|other|former|latter|first|second|third|last) ones?\b|"
    r"\bthe (?:former|latter|same|other|others)\b(?=\s*[?.,]|$)|\bthe above\b|"
    r"\b(?:of|between) (?:them|those|these|the two)\b",
    re.I,
)
_EMPTY_IT = re.compile(
    r"\bit\s+(?:takes?|took|is|was|be)?\s*(?:\w+ly\s+)?(?:possible|true|necessary|allowed|legal|illegal|ok(?:ay)?|safe|"
    r"important|better|worth|common|normal|called|take\b.*\bto|cost\b.*\bto|takes?\b.*\bto|mean\b.*\bto|likely|required)\b|"
    r"\bwhat time is it\b|\bit (?:that|who)\b",
    re.I,
)
_SUBJECTS = frozenset({"it", "they", "he", "she"})
_OBJECTS = frozenset({"them", "him"})
_OWNERS = frozenset({"its", "their", "theirs", "his", "her", "hers"})
_LINKS = frozenset({"when", "if", "because", "while", "after", "before", "that", "who", "which", "and", "but", "until",
                    "since", "once", "where", "so", "as", "unless", "whether", "or", "how", "what"})  # fmt: skip
_BEFORE_NOUNS = (
    AUXILIARIES
    | PREPOSITIONS
    | frozenset(
        "a all an any each every many much my no our some the these this those what which your".split()  # noqa: SIM905
    )
)


def _leans_en(question: str) -> bool:
    if _OPENER.match(question) or _ONE.search(question) or _is_fragment(question):
        return True
    held = _EMPTY_IT.sub(" ", question)
    named = {word.lower() for name in names(held) for word in tokens(name)}
    # Whatever ends a clause or a sentence counts as a comma.
    lower = [re.sub(r"[,.;:?!]", ",", word.lower()) for word in re.findall(r"[\w'’/.-]*\w|[,.;:?!](?=\s)", held)]
    return any(_has_no_antecedent(lower, at, named) for at in range(len(lower)))


def _is_fragment(question: str) -> bool:
    """Whether it is a piece of a question: "For contractors?", "After two years?"."""
    words = [word.lower() for word in tokens(question)]
    if not question.rstrip().endswith("?") or not 0 < len(words) <= 5 or set(words) & (ASKING | AUXILIARIES):
        return False
    return words[0] in PREPOSITIONS or len(words) <= 2


def _has_no_antecedent(words: Sequence[str], at: int, named: set[str]) -> bool:
    """Whether the word there is a pronoun that means nothing in its own sentence."""
    word, before = words[at], words[:at]
    last = before[-1] if before else ""
    following = words[at + 1] if at + 1 < len(words) else ""
    noun = _has_noun(before, named)
    if noun and ("," in before or _LINKS.intersection(before[1:])):
        return False  # it may stand for a noun of another clause
    if word in _OBJECTS or (word == "it" and _ends_clause(following)):
        # An object is never the subject of its own clause; behind a preposition it may be.
        return not noun or last not in PREPOSITIONS
    if word in _SUBJECTS and last in AUXILIARIES and _asks_first(before):
        # "How many wheels does it have?": what stands before the verb is what is asked for, not what "it" means.
        return True
    return not noun and (word in _SUBJECTS | _OWNERS or _points(word, last, following))


def _ends_clause(following: str) -> bool:
    return (
        following in ("", ",", "again", "now", "back", "here", "there", "abroad") or following in PREPOSITIONS | _LINKS
    )


def _points(word: str, last: str, following: str) -> bool:
    """Whether a word points at what was said, and is no joint of a subordinate clause and no "there is"."""
    if word == "that":
        return not last or not following or last in AUXILIARIES or last in PREPOSITIONS
    if word == "there":
        return last not in AUXILIARIES and following in ("", ",")
    if word == "those":
        return following not in ("who", "that", "of", "with", "which", "whose", "in", "from")
    return word in ("this", "these")


def _asks_first(before: Sequence[str]) -> bool:
    """Whether nothing but a preposition stands before the word that asks."""
    head = [word for word in before[:2] if word not in PREPOSITIONS]
    return bool(head) and (head[0] in ASKING or head[0] in AUXILIARIES)


def _has_noun(before: Sequence[str], named: set[str]) -> bool:
    """Whether a noun stands there, as far as its company tells: a name, or a word behind what goes before nouns."""
    for at, word in enumerate(before):
        if word in named:
            return True
        if word in STOP_WORDS or word == ",":
            continue
        last = before[at - 1] if at else ""
        if last in _BEFORE_NOUNS or (at and last not in STOP_WORDS):
            return True  # behind another content word it is the noun of an adjective, or of a verb
    return False


# -- Chinese -----------------------------------------------------------------------------------------------------------

_OPENER_ZH = re.compile(
    r"(?:那|那么|另外|此外|而且|但是|可是|所以|然后)(?!个人|些人)|(?:为什么|为何|多久|多少|怎么办|什么时候|哪里|谁|怎么样)[？?]?$"
)
_ENDING_ZH = re.compile(r"呢\s*[？?]?$|^还有")
_PRONOUN_ZH = re.compile(
    r"它们?|(?<![其吉维])他们?|她们?|其(?!他|它|中|余|实|次|间|妙|事)|(?<![应活])该(?!如何|怎|不)|(?<![因如彼])此(?!外|后)|"
    r"这(?!么|样的人)|那(?!么)|前者|后者|上述|上面|刚才|同样|后面那"
)
_POINTER_ZH = re.compile("[这那该此]")


def _leans_zh(question: str) -> bool:
    if _OPENER_ZH.match(question) or (_ENDING_ZH.search(question) and _size(question) <= 10):
        return True
    found = _PRONOUN_ZH.search(question)
    if found is None:
        return False
    # What stands before it may be what it means; "this" and "that" point further away than "he" and "its".
    return _size(question[: found.start()]) < (3 if _POINTER_ZH.match(found.group()) else 2)


def _size(text: str) -> int:
    """Content in CJK characters; another word counts as two."""
    return sum(2 if not has_cjk(word) else len(word) for word in content(text))


def _length(word: str) -> int:
    return len(word) if has_cjk(word) else 1


def _count(word: str) -> float:
    """How many words a run of CJK characters has, most of them having two."""
    return len(word) / 2 if has_cjk(word) else 1.0
