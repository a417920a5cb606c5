"""The sample PDFs say what their sources say, on one page each block, and make.py makes them again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pypdf
import pypdfium2 as pdfium
import pytest

from ragapp.errors import ConfigError
from ragapp.eval.data import make, samples

EACH = pytest.mark.parametrize("sample", make.SAMPLES, ids=lambda sample: sample.source)


def blocks(sample: make.Sample) -> list[make.Block]:
    return make.parse((make.HERE / sample.source).read_text("utf-8"))


def pages(pdf: Path | bytes) -> list[str]:
    """The text of each page without white space."""
    with pdfium.PdfDocument(pdf) as document:
        return ["".join(page.get_textpage().get_text_range().split()) for page in document]


def test_samples_are_the_pdfs_that_make_names() -> None:
    assert {path.name for path in samples()} == {sample.pdf for sample in make.SAMPLES}


@EACH
def test_every_block_stands_whole_on_a_page(sample: make.Sample) -> None:
    texts = pages(make.HERE / sample.pdf)
    missing = [b.text for b in blocks(sample) if not any("".join(b.text.split()) in text for text in texts)]
    assert missing == []


@EACH
def test_blocks_stand_in_order_and_pages_hold_nothing_else_but_their_number(sample: make.Sample) -> None:
    expected = "".join("".join((b.mark.replace("-", "•") + b.text).split()) for b in blocks(sample))
    texts = pages(make.HERE / sample.pdf)
    assert [text[-len(str(n)) :] for n, text in enumerate(texts, 1)] == [str(n) for n in range(1, len(texts) + 1)]
    assert "".join(text[: -len(str(n))] for n, text in enumerate(texts, 1)) == expected


@EACH
def test_outline_is_the_headings_and_leads_to_their_pages(sample: make.Sample) -> None:
    texts = pages(make.HERE / sample.pdf)
    with pdfium.PdfDocument(make.HERE / sample.pdf) as document:
        outline = [(mark.level, mark.get_title(), mark.get_dest().get_index()) for mark in document.get_toc()]
    headings = [(b.kind == "section", b.text) for b in blocks(sample) if b.kind in ("chapter", "section")]
    assert [(bool(level), title) for level, title, _ in outline] == headings
    assert [title for _, title, page in outline if "".join(title.split()) not in texts[page]] == []


@EACH
def test_title_author_language_fonts_and_size(sample: make.Sample) -> None:
    path = make.HERE / sample.pdf
    with pypdf.PdfReader(path) as reader:
        assert reader.metadata is not None
        assert reader.metadata.title == blocks(sample)[0].text
        assert reader.metadata.author == "The ragapp project"
        assert str(reader.root_object["/Lang"]) == sample.language
        resources: list[Any] = [page["/Resources"] for page in reader.pages]
        fonts = [font.get_object() for resource in resources for font in resource["/Font"].values()]
        assert fonts
        assert [font["/BaseFont"] for font in fonts if "/FontFile2" not in font.get("/FontDescriptor", {})] == []
    assert path.stat().st_size < 200_000


@EACH
def test_make_makes_the_same_again(sample: make.Sample) -> None:
    if sample.language.startswith("zh") and not make.CJK_FONT.is_file():
        pytest.skip(f"{make.CJK_FONT} is not installed")
    source = (make.HERE / sample.source).read_text("utf-8")
    first, second = make.render(source, sample.language), make.render(source, sample.language)
    assert first == second
    assert pages(first) == pages(make.HERE / sample.pdf)


def test_a_missing_chinese_font_is_an_error_with_a_hint(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    font, out = tmp_path / "none.ttf", tmp_path / "out"
    assert make.main(["--out", str(out), "--cjk-font", str(font)]) == ConfigError.exit_code
    error, hint = capsys.readouterr().err.splitlines()
    assert error == f"error: the Chinese font {font} does not exist"
    assert "--cjk-font" in hint
    assert not out.exists()


def test_a_file_that_is_no_font_is_an_error(tmp_path: Path) -> None:
    font = tmp_path / "text.ttf"
    font.write_text("not a font")
    with pytest.raises(ConfigError, match="cannot be embedded"):
        make.render("# 标题\n", "zh-Hans", font)


def test_no_line_begins_with_a_closing_mark_or_ends_with_an_opening_one() -> None:
    with pdfium.PdfDocument(make.HERE / "ragapp-手册.pdf") as document:
        lines = [line for page in document for line in page.get_textpage().get_text_range().splitlines() if line]
    assert [line for line in lines if line[0] in "，。、；：？！）》”" or line.rstrip()[-1] in "“（《"] == []
