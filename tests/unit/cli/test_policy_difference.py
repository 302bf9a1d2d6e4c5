"""`cordumctl policy diff OLD NEW`: what it proves, prints and how it ends. No gateway is needed."""

import json
import re
from pathlib import Path

import pytest

from tests.unit.cli.test_command_line import run

GUIDE = Path(__file__).parents[3] / "docs/policy-changes.md"


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """The two policies of the guide."""
    old, new = re.findall(r"```yaml\n(.*?)```", GUIDE.read_text(), re.DOTALL)[:2]
    paths = tmp_path / "old.yaml", tmp_path / "new.yaml"
    for path, text in zip(paths, (old, new), strict=True):
        path.write_text(text)
    return paths


def test_the_example_of_the_guide_is_what_the_command_prints(files: tuple[Path, Path]) -> None:
    printed = re.findall(r"\n\n```\n(.*?)```", GUIDE.read_text(), re.DOTALL)[0]
    done = run("policy", "diff", *map(str, files))
    assert (done.returncode, done.stdout) == (0, printed)


def test_a_change_fails_a_build_that_asks_for_it(files: tuple[Path, Path]) -> None:
    old, new = map(str, files)
    assert run("policy", "diff", old, new, "--exit-code").returncode == 1
    same = run("--json", "policy", "diff", old, old, "--exit-code")
    assert (same.returncode, json.loads(same.stdout)["equivalent"]) == (0, True)


def test_what_was_not_decided_fails_such_a_build_too(tmp_path: Path) -> None:
    rule = "rules: [{{id: d, decision: allow, match: {{delegation: {{max_depth: {depth}}}}}}}]"
    paths = [tmp_path / f"{depth}.yaml" for depth in (1, 2)]
    for depth, path in enumerate(paths, 1):
        path.write_text(rule.format(depth=depth))
    done = run("policy", "diff", *map(str, paths), "--exit-code")
    assert done.returncode == 1
    assert done.stdout.startswith("no change found, ")


def test_a_file_that_is_no_policy_is_named(files: tuple[Path, Path], tmp_path: Path) -> None:
    broken = tmp_path / "broken.yaml"
    broken.write_text("rules: [{decision: maybe}]")
    done = run("policy", "diff", str(files[0]), str(broken))
    assert (done.returncode, done.stdout) == (1, "")
    assert str(broken) in done.stderr
    assert run("policy", "diff", str(files[0]), str(files[1]), "--against", "current").returncode != 0
