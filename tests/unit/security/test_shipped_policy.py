"""The shipped policy is signed, loads, and holds what it says (configuration spec §4.4)."""

import json
from pathlib import Path

import pytest

from cordum._core import run_policy_tests
from cordum.security.policy_signatures import SignatureRefused, TrustedKey, TrustedKeys

ROOT = Path(__file__).resolve().parents[3]
POLICY = ROOT / "config/safety.yaml"
KEY = ROOT / "tests/golden/keys/default_policy.pem"


def trusted() -> TrustedKeys:
    keys = TrustedKeys()
    keys.add(TrustedKey.read(KEY.read_text()))
    return keys


def test_the_shipped_signature_is_of_the_shipped_policy() -> None:
    """`make sign-default-policy` renews it after a change."""
    signature = POLICY.with_name("safety.yaml.sig").read_text()
    assert trusted().verify(POLICY.read_bytes(), signature) == "default"
    with pytest.raises(SignatureRefused):
        trusted().verify(POLICY.read_bytes() + b"\n", signature)


def test_the_embedded_mode_ships_the_same_policy() -> None:
    embedded = ROOT / "python/cordum/embedded/defaults/safety.yaml"
    assert embedded.read_bytes() == POLICY.read_bytes()


def test_the_shipped_policy_does_what_its_tests_say() -> None:
    tests = POLICY.with_name("safety.tests.yaml")
    report = json.loads(run_policy_tests(POLICY.read_bytes(), [], [(tests.name, tests.read_bytes())]))
    assert report["failed"] == 0, [case for case in report["cases"] if not case["passed"]]
    # The built-in gate decides the gate topic, so the rule that repeats it is never named.
    assert [rule["id"] for rule in report["coverage"]["uncovered"]] == ["approval-gate"]
