"""`cordumctl policy lint FILE…`: proofs about policy files, without a server.

Exit codes: 0 nothing found, 1 findings, or a file that is missing or is no valid policy (CLI spec §5).
"""

import json
import sys
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from cordum._core import PolicyError, Scanners, analyze_policy
from cordum.cli.exits import CommandExit
from cordum.cli.output import note
from cordum.domain.policy_problems import Problem

__all__ = ["ScannerFile", "lint", "note_problems", "read_policy", "read_scanners"]

_FILE_BYTES: Final = 2 * 1024 * 1024


ScannerFile = Annotated[
    Path | None,
    typer.Option("--scanner-file", help="Patterns that rules may name, as in config/output_scanners.yaml."),
]


def lint(
    context: typer.Context,
    files: Annotated[list[Path], typer.Argument(help="Policy files, each a policy of its own.")],
    strict: Annotated[bool, typer.Option("--strict", help="Findings of severity `info` fail too.")] = False,
    scanner_file: ScannerFile = None,
) -> None:
    """Find rules and input rules that can never decide, contradictions and sections without effect; each with proof.

    Example: cordumctl policy lint safety.yaml
    """
    scanners = read_scanners(scanner_file)
    reports = {str(file): _report(file, scanners) for file in files}
    if context.obj.as_json:
        context.obj.printer.data(reports)
    else:
        for name, report in reports.items():
            _print(name, report)
    counts = {"error", "warning", "info"} if strict else {"error", "warning"}
    if any(finding["severity"] in counts for report in reports.values() for finding in report["findings"]):
        raise CommandExit(1)


def _report(file: Path, scanners: bytes | None) -> dict[str, Any]:
    try:
        report: dict[str, Any] = json.loads(analyze_policy(read_policy(file), scanners=scanners))
    except PolicyError as error:
        note_problems(str(file), error.errors)
        raise CommandExit(1) from error
    return report


def note_problems(file: str, problems: list[Problem]) -> None:
    """Print what is wrong with a policy file, as `file:line: path: message`."""
    for path, message, line in problems:
        note(": ".join(part for part in (f"{file}:{line}" if line else file, path, message) if part))


def read_scanners(file: Path | None) -> bytes | None:
    """Return the bytes of a scanner file, None without one. Exits 1 when it cannot be read or has faults."""
    if file is None:
        return None
    content = read_policy(file)
    try:
        Scanners(content)
    except PolicyError as error:
        note_problems(str(file), error.errors)
        raise CommandExit(1) from error
    return content


def read_policy(file: Path) -> bytes:
    """Return the bytes of a policy file. Exits 1 when it cannot be read or is too long."""
    try:
        with file.open("rb") as opened:
            content = opened.read(_FILE_BYTES + 1)
    except OSError as error:
        note(f"{file}: {(error.strerror or type(error).__name__).lower()}")
        raise CommandExit(1) from error
    if len(content) > _FILE_BYTES:
        note(f"{file}: expected at most {_FILE_BYTES} bytes")
        raise CommandExit(1)
    return content


def _print(name: str, report: dict[str, Any]) -> None:
    inputs = f", {report['input_rules']} input rules" if report["input_rules"] else ""
    lines = [f"{name}: {report['rules']} rules{inputs}, {len(report['findings'])} findings"]
    for finding in report["findings"]:
        lines.append(
            f"\n{finding['severity']}: {finding['message']}  [{finding['kind']}, {finding['proof']}]"
        )
        if witness := finding["witness"]:
            verdict = witness["verdict"]
            lines.append(f"  request: {json.dumps(witness['request'], ensure_ascii=False)}")
            rule = verdict["rule_id"] or "no rule"
            reason = f": {verdict['reason']}" if verdict["reason"] else ""
            lines.append(f"  decided: {verdict['decision']} by {rule}{reason}")
    for entry in report["undecided"]:
        rule = entry["rule"]["id"] or entry["rule"]["path"]
        lines.append(f"\nundecided: {entry['question']} of `{rule}`: {entry['reason']}")
    if report["omitted"]:
        lines.append(f"\n{report['omitted']} more, not listed")
    # Control characters in policy text must not drive the terminal.
    text = "\n".join(lines)
    sys.stdout.write("".join(c if c.isprintable() or c == "\n" else "?" for c in text) + "\n")
