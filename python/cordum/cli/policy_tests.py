"""`cordumctl policy test FILE…`: the tests of policy files, without a server (docs/policy-tests.md).

Exit codes: 0 all passed, 1 a test failed, too few rules are covered, a file is missing or invalid, or there are no
tests at all (CLI spec §5).
"""

import json
import sys
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from cordum._core import PolicyError, run_policy_tests
from cordum.cli.exits import CommandExit
from cordum.cli.output import note
from cordum.cli.policy_analysis import ScannerFile, note_problems, read_policy, read_scanners

__all__ = ["describe_failure", "run_tests"]

_SUFFIX: Final = ".tests.yaml"
_SHOWN_MAX: Final = 20


def run_tests(
    context: typer.Context,
    files: Annotated[list[Path], typer.Argument(help="Policy files, each a policy of its own.")],
    tests: Annotated[
        list[Path] | None, typer.Option("--tests", help="More tests, for every file; may be repeated.")
    ] = None,
    min_coverage: Annotated[
        float,
        typer.Option("--min-coverage", min=0, max=100, help="Percent of rules that some test must reach."),
    ] = 0,
    scanner_file: ScannerFile = None,
) -> None:
    """Run the tests of policy files: those under `tests`, and those of `<policy>.tests.yaml` beside the file.

    Example: cordumctl policy test safety.yaml --min-coverage 90
    """
    scanners = read_scanners(scanner_file)
    reports = {str(file): _report(file, tests or [], scanners) for file in _policies(files)}
    if context.obj.as_json:
        context.obj.printer.data(reports)
    else:
        _print(reports)
    without = [name for name, report in reports.items() if not report["passed"] + report["failed"]]
    for name in without:
        note(f"{name}: no tests")
    if without:
        raise CommandExit(1)
    thin = [name for name, report in reports.items() if _percent(report) < min_coverage]
    for name in thin:
        note(f"{name}: {_percent(reports[name]):.1f} % of the rules covered, expected {min_coverage:g} %")
    if thin or any(report["failed"] for report in reports.values()):
        raise CommandExit(1)


def _policies(files: list[Path]) -> list[Path]:
    """Leave out files of tests whose policy is named too, so that a shell pattern may name both."""
    beside = {_beside(file) for file in files}
    policies = [file for file in files if file not in beside]
    for file in policies:
        if file.name.endswith(_SUFFIX):
            note(f"{file}: holds tests, not a policy; name the policy, or use --tests")
            raise CommandExit(1)
    return policies


def _beside(file: Path) -> Path:
    return file.with_name(file.stem + _SUFFIX)


def _report(file: Path, tests: list[Path], scanners: bytes | None) -> dict[str, Any]:
    extra = dict.fromkeys([*([_beside(file)] if _beside(file).exists() else []), *tests])
    sources = [(str(path), read_policy(path)) for path in extra]
    try:
        report: dict[str, Any] = json.loads(
            run_policy_tests(read_policy(file), [], sources, scanners=scanners)
        )
    except PolicyError as error:
        for path, message, line in error.errors:
            # Problems of a file of tests begin with its name.
            named = [name for name, _ in sources if path == name or path.startswith(f"{name}: ")]
            source = named[0] if named else str(file)
            rest = path.removeprefix(source).removeprefix(": ")
            note_problems(source, [(rest, message, line)])
        raise CommandExit(1) from error
    return report


def _percent(report: dict[str, Any]) -> float:
    coverage = report["coverage"]
    return 100.0 * coverage["covered"] / coverage["rules"] if coverage["rules"] else 100.0


def _print(reports: dict[str, dict[str, Any]]) -> None:
    lines = []
    for name, report in reports.items():
        failed = [case for case in report["cases"] if not case["passed"]]
        lines += [describe_failure(name, case) for case in failed]
        if unlisted := report["failed"] - len(failed):
            lines.append(f"{unlisted} more failed, not listed")
        prefix = f"{name}: " if len(reports) > 1 else ""
        lines.append(prefix + _summary(report))
    # Control characters in policy text must not drive the terminal.
    text = "\n".join("".join(c if c.isprintable() else "?" for c in line) for line in lines)
    sys.stdout.write(text + "\n")


def describe_failure(name: str, case: dict[str, Any]) -> str:
    """Return the line about a failed test; ``name`` is what the base policy is called."""
    where = name if case["source"] == "base" else case["source"]
    if error := case.get("error"):
        return f"failed: {where}: {case['name']}: {error}"
    return (
        f"failed: {where}: {case['name']}: expected {_verdict(case['expected'])}, got {_verdict(case['got'])}"
    )


def _verdict(verdict: dict[str, Any]) -> str:
    """Say what was decided, or those parts of it that are expected."""
    text = str(verdict["decision"])
    rule = verdict.get("rule_id")
    if rule is not None:
        text += f" by {rule}" if rule else " by no rule"
    if part := verdict.get("reason_contains"):
        text += f" because of `{part}`"
    if reason := verdict.get("reason"):
        text += f" ({reason})"
    if constraints := verdict.get("constraints"):
        text += f" with {json.dumps(constraints, ensure_ascii=False)}"
    return text


def _summary(report: dict[str, Any]) -> str:
    coverage = report["coverage"]
    text = f"{report['passed']} passed, {report['failed']} failed"
    text += f", {coverage['covered']} of {coverage['rules']} rules covered"
    missing = [rule["id"] or rule["path"] for rule in coverage["uncovered"]]
    if not missing:
        return text
    more = coverage["rules"] - coverage["covered"] - len(missing[:_SHOWN_MAX])
    return text + f"; not covered: {', '.join(missing[:_SHOWN_MAX])}" + (f" and {more} more" if more else "")
