"""API keys: every form, what is kept of them, who they stand for."""

import pytest

from cordum.domain.errors import ConfigError
from cordum.security import KeyRing, is_allowed, parse_keys
from cordum.security.permissions import PERMISSIONS, ROLES
from cordum.security.principal import Caller


def facts(text: str) -> list[tuple[str, str, str, bool]]:
    """Return tenant, role, principal and cross-tenant flag of each key."""
    found = [key.caller for key in parse_keys(text, source="KEYS", default_tenant="default")]
    return [(caller.tenant, caller.role, caller.principal, caller.cross_tenant) for caller in found]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("k", [("default", "admin", "", False)]),
        (
            " a , acme:b ,, acme:c:Viewer, acme:d:user:bot",
            [
                ("default", "admin", "", False),
                ("acme", "admin", "", False),
                ("acme", "viewer", "", False),
                ("acme", "user", "bot", False),
            ],
        ),
        (
            '[{"key":"k","tenant":"acme","role":"operator","principal_id":"ci"}]',
            [("acme", "operator", "ci", False)],
        ),
        ('{"keys":[{"key":"k","allow_cross_tenant":true}]}', [("default", "admin", "", True)]),
        ('{"k":{"tenant":"acme"},"m":{}}', [("acme", "admin", "", False), ("default", "admin", "", False)]),
    ],
)
def test_every_documented_form_is_read(text: str, expected: list[tuple[str, str, str, bool]]) -> None:
    assert facts(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "a:SECRET:c:d:e",
        "acme:",
        "bad tenant:SECRET",
        "[SECRET",
        '["SECRET"]',
        '[{"tenant":"acme"}]',
        '[{"key":"SECRET","colour":"red"}]',
        '[{"key":"SECRET","expires_at":"soon"}]',
        '[{"key":"SECRET","expires_at":"2026-01-01T00:00:00"}]',
        '[{"key":"SECRET","allow_cross_tenant":"yes"}]',
        '{"SECRET":7}',
    ],
)
def test_a_bad_form_stops_the_start_and_never_shows_the_key(text: str) -> None:
    with pytest.raises(ConfigError) as refused:
        parse_keys(text, source="KEYS", default_tenant="default")
    assert refused.value.message.startswith("KEYS")
    assert "SECRET" not in refused.value.message


def test_a_key_is_found_by_its_text_until_it_expires() -> None:
    ring = KeyRing(
        parse_keys(
            '[{"key":"k","expires_at":"2030-01-01T00:00:00Z"}]', source="KEYS", default_tenant="default"
        )
    )
    caller = ring.find("k", 0)
    assert caller is not None
    assert caller.key_id == f"static:{caller.fingerprint[:12]}"
    assert len(caller.fingerprint) == 16
    assert ring.find("K", 0) is None
    assert ring.find("k", 1_893_456_000_000_000) is None
    assert ring.find("\ud800", 0) is None


def test_the_last_of_two_equal_keys_wins() -> None:
    ring = KeyRing(parse_keys("acme:k:viewer,globex:k:user", source="KEYS", default_tenant="default"))
    caller = ring.find("k", 0)
    assert caller is not None
    assert (caller.tenant, caller.role) == ("globex", "user")


def test_production_refuses_short_keys() -> None:
    with pytest.raises(ConfigError, match="at least 32 characters"):
        KeyRing(parse_keys("k" * 31, source="KEYS", default_tenant="default")).check_production()
    ring = KeyRing(parse_keys("k" * 32, source="KEYS", default_tenant="default"))
    assert len(ring.check_production()) == 1


@pytest.mark.parametrize(
    ("role", "permission", "allowed"),
    [
        ("admin", "legalHold.write", True),
        ("SecOps", "users.write", True),
        ("operator", "jobs.approve", True),
        ("operator", "config.write", False),
        ("viewer", "jobs.read", True),
        ("viewer", "jobs.write", False),
        ("user", "jobs.write", True),
        ("user", "jobs.approve", False),
        ("anonymous", "jobs.write", True),
        ("runtime_collector", "jobs.read", False),
        ("", "jobs.read", False),
        ("clown", "jobs.read", False),
    ],
)
def test_a_role_grants_its_set_and_nothing_else(role: str, permission: str, allowed: bool) -> None:
    assert is_allowed(role, permission) is allowed


def test_roles_grant_only_known_permissions() -> None:
    assert set().union(*ROLES.values()) <= PERMISSIONS


@pytest.mark.parametrize(
    ("identity", "same"),
    [
        ("apikey:00ff|principal:other", True),
        ("apikey:aaaa|principal:ci", True),
        ("apikey:aaaa|principal:other", False),
        ("workflow-engine", False),
        ("", False),
    ],
)
def test_one_shared_part_makes_the_same_person(identity: str, same: bool) -> None:
    assert Caller("acme", "admin", "ci", fingerprint="00ff").is_same_person(identity) is same
