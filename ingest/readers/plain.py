"""Plain text: which encoding it is in, its paragraphs, and where long lines may be cut.

unstructured is not asked here: it joins the lines of a text and takes its bullets off, and the text itself is exact.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator

from ragapp.errors import ReadError
from ragapp.ingest.readers.blocks import PAGE_CHARS, Block, Para, storable, wrapped
from ragapp.text import has_cjk

_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_WESTERN = frozenset("àâäáãåæçèéêëìíîïñòóôöõøœùúûüßÀÂÄÁÃÅÆÇÈÉÊËÌÍÎÏÑÒÓÔÖÕØŒÙÚÛÜ‘’‚“”„–—…•€£§©®™°±«»¡¿·\xa0²³½¼")
_SAMPLE_BYTES = 1 << 17
_FEW_CONTROLS = 0.003  # of the characters: real text files hold a form feed or an escape now and then
_PLAUSIBLE = 0.75  # of the double bytes of Chinese text stand in the rows of frequent characters
_WORD_BYTES = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f]")
# GB 2312: punctuation and the 3,755 frequent characters; Big5: punctuation and its 5,401 frequent ones.
_GB_FREQUENT = re.compile(rb"[\xa1-\xa3\xb0-\xd7][\xa1-\xfe]")
_BIG5_FREQUENT = re.compile(rb"[\xa1-\xa3\xa4-\xc6][\x40-\x7e\xa1-\xfe]")
_HANGUL = re.compile(rb"[\xb0-\xc8][\xa1-\xfe]")  # the rows of KS X 1001 that hold Korean syllables
_FEW = 8  # from so many double bytes on, all of them in the Korean rows is no accident
_DOUBLE = re.compile(rb"[\x81-\xfe][\x40-\x7e\x80-\xfe]|[\x80-\xff]")


def decoded(data: bytes, name: str, declared: str | None = None) -> str:
    """The text in the bytes: by its byte order mark, as UTF-8, as declared, else by what its bytes look like.

    Raises ReadError when the bytes are no text.
    """
    for bom, encoding in _BOMS:
        if data.startswith(bom):
            return storable(data.decode(encoding, "replace"))
    wide = _utf16_without_mark(data)
    if wide:
        return storable(data.decode(wide, "replace"))
    if _is_binary(data):
        raise ReadError(f"{name} is not text, whatever its name says.", "Give it the ending of what it is.")
    for encoding in ("utf-8", declared or "utf-8"):
        text = _strictly(data, encoding)
        if text is not None:
            return storable(text)
    return storable(data.decode(encoding_of(data), "replace"))


def encoding_of(data: bytes) -> str:
    """The likeliest encoding of bytes that are not UTF-8: Chinese ones by their frequent characters, else a guess."""
    sample = data[:_SAMPLE_BYTES]
    if _is_broken_utf8(sample):
        return "utf-8"
    scores = {"gb18030": _share(sample, _GB_FREQUENT), "big5hkscs": _share(sample, _BIG5_FREQUENT)}
    best = max(scores, key=lambda name: scores[name])
    if scores[best] >= _PLAUSIBLE and _strictly(data, best) is not None:
        return "cp949" if best == "gb18030" and _is_korean(sample) else best
    western = _strictly(sample, "cp1252")
    if western is not None and all(char in _WESTERN for char in western if ord(char) > 127):
        return "cp1252"
    return _guessed(sample) or "cp1252"


def blocks(text: str) -> Iterator[Block]:
    """Paragraphs, set apart by empty lines in the file; their lines stay as they are."""
    for paragraph in re.split(r"\n(?:[ \t]*\n)+", text):
        if paragraph.strip():
            lines = paragraph.split("\n")
            if max(map(len, lines)) > PAGE_CHARS:
                lines = [part for line in lines for part in wrapped(line)]
            yield Para("\n".join(lines))


def _is_korean(sample: bytes) -> bool:
    """Korean syllables share their first bytes with a part of the frequent Chinese characters, and have no others."""
    letters = [pair for pair in _DOUBLE.findall(sample) if pair[0] >= 0xB0]
    return len(letters) >= _FEW and all(_HANGUL.fullmatch(pair) for pair in letters)


def _strictly(data: bytes, encoding: str) -> str | None:
    try:
        return data.decode(encoding)
    except (UnicodeError, LookupError):
        return None


def _is_broken_utf8(sample: bytes) -> bool:
    """Whether nearly all that is not ASCII is well-formed UTF-8: a file with one broken place is no other encoding."""
    text = sample.decode("utf-8", "replace")
    broken = text.count("\ufffd")
    return broken > 0 and broken * 20 < sum(ord(char) > 127 for char in text)


def _utf16_without_mark(data: bytes) -> str | None:
    """UTF-16 betrays itself by null bytes on one side of each pair, or by being Chinese characters throughout."""
    sample = data[: min(len(data), 4096) // 2 * 2]
    if len(sample) < 4 or not _WORD_BYTES.search(sample):
        return None
    even, odd = sample[0::2].count(0), sample[1::2].count(0)
    for encoding in ("utf-16-le", "utf-16-be") if odd >= even else ("utf-16-be", "utf-16-le"):
        # A pair of surrogates may be cut at the end of the sample.
        text = sample.decode(encoding, "replace")[:-1]
        if (
            sum(char.isascii() or char in "，。、；：？！“”（）《》" or has_cjk(char) for char in text)
            < len(text) * 0.9
        ):
            continue
        if text.isprintable() or all(char.isprintable() or char in "\n\r\t\x0c" for char in text):
            return encoding
    return None


def _is_binary(data: bytes) -> bool:
    sample = data[:_SAMPLE_BYTES]
    return b"\x00" in sample or len(_WORD_BYTES.findall(sample)) > len(sample) * _FEW_CONTROLS + 2


def _share(sample: bytes, frequent: re.Pattern[bytes]) -> float:
    """How many of the double bytes are frequent characters."""
    pairs = _DOUBLE.findall(sample)
    return sum(frequent.fullmatch(pair) is not None for pair in pairs) / len(pairs) if pairs else 0.0


def _guessed(sample: bytes) -> str | None:
    import logging

    from charset_normalizer import from_bytes

    logging.getLogger("charset_normalizer").setLevel(logging.CRITICAL)
    best = from_bytes(sample[: 1 << 15]).best()
    return best.encoding if best else None
