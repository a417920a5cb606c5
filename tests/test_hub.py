"""The model hub, played by a server on loopback: sizes, downloads, how they are stopped, and what is never asked."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from ragapp import hub, modelfiles
from ragapp.errors import ConfigError, ModelError
from tests.hub import Hub, serving


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "tokenizer.json").write_text("{" + " " * 5000 + "}")
    (folder / "model.safetensors").write_bytes(os.urandom(30_000))
    (folder / "pytorch_model.bin").write_bytes(b"pickle" * 1000)
    (folder / "README.md").write_text("read me")
    return folder


@pytest.fixture
def fake(model: Path, tmp_path: Path) -> Iterator[Hub]:
    with serving(model, tmp_path / "hub") as made:
        yield made


WANTED = {"config.json": 2, "tokenizer.json": 5002, "model.safetensors": 30_000}


def test_the_size_is_that_of_what_would_be_fetched(fake: Hub) -> None:
    fake.files["onnx/model.safetensors"] = b"another format of it"
    fake.files["onnx/config.json"] = b"{}"
    size = hub.size_of("org/tiny")
    assert dict(size.files) == WANTED
    assert (size.model, size.bytes) == ("org/tiny", sum(WANTED.values()))
    assert len(fake.asked) == 1
    assert fake.sent == 0


def test_a_download_tells_bytes_and_leaves_a_folder_that_is_found_again(fake: Hub, model: Path) -> None:
    told: list[tuple[str, int, int]] = []
    assert modelfiles.cached("org/tiny", weights=True) is None
    folder = hub.download("org/tiny", lambda *args: told.append(args))
    assert {file.name for file in folder.iterdir()} == set(WANTED)
    assert (folder / "model.safetensors").read_bytes() == (model / "model.safetensors").read_bytes()
    total = sum(WANTED.values())
    done = [bytes_done for _, bytes_done, _ in told]
    assert done == sorted(done)
    assert done[-1] == total
    assert len(set(done)) > 10  # in bytes, and not by files
    assert {of for _, _, of in told} == {total}
    assert modelfiles.cached("org/tiny", weights=True) == folder
    assert not [line for line in fake.asked if "pytorch_model" in line or "README" in line]
    # Its telemetry is off: nothing but the model was asked for.
    assert all("/org/tiny" in line for line in fake.asked)


def test_a_second_download_fetches_nothing(fake: Hub) -> None:
    hub.download("org/tiny")
    sent = fake.sent
    hub.download("org/tiny")
    assert fake.sent == sent


def test_a_download_stops_when_it_is_told_and_goes_on_later(fake: Hub) -> None:
    fake.delay_s = 0.01
    seen: list[int] = []
    with pytest.raises(hub.Stopped):
        hub.download("org/tiny", lambda _, done, __: seen.append(done), lambda: bool(seen) and seen[-1] > 9000)
    assert modelfiles.cached("org/tiny", weights=True) is None
    assert fake.sent < 25_000
    fake.delay_s = 0.0
    fake.asked.clear()
    hub.download("org/tiny")
    # What was there is not fetched again.
    fetched = {line.rpartition("/")[2] for line in fake.asked if "GET /org" in line}
    assert fetched == {"model.safetensors", "tokenizer.json"}


def test_a_model_that_changes_meanwhile_is_no_model(fake: Hub) -> None:
    def change(name: str, *_: int) -> None:
        if name == "model.safetensors":
            fake.commit = "f" * 40

    with pytest.raises(ModelError, match="changed"):
        hub.download("org/tiny", change)


@pytest.mark.parametrize("name", ["", "tiny", "a/b/c", "../x", "org/../x", "http://x/y", "/etc/passwd", "org/ti ny"])
def test_only_names_of_the_hub_are_asked_for(fake: Hub, name: str) -> None:
    with pytest.raises(ConfigError):
        hub.size_of(name)
    with pytest.raises(ConfigError):
        hub.download(name)
    assert fake.asked == []


def test_a_model_that_is_not_there(fake: Hub) -> None:
    with pytest.raises(ModelError, match="no model org/other"):
        hub.size_of("org/other")


def test_a_model_without_safetensors(fake: Hub) -> None:
    del fake.files["model.safetensors"]
    with pytest.raises(ModelError, match="safetensors"):
        hub.size_of("org/tiny")


def test_a_hub_that_cannot_be_reached(fake: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(ModelError, match="cannot be asked"):
        hub.size_of("org/tiny")


def test_the_hub_is_offline_before_and_after(fake: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setenv("_RAGAPP_TOOK_HUB_OFFLINE", "1")
    seen: list[bool] = []
    hub.download("org/tiny", lambda *_: seen.append(constants.HF_HUB_OFFLINE))
    assert set(seen) == {False}
    assert constants.HF_HUB_OFFLINE is True


def test_what_the_user_has_switched_off_stays_off(fake: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.delenv("_RAGAPP_TOOK_HUB_OFFLINE", raising=False)
    with pytest.raises(ModelError) as caught:
        hub.size_of("org/tiny")
    assert "HF_HUB_OFFLINE" in caught.value.hint
    assert fake.asked == []
