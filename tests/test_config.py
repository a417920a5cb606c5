"""Settings: who wins, what is refused, and that every refusal names its source."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragapp import config
from ragapp.config import TABLES, check_part_keys, explain, load
from ragapp.config import given as given_keys
from ragapp.errors import ConfigError

pytestmark = pytest.mark.usefixtures("in_folder")

LAYERS = ("file", "env", "flag")


def written(text: str, name: str = "ragapp.toml") -> Path:
    path = Path(name)
    path.write_text(text, "utf-8")
    return path


def test_without_anything_all_is_default() -> None:
    settings = load(env={})
    assert settings == config.Config()
    assert {setting.source for setting in explain(settings)} == {"default"}


@given(present=st.sets(st.sampled_from(LAYERS)), values=st.permutations([3, 4, 5]))
def test_flags_beat_the_environment_which_beats_the_file(present: set[str], values: list[int]) -> None:
    value = dict(zip(LAYERS, values, strict=True))
    file = written(f"[search]\nk = {value['file']}\n" if "file" in present else "")
    env = {"RAGAPP_SEARCH_K": str(value["env"])} if "env" in present else {}
    flags = {"search.k": value["flag"]} if "flag" in present else {}
    settings = load(flags, file, env)
    winner = next((layer for layer in reversed(LAYERS) if layer in present), None)
    assert settings.search.k == (value[winner] if winner else 10)
    source = {"file": "ragapp.toml", "env": "$RAGAPP_SEARCH_K", "flag": "flag", None: "default"}[winner]
    assert next(s.source for s in explain(settings) if s.key == "search.k") == source


def test_the_file_is_found_in_the_folder_or_named_by_the_environment() -> None:
    written("[search]\nk = 3\n")
    other = written("[search]\nk = 4\n", "other.toml")
    assert load(env={}).search.k == 3
    assert load(env={"RAGAPP_CONFIG": str(other)}).search.k == 4
    assert load(file=other, env={}).search.k == 4


@pytest.mark.parametrize(
    ("toml", "said", "hint"),
    [
        ("[serch]\nk = 3", "serch in ragapp.toml", "search"),
        ("[search]\ndepht = 3", "search.depht in ragapp.toml", "search.depth"),
        ("search = 3", "[search] in ragapp.toml must be a table", "line of its own"),
    ],
)
def test_unknown_keys_of_the_file(toml: str, said: str, hint: str) -> None:
    written(toml)
    with pytest.raises(ConfigError) as caught:
        load(env={})
    assert said in caught.value.message
    assert hint in caught.value.hint


@pytest.mark.parametrize(
    ("variable", "near"),
    [
        ("RAGAPP_SERCH_K", "RAGAPP_SEARCH_K"),
        ("RAGAPP_SEARCH_DEPHT", "RAGAPP_SEARCH_DEPTH"),
        ("RAGAPP_LIBARY", "RAGAPP_LIBRARY"),
    ],
)
def test_unknown_variables(variable: str, near: str) -> None:
    with pytest.raises(ConfigError, match=variable) as caught:
        load(env={variable: "3"})
    assert near in caught.value.hint


@pytest.mark.parametrize(("flag", "near"), [("serch.k", "search.k"), ("search.depht", "search.depth"), ("k", "")])
def test_unknown_flags(flag: str, near: str) -> None:
    with pytest.raises(ConfigError, match="in the flags") as caught:
        load({flag: 3}, env={})
    assert near in caught.value.hint


def test_variables_that_are_no_settings_and_those_of_others_are_passed_over() -> None:
    env = dict.fromkeys(config.NOT_SETTINGS - {"RAGAPP_CONFIG"}, "x") | {"PATH": "x", "RAGAPPY": "x"}
    assert load(env=env) == config.Config()


@pytest.mark.parametrize(
    ("flags", "env", "toml", "source"),
    [
        ({"search.k": 0}, {}, "", "from flag"),
        ({}, {"RAGAPP_SEARCH_K": "many"}, "", "from $RAGAPP_SEARCH_K"),
        ({}, {}, "[search]\nk = -1", "from ragapp.toml"),
    ],
)
def test_a_bad_value_names_its_source(flags: dict[str, object], env: dict[str, str], toml: str, source: str) -> None:
    written(toml)
    with pytest.raises(ConfigError, match=r"search\.k = ") as caught:
        load(flags, env=env)
    assert source in caught.value.message


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("search.fusion", "sum"), ("search.dense_weight", 1.5), ("chunker.tokens", 8), ("chat.top_p", 0),
        ("server.port", 70000),
    ],
)  # fmt: skip
def test_values_out_of_range(key: str, value: object) -> None:
    with pytest.raises(ConfigError, match=f"{key} = "):
        load({key: value}, env={})


def test_broken_missing_and_unreadable_files() -> None:
    with pytest.raises(ConfigError, match="not valid TOML"):
        load(file=written("[search\nk = 3"), env={})
    with pytest.raises(ConfigError, match=r"none\.toml does not exist") as caught:
        load(file=Path("none.toml"), env={})
    assert caught.value.hint
    with pytest.raises(ConfigError, match="does not exist"):
        load(env={"RAGAPP_CONFIG": "none.toml"})
    with pytest.raises(ConfigError, match="cannot be read"):
        load(file=Path("."), env={})
    Path("latin.toml").write_bytes(b'[embedder]\nname = "caf\xe9"')
    with pytest.raises(ConfigError, match="cannot be read"):
        load(file=Path("latin.toml"), env={})


def test_tables_of_parts_take_keys_of_the_parts_own() -> None:
    settings = load({"chunker.lines": 3}, written('[chunker]\nname = "my:Part"\ntokens = 64\n'), {})
    assert given_keys(settings.chunker, settings, "chunker") == {"lines": 3, "tokens": 64}
    assert ("chunker.lines", 3, "flag") in [(s.key, s.value, s.source) for s in explain(settings)]


def test_built_in_parts_refuse_unknown_keys() -> None:
    settings = load({"chunker.overlpa": 3}, env={})
    with pytest.raises(ConfigError, match=r"chunker\.overlpa") as caught:
        check_part_keys(settings.chunker, "chunker")
    assert "chunker.overlap" in caught.value.hint


def test_explain_lists_every_setting_once_with_its_meaning() -> None:
    lines = list(explain(load(env={})))
    assert [line.key for line in lines] == [f"{t}.{name}" for t, model in TABLES.items() for name in model.model_fields]
    assert [line.key for line in lines if not line.description] == []
    assert [line.key for line in lines if line.secret] == ["chat.api_key", "server.api_key"]


def test_a_secret_is_not_shown() -> None:
    settings = load({"server.api_key": "hunter2"}, env={})
    assert "hunter2" not in repr(settings)
    with pytest.raises(ConfigError, match=r"server\.api_key") as caught:
        load({"server.api_key": 4711}, env={})
    assert "4711" not in caught.value.message


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(Exception, match="frozen"):
        load(env={}).search.k = 3  # type: ignore[misc]


def test_what_kubernetes_sets_for_a_service_is_no_setting() -> None:
    load(env={"RAGAPP_SERVICE_HOST": "10.0.0.1", "RAGAPP_PORT": "tcp://10.0.0.1:80", "RAGAPP_PORT_80_TCP": "x"})
