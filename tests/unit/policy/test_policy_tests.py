"""Requests of policy tests mean what they mean over HTTP (policy spec §17.1)."""

import json
from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict

from cordum import _core
from cordum.domain.errors import InvalidInput
from cordum.gateway.policy_check import check_request
from cordum.protocol.cap import PolicyCheckRequest
from cordum.security.principal import Caller

# Nobody: what the caller would fill in stays empty.
NOBODY = Caller(tenant="", role="admin", header_principal=" ", cross_tenant=True)
BODIES: list[dict[str, Any]] = [
    {"topic": "job.docs.build"},
    {
        "topic": "  job.docs.build\n",
        "job_id": "j1",
        "memory_id": "m",
        "principal_id": "u-12",
        "estimated_cost": 2,
    },
    {"topic": "job.a", "tenant": " north ", "org_id": "south"},
    {"topic": "job.a", "tenant": " ", "org_id": " south "},
    *({"topic": "job.a", "priority": word} for word in ("batch", " Interactive", "CRITICAL", "", None)),
    *(
        {"topic": "job.a", "meta": {"actor_type": word}}
        for word in ("human", "Service", "ACTOR_TYPE_HUMAN", "actor_type_service", "")
    ),
    {"topic": "job.a", "labels": {"a": "1", "ü": ""}, "meta": {"labels": {"a": "2", "b": "3"}}},
    {"topic": "job.a", "labels": {"team_id": "own"}, "team_id": "t", "workflow_id": "w", "step_id": "s"},
    {"topic": "job.a", "labels": {"_action.descriptor_json": "{}", "_source": "workflow"}},
    {"topic": "job.a", "capability": "outer", "risk_tags": ["x"], "meta": {}},
    {
        "topic": "job.a",
        "capability": "outer",
        "risk_tags": ["x"],
        "meta": {"capability": "inner", "risk_tags": ["y"]},
    },
    {"topic": "job.a", "risk_tags": ["x"], "meta": {"risk_tags": []}},
    {
        "topic": "job.a",
        "meta": {
            "tenant_id": "t",
            "actor_id": "a",
            "pack_id": "p",
            "idempotency_key": "k",
            "requires": ["git", "git"],
        },
    },
    {"topic": "job.a", "budget": {"max_output_tokens": 2000, "deadlineMs": "5"}},
    {"topic": "job.a", "budget": {}},
    {"topic": "job.a", "input_content": "drop\n", "input_content_type": "text/plain", "input_size_bytes": 99},
    {"topic": "job.a", "input_content": "text", "context": {"a": 1}},
    {
        "topic": "job.a",
        "context": {"z": 1, "a": [None, True, 1.5, -3, 'ü"\\\u0007'], "e": {}, "big": 12345678901},
    },
    {"topic": "job.a", "input_content": "", "context": {}},
    {"topic": "job.a", "effective_config": {"safety": {"denied_topics": ["job.x.*"], "allowed_topics": []}}},
    {"topic": "job.a", "effective_config": ["no", "object"]},
    {"topic": "job.a", "effective_config": None, "context": None, "input_size_bytes": None, "tenant": None},
]
REFUSED: list[dict[str, Any]] = [
    {},
    {"topic": " "},
    {"topic": 3},
    {"topic": "x" * 70_000},
    {"topic": "job.a", "priority": "soon"},
    {"topic": "job.a", "labels": {"a": 1}},
    {"topic": "job.a", "labels": {str(at): "" for at in range(257)}},
    {"topic": "job.a", "risk_tags": ["x"] * 257},
    {"topic": "job.a", "risk_tags": "x"},
    {"topic": "job.a", "meta": []},
    {"topic": "job.a", "meta": {"actor_type": "robot"}},
    {"topic": "job.a", "budget": {"max_output_tokens": "many"}},
    {"topic": "job.a", "estimated_cost": True},
    {"topic": "job.a", "context": []},
    {"topic": "job.a", "input_size_bytes": -1},
    {"topic": "job.a", "input_size_bytes": 1 << 53},
    {"topic": "job.a", "input_content": "x" * (2 * 1024 * 1024 + 1)},
]


def of_test(body: dict[str, Any]) -> PolicyCheckRequest:
    return PolicyCheckRequest.FromString(_core.encode_test_request(json.dumps({"request": body}).encode()))


@pytest.mark.parametrize("body", BODIES, ids=lambda body: json.dumps(body)[:60])
def test_a_request_of_a_test_is_the_request_of_the_api(body: dict[str, Any]) -> None:
    wanted, warnings = check_request(body, NOBODY)
    assert warnings == []
    wanted.principal_id = wanted.principal_id.strip()
    assert MessageToDict(of_test(body)) == MessageToDict(wanted)
    assert of_test(body).input_content == wanted.input_content


@pytest.mark.parametrize("body", REFUSED, ids=lambda body: json.dumps(body)[:60])
def test_what_the_api_refuses_is_no_test(body: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        check_request(body, NOBODY)
    with pytest.raises(_core.PolicyError):
        of_test(body)


def test_members_that_mean_nothing_over_http_are_errors_here() -> None:
    for body in ({"topic": "job.a", "topics": []}, {"topic": "job.a", "meta": {"tenant": "x"}}):
        assert check_request(body, NOBODY)[1] != []
        with pytest.raises(_core.PolicyError, match="unknown field"):
            of_test(body)
