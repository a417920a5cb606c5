"""The settings file and the report that a search for settings leaves: only for a gain, and nothing else is touched."""

from __future__ import annotations

import json
import stat
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragapp.errors import ConfigError
from ragapp.eval.stats import Difference
from ragapp.eval.tuned import MARK, REPORT, Effect, Fold, Tuned, as_markdown, check_target, edited, write

pytestmark = pytest.mark.usefixtures("in_folder")


# -- the settings file -----------------------------------------------------------------------------------------------


def result(*, verdict: str = "better", **changes: Any) -> Tuned:
    gain = Difference("pages.mrr@10", 30, 0.5, 0.6, 0.1, 0.05, 0.15, 0.001, verdict, 12)  # type: ignore[arg-type]
    made = Tuned(
        metric="pages.mrr@10",
        settings={"search.depth": 80, "search.fusion": "rrf"},
        gain=gain,
        others=(replace(gain, metric="pages.success@1"),),
        fitted=(0.5, 0.62),
        folds=(Fold({"search.depth": 80}, 0.1, 15, 0.5, 0.6), Fold({}, 0.0, 15, 0.5, 0.5)),
        effects=(Effect("search.depth", 40, 80, 0.04), Effect("search.fusion", "minmax", "rrf", 0.02)),
        questions=30,
        groups=30,
        set="surveys",
        library="library",
        trials=40,
        pruned=9,
        indexes=("as it is",),
        left_out=("[search] hyde: no Llama is set.",),
        seed=0,
        budget=600.0,
        seconds=590.0,
    )
    return replace(made, **changes)


USERS = """\
# ours
[search]
depth = 20  # deep enough
k = 7

[chat]
api_key = "secret"  # keep
"""


def test_a_file_of_the_user_needs_force_and_keeps_everything_else(tmp_path: Path) -> None:
    path = tmp_path / "ragapp.toml"
    path.write_text(USERS, encoding="utf-8")
    path.chmod(0o600)
    with pytest.raises(ConfigError, match="not made by") as raised:
        write(result(), path)
    assert "--force" in raised.value.hint
    with pytest.raises(ConfigError, match="not made by"):
        check_target(path)
    assert check_target(path, force=True) == USERS
    assert check_target(tmp_path / "none.toml") == ""
    assert path.read_text(encoding="utf-8") == USERS
    assert write(result(), path, force=True) == (path, tmp_path / REPORT)
    text = path.read_text(encoding="utf-8")
    assert tomllib.loads(text) == {
        "search": {"depth": 80, "k": 7, "fusion": "rrf"},
        "chat": {"api_key": "secret"},
    }
    assert "# ours" in text
    assert "# keep" in text
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert (tmp_path / "ragapp.toml.bak").read_text(encoding="utf-8") == USERS
    # What was made here may be made again, and the older copies stay.
    write(result(settings={"search.depth": 160}), path)
    assert tomllib.loads(path.read_text(encoding="utf-8"))["search"] == {"depth": 160, "k": 7, "fusion": "rrf"}
    assert (tmp_path / "ragapp.toml.bak").read_text(encoding="utf-8") == USERS
    assert (tmp_path / "ragapp.toml.2.bak").read_text(encoding="utf-8") == text
    assert {p.name for p in tmp_path.iterdir() if p.is_file()} == {
        "ragapp.toml",
        "ragapp.toml.bak",
        "ragapp.toml.2.bak",
        REPORT,
    }


@pytest.mark.parametrize("verdict", ["noise", "worse"])
def test_nothing_is_written_without_a_gain(tmp_path: Path, verdict: str) -> None:
    path = tmp_path / "ragapp.toml"
    path.write_text(USERS, encoding="utf-8")
    assert write(result(verdict=verdict), path, force=True) == ()
    assert write(result(settings={}), path, force=True) == ()
    assert [p.name for p in tmp_path.iterdir() if p.is_file()] == ["ragapp.toml"]
    assert path.read_text(encoding="utf-8") == USERS


@pytest.mark.parametrize(
    "text",
    [
        "search = {depth = 20}\n",
        "search.depth = 20\n",
        '[chat]\napi_key = """\n[search]\ndepth = 1\n"""\n[search]\nk=1\n',
    ],
)
def test_what_cannot_be_edited_is_left_alone(tmp_path: Path, text: str) -> None:
    path = tmp_path / "ragapp.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as raised:
        write(result(), path, force=True)
    assert "[search] depth = 80" in raised.value.hint
    assert path.read_text(encoding="utf-8") == text
    assert [p.name for p in tmp_path.iterdir() if p.is_file()] == ["ragapp.toml"]


def test_what_is_no_toml_is_told(tmp_path: Path) -> None:
    path = tmp_path / "ragapp.toml"
    for content in (b"[search\n", b"\xff\xfe"):
        path.write_bytes(content)
        with pytest.raises(ConfigError, match=r"TOML|read"):
            write(result(), path, force=True)
    with pytest.raises(ConfigError, match="written"):
        write(result(), tmp_path / "nowhere" / "ragapp.toml")


def test_keys_of_another_chunker_go() -> None:
    chunker = '[chunker]\nname = "tokens"\noverlap = 20\nheader = false\ntokens = 100\n'
    text = f"{chunker}\n[reranker]\nweight = 0.3\nseconds = 2.0\n"
    made = edited(text, {"chunker.name": "headings", "reranker.name": "keep"})
    assert tomllib.loads(made) == {
        "chunker": {"name": "headings", "header": False, "tokens": 100},
        "reranker": {"seconds": 2.0, "name": "keep"},
    }


VALUES = st.one_of(st.integers(0, 999), st.booleans(), st.floats(0, 9), st.sampled_from(["tokens", 'a"b\\c', "字", ""]))
KEYS = st.sampled_from(["depth", "k", "fusion", "name"])
TABLES = st.dictionaries(
    st.sampled_from(["search", "answer", "server"]), st.dictionaries(KEYS, VALUES, max_size=4), max_size=3
)


@given(before=TABLES, after=TABLES, blank=st.booleans(), comment=st.booleans())
def test_an_edited_file_says_both(
    before: dict[str, dict[str, Any]], after: dict[str, dict[str, Any]], blank: bool, comment: bool
) -> None:
    lines: list[str] = []
    for table, content in before.items():
        lines += [f"[{table}]{'  # of ours' if comment else ''}"]
        lines += [f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in content.items()]
        lines += [""] * blank
    settings = {f"{table}.{key}": value for table, content in after.items() for key, value in content.items()}
    made = edited("\n".join(lines), settings)
    tables = before.keys() | {table for table, content in after.items() if content}
    assert tomllib.loads(made) == {table: {**before.get(table, {}), **after.get(table, {})} for table in tables}
    assert made.startswith(MARK)
    assert made.count(MARK) == edited(made, settings).count(MARK) == 1
    assert made.count("# of ours") == comment * len(before)


# -- the report ------------------------------------------------------------------------------------------------------


def test_the_report_says_what_holds() -> None:
    said = as_markdown(result())
    assert "rises by +0.100 (+0.050 to +0.150), from 0.500 to 0.600 over 30 questions" in said
    assert "| search.depth | 40 | 80 | +0.040 |" in said
    assert '```toml\n[search]\ndepth = 80\nfusion = "rrf"\n```' in said
    assert "| 2 | 15 | +0.000 | 0.500 | 0.500 | as they are |" in said
    assert "no Llama is set" in said
    assert "reindex" not in said
    assert "ragapp reindex" in as_markdown(result(settings={"chunker.name": "headings"}))
    assert "within noise" in as_markdown(result(verdict="noise"))
    assert "No trial" in as_markdown(result(settings={}, trials=0))
    assert "No trial" not in as_markdown(result(settings={}))
    assert "makes others worse" in as_markdown(result(verdict="worse"))


def test_names_cannot_break_the_report() -> None:
    said = as_markdown(result(library="a|b\n# <script>", set="`x`"))
    assert "<script>" not in said
    assert "a\\|b" in said
    assert "\n# &lt;" not in said
    assert "\n\n\n" not in said
