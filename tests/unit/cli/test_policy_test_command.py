"""`cordumctl policy test`: what it prints and how it ends. No gateway is needed."""

import json
import re
from pathlib import Path

import pytest

from tests.unit.cli.test_command_line import run

POLICY = 'rules:\n  - {id: docs, decision: allow, match: {topics: ["job.docs.*"]}}\n'
GOOD = "tests: [{name: docs, request: {topic: job.docs.a}, expect: {decision: allow}}]\n"
BAD = "tests: [{name: none, request: {topic: job.docs.a}, expect: {decision: deny, rule_id: ''}}]\n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "safety.yaml"


def test_the_example_of_the_guide_is_what_the_command_prints(file: Path) -> None:
    page = Path(__file__).parents[3].joinpath("docs/policy-tests.md").read_text()
    policy, printed = re.findall(r"```(?:yaml)?\n(.*?)```", page, re.DOTALL)[:2]
    file.write_text(policy)
    done = run("policy", "test", str(file))
    assert (done.returncode, done.stdout.replace(str(file), "safety.yaml")) == (1, printed)


def test_the_file_beside_the_policy_and_named_ones_are_run(file: Path, tmp_path: Path) -> None:
    file.write_text(POLICY + GOOD)
    beside, named = tmp_path / "safety.tests.yaml", tmp_path / "more.yaml"
    assert run("policy", "test", str(file)).returncode == 0
    beside.write_text(BAD)
    done = run("policy", "test", str(file))
    assert done.returncode == 1
    assert f"failed: {beside}: none: expected DENY by no rule, got ALLOW by docs" in done.stdout
    beside.unlink()
    named.write_text(BAD)
    done = run("--json", "policy", "test", str(file), "--tests", str(named))
    report = json.loads(done.stdout)[str(file)]
    assert (done.returncode, report["passed"], report["failed"]) == (1, 1, 1)
    assert [case["source"] for case in report["cases"]] == ["base", str(named)]


def test_a_shell_pattern_may_name_policies_and_their_tests(file: Path, tmp_path: Path) -> None:
    file.write_text(POLICY)
    beside = tmp_path / "safety.tests.yaml"
    beside.write_text(GOOD)
    done = run("policy", "test", str(file), str(beside))
    assert (done.returncode, done.stdout) == (0, "1 passed, 0 failed, 1 of 1 rules covered\n")
    assert run("policy", "test", str(beside)).returncode == 1


def test_too_few_covered_rules_exit_1(file: Path) -> None:
    file.write_text(POLICY + "  - {id: never, decision: deny, match: {tenants: [x]}}\n" + GOOD)
    assert run("policy", "test", str(file), "--min-coverage", "50").returncode == 0
    done = run("policy", "test", str(file), "--min-coverage", "51")
    assert done.returncode == 1
    assert done.stdout == "1 passed, 0 failed, 1 of 2 rules covered; not covered: never\n"
    assert "50.0 % of the rules covered, expected 51 %" in done.stderr


def test_no_tests_an_invalid_and_a_missing_file_exit_1(file: Path, tmp_path: Path) -> None:
    file.write_text(POLICY)
    done = run("policy", "test", str(file))
    assert (done.returncode, "no tests" in done.stderr) == (1, True)
    file.write_text(POLICY + "tests: [{name: x}]")
    done = run("policy", "test", str(file))
    assert (done.returncode, done.stdout) == (1, "")
    assert f'{file}:3: tests[0]: missing field "request"' in done.stderr
    file.write_text(POLICY)
    beside = tmp_path / "safety.tests.yaml"
    beside.write_text("rules: []")
    done = run("policy", "test", str(file))
    assert (done.returncode, done.stderr) == (1, f'{beside}:1: policy: unknown field "rules"\n')
    assert run("policy", "test", str(tmp_path / "absent.yaml")).returncode == 1
