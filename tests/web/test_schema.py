"""What OpenAPI promises holds for requests that nobody thought of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from tests.web.serving import Running

schemathesis = pytest.importorskip("schemathesis", reason="needs schemathesis")


def test_every_request_gets_an_answer_of_the_description(server: Running, street: Path) -> None:
    job = str(server.upload(street).json()["id"])
    server.wait(job, "done")
    known = {"jobs": job, "sources": "1", "studio": job}
    described = schemathesis.openapi.from_url(f"{server.address}/openapi.json")
    tried = 0
    for operation in (found.ok() for found in described.get_all_operations()):
        tried += 1

        @settings(max_examples=12, suppress_health_check=list(HealthCheck))
        @given(operation.as_strategy())
        def answers(case: Any) -> None:
            parameters = case.path_parameters or {}
            if case.method != "DELETE" and "key" in parameters and len(parameters["key"]) % 2:
                parameters["key"] = known[case.path.split("/")[2]]
            if case.path == "/api/studio/{key}/changes":
                return  # does not end
            if case.path == "/api/sources/{key}/results":
                case.query = {"count": 1}  # without a count it does not end
            response = case.call(timeout=20)
            assert response.status_code < 500
            described_answers(case, response)

        answers()
    paths = server.http.get("/openapi.json").json()["paths"].values()
    assert tried == sum(len(methods) for methods in paths) > 30


def described_answers(case: Any, response: Any) -> None:
    """The answer has a status, a type and a content that the description names."""
    checks = schemathesis.checks
    wanted = ("status_code_conformance", "content_type_conformance", "response_schema_conformance")
    case.validate_response(response, checks=[getattr(checks, name) for name in wanted])
