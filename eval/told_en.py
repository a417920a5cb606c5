"""What an English sentence tells, as a question and its answer: rules on the order of words, for facts.py.

Each rule knows one frame ("X holds N litres", "X was founded by Y", "X must be filed within N days") and asks for the
part that carries the figure, the date, the place or the name. A sentence whose subject leans on another one gives
nothing. Pure functions on texts of one line.
"""

from __future__ import annotations

import re

Told = tuple[str, str]  # question, answer
BLANK = "____"
SUBJECT_WORDS = 9
LONGEST_CLOZE = 140
LONGEST_REST = 16

_NUMERALS = (
    "one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|fifteen|sixteen|twenty|thirty|forty|fifty|sixty|"
    "ninety"
)
_TIMES = r"(?: (?:thousand|million|billion|trillion))?"
_D = r"\d+(?:,\d{3})*(?:\.\d+)?"
_MONEY = rf"[$€£]\s?{_D}{_TIMES}"
_N = rf"(?:{_MONEY}|{_D}(?:\s?%| percent)|{_D}{_TIMES}|{_NUMERALS})"
_ABOUT = (
    r"(?:(?:[Aa]bout|[Aa]pproximately|[Aa]round|[Uu]p to|[Aa]t least|[Aa]t most|[Nn]o more than|[Nn]o less than|"
    r"[Nn]o fewer than|[Mm]ore than|[Ll]ess than|[Nn]early|[Aa]lmost|[Oo]ver|[Oo]nly|[Aa] maximum of|[Aa] minimum of|"
    r"[Aa] total of|an estimated|set at|limited to|capped at|below|above) )"
)
_MONTH = "January|February|March|April|May|June|July|August|September|October|November|December"
_YEAR = r"(?:1[0-9]|20)\d\d"
_DATE = rf"(?:(?:{_MONTH}) \d{{1,2}}, {_YEAR}|\d{{1,2}} (?:{_MONTH}) {_YEAR}|(?:{_MONTH}) {_YEAR}|{_YEAR})"
_SUBJECT = r"(?P<subject>[A-Z][\w'’/&-]*(?: [\w'’/&.$-]+){0,8}?)"
_TAIL = (
    r"(?P<tail>(?: (?!and\b|but\b|which\b|when\b|while\b|because\b|that\b|who\b|if\b|so\b|as\b|until\b|or\b)"
    r"[\w'’/&$%.-]*[\w'’%]){0,9})"
)
_MANY = r"(?!or |and |to |of )(?:[a-z-]+ ){0,3}?(?:[a-z-]*[a-hj-rtv-z]s|people|children|men|women|feet|staff)\b"
_END = r"(?:,\s[^.]*)?\.$"
_PERIOD = r"(?:calendar |business |working )?(?:days|hours|weeks|months|years|minutes|seconds)"

# A subject with one of these leans on another sentence, is a clause, or is no subject at all.
_NO_SUBJECT = frozenset(
    """
    this that these those it its he she his her him they their them we our us you your i my such another other same
    here there what which who whom whose when where while if although though because since as after before during
    however therefore thus moreover furthermore additionally also then both neither either above below following
    is are was were has have had be been do does did can could may might must shall should will would not cannot
    former latter ones so but and/or unless to himself herself itself next later meanwhile instead
    """.split()  # noqa: SIM905  a list of words is read as a text
)
_FIRST = frozenset(
    f"""
    in on at by for from with of under over within until upon per and or but all some many most no {_NUMERALS}
    """.replace("|", " ").split()
)
_PLURALS = frozenset("people children men women feet staff".split())  # noqa: SIM905
_QUANTITY = frozenset(
    """
    rate limit maximum minimum cost price fee copay copayment coinsurance deductible premium amount total temperature
    pressure speed length height width weight capacity population age range value size distance area income salary
    score torque voltage threshold budget revenue profit loss share percentage proportion number balance allowance
    stipend reimbursement penalty fine tax interest yield density elevation depth power frequency current load dose
    dimensions diameter radius volume duration period term interval
    """.split()  # noqa: SIM905
)
_LOOKS = "high|tall|long|wide|deep|thick|heavy|old"
_HOLDS = {
    "has": "have", "have": "have", "contains": "contain", "contain": "contain", "holds": "hold", "hold": "hold",
    "includes": "include", "include": "include", "covers": "cover", "cover": "cover", "carries": "carry",
    "lasts": "last", "last": "last", "employs": "employ", "takes": "take", "take": "take", "requires": "require",
    "require": "require", "weighs": "weigh", "measures": "measure", "offers": "offer", "provides": "provide",
    "receive": "receive", "receives": "receive", "earn": "earn", "earns": "earn", "accrue": "accrue",
    "accrues": "accrue", "burns": "burn", "uses": "use", "use": "use", "produces": "produce", "serves": "serve",
    "allows": "allow", "gets": "get", "get": "get", "needs": "need", "supports": "support", "operates": "operate",
    "reads": "read", "harbors": "harbor", "consists of": "consist of", "comprises": "comprise", "stores": "store",
}  # fmt: skip
_COSTS = {"costs": "cost", "cost": "cost", "pays": "pay", "pay": "pay", "charges": "charge", "earns": "earn"}
_PAST = {
    "established": "establish", "won": "win", "released": "release", "opened": "open", "joined": "join",
    "married": "marry", "became": "become", "began": "begin", "received": "receive", "launched": "launch",
    "moved": "move", "died": "die", "published": "publish", "acquired": "acquire", "signed": "sign",
    "started": "start", "ended": "end", "closed": "close", "completed": "complete", "introduced": "introduce",
    "adopted": "adopt", "announced": "announce", "built": "build", "bought": "buy", "sold": "sell", "left": "leave",
    "entered": "enter", "approved": "approve", "attempted": "attempt", "defeated": "defeat", "appeared": "appear",
    "ratified": "ratify", "founded": "found", "broke out": "break out", "ceased": "cease", "expired": "expire",
    "merged": "merge", "retired": "retire", "graduated": "graduate", "invaded": "invade", "debuted": "debut",
    "premiered": "premiere", "abolished": "abolish", "created": "create", "took effect": "take effect",
}  # fmt: skip
_PARTICIPLES = r"[a-z]+ed|born|built|held|made|sold|won|written|set up|begun|shown|given|taken|sent|put|chosen"
_DONE = rf"(?P<done>{_PARTICIPLES})"
_BY = (
    "founded|created|developed|designed|built|invented|directed|produced|established|manufactured|signed|led|"
    "managed|composed|discovered|painted|appointed|approved|prepared"
)
# What is measured in these units; asked for by its name.
_MEASURED = {"%": "percentage", "percent": "percentage", "bar": "pressure", "psi": "pressure", "°C": "temperature",
             "°F": "temperature", "degrees": "temperature", "mph": "speed", "knots": "speed", "V": "voltage",
             "volts": "voltage", "watts": "power"}  # fmt: skip
_UNIT = (
    r"(?:\s?%|\s?°[CF]| percent\b| bar\b| psi\b| degrees(?: Celsius| Fahrenheit)?\b| mph\b| knots\b| V\b| volts\b|"
    r" watts\b)"
)


def _r(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern)


_AMOUNT = _r(rf"{_SUBJECT} (?P<verb>is|are|was|were) (?P<answer>{_ABOUT}?{_N}(?P<more>[^.;]*?))\.$")
_LOOK = _r(rf"{_SUBJECT} (?P<verb>is|are|was|were) (?P<answer>{_ABOUT}?{_N} [a-z]+) (?P<look>{_LOOKS})\b")
_HELD = _r(rf"{_SUBJECT} (?P<verb>{'|'.join(_HOLDS)}) (?P<answer>{_ABOUT}?{_N} (?P<noun>{_MANY})){_TAIL}{_END}")
_COST = _r(rf"{_SUBJECT} (?P<verb>{'|'.join(_COSTS)}) (?P<answer>{_ABOUT}?{_MONEY}){_TAIL}{_END}")
_OF = _r(
    rf"{_SUBJECT} (?P<verb>has|have|had) an? (?P<noun>(?:[a-z-]+ ){{0,2}}?[a-z-]+) of (?P<answer>{_ABOUT}?{_N}[^.,;]*)"
)
_WITHIN = _r(
    rf"{_SUBJECT} (?P<verb>must|may|can|will|should|shall) (?P<do>(?:be )?[a-z]+(?: (?!within\b)[\w'’-]+){{0,7}}?) "
    rf"within (?P<answer>{_N} (?P<noun>{_PERIOD})){_TAIL}{_END}"
)
_BEFORE = _r(
    rf"{_SUBJECT} (?P<verb>is|are|must be|should be|may be|can be|will be) (?P<do>[a-z]+(?: [\w'’-]+){{0,7}}?) "
    rf"(?P<answer>{_ABOUT}?{_N} (?P<noun>{_PERIOD})) (?P<side>before|after|prior to){_TAIL}{_END}"
)
_EVERY = _r(
    rf"{_SUBJECT} (?P<verb>is|are|must|should|shall|will|can) (?P<do>(?:be )?{_DONE}(?: [\w'’-]+){{0,5}}?) "
    rf"(?P<answer>every (?:{_N} )?(?:{_PERIOD}|day|hour|week|month|year|(?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day)"
    rf"(?: at (?:noon|midnight|\d\d?:\d\d))?)(?P<tail>){_END}"
)
_AT = _r(
    rf"{_SUBJECT} (?P<verb>is|are|was|were) (?P<done>[a-z]+ed|kept|held|set|paid) (?P<at>at|to) "
    rf"(?P<answer>{_ABOUT}?{_N}(?P<unit>{_UNIT})){_TAIL}{_END}"
)
_SHARE = _r(
    rf"{_SUBJECT} (?P<verb>is|are|was|were) (?P<done>[a-z]+ed|kept|held|set|paid) (?P<at>at|to) "
    rf"(?P<answer>{_ABOUT}?\d[\d.]*(?:\s?%| percent)){_TAIL}{_END}"
)
_WITH = _r(
    rf"{_SUBJECT} (?P<verb>[a-z]+s) (?P<at>at|with|for) an? (?P<noun>[a-z]+) of "
    rf"(?P<answer>{_ABOUT}?{_N} ?[\w°%/]+){_TAIL}{_END}"
)
_SUBJECT_TO = _r(rf"{_SUBJECT} (?P<verb>is|are) subject to an? (?P<answer>{_N}) (?P<noun>[a-z]+){_TAIL}{_END}")
_COUNT = _r(
    rf"(?P<answer>(?:{_ABOUT}?{_N}|{'|'.join(n.capitalize() for n in _NUMERALS.split('|'))}) "
    r"(?P<noun>[a-z-]+(?: [a-z-]+){0,3}?)) (?P<verb>are|were|may|can|must|should|will|have|had) "
    rf"(?P<do>[a-z]+){_TAIL}{_END}"
)
_THERE = _r(rf"There (?P<verb>are|were) (?P<answer>{_ABOUT}?{_N} (?P<noun>{_MANY})){_TAIL}{_END}")
_WHEN = _r(rf"{_SUBJECT} (?P<verb>was|were) {_DONE}{_TAIL} (?:in|on) (?P<answer>{_DATE}){_END}")
_DID = _r(rf"{_SUBJECT} (?P<did>{'|'.join(_PAST)}){_TAIL} (?:in|on) (?P<answer>{_DATE}){_END}")
_WHO = _r(
    rf"{_SUBJECT} (?P<verb>was|were) (?P<done>{_BY})(?P<tail>(?: in {_YEAR})?) by "
    r"(?P<answer>(?:the [a-z]+ )?[A-Z][\w'’-]+(?: (?:of|de|and|van|von|[A-Z][\w'’.-]*[\w]))*)"
)
_WHERE = _r(
    rf"{_SUBJECT} (?P<verb>is|are|was|were) (?P<done>located|headquartered|based|situated|stored|kept|buried) "
    r"(?P<answer>(?:in|at|near) [^,.;]{3,60})[,.]"
)
_IN_YEAR = _r(
    rf"In (?P<answer>(?:(?:{_MONTH}) )?{_YEAR}),? {_SUBJECT} "
    rf"(?:(?P<verb>was|were) (?P<rest>(?:{_PARTICIPLES}|cast|elected)\b[^,.;:()]*)"
    rf"|(?P<did>{'|'.join(_PAST)})(?P<tail> [^,.;:()]+))(?:,\s[^.]*)?\.$"
)
_MEANS = _r(
    r"(?P<subject>[A-Z][\w'’/&-]*(?: [\w'’/&.$-]+){0,4}?) means (?:that )?+(?!you\b|we\b|it\b)(?P<answer>[a-z].+)\.$"
)


_BASES = frozenset({*_HOLDS.values(), *_COSTS.values()})


def figure(sentence: str, words: frozenset[str]) -> Told | None:
    """The first frame that fits. ``words`` are those of the pages, as written."""
    if _THERE.match(sentence) or _COUNT.match(sentence):
        return _counted(sentence)
    for frame, ask in _FRAMES:
        match = frame.match(sentence)
        if match is not None and (subject := _subject(match, words)) and (made := ask(match, subject)):
            return made
    return None


def meaning(sentence: str) -> Told | None:
    """ "Exit code 5 means that …" asks what it means."""
    match = _MEANS.match(sentence)
    if match is None or _NO_SUBJECT.intersection(match["subject"].lower().split()):
        return None
    subject = match["subject"]
    return f"What does {subject[0].lower() if subject[1:2].islower() else subject[0]}{subject[1:]} mean?", match[
        "answer"
    ]


def _subject(match: re.Match[str], words: frozenset[str]) -> str:
    """The subject as it stands behind a verb; empty for one that cannot stand alone or does not go with its verb."""
    parts = match["subject"].split()
    lowered = [part.lower() for part in parts]
    if len(parts) > SUBJECT_WORDS or _NO_SUBJECT.intersection(lowered) or lowered[0].split("-")[0] in _FIRST:
        return ""
    found = match.groupdict()
    verb = found.get("verb") or ""
    if verb in ("are", "were") and not (_is_many(_head(parts)) or "and" in lowered):
        return ""
    if verb in _BASES and not _is_many(_head(parts)):
        return ""  # "Monitor the market and identify …" is an order
    if lowered[0] in ("the", "a", "an", "each", "every"):
        # "The show closed in 2013": which show, only the sentences before can say.
        is_told = verb in ("was", "were", "had") or "did" in found
        return " ".join([lowered[0], *parts[1:]]) if len(parts) > (2 if is_told else 1) else ""
    # A name keeps its capital; what the pages also write small has it only as the sentence's first word.
    is_name = lowered[0] not in words or any(part[0].isupper() for part in parts[1:])
    if len(parts) == 1 and _is_many(lowered[0]) and verb not in ("is", "was", "has", "had") and not verb.endswith("s"):
        is_name = parts[0].isupper()  # "Claims must be filed": only its place gives it a capital
    return " ".join([parts[0] if is_name else lowered[0], *parts[1:]])


def _head(parts: list[str]) -> str:
    """The noun that a phrase is about: the last word before its first preposition."""
    return re.split(r" (?:of|for|in|at|on|per|under|from|with|by)\b", " ".join(parts))[0].split()[-1]


def _is_many(noun: str) -> bool:
    last = noun.rsplit(maxsplit=1)[-1].lower()
    return last in _PLURALS or (last.endswith("s") and not last.endswith(("ss", "us", "is")))


def _does(match: re.Match[str], base: str) -> str:
    return "do" if match["verb"] == base else "does"


def _amount(match: re.Match[str], subject: str) -> Told | None:
    """ "The deductible is $2,000 per person." asks what the deductible is."""
    head = _head(subject.split())
    if head.lower() not in _QUANTITY or len(match["more"]) > 60:
        return None
    if of := re.match(r"the (?:total |maximum |minimum )?number of (.+)", subject):
        return f"How many {of[1]} {'were' if match['verb'] in ('was', 'were') else 'are'} there?", match["answer"]
    return f"What {match['verb']} {subject}?", re.split(r", (?!and )", match["answer"])[0]


def _look(match: re.Match[str], subject: str) -> Told:
    return f"How {match['look']} {match['verb']} {subject}?", match["answer"]


def _held(match: re.Match[str], subject: str) -> Told | None:
    """ "The tank holds 4,200 litres." asks how many litres it holds."""
    if not _is_many(match["noun"]):
        return None
    base = _HOLDS[match["verb"]]
    return f"How many {match['noun']} {_does(match, base)} {subject} {base}{match['tail']}?", match["answer"]


def _cost(match: re.Match[str], subject: str) -> Told:
    base = _COSTS[match["verb"]]
    return f"How much {_does(match, base)} {subject} {base}{match['tail']}?", match["answer"]


def _of(match: re.Match[str], subject: str) -> Told | None:
    """ "X has a deductible of $2,000." asks for its deductible."""
    if match["noun"].split()[-1] not in _QUANTITY:
        return None
    return f"What {'was' if match['verb'] == 'had' else 'is'} the {match['noun']} of {subject}?", match["answer"]


def _within(match: re.Match[str], subject: str) -> Told:
    """ "Claims must be filed within 90 days of the visit." asks within how many days."""
    before, after = match["tail"], ""
    if not before.startswith((" of ", " after ", " before ", " from ", " following ")):
        before, after = "", match["tail"]
    return f"Within how many {match['noun']}{before} {match['verb']} {subject} {match['do']}{after}?", match["answer"]


def _before(match: re.Match[str], subject: str) -> Told:
    first, _, be = match["verb"].partition(" ")
    do = f"{be} {match['do']}".strip()
    return f"How many {match['noun']} {match['side']}{match['tail']} {first} {subject} {do}?", match["answer"]


def _every(match: re.Match[str], subject: str) -> Told:
    return f"How often {match['verb']} {subject} {match['do']}?", match["answer"]


def _at(match: re.Match[str], subject: str) -> Told:
    """ "The boiler is kept at 1.2 bar." asks at what pressure."""
    unit = match["unit"].strip()
    noun = _MEASURED.get(unit.split()[0], "temperature")
    return f"{match['at'].capitalize()} what {noun} {match['verb']} {subject} {match['done']}{match['tail']}?", match[
        "answer"
    ]


def _share(match: re.Match[str], subject: str) -> Told:
    of, after = (match["tail"], "") if match["tail"].startswith(" of ") else ("", match["tail"])
    asks = f"{match['at'].capitalize()} what percentage{of} {match['verb']} {subject} {match['done']}{after}?"
    return asks, match["answer"]


def _with(match: re.Match[str], subject: str) -> Told | None:
    """ "The boiler operates at a pressure of 9 bar." asks at what pressure it operates."""
    if match["noun"] not in _QUANTITY:
        return None
    base = match["verb"].removesuffix("s")
    return f"{match['at'].capitalize()} what {match['noun']} does {subject} {base}{match['tail']}?", match["answer"]


def _subject_to(match: re.Match[str], subject: str) -> Told:
    return (
        f"What {match['noun']} {match['verb']} {subject} subject to{match['tail']}?",
        f"{match['answer']} {match['noun']}",
    )


def _when(match: re.Match[str], subject: str) -> Told:
    return f"When {match['verb']} {subject} {match['done']}{match['tail']}?", match["answer"]


def _did(match: re.Match[str], subject: str) -> Told:
    return f"When did {subject} {_PAST[match['did']]}{match['tail']}?", match["answer"]


_LEANS = re.compile(r"\b(?:it|they|them|which|who|whom|when|where|while|although|though|because|is|are|was|were)\b")


def _in_year(match: re.Match[str], subject: str) -> Told | None:
    """ "In 2012, Platt was cast as Cunningham." asks in which year."""
    rest = match["rest"] or match["tail"]
    if len(rest.split()) > LONGEST_REST or _LEANS.search(rest):
        return None
    asks = "In which month" if " " in match["answer"] else "In which year"
    if match["verb"]:
        return f"{asks} {match['verb']} {subject} {match['rest']}?", match["answer"]
    return f"{asks} did {subject} {_PAST[match['did']]}{match['tail']}?", match["answer"]


def _who(match: re.Match[str], subject: str) -> Told:
    return f"Who {match['done']} {subject}{match['tail']}?", match["answer"]


def _where(match: re.Match[str], subject: str) -> Told:
    return f"Where {match['verb']} {subject} {match['done']}?", match["answer"]


_FRAMES = (
    (_LOOK, _look), (_AMOUNT, _amount), (_COST, _cost), (_OF, _of), (_WITHIN, _within), (_BEFORE, _before),
    (_EVERY, _every), (_SHARE, _share), (_AT, _at), (_WITH, _with), (_SUBJECT_TO, _subject_to), (_HELD, _held),
    (_WHEN, _when), (_IN_YEAR, _in_year), (_DID, _did), (_WHO, _who), (_WHERE, _where),
)  # fmt: skip


def _counted(sentence: str) -> Told | None:
    """ "Three keepers are on the rock." and "There are three keepers on the rock." ask how many."""
    if match := _THERE.match(sentence):
        if not _is_many(match["noun"]) or len(match["tail"].split()) < 2:
            return None
        return f"How many {match['noun']} {match['verb']} there{match['tail']}?", match["answer"]
    match = _COUNT.match(sentence)
    if match is None or not _is_many(match["noun"]) or _NO_SUBJECT.intersection(match["noun"].split()):
        return None
    return f"How many {match['noun']} {match['verb']} {match['do']}{match['tail']}?", match["answer"]


# -- reasons, purposes, conditions -------------------------------------------------------------------------------------

_TELLS = {
    "allows": "allow", "allow": "allow", "enables": "enable", "enable": "enable", "prevents": "prevent",
    "prevent": "prevent", "causes": "cause", "cause": "cause", "requires": "require", "require": "require",
    "indicates": "indicate", "indicate": "indicate", "identifies": "identify", "identify": "identify",
    "represents": "represent", "specifies": "specify", "defines": "define", "describes": "describe",
    "consists of": "consist of", "consist of": "consist of", "depends on": "depend on", "depend on": "depend on",
    "refers to": "refer to", "protects": "protect", "protect": "protect",
}  # fmt: skip
_BASES |= set(_TELLS.values())
_USED = _r(
    rf"{_SUBJECT} (?P<verb>is|are) (?:mainly |primarily |commonly |usually |often |only )?used "
    r"(?P<answer>(?:to|for) [^.;]+)\.$"
)
_TELL = _r(
    rf"{_SUBJECT} (?P<verb>{'|'.join(_TELLS)}) "
    r"(?!(?:in|of|for|at|by|on|from|and|or|is|are|as|it)\b)(?P<answer>[^.;:]{12,})\.$"
)
_BECAUSE = _r(
    rf"{_SUBJECT} (?P<verb>is|are|was|were|can|cannot|must|should) (?P<what>[^.,;]{{4,90}}),? because "
    r"(?P<answer>[^.;]+)\.$"
)
_IF = _r(
    r"(?P<if>If|When) (?P<case>[^,.;:]{8,90}), (?P<who>(?:an?|the|all|both|each|every) [\w' -]{2,40}?) "
    r"(?P<verb>must|should|can|will|may)(?P<not> not)? (?P<answer>[a-z][^.;:]+)\.$"
)


def reason(sentence: str, words: frozenset[str]) -> Told | None:
    """What something is for, what it does, why it is so, or what is done in some case."""
    for frame, ask in ((_USED, _used), (_BECAUSE, _because), (_TELL, _tell)):
        match = frame.match(sentence)
        if match is not None and (subject := _subject(match, words)) and _stands_alone(subject):
            return ask(match, subject)
    return _in_case(re.sub(r"\b(?:MUST|SHOULD|MAY|NOT)\b", lambda match: match[0].lower(), sentence))


def _stands_alone(subject: str) -> bool:
    """Whether a subject is a name or has a word that tells more than its noun: "the frame" could be any."""
    first = subject.split(maxsplit=1)[0]
    if first.endswith("ing") or first in ("Section", "Figure", "Table", "Chapter", "Appendix"):
        return False
    return len(subject.split()) > 2 or any(c.isupper() for c in subject)


def _used(match: re.Match[str], subject: str) -> Told:
    return f"What {match['verb']} {subject} used for?", match["answer"]


def _tell(match: re.Match[str], subject: str) -> Told | None:
    base = _TELLS[match["verb"]]
    if " " not in subject:
        return None  # "QUIC defines …": it defines much else
    return f"What {_does(match, base)} {subject} {base}?", match["answer"]


def _because(match: re.Match[str], subject: str) -> Told | None:
    if _NO_SUBJECT.intersection(match["what"].lower().split()) - {"to", "and", "or", "be", "not"}:
        return None
    return f"Why {match['verb']} {subject} {match['what']}?", f"because {match['answer']}"


def _in_case(sentence: str) -> Told | None:
    """ "If a frame is too long, the endpoint must close the stream." asks what the endpoint must do then."""
    match = _IF.match(sentence)
    if match is None or _POINTING.search(match["case"]) or _NO_SUBJECT.intersection(match["who"].split()):
        return None
    case = f"{match['if'].lower()} {match['case']}"
    if match["answer"].startswith("be "):
        return None if match["not"] else (f"What {match['verb']} happen to {match['who']} {case}?", match["answer"])
    if match["not"]:
        return f"What {match['verb']} {match['who']} not do {case}?", match["answer"]
    return f"What {match['verb']} {match['who']} do {case}?", match["answer"]


_POINTING = re.compile(r"\b(?:this|that|these|those|such|it|its|they|them|above|below|following)\b", re.IGNORECASE)

# -- clozes ------------------------------------------------------------------------------------------------------------

_ONE_NUMBER = re.compile(rf"(?<![\w.,$-])(?:{_MONEY}|{_D})(?![\w-]|[.,]\d)")
_VERB = re.compile(r"\b(?:is|are|was|were|has|have|had|can|may|must|will|should|does|do|reads|takes|uses|joins?)\b")
_NO_PROSE = re.compile(r"[;:()\[\]\"“]|\bpp?\. |\bvol\. ", re.IGNORECASE)


def cloze(sentence: str) -> Told | None:
    """The sentence with its only number left out; None for what is not prose, or leans on another sentence."""
    numbers = list(_ONE_NUMBER.finditer(sentence))
    if len(numbers) != 1 or len(re.findall(r"\d[\d,.]*", sentence)) != 1 or len(sentence) > LONGEST_CLOZE:
        return None
    first = sentence.lower().split()[:3]
    if (
        _NO_PROSE.search(sentence)
        or not _VERB.search(sentence)
        or _NO_SUBJECT.intersection(word.strip(",") for word in first)
    ):
        return None
    gap = numbers[0]
    return f"Which number is missing: “{sentence[: gap.start()]}{BLANK}{sentence[gap.end() :]}”", gap[0]
