"""Settings: one frozen model per table of ``ragapp.toml``; flags > environment > file > defaults.

The environment spells ``[search] k`` as ``RAGAPP_SEARCH_K``. Three variables are not settings of a table:
``RAGAPP_LIBRARY`` (the library's folder), ``RAGAPP_CONFIG`` (the file) and ``RAGAPP_CACHE`` (where made models lie).
A table with a ``name`` describes a part; when the name is not a built-in one, the table's other keys go to the part.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ragapp.errors import ConfigError

FILE_NAME = "ragapp.toml"
NOT_SETTINGS = frozenset({"RAGAPP_LIBRARY", "RAGAPP_CONFIG", "RAGAPP_CACHE", "RAGAPP_TRACING"})

# What Kubernetes sets in every container for a service of that name.
_SERVICE = re.compile(r"RAGAPP_(?:SERVICE_(?:HOST|PORT)|PORT(?:$|_\d))")

Count = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0, le=1)]


class Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)


class PartTable(Table):
    """A table that names a part: keys that are not known here are the part's own."""

    model_config = ConfigDict(frozen=True, extra="allow")

    name: str


class EmbedderTable(PartTable):
    name: str = Field("builtin", description="builtin, a folder or hub id of sentence-transformers, or pkg.mod:attr")
    runtime: Literal["auto", "openvino", "torch"] = Field("auto", description="what computes the built-in model")
    batch_tokens: Count = Field(2048, description="tokens computed together, padding included")


class ChunkerTable(PartTable):
    name: str = Field("tokens", description="tokens, sentences, headings, semantic, parent-child, or pkg.mod:attr")
    tokens: Annotated[int, Field(ge=32)] = Field(
        200, description="tokens of a chunk, its header not counted; all but parent-child"
    )
    overlap: Annotated[int, Field(ge=0)] = Field(
        0, description="tokens that a chunk may repeat of the one before; tokens only"
    )
    sentences: Count = Field(8, description="sentences of a chunk at most; sentences only")
    min_tokens: Count = Field(64, description="tokens of a chunk at least; semantic only")
    window: Count = Field(2, description="sentences that are compared on either side of a gap; semantic only")
    header: bool = Field(
        True,
        description="whether a line with document and headings stands before each chunk of prose",
    )
    child_tokens: Annotated[int, Field(ge=32)] = Field(96, description="tokens of a chunk; parent-child only")
    parent_tokens: Annotated[int, Field(ge=32)] = Field(
        384, description="tokens of the passage to be read around it; parent-child only"
    )


class SearchTable(Table):
    k: Count = Field(10, description="passages of a search")
    route_weight: Share = Field(0.2, description="what a document gains that the question names")
    depth: Count = Field(40, description="candidates of each ranker that the fusion weighs")
    fusion: Literal["minmax", "rrf"] = Field("minmax", description="how the rankings are joined")
    dense_weight: Share = Field(0.5, description="weight of the vectors in the fusion; the words have the rest")
    dense_weight_cjk: Share = Field(
        0.2, description="the same for Chinese, Japanese and Korean questions, which the built-in model reads badly"
    )
    rrf_constant: Count = Field(60, description="constant of reciprocal rank fusion")
    exact_up_to: Count = Field(200_000, description="chunks that are searched exactly; a larger library in clusters")
    max_question_chars: Count = Field(8000, description="a longer question is refused")
    hyde: Literal["auto", "on", "off"] = Field(
        "auto", description="search with passages that the Llama imagines: auto only where the first search is weak"
    )
    variants: Annotated[int, Field(ge=0, le=8)] = Field(
        0, description="other wordings of the question, by the Llama, that are searched too"
    )
    step_back: bool = Field(False, description="search the more general question behind the question too")


class RerankerTable(PartTable):
    name: str = Field(
        "late",
        description="late (token by token with the embedder), keep (the fused order), a folder or hub id of a "
        "CrossEncoder, or pkg.mod:attr",
    )
    candidates: Count = Field(20, description="passages that are looked at closely")
    seconds: Annotated[float, Field(gt=0)] = Field(5.0, description="time limit, after which the fused order stays")
    batch: Count = Field(16, description="passages a CrossEncoder reads together")


class AnswerTable(Table):
    flow: str = Field("linear", description="linear, conditional, branching, looping, or pkg.mod:attr")
    passages: Count = Field(8, description="passages an answer may cite")
    quotes: Count = Field(3, description="sentences quoted when no Llama is set")
    threshold: Share = Field(0.5, description="a question is answered when the library holds the answer so probably")
    calibration: str = Field("", description="file that `python -m ragapp.eval.refusal --fit` wrote for this library")
    strict: bool = Field(False, description="leave out sentences of a Llama that no cited page bears out")
    context_tokens: Annotated[int, Field(ge=0)] = Field(
        450, description="tokens of a passage with its neighbours; quotes take 300 at most; 0 leaves it as it was found"
    )
    prompts: str = Field("", description="folder with prompts of your own; see the README")
    calls: Count = Field(8, description="questions put to the Llama for one answer, at most")
    tokens: Count = Field(4096, description="tokens the Llama writes for one answer, at most")
    seconds: Annotated[float, Field(gt=0)] = Field(600.0, description="time for one answer, at most")


class ChatTable(Table):
    model: str = Field(
        "", description="folder, GGUF file or hub id of a Llama, a server's URL, or provider:model; empty: quotes"
    )
    device: str = Field("auto", description="auto, cpu, cuda, mps")
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto", description="numbers the model computes in"
    )
    max_new_tokens: Count = Field(512, description="tokens of an answer at the most")
    temperature: Annotated[float, Field(ge=0, le=2)] = Field(0.0, description="0 always takes the likeliest token")
    top_p: Annotated[float, Field(gt=0, le=1)] = Field(1.0, description="nucleus of the sampling")
    context_tokens: Annotated[int, Field(ge=0)] = Field(0, description="window of the model; 0: what its config says")
    quantize: Literal["none", "int8", "int4"] = Field(
        "none", description="weights in 8 or 4 bits, made while loading where a library for it is installed"
    )
    lookup_tokens: Annotated[int, Field(ge=0)] = Field(
        8, description="tokens guessed from the prompt at a time (prompt lookup); 0 switches it off"
    )
    batch: Count = Field(4, description="answers the model writes together, at most")
    api_key: str = Field(
        "", description="key for a server; else, over https or to this machine, $OPENAI_API_KEY", repr=False
    )
    timeout: Annotated[float, Field(gt=0)] = Field(120.0, description="seconds a server may be silent")
    retries: Annotated[int, Field(ge=0)] = Field(2, description="further tries when a server is busy or fails")


class IngestTable(Table):
    seconds_per_page: Annotated[float, Field(gt=0)] = Field(10.0, description="a file that is slower is given up")
    memory_mb: Annotated[int, Field(ge=256)] = Field(2048, description="memory that each reading process may take")
    workers: Annotated[int, Field(ge=0)] = Field(0, description="reading processes at the most; 0: as many as cores")
    max_pages: Count = Field(20_000, description="a document that claims more pages is refused")
    max_mb: Count = Field(1024, description="a file that unpacks to more megabytes is refused")
    pdf: Literal["pdfium", "hi_res"] = Field("pdfium", description="reader of PDFs; hi_res needs ragapp[layout]")
    ocr: Literal["auto", "tesseract", "rapidocr", "off"] = Field(
        "auto", description="what reads pages without text: auto takes what is installed"
    )
    ocr_languages: str = Field("auto", description="tesseract's names, like eng+chi_sim; auto: those installed")
    ocr_seconds_per_page: Annotated[float, Field(gt=0)] = Field(60.0, description="the same limit for OCR")


class ServerTable(Table):
    host: str = Field("127.0.0.1", description="address to listen on; any but loopback wants an api_key")
    port: Annotated[int, Field(ge=0, le=65535)] = Field(8808, description="0 takes a free one")
    api_key: str = Field("", description="key that clients must send as a bearer token", repr=False)
    seats: Count = Field(4, description="answers written at the same time")
    queue: Annotated[int, Field(ge=0)] = Field(16, description="questions that may wait for a seat")
    wait_seconds: Annotated[float, Field(gt=0)] = Field(120.0, description="time a question may wait for a seat")
    answer_seconds: Annotated[float, Field(gt=0)] = Field(
        900.0, description="time for one answer, after which its stream is ended with an error"
    )
    grace_seconds: Annotated[float, Field(ge=0)] = Field(
        5.0, description="time that answers have to end in when the server is told to stop"
    )
    requests_per_minute: Annotated[int, Field(ge=0)] = Field(
        0, description="requests of one key, or of one address where none is needed; 0: as many as they like"
    )
    log: Literal["off", "text", "json"] = Field("off", description="a line for each request, on standard error")
    tls_certificate: str = Field("", description="file of a certificate (PEM) for https")
    tls_key: str = Field("", description="file of its key; empty where the certificate's file holds it")
    otlp_endpoint: str = Field(
        "", description="URL that traces are sent to, wants ragapp[telemetry]; else $OTEL_EXPORTER_OTLP_ENDPOINT"
    )
    max_body_bytes: Count = Field(1_000_000, description="a larger request is refused")
    max_upload_bytes: Count = Field(1 << 30, description="the same limit for a request that brings documents")
    max_upload_files: Count = Field(1000, description="documents that one request may bring")


class Config(Table):
    """All settings. ``sources`` says where each value that is not a default came from."""

    embedder: EmbedderTable = EmbedderTable()
    chunker: ChunkerTable = ChunkerTable()
    search: SearchTable = SearchTable()
    reranker: RerankerTable = RerankerTable()
    answer: AnswerTable = AnswerTable()
    chat: ChatTable = ChatTable()
    ingest: IngestTable = IngestTable()
    server: ServerTable = ServerTable()
    sources: Mapping[str, str] = Field(default_factory=dict, exclude=True)


@dataclass(frozen=True, slots=True)
class Setting:
    """One line of ``ragapp config``."""

    key: str
    value: object
    source: str
    description: str = ""
    secret: bool = field(default=False, repr=False)


TABLES: Mapping[str, type[Table]] = {
    name: info.annotation
    for name, info in Config.model_fields.items()
    if isinstance(info.annotation, type) and issubclass(info.annotation, Table)
}


def load(
    flags: Mapping[str, object] | None = None,
    file: Path | None = None,
    env: Mapping[str, str] | None = None,
) -> Config:
    """The settings in force.

    ``flags`` are ``{"search.k": 20}``. Without ``file`` it is ``RAGAPP_CONFIG``, else ``./ragapp.toml`` if there is
    one. Raises ConfigError for a file that is missing or is not TOML, and for unknown keys and values that do not fit.
    """
    env = os.environ if env is None else env
    values: dict[str, dict[str, object]] = {}
    sources: dict[str, str] = {}
    layers = (_from_file(file, env), _from_env(env), _from_flags(flags or {}))
    for layer in layers:
        for key, (value, source) in layer.items():
            table, name = key.split(".", 1)
            values.setdefault(table, {})[name] = value
            sources[key] = source
    try:
        return Config.model_validate({**values, "sources": sources})
    except ValidationError as error:
        raise _translate(error, sources) from None


def explain(config: Config) -> Iterator[Setting]:
    """Every setting with its value and where it came from, in the order of the tables."""
    for table, model in TABLES.items():
        values = getattr(config, table)
        for name, info in model.model_fields.items():
            key = f"{table}.{name}"
            yield Setting(
                key, getattr(values, name), config.sources.get(key, "default"), info.description or "", not info.repr
            )
        for name, value in (values.model_extra or {}).items():
            key = f"{table}.{name}"
            yield Setting(key, value, config.sources.get(key, "default"), "for the part that the table names")


def given(table: PartTable, config: Config, prefix: str) -> dict[str, object]:
    """The keys of a part's table that somebody set, without ``name``: what a part of the user's own is called with."""
    keys = [key.split(".", 1)[1] for key in config.sources if key.startswith(f"{prefix}.")]
    return {key: getattr(table, key) for key in keys if key != "name"}


def check_part_keys(table: PartTable, prefix: str) -> None:
    """Raise ConfigError for keys that a built-in part does not know."""
    for key in table.model_extra or {}:
        raise _unknown_key(f"{prefix}.{key}", "the settings", type(table).model_fields)


Layer = dict[str, tuple[object, str]]


def _from_file(file: Path | None, env: Mapping[str, str]) -> Layer:
    named = file or (Path(env["RAGAPP_CONFIG"]) if env.get("RAGAPP_CONFIG") else None)
    path = named or Path(FILE_NAME)
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if named is None:
            return {}
        raise ConfigError(f"The settings file {path} does not exist.", "Create it, or leave out --config.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"The settings file {path} cannot be read: {error}") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} is not valid TOML: {error}") from None
    layer: Layer = {}
    for table, content in data.items():
        if table not in TABLES:
            raise _unknown_key(table, str(path), TABLES)
        if not isinstance(content, dict):
            raise ConfigError(f"[{table}] in {path} must be a table.", f"Write [{table}] on a line of its own.")
        for name, value in content.items():
            _known(table, name, str(path))
            layer[f"{table}.{name}"] = (value, str(path))
    return layer


def _from_env(env: Mapping[str, str]) -> Layer:
    layer: Layer = {}
    for variable, value in env.items():
        if not variable.startswith("RAGAPP_") or variable in NOT_SETTINGS or _SERVICE.match(variable):
            continue
        table, _, name = variable.removeprefix("RAGAPP_").lower().partition("_")
        if table not in TABLES or not name:
            known = [f"RAGAPP_{t}_{n}".upper() for t, m in TABLES.items() for n in m.model_fields]
            raise _unknown_key(variable, "the environment", [*known, *NOT_SETTINGS], variable)
        _known(table, name, "the environment", spelled=variable)
        layer[f"{table}.{name}"] = (value, f"${variable}")
    return layer


def _from_flags(flags: Mapping[str, object]) -> Layer:
    layer: Layer = {}
    for key, value in flags.items():
        table, _, name = key.partition(".")
        if table not in TABLES or not name:
            raise _unknown_key(key, "the flags", [f"{t}.{n}" for t, m in TABLES.items() for n in m.model_fields], key)
        _known(table, name, "the flags")
        layer[key] = (value, "flag")
    return layer


def _known(table: str, name: str, where: str, spelled: str = "") -> None:
    model = TABLES[table]
    if name not in model.model_fields and not issubclass(model, PartTable):
        if spelled:
            raise _unknown_key(spelled, where, [field.upper() for field in model.model_fields], name.upper())
        raise _unknown_key(f"{table}.{name}", where, model.model_fields)


def _unknown_key(key: str, where: str, known: Iterable[str], wrong: str = "") -> ConfigError:
    """``wrong`` is the end of the key that is compared with what is known: what follows the dot, unless it is given."""
    wrong = wrong or key.rpartition(".")[2]
    near = get_close_matches(wrong, list(known), n=1, cutoff=0.5)
    hint = f"Did you mean {key.removesuffix(wrong)}{near[0]}?" if near else "`ragapp config` lists every setting."
    return ConfigError(f"Unknown setting {key} in {where}.", hint)


def _translate(error: ValidationError, sources: Mapping[str, str]) -> ConfigError:
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"][:2])
    table, _, name = key.partition(".")
    info = TABLES[table].model_fields.get(name) if table in TABLES else None
    shown = repr(first["input"]) if info is None or info.repr else "(hidden)"
    return ConfigError(
        f"{key} = {shown} (from {sources.get(key, 'default')}) does not fit: {first['msg']}.",
        "`ragapp config` shows every setting with its meaning.",
    )
