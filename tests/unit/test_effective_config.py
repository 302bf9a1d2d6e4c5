"""Merging of configuration documents (configuration spec §5.5, packs spec §10.3, §10.5)."""

from typing import Any

import orjson
import pytest

from cordum.config.effective import EffectiveConfig, merge


def merged(*parts: dict[str, Any]) -> EffectiveConfig:
    padded = [*parts, *({},) * (5 - len(parts))]
    return merge([(data, number if data else 0) for number, data in enumerate(padded, 1)])


def test_maps_merge_and_everything_else_is_replaced_by_the_narrower_scope() -> None:
    found = merged(
        {"retry": {"max_retries": 3, "retryable_errors": ["a", "b"]}, "slo": {"critical": False}},
        {"retry": {"retryable_errors": ["c"]}},
        {"slo": {"critical": True}},
    )
    assert found.data == {
        "retry": {"max_retries": 3, "retryable_errors": ["c"]},
        "slo": {"critical": True},
    }
    assert found.version == "system:1|org:2|team:3|workflow:0|step:0"


def test_internal_sections_are_not_part_of_it() -> None:
    assert merged({"pools": {}, "timeouts": {}, "_hash": "x", "overridable": [], "slo": {}}).data == {
        "slo": {}
    }


def test_the_hash_does_not_depend_on_the_order_of_keys() -> None:
    assert merged({"a": 1, "b": {"c": 1, "d": 2}}).hash == merged({"b": {"d": 2, "c": 1}, "a": 1}).hash
    assert merged({"a": 1}).hash != merged({"a": 2}).hash


@pytest.mark.parametrize(
    ("system", "org", "expected"),
    [
        ({"denied_topics": ["a"]}, {"denied_topics": ["b"]}, {"denied_topics": ["a", "b"]}),
        ({"denied_topics": ["a"]}, {"denied_topics": []}, {"denied_topics": ["a"]}),
        ({"allowed_topics": ["job.a.*"]}, {"allowed_topics": []}, {"allowed_topics": ["job.a.*"]}),
        ({"allowed_topics": ["job.a.*"]}, {"allowed_topics": ["*"]}, {"allowed_topics": ["job.a.*"]}),
        ({"allowed_topics": ["job.a.*"]}, {"allowed_topics": ["job.a.b"]}, {"allowed_topics": ["job.a.b"]}),
        ({"allowed_topics": ["job.a.*"]}, {"allowed_topics": ["job.b"]}, {"allowed_topics": ["-"]}),
        ({"allowed_topics": ["job.a.*"]}, {"allowed_topics": "job.b"}, {"allowed_topics": ["job.a.*"]}),
        ({"allowed_topics": []}, {"allowed_topics": ["job.b"]}, {"allowed_topics": ["job.b"]}),
        ({"allowed_topics": ["job.[ab]*"]}, {"allowed_topics": ["job.a"]}, {"allowed_topics": ["-"]}),
        ({"mcp": {"deny_tools": ["x"]}}, {"mcp": {"deny_tools": []}}, {"mcp": {"deny_tools": ["x"]}}),
        (
            {"mcp": {"allow_tools": ["x", "y"]}},
            {"mcp": {"allow_tools": ["y", "z"]}},
            {"mcp": {"allow_tools": ["y"]}},
        ),
        ({"mcp": {"deny_tools": ["x"]}}, {"mcp": None}, {"mcp": {"deny_tools": ["x"]}}),
        ({"enabled": True}, {"enabled": False}, {"enabled": True}),
        ({"enabled": False}, {"enabled": True}, {"enabled": True}),
        ({"mode": "warn"}, {"mode": "enforce"}, {"mode": "enforce"}),
        ({"mode": "enforce"}, {"mode": "off"}, {"mode": "enforce"}),
        ({"mode": "enforce"}, {"mode": "anything"}, {"mode": "enforce"}),
    ],
)
def test_safety_of_the_system_is_only_made_stricter(
    system: dict[str, Any], org: dict[str, Any], expected: dict[str, Any]
) -> None:
    assert merged({"safety": system}, {"safety": org}).data == {"safety": expected}


def test_a_scope_cannot_remove_the_safety_of_the_system() -> None:
    system = {"safety": {"denied_topics": ["a"]}, "limits": {"max_concurrent_jobs": 5}}
    assert merged(system, {"safety": None, "limits": []}).data == system


@pytest.mark.parametrize(("own", "expected"), [(9, 5), (3, 3), (0, 5), (-1, 5), ("x", 5), (True, 5)])
def test_a_limit_of_the_system_is_only_lowered(own: object, expected: int) -> None:
    found = merged({"limits": {"max_concurrent_jobs": 5}}, {"limits": {"max_concurrent_jobs": own}})
    assert found.data == {"limits": {"max_concurrent_jobs": expected}}


def test_what_the_system_lists_as_overridable_may_be_loosened() -> None:
    system = {"safety": {"denied_topics": ["a"], "enabled": True}, "overridable": ["safety.denied_topics"]}
    found = merged(system, {"safety": {"denied_topics": [], "enabled": False}, "overridable": ["safety"]})
    assert found.data == {"safety": {"denied_topics": [], "enabled": True}}


def test_a_worker_is_told_neither_secrets_nor_internals() -> None:
    found = merged(
        {
            "mcp": {"x": 1},
            "scheduler": {"y": 1},
            "models": {"api_key": "k", "items": [{"TOKEN_x": 1, "n": 2}]},
        }
    )
    shown = orjson.loads(found.for_worker)
    assert shown["data"] == {"models": {"items": [{"n": 2}]}}
    assert (shown["version"], shown["hash"]) == (found.version, found.hash)
    assert merged({"mcp": {"x": 1}}).for_worker == ""


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ({}, b""),
        ({"safety": {"enabled": True, "mode": "enforce"}}, b""),
        ({"safety": {"denied_topics": []}}, b""),
        ({"slo": 1, "safety": {"denied_topics": ["a"]}}, b'{"safety":{"denied_topics":["a"]}}'),
        ({"safety": "off"}, b'{"safety":"off"}'),
    ],
)
def test_policy_is_asked_about_what_restricts(data: dict[str, Any], expected: bytes) -> None:
    assert merged(data).for_policy == expected


def test_what_cannot_be_read_is_no_configuration_for_policy_either() -> None:
    assert merge([({}, 0)] * 5, readable=False).for_policy == b"unreadable"
