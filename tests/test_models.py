"""From names to chat models: what a name means, and which settings each kind takes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from ragapp.chat import LlamaChat
from ragapp.config import ChatTable
from ragapp.errors import ConfigError, ModelError
from ragapp.llamacpp import LlamaCppChat
from ragapp.models import DEFAULTS, TAKES, kind_of, resolve
from ragapp.providers import ProviderChat
from ragapp.remote import RemoteChat
from tests import tiny_gguf, tiny_llama

URL = "http://127.0.0.1:9/v1#tiny"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_llama.make(tmp_path_factory.mktemp("llama"))


@pytest.fixture
def llama_cpp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "double").mkdir()
    (tmp_path / "double" / "llama_cpp.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path / "double"))


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("http://localhost:11434", "server"),
        ("HTTPS://example.org/v1#m", "server"),
        ("openai:gpt-4o-mini", "provider"),
        ("ollama:llama3:8b", "provider"),
        ("my_notes.chat:MyChat", "part"),
        ("opeani:gpt", "part"),
        ("org/name", "llama"),
        ("./openai:gpt", "llama"),
        ("/models/a:b", "llama"),
        ("C:\\models\\llama", "llama"),
        ("c:/models/llama", "llama"),
        ("~/llama", "llama"),
        ("x" * 300, "llama"),
        ("", "llama"),
    ],
)
def test_what_a_name_means(name: str, kind: str) -> None:
    assert kind_of(name) == kind


def test_what_exists_is_never_a_provider(in_folder: Path) -> None:
    assert kind_of("openai:gpt") == "provider"
    (in_folder / "openai:gpt").mkdir()
    assert kind_of("openai:gpt") == "llama"


def test_a_gguf_file_goes_to_llama_cpp_where_that_is_installed(tmp_path: Path, llama_cpp: None) -> None:
    file = tiny_gguf.write(tmp_path / "model" / "m.gguf")
    assert kind_of(str(file)) == kind_of(str(file.parent)) == "gguf"
    chat = resolve(str(file.parent), device="cpu", context_tokens=100)
    assert isinstance(chat, LlamaCppChat)
    assert (chat.device, chat.window()) == ("cpu", 100)
    with pytest.raises(ConfigError, match=r"dtype = float32 means nothing to a GGUF file run by llama\.cpp"):
        resolve(str(file), dtype="float32")
    with pytest.raises(ModelError, match="There is no GGUF file"):
        kind_of(str(tmp_path / "absent.gguf"))


def test_a_local_model(folder: Path) -> None:
    chat = resolve(str(folder), dtype="float32", temperature=0.5, batch=2, lookup_tokens=3, api_key="", retries=2)
    assert isinstance(chat, LlamaChat)
    assert (chat.dtype, chat.temperature, chat.lookup_tokens) == ("float32", 0.5, 3)
    with pytest.raises(ConfigError, match="timeout = 7 means nothing to a local model") as caught:
        resolve(str(folder), timeout=7)
    assert "lookup_tokens" in caught.value.hint


def test_a_server() -> None:
    chat = resolve(URL, device="auto", dtype="auto", quantize="none", api_key="secret", timeout=3, context_tokens=None)
    assert isinstance(chat, RemoteChat)
    assert (chat.timeout, chat.retries, chat.api_key.get_secret_value()) == (3, 2, "secret")
    for name, value in (("dtype", "float32"), ("device", "cpu"), ("quantize", "int8"), ("lookup_tokens", 0)):
        with pytest.raises(ConfigError, match=f"{name} = {value} means nothing to a server's model"):
            resolve(URL, **{name: value})
    with pytest.raises(ConfigError, match="is not the address of a server"):
        resolve("http://")


def test_a_provider(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ModelError, match="needs the package langchain-groq"):
        resolve("groq:small")
    (tmp_path / "langchain_groq.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    chat = resolve("groq:small", temperature=0.2, api_key="k", timeout=9, retries=0)
    assert isinstance(chat, ProviderChat)
    assert (chat.temperature, chat.timeout, chat.retries) == (0.2, 9, 0)
    with pytest.raises(ConfigError, match="batch = 9 means nothing to a provider's model"):
        resolve("groq:small", batch=9)


def test_names_that_mean_nothing(in_folder: Path) -> None:
    (in_folder / "models" / "llama-3").mkdir(parents=True)
    for name, message, hint in (
        ("models/lama-3", "no model folder or file models/lama-3", "Did you mean models/llama-3?"),
        ("models/other", "no model folder or file", "spelled"),
        ("./absent", "no model folder or file ./absent", "spelled"),
        ("llama", "neither a folder nor a hub id", "hub id"),
    ):
        with pytest.raises(ModelError, match=message) as caught:
            resolve(name)
        assert hint in caught.value.hint
    with pytest.raises(ConfigError, match="'opeani' is no provider") as wrong:
        resolve("opeani:gpt")
    assert wrong.value.hint == "Did you mean openai:gpt?"
    with pytest.raises(ConfigError, match="is no model that ragapp knows"):
        resolve("my_notes:MyChat")


def test_settings_that_are_wrong(folder: Path) -> None:
    for model in (str(folder), URL):
        with pytest.raises(ConfigError, match="Models have no setting temprature") as caught:
            resolve(model, temprature=0.5)
        assert caught.value.hint.startswith("Did you mean temperature?")
        with pytest.raises(ConfigError, match=r"settings of the model .* are wrong: temperature") as caught:
            resolve(model, temperature=-1)
        assert "takes" in caught.value.hint
    with pytest.raises(ConfigError) as caught:
        resolve("http://me:hu@sh@127.0.0.1:9", top_p=7)
    assert "sh@" not in caught.value.message
    with pytest.raises(ConfigError) as caught:
        resolve(str(folder), api_key="secret")
    assert "secret" not in caught.value.message + caught.value.hint


def test_defaults_are_those_of_the_settings_and_of_the_models(folder: Path) -> None:
    table = ChatTable()  # type: ignore[call-arg]
    shared = DEFAULTS.keys() & set(ChatTable.model_fields) - {"context_tokens"}
    assert {name: DEFAULTS[name] for name in shared} == {name: getattr(table, name) for name in shared}
    for kind, of in (("server", RemoteChat), ("provider", ProviderChat), ("gguf", LlamaCppChat), ("llama", LlamaChat)):
        fields = {field.alias or name: field.default for name, field in of.model_fields.items()}
        for name in TAKES[kind] - {"api_key"}:  # type: ignore[index]
            assert fields[name] == DEFAULTS[name], (kind, name)


@pytest.mark.parametrize(
    ("code", "printed"),
    [
        (
            "import ragapp.models as m\n"
            "heavy = [n for n in ('torch', 'transformers', 'langchain_core', 'httpx') if n in sys.modules]\n"
            "m.resolve('http://127.0.0.1:9#m')\n"
            "print(heavy, 'torch' in sys.modules)",
            "[] False",
        ),
        ("import ragapp.llamacpp, ragapp.providers", ""),
    ],
)
def test_importing_loads_nothing_heavy_and_switches_uploads_off(code: str, printed: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", f"import sys\n{code}\nfrom langsmith.utils import tracing_is_enabled as t; print(t())"],
        cwd=Path(__file__).parents[1],
        env={"LANGSMITH_TRACING": "true", "LANGSMITH_TRACING_V2": "true"},
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout.split("\n")[:-1] == [*([printed] if printed else []), "False"], done.stderr
