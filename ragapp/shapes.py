"""The nouns as plain dictionaries, the way every door shows them (HOUSE: CLI `--json`, HTTP members)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ragapp.types import Answer, Box, Citation, Passage


def passage_dict(passage: Passage, boxes: Sequence[Box] = ()) -> dict[str, Any]:
    """``{document, document_id, page, start, end, label, score, text, found_by, boxes}``; ``start`` and ``end`` are
    offsets in the document's text, by code points."""
    return {
        "document": passage.document,
        "document_id": passage.chunk.document_id,
        "start": passage.chunk.start,
        "end": passage.chunk.end,
        "page": passage.chunk.page,
        "label": passage.label,
        "score": round(passage.score, 6),
        "text": passage.chunk.text,
        "found_by": {
            name: {"rank": rank.rank, "score": round(rank.score, 6)} for name, rank in passage.found_by.items()
        },
        "boxes": [box_dict(box) for box in boxes],
    }


def citation_dict(citation: Citation) -> dict[str, Any]:
    """``{marker, document, document_id, page, start, end, label, quote, state, boxes}``; ``start`` and ``end`` are
    equal where the quote was not found."""
    return {
        "marker": citation.marker,
        "document": citation.passage.document,
        "document_id": citation.passage.chunk.document_id,
        "start": citation.start,
        "end": citation.end,
        "page": citation.page,
        "label": citation.label,
        "quote": citation.quote,
        "state": citation.state,
        "boxes": [box_dict(box) for box in citation.boxes],
    }


def answer_dict(answer: Answer) -> dict[str, Any]:
    """``{answer, citations, passages, finish_reason, timings, usage, unread, confidence, figures, warnings}``."""
    return {
        "answer": answer.text,
        "citations": [citation_dict(citation) for citation in answer.citations],
        "passages": [passage_dict(passage) for passage in answer.passages],
        "finish_reason": answer.finish_reason,
        "timings": dict(answer.timings),
        "usage": {
            "prompt_tokens": answer.usage.prompt_tokens,
            "completion_tokens": answer.usage.completion_tokens,
            "total_tokens": answer.usage.prompt_tokens + answer.usage.completion_tokens,
        },
        "unread": [{"document": name, "pages": list(pages)} for name, pages in answer.unread.items()],
        "confidence": None if answer.confidence is None else round(answer.confidence, 4),
        "figures": [{"text": f.text, "start": f.start, "end": f.end} for f in answer.figures],
        "warnings": list(answer.warnings),
    }


def place(document: str, page: int, label: str) -> str:
    """Where something stands, for people: "a.pdf, page 4 (iv)", "b.pptx, slide 4"."""
    if not label:
        return f"{document}, page {page}"
    # A printed page number says little by itself; the name of a slide or sheet says all.
    return f"{document}, page {page} ({label})" if document.lower().endswith(".pdf") else f"{document}, {label}"


def box_dict(box: Box) -> dict[str, Any]:
    """``{page, x0, y0, x1, y1}``, points from the top left corner of the page as shown."""
    return {"page": box.page, "x0": box.x0, "y0": box.y0, "x1": box.x1, "y1": box.y1}
