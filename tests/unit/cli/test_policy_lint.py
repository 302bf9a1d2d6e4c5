"""`cordumctl policy lint`: what it prints and how it ends. No gateway is needed."""

import json
import re
from pathlib import Path

from tests.unit.cli.test_command_line import run

SHADOW = """\
rules:
  - {id: broad, decision: require_approval, match: {topics: ["job.db.*"]}}
  - {id: never, decision: deny, match: {topics: ["job.db.drop"], labels: {env: prod}}}
"""
CLEAN = 'rules:\n  - {id: docs, decision: allow, match: {topics: ["job.docs.*"]}}\n'


def test_a_rule_that_never_decides_is_shown_with_a_request(tmp_path: Path) -> None:
    file = tmp_path / "safety.yaml"
    file.write_text(SHADOW)
    done = run("policy", "lint", str(file))
    assert done.returncode == 1, done.stderr
    assert (
        "error: rule `never` (rules[1]) can never decide: `broad` (rules[0]) always matches first"
        in done.stdout
    )
    assert '"topic": "job.db.drop"' in done.stdout
    assert "decided: REQUIRE_APPROVAL by broad" in done.stdout


def test_a_policy_without_findings_exits_0(tmp_path: Path) -> None:
    file = tmp_path / "safety.yaml"
    file.write_text(CLEAN)
    done = run("--json", "policy", "lint", str(file))
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)[str(file)]["findings"] == []


def test_rules_may_name_scanners_of_a_file_in_every_command(tmp_path: Path) -> None:
    policy, file, broken = (tmp_path / name for name in ("safety.yaml", "scanners.yaml", "broken.yaml"))
    policy.write_text(
        "output_rules: [{id: codes, match: {scanners: [house]}, decision: quarantine}]\n"
        "input_rules: [{id: codes-in, match: {scanners: [house]}, decision: deny}]\n"
        "tests: [{name: codes, request: {topic: job.a}, expect: {decision: DENY}}]\n"
    )
    file.write_text("scanners: {house: {patterns: [{regex: 'HOUSE-[0-9]+'}]}}")
    broken.write_text("scanners:\n  house: {patterns: [{regex: '('}]}\n")
    for command in (("lint", policy), ("test", policy), ("diff", policy, policy)):
        words = ("policy", *map(str, command))
        assert "unknown scanner" in run(*words).stderr
        done = run(*words, "--scanner-file", str(file))
        assert done.returncode == 0, done.stderr + done.stdout
        done = run(*words, "--scanner-file", str(broken))
        assert (done.returncode, done.stdout) == (1, "")
        assert f"{broken}" in done.stderr


def test_input_rules_that_never_decide_are_told_with_content_that_shows_it(tmp_path: Path) -> None:
    file = tmp_path / "safety.yaml"
    file.write_text(
        "default_decision: allow\n"
        "input_rules:\n"
        "  - {id: hold, match: {topics: [job.sql.*], keywords: [Drop]}, decision: require_approval}\n"
        "  - {id: ddl, match: {topics: [job.sql.run], keywords: [drop schema]}, decision: deny}\n"
    )
    done = run("policy", "lint", str(file))
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout == (
        f"{file}: 0 rules, 2 input rules, 1 findings\n\n"
        "error: input rule `ddl` (input_rules[1]) can never decide: `hold` (input_rules[0]) always fires first  "
        "[shadowed_rule, covered_by_one]\n"
        '  request: {"input_content": "drop schema", "topic": "job.sql.run"}\n'
        "  decided: REQUIRE_APPROVAL by hold: input content flagged: keyword matched: Drop\n"
    )


def test_an_invalid_policy_and_a_missing_file_exit_1(tmp_path: Path) -> None:
    file = tmp_path / "safety.yaml"
    file.write_text("rules: [{decision: maybe}]")
    for target in (file, tmp_path / "absent.yaml"):
        done = run("policy", "lint", str(target))
        assert (done.returncode, done.stdout) == (1, "")
        assert str(target) in done.stderr


def test_each_problem_of_an_invalid_policy_is_told_with_its_line(tmp_path: Path) -> None:
    file = tmp_path / "safety.yaml"
    file.write_text("version: 1\nrules:\n  - {id: a}\n  - id: b\n    decisio: deny\n")
    done = run("policy", "lint", str(file))
    assert done.returncode == 1
    assert done.stderr == (
        f'{file}:1: version: must be a string\n{file}:5: rules[1]: unknown field "decisio"\n'
    )


def test_the_example_of_the_guide_is_what_the_command_prints(tmp_path: Path) -> None:
    page = Path(__file__).parents[3].joinpath("docs/policy-analysis.md").read_text()
    policy, printed = re.findall(r"```(?:yaml)?\n(.*?)```", page, re.DOTALL)[:2]
    file = tmp_path / "safety.yaml"
    file.write_text(policy)
    done = run("policy", "lint", str(file))
    assert done.stdout.replace(str(file), "safety.yaml") == printed
