"""What a Chinese sentence tells, as a question and its answer, for facts.py.

Chinese asks where the answer stands, so a clause with its number replaced by what asks for one is a question. Most of
the rules say when that is none: clauses that lean on others, idioms (十年), parts of a whole (其中两个). Pure functions
on texts of one line.
"""

from __future__ import annotations

import re

from ragapp.suggestions import is_readable
from ragapp.text import CJK

Told = tuple[str, str]  # question, answer
BLANK = "____"
SHARE = "百分之多少"
MIN_SUBJECT = 3  # CJK characters before what is asked for
MIN_REST = 7  # characters of the clause besides it

_DIGITS = r"\d[\d,，]*(?:\.\d+)?"
_FEW = r"[两三四五六七八九十]"
_DATE = re.compile(r"(?:公元前?)?\d{3,4}\s?年(?:\s?\d{1,2}\s?月(?:\s?\d{1,2}\s?[日号])?)?")
_UNIT = (
    "平方公里|平方英里|平方米|立方米|公里|千米|英里|米|厘米|毫米|公斤|千克|吨|克|升|亿美元|万美元|美元|亿元|万元|元|英镑|"
    "欧元|万人|人|个月|个|名|位|种|座|家|所|次|周岁|岁|年|天|小时|分钟|秒|度|页|条|项|支|艘|架|辆|户|倍|层|本|部|块|张|英尺|"
    "瓦|伏|词元|字节|兆|份"
)
# Of numerals in characters only those that count things: 十年 and 四周 are as often a manner of speaking.
_COUNTED = "个|名|位|种|座|家|所|支|艘|架|辆|部|页|条|项"
_AMOUNT = re.compile(rf"(?P<number>{_DIGITS}\s?[万亿]?)\s?(?P<unit>{_UNIT})|(?P<few>{_FEW})(?P<few_unit>{_COUNTED})")
_SHARE = re.compile(r"\d+(?:\.\d+)?\s?[%％]|百分之[一二三四五六七八九十百\d.]+")
_OTHER_NUMBER = re.compile(
    rf"\d|[一二两三四五六七八九十百千万亿]{{2,}}|[一二两三四五六七八九十](?:{_COUNTED}|次|年|天)"
)
# What leans on the sentence before it, or begins a clause that is no statement by itself.
_LEANS = re.compile(
    "^(?:该|这|那|其|此|他|她|它|但|而|并|因此|因而|同时|另外|另一|此外|随后|后来|然后|之后|当|由于|如果|不过|然而|以及|还|也|"
    "又|再|则|所以|例如|比如|尽管|虽然|除了|除此|于是|结果|最后|最终|最初|首先|其次|接着|接下来|在此|到|至|从|自|约|共|每|有|我|您|"
    "你|本|原因|例外|平均|事实上|实际上|据|根据|按照|依据|很明显|显然|总体|总的|具体|一般|通常|其中|一些|某些|有些|许多|第|使|让|对此|上述|[A-Za-z\\d]*[）)”》]|"
    '[（(“"《、，：])'
)
_PRONOUN = re.compile(
    "[他她它](?!们?国)|该(?=[^死当])|这|那(?!么|不勒)|其(?!他|它|余|实|次)|此(?!外)|上述|前述|下述|以上|以下|之前|自己"
)
# A clause that ends so is the time, the place or the frame of another one, or wants its object.
_HANGS = re.compile(
    "(?:后|前|时|时候|中|里|下|内|上|间|期间|以来|之一|显示|表明|认为|指出|表示|规定|说|称|发现|的|和|与|及|或|为|是|在|到|起|左右|例如)$"
)
_PART = re.compile(
    "(?:的|这|那|头|前|后|近|接下来|最初|之后|其他|其余|另外?|各|每|全部|所有|任何|第|到|至|[-–~/.]|其中|之一|和|与|及|或|以及|，|，[于在]|[而并且][于在]?)$"
)
# "建于1808年名为…的市场": the date is part of what something is called.
_BEGUN = re.compile("(?:建|始|成立|发布|出版|立|设|生|死|逝世|发表|创立|创建|起源)于$")
_HOURS = re.compile("上午|下午|晚|凌晨|早|中午")
_WESTERN_STOP = re.compile(rf"(?<=[{CJK}])[,.;]")
_WHERE = re.compile(r"^(?P<subject>[^，。；：]{2,18})位于(?P<answer>[^，。；：]{2,30})(?=[，。；])")
_BY = re.compile(
    r"^(?P<subject>[^，。；：]{2,24}?)(?:是)?由(?P<answer>[^，。；：的]{2,20}?)(?P<done>创办|创立|创建|建立|设计|执导|撰写|编写|发明|制造|"
    r"主持|发起|开发|出版|建造|签署|演唱|创造|领导|组织|负责)(?:的)?(?=[，。；])"
)
_BEGINS = re.compile(rf"^(?:早?在|于)?\s?(?P<date>{_DATE.pattern})(?P<comma>[，,]?)(?P<rest>[^。；：]{{6,50}})。$")
_MEANS = re.compile(r"^(?P<subject>[^，。；：]{2,16}?)\s?(?:表示|意味着|指的是|是指)\s?(?P<answer>[^。；]{4,60})。$")


def figure(sentence: str, words: frozenset[str]) -> Told | None:
    """The first rule that fits; ``words`` are not needed in Chinese, which has no capitals."""
    return next((made for rule in _RULES if (made := rule(sentence)) is not None), None)


def meaning(sentence: str) -> Told | None:
    """“退出码 5 表示……” asks what it means."""
    match = _MEANS.match(sentence)
    if match is None or not _stands_alone(match["subject"]) or len(re.findall(f"[{CJK}]", match["subject"])) < 2:
        return None
    subject = match["subject"].strip()
    # Who says something (研究表示) is not asked what it means; a thing with a number or a name in it is.
    if "表示" in sentence[: len(subject) + 4] and not re.search(r"[A-Za-z\d]", subject):
        return None
    return f"{subject} 表示什么？" if subject[-1].isascii() else f"{subject}表示什么？", match["answer"]


def _share(sentence: str) -> Told | None:
    match = _SHARE.search(sentence)
    return match and _replaced(sentence, match, SHARE)


def _where(sentence: str) -> Told | None:
    match = _WHERE.match(sentence)
    if match is None or not _stands_alone(match["subject"]) or _PART.search(match["subject"]):
        return None
    return f"{match['subject']}位于哪里？", match["answer"].strip()


def _by(sentence: str) -> Told | None:
    match = _BY.match(sentence)
    if match is None or not _stands_alone(match["subject"]):
        return None
    return f"{match['subject'].strip()}是由谁{match['done']}的？", match["answer"].strip()


def _date(sentence: str) -> Told | None:
    match = _DATE.search(sentence)
    if (
        match is None
        or match.start() < MIN_SUBJECT
        or sentence[match.end() : match.end() + 1] in set("代前后度至到起来以间的、（(")
    ):
        return None
    return _replaced(sentence, match, "什么时候" if "月" in match[0] else "哪一年")


def _amount(sentence: str) -> Told | None:
    match = _AMOUNT.search(sentence)
    if match is None or sentence[match.end() : match.end() + 1] == "的":
        return None
    unit = match["unit"] or match["few_unit"]
    if unit == "年" and re.fullmatch(r"\d{3,4}", match["number"].strip()):
        return None  # a date
    return _replaced(sentence, match, f"多少{unit}")


def _in_year(sentence: str) -> Told | None:
    """“1891年，某人制造出液氧。” asks in which year; without a comma the date may belong to what follows it."""
    match = _BEGINS.match(sentence)
    if match is None or _OTHER_NUMBER.search(match["rest"]) or not _stands_alone(match["rest"]):
        return None
    rest = match["rest"].strip()
    if len(rest) < MIN_REST or rest.count("，") > 1 or _HANGS.search(rest) or (not match["comma"] and "的" in rest):
        return None
    return f"{'什么时候' if '月' in match['date'] else '哪一年'}{rest}？", match["date"]


_RULES = (_share, _where, _by, _in_year, _date, _amount)


def _replaced(sentence: str, match: re.Match[str], asks: str) -> Told | None:
    """The sentence up to the end of the clause with ``match``, which is asked for; None where that is no question."""
    start, end = match.span()
    stop = min((place for mark in "，；。！：、" if (place := sentence.find(mark, end)) >= 0), default=len(sentence))
    lead = sentence[:stop]
    before, after = lead[:start].rstrip(), lead[end:].lstrip()
    if sentence[stop : stop + 1] == "、" or _WESTERN_STOP.search(lead) or (after and _BEGUN.search(before)):
        return None  # half of a list, or of a sentence
    if "的" in after or _HOURS.match(after):
        return None  # the number may be part of what something is called
    is_part = _PART.search(before) is not None and not (before.endswith("的") and asks == SHARE)
    if is_part or _HANGS.search(lead) or not _stands_alone(lead) or _OTHER_NUMBER.search(f"{before} {after}"):
        return None
    if len(re.findall(f"[{CJK}]", before)) < MIN_SUBJECT or len(before + after) < MIN_REST or lead.count("，") > 1:
        return None
    return f"{before}{'' if not before[-1].isascii() else ' '}{asks}{after}？", match[0]


def _stands_alone(text: str) -> bool:
    is_whole = all(text.count(a) == text.count(b) for a, b in ("()", "（）", "《》")) and "“" not in text
    return is_whole and not _LEANS.match(text) and not _PRONOUN.search(text) and is_readable(text)


_FOR = re.compile(
    r"^(?P<subject>[^，。；：]{2,20}?)(?:主要|通常|一般|常|也|可|可以|被)*(?:是)?(?<![适作应运利])(?:用于|用来)(?P<answer>[^，。；：]{3,40})(?=[，。；])"
)
_BECAUSE = re.compile(r"^(?:因为|由于)(?P<answer>[^。；]{4,40}?)，(?:所以|因此)?(?P<what>[^，。；]{7,36})。$")
_HENCE = re.compile(r"^(?P<answer>[^，。；]{6,40})，(?:因此|所以)(?P<what>[^，。；]{7,36})。$")
_IF = re.compile(r"^(?:如果|若|要是)(?P<case>[^，。；]{4,36})，(?P<answer>[^。；]{5,60})。$")


def reason(sentence: str, words: frozenset[str]) -> Told | None:
    """What something is for, why it is so, or what happens in some case; ``words`` as in ``figure``."""
    if (match := _FOR.match(sentence)) and _stands_alone(match["subject"]):
        return f"{match['subject'].strip()}用来做什么？", match["answer"].strip()
    if (match := _BECAUSE.match(sentence) or _HENCE.match(sentence)) and _stands_alone(match["what"]):
        return f"为什么{match['what'].strip()}？", match["answer"].strip()
    if (match := _IF.match(sentence)) and not _PRONOUN.search(match["case"]):
        return f"如果{match['case'].strip()}，会怎么样？", re.sub(
            "^(?:那么|则|就)", "", match["answer"].strip()
        ).strip()
    return None


def cloze(sentence: str) -> Told | None:
    """The sentence with its only number left out."""
    numbers = list(re.finditer(r"(?<![A-Za-z\d._-])\d[\d,]*(?:\.\d+)?\s?[%％]?(?![A-Za-z\d_.-])", sentence))
    if len(numbers) != 1 or len(re.findall(r"\d+", sentence)) > 2 or not _stands_alone(sentence):
        return None
    gap = numbers[0]
    return f"“{sentence[: gap.start()]}{BLANK}{sentence[gap.end() :]}”这句话里缺了哪个数？", gap[0].strip()
