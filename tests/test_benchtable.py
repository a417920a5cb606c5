"""A benchmark as a table: medians, spreads, ratios, and its place in a file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragapp.errors import ConfigError, LibraryError
from ragapp.eval import bench as benching
from ragapp.eval import benchtable
from ragapp.eval.benched import Asked, Bench, Grown, Hits, Ingested, Roof, Side, Spread, Writing


def ingested(seconds: float, **more: Any) -> Ingested:
    facts: dict[str, Any] = {
        "process_s": seconds + 1, "pages": 100, "texts": 10, "tokens": 1000, "unread": 0, "cut": 0, "peak_mb": 400.0,
        "index_mb": 8.0,
    }  # fmt: skip
    return Ingested(seconds, **{**facts, **more})


def a_bench(**more: Any) -> Bench:
    ours = Side(
        "ragapp", {"ragapp": "1"}, (ingested(2), ingested(4)),
        {"hybrid": (Asked(1, 10, 20, 300), Asked(2, 10, 20, 300))},
        {"hybrid": Hits(10, 0.3, 0.7, 0.5, 1.0, 0.625)},
    )  # fmt: skip
    theirs = Side(
        "langchain", {"langchain": "2"},
        tuple(ingested(s, peak_mb=1000, unread=250, cut=3, failed=("a: b",)) for s in (10, 12)),
        {"dense": (Asked(4, 5, 9, 600), Asked(4, 5, 9, 600))},
    )  # fmt: skip
    facts: dict[str, Any] = {
        "command": "ragapp bench docs", "started": "2026-11-21T10:00:00+00:00", "seconds": 9, "machine": "2 cores",
        "docs": "docs", "files": 1, "rounds": 2, "questions": 10, "sides": (ours, theirs),
    }  # fmt: skip
    return Bench(**{**facts, **more})


def cells(table: str, label: str) -> list[str]:
    (line,) = (line for line in table.splitlines() if line.startswith(f"| {label} |"))
    return [cell.strip() for cell in line.strip("|").split(" | ")[1:]]


def test_the_table_has_medians_spreads_and_ratios_round_by_round() -> None:
    table = benchtable.as_markdown(a_bench())
    assert cells(table, "pages a second") == ["37.5 (25.0 to 50.0)", "9.17 (8.33 to 10.0)"]
    assert cells(table, "text that the embedder never reads, %") == ["0", "25.0"]
    assert cells(table, "chunks that are cut by it, %") == ["0", "30.0"]
    assert cells(table, "tokens embedded a second") == ["375 (250 to 500)", "68.8 (62.5 to 75.0)"]
    assert cells(table, "warm query, median, ms, dense") == ["–", "5.00"]
    assert cells(table, "page hit@5, exact / ±1, hybrid") == [".70 / 1.00", "–"]
    # 10 s by 2 s and 12 s by 4 s; the ratio of the medians would be 3.67.
    assert cells(table, "faster ingest") == ["4.00 (3.00 to 5.00)"]
    assert cells(table, "less memory") == ["2.50"]
    assert cells(table, "faster cold start than dense") == ["3.00 (2.00 to 4.00)"]
    assert cells(table, "faster warm query than dense") == ["0.50"]
    assert "1 PDF (docs), 100 pages, 10 questions; 2 rounds" in table
    assert "`ragapp bench docs`" in table
    assert "langchain could not read 1 file." in table


def test_the_other_parts_of_the_table() -> None:
    grown = (
        Grown("ragapp", 5000, ingested(50), Asked(1, 10, 20, 300)),
        Grown("txtai", 5000, skipped="about 90 minutes expected"),
    )
    writing = Writing(
        "m", "bfloat16", 512, 48, {"ragapp": (0.5, 0.5), "transformers": (1.0, 0.25)},
        {"ragapp": (40.0, 60.0), "transformers": (20.0, 20.0)}, {"copying": (3.0, 3.5)},
    )  # fmt: skip
    roof = Roof("decoding", "bytes", 20e9, 5e9, "how")
    bench = a_bench(grown=grown, writing=writing, roofs=(roof,), notes=("<script> a|b",))
    table = benchtable.as_markdown(bench)
    assert "| 5,000 | ragapp | 2.00 | 400 | 8.00 | 1.00 | 10.0 |" in table
    assert "| 5,000 | txtai | not run: about 90 minutes expected | – | – | – | – |" in table
    assert cells(table, "time to the first token, s") == ["0.50", "0.62 (0.25 to 1.00)", "1.25 (0.50 to 2.00)"]
    assert cells(table, "tokens a second from there on") == ["50.0 (40.0 to 60.0)", "20.0", "2.50 (2.00 to 3.00)"]
    assert cells(table, "prompt lookup on, by off: copying") == ["–", "–", "3.25 (3.00 to 3.50)"]
    assert "decoding: 25 % of what the machine can do, 5 of 20 GB a second; how." in table
    assert r"&lt;script> a\|b" in table
    columns = [line.replace(r"\|", "").count("|") for line in table.splitlines() if line.startswith("| 5,000")]
    assert len(set(columns)) == 1


def test_a_stopped_benchmark_is_a_table_too() -> None:
    table = benchtable.as_markdown(a_bench(sides=(), notes=(benching.STOPPED,)))
    assert benching.STOPPED in table
    assert "| ---" not in table


def test_json_holds_every_round_and_what_follows() -> None:
    plain = json.loads(benchtable.as_json(a_bench(roofs=(Roof("decoding", "bytes", 20e9, 5e9, "how"),))))
    assert [one["ingest_s"] for one in plain["sides"][1]["ingested"]] == [10, 12]
    assert plain["summary"]["times_better"]["faster ingest"] == {"langchain": {"median": 4, "low": 3, "high": 5}}
    assert plain["summary"]["figures"]["pages a second"]["ragapp"]["high"] == 50
    assert plain["summary"]["roofline"] == {"decoding": 0.25}


@given(st.floats(1e-9, 1e12))
def test_a_figure_keeps_its_first_two_digits(value: float) -> None:
    shown = float(benchtable._number(value).replace(",", ""))
    assert shown == pytest.approx(value, rel=0.05)


@given(st.lists(st.floats(-1e6, 1e6), max_size=9))
def test_a_spread_lies_around_its_median(values: list[float]) -> None:
    spread = Spread.of(values)
    if not values:
        assert spread is None
        return
    assert spread is not None
    assert spread.low == min(values) <= spread.median <= spread.high == max(values)


def test_a_table_takes_its_place_in_a_readme(tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text(f"# 标题\n\n{benchtable.BEGIN}\nformerly\n{benchtable.END}\n\nafter\n", encoding="utf-8")
    readme.chmod(0o640)
    for _ in range(2):
        benchtable.write(a_bench(), readme)
        text = readme.read_text(encoding="utf-8")
        assert text.startswith("# 标题\n\n<!--")
        assert text.endswith("-->\n\nafter\n")
        assert "formerly" not in text
        assert text.count("faster ingest") == 1
    assert readme.stat().st_mode & 0o777 == 0o640
    assert [path.name for path in tmp_path.iterdir()] == ["README.md"]


def test_files_are_made_and_others_are_left_alone(tmp_path: Path) -> None:
    benchtable.write(a_bench(), tmp_path / "new" / "bench.md")
    benchtable.write(a_bench(), tmp_path / "new" / "bench.md")  # its own file has the marks
    benchtable.write(a_bench(), tmp_path / "new" / "bench.json")
    assert json.loads((tmp_path / "new" / "bench.json").read_text("utf-8"))["files"] == 1
    notes = tmp_path / "notes.md"
    notes.write_text("mine", encoding="utf-8")
    with pytest.raises(ConfigError, match="no place"):
        benchtable.check(notes)
    with pytest.raises(ConfigError, match="no place"):
        benchtable.write(a_bench(), notes)
    assert notes.read_text("utf-8") == "mine"


def test_a_file_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"neither Markdown nor JSON"):
        benchtable.check(tmp_path / "bench.html")
    (tmp_path / "folder.md").mkdir()
    with pytest.raises(LibraryError, match="cannot be written"):
        benchtable.check(tmp_path / "folder.md")
    (tmp_path / "latin.md").write_bytes(b"\xe9")
    with pytest.raises(ConfigError, match="UTF-8"):
        benchtable.check(tmp_path / "latin.md")
