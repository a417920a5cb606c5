"""What the wording of a question tells without a model, in English and Chinese. Pure functions on characters.

Content words, names, several questions in one, and small talk. Rules, not grammar: where they are unsure they leave a
question as it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from ragapp.text import CJK, has_cjk

LONG_TEXT = 2000  # characters; a longer one is no question whose parts could be told by rules
_TOKEN = re.compile(rf"[{CJK}]+|[^\W{CJK}_](?:[^\W{CJK}_]|[.'’&/-](?=[^\W{CJK}_]))*")
_POSSESSIVE = re.compile(r"['’]s?$")

AUXILIARIES = frozenset(
    """
    am are be been being can cannot can't could couldn't did didn't do does doesn't don't had has have is isn't may
    might must should shouldn't was wasn't were weren't will won't would wouldn't
    """.split()  # noqa: SIM905  a list of words is read as a text
)
ASKING = frozenset("how what what's when where where's which who who's whom whose why".split())  # noqa: SIM905
PREPOSITIONS = frozenset(
    """
    about above across after against along among around at before behind below beside between beyond by despite during
    except for from in inside into like near of off on onto out outside over per since than through to toward towards
    under until up upon versus via with within without
    """.split()  # noqa: SIM905
)
_OTHER = frozenset(
    """
    a an and all also any anyone anything as because both but each either else even ever every few he her hers here him
    his how's i i'd i'll i'm i've if instead it it's its itself just let let's long many me more most much my neither no
    nor not now often ok okay one ones only or other others otherwise our ours please same she so some such that that's
    the their theirs them then there there's these they they're this those though too very we well whether while yet
    you your yours
    ask asked compare define describe exactly explain far find give happen happened happens kind know list mean
    means say said says sort tell thing things want
    """.split()  # noqa: SIM905
)
STOP_WORDS = AUXILIARIES | ASKING | PREPOSITIONS | _OTHER

# Longest first: what asks and what only holds a Chinese sentence together.
_ASKING_ZH = (
    "什么时候|什么地方|什么样|为什么|为何|多长时间|多少|多久|多长|多大|多高|多远|多快|什么|哪里|哪儿|哪些|哪个|哪位|"
    "哪一|哪|谁|几|如何|怎么样|怎么办|怎么|怎样|何时|何地|何处|何种|(?<!任)何|是否|能否|可否|有没有|是不是|吗"
)
# Single characters only where they are seldom part of a word, or with the words that they are part of.
_HOLDING_ZH = (
    "请问|请(?!假|求|客)|告诉|我们|你们|您|我|你|他们|她们|它们|(?<!其|吉)他|她|它|这些|那些|这个|那个|这里|那里|"
    "这样|那样|这|那么|那|(?<!应)该|其(?!他|它|中|余|次|实)|此(?!外)|呢|啊|吧|呀|的话|的(?!士)|了(?!解)|是|"
    "在(?!线|职|校|岗)|有(?!限|效|关|权|害|机|色)|和(?!平|解|谐)|与(?!会)|或者|并且|而且|但是|因为|所以|如果|都(?!市)|"
    "也|还有|还(?!款|原)|对于|关于|根据|按照|以及|会(?!议|计|员|场|费|社|长|面|见)|能够|能(?!力|量|源|耗)|可以|需要|"
    "应该|应当|吗|一下|另外|此外|说明(?!书)"
)
_ASKING_ZH_RE = re.compile(_ASKING_ZH)
_FUNCTION_ZH = re.compile(f"{_ASKING_ZH}|{_HOLDING_ZH}")


def tokens(text: str) -> list[str]:
    """The words as they are written; a run of CJK characters is one."""
    return _TOKEN.findall(text)


def content(text: str) -> list[str]:
    """The words that tell what a text is about, in order, each once; of CJK runs what is left without function words.

    A single CJK character is left out where it stands alone: cut off like this it is hardly a word.
    """
    found: dict[str, str] = {}
    for token in tokens(text):
        for word in _content_zh(token) if has_cjk(token) else [_POSSESSIVE.sub("", token)]:
            if word.lower() not in STOP_WORDS and (len(word) > 1 or word.isdigit()):
                found.setdefault(word.lower(), word)
    return list(found.values())


def _content_zh(run: str) -> list[str]:
    return [piece for piece in _FUNCTION_ZH.split(run) if len(piece) > 1]


def names(text: str) -> list[str]:
    """Names and codes: runs of words with a capital or a digit; a sentence's first word only where more tells.

    ``"When did Nikola Tesla leave AC-42?"`` holds ``["Nikola Tesla", "AC-42"]``. None are known in Chinese, which has
    no capitals, but for what stands in 《》, “” or 「」.
    """
    found: dict[str, None] = dict.fromkeys(re.findall(r"《([^》]+)》|", text))
    found.update(dict.fromkeys(re.findall(r"[“「]([^”」]{2,24})[”」]", text) if has_cjk(text) else ()))
    found.update(dict.fromkeys(" ".join(run) for run in _name_runs(text)))
    found.pop("", None)
    return list(found)


def _name_runs(text: str) -> Iterator[list[str]]:
    run: list[str] = []
    maybe = ""  # a sentence's first word, which belongs to a name that follows it at once
    last = 0
    begins = True
    for match in _TOKEN.finditer(text):
        word, between = match.group(), text[last : match.start()]
        begins = begins or re.search(r"[.!?:;。！？：；]\s", between) is not None
        if between.strip(" "):
            yield run
            run, maybe = [], ""
        if _is_name(word, begins=begins):
            run += [*([maybe] if maybe and not run else []), _POSSESSIVE.sub("", word)]
            maybe = ""
        else:
            yield run
            run, maybe = [], (word if begins and _is_name(word, begins=False) else "")
        last, begins = match.end(), False
    yield run


def _is_name(word: str, *, begins: bool) -> bool:
    """A capital tells nothing at the start of a sentence, and of a function word; two capitals or a digit always do."""
    if has_cjk(word) or word.lower() in STOP_WORDS:
        return False
    capitals = sum(c.isupper() for c in word)
    return capitals > 1 or any(c.isdigit() for c in word) or (capitals == 1 and word[0].isupper() and not begins)


# -- several questions in one ----------------------------------------------------------------------------------------

_STARTS = "what|who|whom|whose|when|where|why|how|which|is|are|does|do|did|can|could|should|will|was|were"
_TOLD = "explain|describe|list|tell me|give me|show me|name"
_END = re.compile(r"(?<=[?？])\s*")
_AND = re.compile(rf",?\s+(?:and|as well as)\s+(?:also\s+)?(?=(?:(?:in|on|at|for|to)\s+)?(?:{_STARTS})\b)", re.I)
_BEGINS = re.compile(rf"(?:and\s+|but\s+|in\s+|on\s+|at\s+|for\s+|to\s+)?(?:{_STARTS}|{_TOLD})\b", re.I)
_AND_ZH = re.compile(
    r"[，,；;]?\s*(?:以及|还有|并且|同时)|[，,；;]\s*(?:和|而|那么?)?|和(?=什么|谁|哪|多少|如何|怎|何)"
)
_DIFFER = re.compile(
    r"(?:differences?|distinction|comparison)\s+(?:(?:is|are)\s+there\s+)?between\s+(?P<a>.+?)\s+and\s+(?P<b>.+)"
    r"|^compare\s+(?P<a2>.+?)\s+(?:and|with|to|against|versus|vs\.?)\s+(?P<b2>.+)"
    r"|^how\s+(?:do|does|did|is|are)\s+(?P<a3>.+?)\s+(?:differ(?:ent)?\s+from|compare\s+(?:to|with))\s+(?P<b3>.+)"
    r"|^(?P<a4>.{2,60}?)\s+(?:versus|vs\.?)\s+(?P<b4>.+)",
    re.I,
)
_EITHER = re.compile(r"^(?P<rest>(?:which|who|what)\b[^,]+),\s*(?P<a>[^,?]+?)\s*,?\s+or\s+(?P<b>[^,?]+)$", re.I)
_ASPECT = re.compile(
    r"\s+(?:in terms of|with (?:regard|respect) to|regarding|concerning|when it comes to)\s+(.+)$", re.I
)
_OF = re.compile(r"^(?P<head>.+?\s(?:of|for|in|at|under|by))\s+(?P<name>.+)$", re.I)
_HANGING_ZH = re.compile(r"(?<!是)(?:如何|怎么|怎样|为什么|为何|何时|何地|什么时候|什么地方|在哪里|在哪儿)\s*$")
_DIFFER_ZH = re.compile(
    r"(?P<a>[^，,和与跟同]{2,40}?)(?:和|与|跟|同)(?P<b>[^，,和与跟同]{2,40}?)"
    r"(?:(?:在|的)(?P<of>[^，,]{1,12}?)(?:上|方面)?)?(?:之间)?的?(?:有什么|有何|有哪些|有啥|是什么)?(?:[一二两三几\d]+[个种点])?(?:主要)?(?:的)?"
    r"(?:区别|差别|不同|差异)"
    r"|(?:比较|对比)(?:一下)?(?P<a2>[^，,和与跟同]{2,40}?)(?:和|与|跟|同)(?P<b2>[^，,的]{2,40})(?:的(?P<of2>.{1,12}))?$"
)


def sub_questions(text: str) -> list[str]:
    """The questions that a text holds, at least itself: sentences that ask, joined full questions, the sides compared.

    A part may still lean on the one before it ("… and when was it sold?"). A text of LONG_TEXT is left as it is.
    """
    if len(text) > LONG_TEXT:
        return [text]
    asked = [part for sentence in _asking_sentences(text) for part in _joined(sentence)]
    if len(asked) > 1:
        return asked
    return _compared(text.strip().rstrip("?？.。!！ ")) or [text]


def _asking_sentences(text: str) -> list[str]:
    """The text cut behind its question marks; uncut where it has but one, whatever stands around it."""
    parts = [part for part in _END.split(text) if any(c.isalnum() for c in part)]
    return parts if len(parts) > 1 and all(part.rstrip().endswith(("?", "？")) for part in parts) else [text]


def _joined(sentence: str) -> list[str]:
    """The full questions that "and" joins; the sentence itself where one side is none."""
    parts: list[str] = []
    left = 0
    for match in (_AND_ZH if has_cjk(sentence) else _AND).finditer(sentence):
        before = sentence[left : match.start()]
        if _is_full(before) and _is_full(sentence[match.end() :], weak=True):
            parts.append(before.strip())
            left = match.end()
    return [*parts, sentence[left:].strip()]


def _is_full(part: str, *, weak: bool = False) -> bool:
    """Whether a part asks and says what it asks about; the second of two (``weak``) may lean on the first."""
    told = content(part)
    if has_cjk(part):
        if _HANGING_ZH.search(part) and not weak:
            return False  # "如何以及何时": what is asked about comes behind both
        return _ASKING_ZH_RE.search(part) is not None and sum(map(len, told)) >= (1 if weak else 2)
    if _BEGINS.match(part.strip()) is None or (re.search(r"\bbetween\b", part, re.I) and not weak):
        return False
    return len(tokens(part)) >= 3 and len(told) >= (1 if weak else 2)


def _compared(text: str) -> list[str]:
    """One question for each side of a comparison; none where nothing is compared."""
    if has_cjk(text):
        match = _DIFFER_ZH.search(text)
        if match is None:
            return []
        sides = [match["a"] or match["a2"], match["b"] or match["b2"]]
        of = match["of"] or match["of2"]
        sides = [re.sub(r"^(?:请问|请|比较|对比|一下)+", "", side).strip() for side in sides]
        return [f"{side}的{of}" if of else side for side in sides] if all(len(s) > 1 for s in sides) else []
    either = _EITHER.match(text)
    if either:
        return [f"{either['rest']}: {either[side]}" for side in "ab"]
    aspect = _ASPECT.search(text)
    match = _DIFFER.search(text[: aspect.start()] if aspect else text)
    if match is None:
        return []
    one, other = (next(match[f"{side}{n}"] for n in ("", "2", "3", "4") if match[f"{side}{n}"]) for side in "ab")
    if not content(one) or not content(other):
        return []
    return [f"{aspect[1]} {side}" if aspect else side for side in _with_one_head(one, other)]


def _with_one_head(one: str, other: str) -> tuple[str, str]:
    """ "the deductible of A" and "B" are "the deductible of A" and "the deductible of B"; likewise from behind."""
    other = re.sub(r"^(?:those|that)\s+(?:of|for|in|at|under|by)\s+", "", other, flags=re.I)
    first, second = _OF.match(one), _OF.match(other)
    if first and not second:
        return one, f"{first['head']} {other}"
    return one, other


# -- small talk --------------------------------------------------------------------------------------------------------

_GREETINGS = (
    r"hi|hello|hey|hiya|good (?:morning|afternoon|evening|day|night)|greetings|thanks(?: (?:so|very) much| a lot)?|"
    r"thank you(?: (?:so|very) much)?|many thanks|cheers|bye(?: bye)?|goodbye|see you(?: (?:later|soon))?|"
    r"how are you(?: (?:doing|today))*|how do you do|nice to meet you|who are you|what are you|"
    r"what(?:'s| is) your name|what can you do(?: for me)?|what do you do|how can you help(?: me)?|"
    r"are you (?:a (?:bot|robot|human|person)|an ai|there)|"
    r"there|again|everyone|all|very helpful|that(?:'s| is) all|ok(?:ay)?|great|perfect|cool|well done"
)
_GREETINGS_ZH = (
    "你好|您好|大家好|嗨|哈喽|早上好|上午好|中午好|下午好|晚上好|早安|晚安|谢谢|多谢|感谢|非常感谢|太感谢了|再见|拜拜|"
    "你是谁|您是谁|你叫什么名字|你叫什么|你能做什么|你会做什么|你会什么|你可以做什么|你能帮我什么|你是机器人吗|你是人吗|"
    "你好吗|最近好吗|很好|太好了|好的|你|您|们|啊|呀|了|吗"
)
# At most so many: some can be read as one phrase or as two, and the ways to read a row of them double with each.
_SMALL_TALK = re.compile(rf"(?:(?:{_GREETINGS}|{_GREETINGS_ZH})[\s,.!?~，。！？～、]*){{1,10}}", re.I)


def is_small_talk(text: str) -> bool:
    """Whether a message is nothing but greetings, thanks, or a question about the assistant itself."""
    plain = " ".join(text.replace("’", "'").split())
    return len(plain) <= 80 and _SMALL_TALK.fullmatch(plain) is not None
