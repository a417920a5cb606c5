"""The page that people would cite: a slide, a sheet, or the number printed on a page."""

from __future__ import annotations

from pathlib import Path

import pytest

from ragapp import Rag
from ragapp.shapes import answer_dict, place
from tests import offices

pytestmark = pytest.mark.usefixtures("in_folder")


def test_a_citation_names_the_slide(tmp_path: Path) -> None:
    deck = tmp_path / "talk.pptx"
    deck.write_bytes(
        offices.pptx(
            {"title": "Opening", "body": ["Welcome to the yearly meeting."]},
            {"title": "Costs", "body": ["The lamp oil costs nine crowns a barrel."]},
        )
    )
    with Rag.open(tmp_path / "library") as rag:
        rag.add(deck)
        answer = rag.ask("What does the lamp oil cost?")
        (citation, *_) = answer.citations
        assert (citation.page, citation.label, citation.state) == (2, "slide 2", "verified")
        assert rag.search("lamp oil", k=1)[0].label == "slide 2"
        shown = answer_dict(answer)
        assert (shown["citations"][0]["label"], shown["passages"][0]["label"]) == ("slide 2", "slide 2")


def test_places_for_people() -> None:
    assert place("a.pdf", 4, "") == "a.pdf, page 4"
    assert place("a.PDF", 4, "iv") == "a.PDF, page 4 (iv)"
    assert place("deep/talk.pptx", 2, "slide 2") == "deep/talk.pptx, slide 2"
