"""The same question in other words, by rules: synonyms, and the words that people type into a search box.

A question made of a sentence repeats its words, which flatters a search by words. Names, codes, figures and what stands
in quotation marks stay, as people repeat those too. Where no rule knows another word, there is no paraphrase.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping
from functools import cache

from ragapp.text import has_cjk
from ragapp.wording import content, names

KEEP = 3  # words that a search must have left
SPACE = " "
KEEP_CJK = 6  # or characters
DROP_FROM = 6  # words besides names that it must have before one is left out

# word/other word, in one form and both to be put in the same place. Only pairs that go together nearly everywhere.
_ALIKE_EN = """
    deductible/excess copayment/co-payment premium/insurance_fee coverage/insurance_cover covered/paid_for
    physician/doctor physicians/doctors doctor/physician medication/medicine medications/medicines surgery/operation
    illness/disease injury/wound employee/staff_member employees/staff_members employer/company companies/firms
    company/firm salary/pay vacation/holiday annual/yearly yearly/annual purchase/buy purchased/bought buy/purchase
    sell/offer_for_sale price/cost costs/expenses cost/price fee/charge amount/sum begin/start start/begin
    started/began began/started ended/finished closed/shut_down opened/started founded/set_up established/set_up
    establish/set_up created/made create/make built/constructed build/construct designed/planned developed/worked_out
    published/brought_out publish/bring_out released/brought_out release/bring_out located/found headquartered/based
    abolished/ended abolish/end acquire/take_over acquired/taken_over die/pass_away receive/get received/obtained
    require/need required/needed obtain/get provide/give provides/gives hold/contain
    operate/work operates/works maintained/kept replaced/changed repaired/mended
    checked/inspected submitted/handed_in submit/hand_in filed/sent_in notify/tell notified/told decision/ruling
    complaint/grievance grievance/complaint agreement/contract contract/agreement documents/papers machine/device
    device/machine engine/motor boiler/heater tank/container screen/display big/large large/big
    population/number_of_inhabitants residents/inhabitants city/town town/city country/nation children/kids film/movie
    movie/film novel/book novels/books attorney/lawyer attorneys/lawyers lawyers/attorneys justices/judges
    visitors/guests keepers/wardens litres/liters metres/meters tall/high permitted/allowed allowed/permitted
    prohibited/forbidden terminate/end terminated/ended retire/step_down therapy/treatment treatment/therapy
    requests/applications seats/places rules/regulations errors/mistakes error/mistake
"""
_ALIKE_ZH = """
    费用/花费 价格/价钱 员工/职工 雇员/员工 企业/公司 总部/总公司 建立/设立 成立/创办 创立/成立 设立/建立 发布/推出
    出版/问世 签署/签订 取消/废除 颁布/公布 购买/买入 出售/卖出 使用/采用 包括/包含 包含/包括 拥有/有着 获得/得到
    提供/给出 需要/要用 位于哪里/在什么地方 哪一年/几几年 什么时候/何时 多少个/几个 多少名/几名 多少位/几位
    多少种/几种 面积/大小 人口/居民数 城市/都市 军队/部队 大学/高校 医生/大夫 药物/药品 疾病/病症 治疗/医治 学生/学员
    教师/老师 孩子/儿童 妇女/女性 电影/影片 节目/栏目 歌曲/曲子 汽车/轿车 铁路/铁道 建筑/房屋 大约/差不多 控制/掌控
    关闭/停用 撤离/撤出 加入/参加 攻击/进攻 击败/打败 死亡/去世 出生/诞生 居民/住户 收入/所得 检查/查看 显示/列出
    移除/删掉 删除/删掉 保存/存放 文件夹/目录 文档/文件 检索/搜索 回答/答复 设置/配置 命令/指令 表示什么/是什么意思
    什么是/何谓
"""
# What asks, in the words of somebody who searches.
_SOUGHT_ZH = (
    (r"哪一年", " 年份 "),
    (r"什么时候", " 时间 "),
    (r"百分之多少", " 百分比 "),
    (r"位于哪里", " 位置 "),
    (r"是由谁", " 谁 "),
    (r"多少[个名位种座家所支条项次]?", " 数量 "),
    (r"表示什么|是什么", " 含义 "),
    (r"^什么是", ""),
    (r"是怎么说的", " "),
)
_WORD = re.compile(r"[A-Za-z][a-z'’-]*")
_FRAME = frozenset(("given", "according"))
_NEGATED = re.compile(r"\b(?:not|no|never|cannot|without|except|unless)\b", re.IGNORECASE)
_QUOTED = re.compile(r"(“[^”]*”|《[^》]*》|\"[^\"]*\")")
_WHAT = re.compile(
    r"^(?:What (?P<be>is|are) (?P<what>[^?]+)|Who is (?P<who>[^?]+)|What does (?P<means>.+) mean|"
    r"什么是(?P<zh>[^？]+)|(?P<zh2>.+?)\s?表示什么)[?？]$"
)


@cache
def _english() -> Mapping[str, str]:
    return {word: other.replace("_", " ") for word, other in (pair.split("/") for pair in _ALIKE_EN.split())}


@cache
def _chinese() -> Mapping[str, str]:
    return dict(pair.split("/") for pair in _ALIKE_ZH.split())


@cache
def _chinese_words() -> re.Pattern[str]:
    return re.compile("|".join(sorted(map(re.escape, _chinese()), key=len, reverse=True)))


def paraphrased(question: str) -> str:
    """The question with its words replaced where another is known; empty where none is."""
    parts = _QUOTED.split(question)
    for place in range(0, len(parts), 2):  # the others stand in quotation marks
        if has_cjk(question):
            parts[place] = _chinese_words().sub(lambda match: _chinese()[match[0]], parts[place])
        else:
            # Names have capitals, and no word of the table has any.
            parts[place] = _WORD.sub(lambda match: _english().get(match[0], match[0]), parts[place])
    made = "".join(parts)
    return "" if made == question else made


def defined_otherwise(question: str, *, typed: bool) -> str:
    """A question for what something is, in another frame or as one types it; the thing keeps its name."""
    bare, _, title = question.rstrip("?").partition(" according to ")
    if title:
        made = defined_otherwise(f"{bare}?", typed=typed)
        return made and (f"{made} {title.strip('“”')}" if typed else f"{made.rstrip('?')} according to {title}?")
    match = _WHAT.match(question)
    if match is None:
        return ""
    if name := match["zh"] or match["zh2"]:
        return f"{name} 定义" if typed else f"请问{name}{SPACE if name[-1].isascii() else ''}是什么？"
    if match["who"]:
        return f"{match['who']} biography" if typed else f"Can you tell me who {match['who']} is?"
    if typed:
        return re.sub(r"^(?:an?|the) ", "", match["what"] or match["means"]) + " definition"
    return f"Can you explain what {match['what'] or match['means']} {match['be'] or 'means'}?"


def dropped(question: str, chance: random.Random) -> str:
    """What somebody types into a search box: the telling words alone, one of them left out where there are enough.

    Names, codes and figures stay, as without them it is another question. Empty where too little would be left.
    """
    if has_cjk(question):
        return _typed_zh(question)
    if _NEGATED.search(question):
        return ""  # without its "not", which nobody types, it is another question
    # What stands in quotation marks stays together.
    parts = enumerate(_QUOTED.split(question))
    words = [word for n, part in parts for word in ([part.strip('“”《》"')] if n % 2 else content(part)) if word]
    kept = {word for name in names(question) for word in name.split()} | {word for word in words if " " in word}
    words = [word for word in words if word not in _FRAME]
    loose = [word for word in words if word not in kept and not any(c.isdigit() for c in word)]
    if len(loose) >= DROP_FROM:
        words.remove(chance.choice(loose))
    return " ".join(words) if len(words) >= KEEP else ""


def _typed_zh(question: str) -> str:
    """Chinese words are not set apart, and none is left out: only what asks is said as one types it."""
    typed = re.sub(r"^(?:关于|根据)", "", question)
    for asks, sought in _SOUGHT_ZH:
        typed = re.sub(asks, sought, typed)
    typed = " ".join(re.sub(r"[，。、：；？?《》“”]", " ", typed).split())
    return typed if len(typed) >= KEEP_CJK and typed != question.rstrip("？") else ""
