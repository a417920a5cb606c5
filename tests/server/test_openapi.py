"""The OpenAPI description, and whether the server keeps to it: schemathesis asks what the description allows, and more.

``RAGAPP_CASES`` sets how many cases of either kind each operation gets; 60 make 4,000 in all.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode, checks
from schemathesis.core.failures import FailureGroup as CheckFailed
from schemathesis.specs.openapi import checks as conformance
from starlette.types import Receive, Scope, Send

from ragapp import hub
from ragapp.rag import Rag
from ragapp.server.app import create_app
from ragapp.server.description import operations
from tests.server.conftest import copied

CASES = int(os.environ.get("RAGAPP_CASES", "8"))
LOCAL = {"Host": "127.0.0.1"}  # the guard lets nobody in who calls this machine by another name
ENDLESS = {"/v1/events"}  # streams that do not end by themselves


@pytest.fixture(scope="module")
def app(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The app over a library of its own, with a hub that has every model and gives none."""
    library = copied(folder, tmp_path_factory.mktemp("described") / "library")
    with (
        pytest.MonkeyPatch.context() as patch,
        Rag.open(library, embedder__name="hashing", chat__model="tests.server.flows:scripted") as rag,
    ):
        patch.setattr(hub, "size_of", lambda model: hub.check(model) or hub.Size(model, (("a.safetensors", 1),)))
        patch.setattr(hub, "download", lambda *_: library)
        rag.warm()  # or /readyz rightly says that it is not ready
        made = create_app(rag)
        yield made
        made.state.house.close()


@pytest.fixture(scope="module")
def described(app: Any) -> dict[str, Any]:
    made: dict[str, Any] = app.openapi()
    return made


def test_every_operation_says_what_it_does(described: dict[str, Any]) -> None:
    named = [
        (method, path, operation.get("operationId"))
        for path, method, operation in operations(described)
        if not (operation.get("summary") and operation.get("description") and operation.get("tags"))
    ]
    assert named == []


def test_summaries_are_sentences_and_not_names_of_functions(described: dict[str, Any]) -> None:
    short = [
        (path, method, operation["summary"])
        for path, method, operation in operations(described)
        if len(operation["summary"].split()) < 2
    ]
    assert short == []


def test_statuses_are_those_of_the_error_table(described: dict[str, Any]) -> None:
    for path, method, operation in operations(described):
        statuses = set(operation["responses"])
        assert "422" not in statuses, (path, method)
        assert {"400", "401", "403"} <= statuses, (path, method)
        assert any(status.startswith("2") for status in statuses)
    assert "HTTPValidationError" not in described["components"]["schemas"]


def test_bodies_have_examples_that_fit(described: dict[str, Any]) -> None:
    import jsonschema_rs

    for path, method, operation in operations(described):
        content = operation.get("requestBody", {}).get("content", {}).get("application/json")
        if content is None:
            continue
        schema = _resolved(content["schema"], described)
        examples = content.get("examples") or content.get("example") or schema.get("examples")
        assert examples, (path, method)
        if isinstance(examples, list):
            whole = {**content["schema"], "components": described["components"]}
            for example in examples:
                assert jsonschema_rs.is_valid(whole, example), (path, method, example)


def _resolved(schema: dict[str, Any], described: dict[str, Any]) -> dict[str, Any]:
    reference = schema.get("$ref")
    if reference is None and len(named := schema.get("anyOf", [])) == 2:  # a body that may be left out
        reference = next((each["$ref"] for each in named if "$ref" in each), None)
    found: dict[str, Any] = schema
    if reference:
        found = described["components"]["schemas"][re.split("/", reference)[-1]]
    return found


@pytest.fixture(scope="module")
def api(app: Any) -> Any:
    async def always_open(scope: Scope, receive: Receive, send: Send) -> None:
        """The app, which is not started and ended again and again."""
        if scope["type"] != "lifespan":
            await app(scope, receive, send)
            return
        for kind in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{kind}.complete"})

    return schemathesis.openapi.from_asgi("/openapi.json", always_open, headers=LOCAL)


KEPT_TO = [
    checks.not_a_server_error,
    conformance.status_code_conformance,
    conformance.content_type_conformance,
    conformance.response_schema_conformance,
]


@pytest.fixture(scope="module")
def known(app: Any) -> dict[str, str]:
    """Names that stand for something: nearly everything that is made up is rightly not found."""
    collection = app.state.house.default
    talk = collection.talks.create("A talk", owner="").id
    message = collection.talks.append(talk, "assistant", "An answer.", {}, owner="").id
    job = collection.jobs.start("download", lambda *_: None)["id"]
    document = collection.rag.documents()[0].id
    return {"documents": document, "conversations": talk, "jobs": job, "models": "linear", "message": message}


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=["fitting", "wrong"])
def test_the_server_keeps_to_its_description(api: Any, known: dict[str, str], mode: GenerationMode) -> None:
    """No server error, no status, type or shape that is not described; for requests that fit and for others."""
    broken: dict[str, str] = {}
    for found in api.get_all_operations():
        operation = found.ok()
        if operation.path not in ENDLESS:
            try:
                _ask(operation, mode, known)
            except (CheckFailed, AssertionError) as error:
                broken[operation.label] = str(error)
            except Unsatisfiable:  # nothing wrong can be sent where nothing is taken
                continue
    assert not broken, "\n\n".join(f"{label}: {why}" for label, why in broken.items())


def _ask(operation: Any, mode: GenerationMode, known: dict[str, str]) -> None:
    kind = operation.path.split("/")[2] if operation.path.count("/") > 2 else ""

    @settings(max_examples=CASES, deadline=None, suppress_health_check=list(HealthCheck))
    @given(case=operation.as_strategy(generation_mode=mode), named=st.booleans())
    def run(case: Any, named: bool) -> None:
        # What stands for something is not deleted half way, except where nobody asks for it again.
        if named and case.path_parameters and (operation.method != "delete" or kind == "jobs"):
            first = next(iter(case.path_parameters))
            case.path_parameters[first] = known[kind]
            if "message" in case.path_parameters:
                case.path_parameters["message"] = known["message"]
            if "n" in case.path_parameters:
                case.path_parameters["n"] = 1
        case.call_and_validate(headers=LOCAL, checks=KEPT_TO)

    run()
