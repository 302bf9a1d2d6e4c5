"""`cordumctl policy diff`: what a policy changes, proved against another file or replayed over past requests."""

import sys
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from cordum.cli.connection import Connection, fail
from cordum.cli.output import Printer
from cordum.cli.policy_analysis import ScannerFile, read_scanners
from cordum.cli.policy_difference import difference, print_difference
from cordum.config.types import parse_duration
from cordum.runtime.clock import utc_now

__all__ = ["diff", "impact", "print_impact", "read_text"]

_FILE_BYTES: Final = 2 * 1024 * 1024
_WINDOW_MAX_S: Final = 7 * 86_400
_TIMEOUT_S: Final = 60.0
"""A replay may take up to 25 seconds; the usual limit of a request is shorter."""


def diff(
    context: typer.Context,
    policy: Annotated[Path, typer.Argument(help="Candidate policy file; with a second file, the old one.")],
    new: Annotated[Path | None, typer.Argument(help="New policy file, compared with the first one.")] = None,
    against: Annotated[str, typer.Option(help="`current`: what the running kernel decides with.")] = "",
    since: Annotated[str, typer.Option(help="How far back, e.g. 90m, 24h, 7d (at most 7 days).")] = "24h",
    bundle: Annotated[str, typer.Option(help="Bundle the file replaces; default: the base policy.")] = "",
    topic: Annotated[str, typer.Option(help="Only this topic or pattern.")] = "",
    was: Annotated[str, typer.Option(help="Only jobs that were decided so, e.g. ALLOW.")] = "",
    top: Annotated[int, typer.Option(help="Kinds of change shown.", min=1)] = 20,
    exit_code: Annotated[bool, typer.Option("--exit-code", help="Exit 1 when a verdict changes.")] = False,
    scanner_file: ScannerFile = None,
) -> None:
    """Prove which requests two policies decide otherwise, or replay one over past requests.

    Example: cordumctl policy diff safety.yaml new-safety.yaml
    Example: cordumctl policy diff new-safety.yaml --against current --since 24h
    """
    if new is not None:
        if against:
            raise fail("policy diff takes two files or --against current, not both")
        scanners = read_scanners(scanner_file)
        _compare(context, policy, new, scanners, top=top, exit_code=exit_code)
        return
    if scanner_file is not None:
        raise fail("policy diff --against current knows the kernel's scanner file, leave out --scanner-file")
    if against != "current":
        raise fail("policy diff needs two files, or one and --against current")
    answer = impact(context.obj, policy, since=since, bundle=bundle, topic=topic, was=was)
    if context.obj.as_json:
        context.obj.printer.data(answer)
    else:
        print_impact(answer, top=top)
    if exit_code and answer["summary"]["escalated"] + answer["summary"]["relaxed"]:
        raise typer.Exit(1)


def _compare(
    context: typer.Context, old: Path, new: Path, scanners: bytes | None, *, top: int, exit_code: bool
) -> None:
    report = difference(old, new, scanners)
    if context.obj.as_json:
        context.obj.printer.data(report)
    else:
        print_difference(report, top=top)
    # What could not be decided may be a change.
    if exit_code and not report["equivalent"]:
        raise typer.Exit(1)


def impact(
    connection: Connection,
    file: Path,
    *,
    since: str,
    bundle: str = "",
    topic: str = "",
    was: str = "",
) -> dict[str, Any]:
    """Ask the gateway for a replay of every job since ``since`` ago (at most 7 days) and return its answer."""
    end = utc_now()
    start = end - timedelta(seconds=_seconds(since))
    body = {
        "from": start.isoformat(),
        "to": end.isoformat(),
        "filters": {"topic_pattern": topic, "original_decision": was},
        "candidate_bundle_id": bundle,
        "candidate_content": read_text(file),
        "all_jobs": True,
    }
    patient = replace(connection, timeout_s=max(connection.timeout_s, _TIMEOUT_S))
    answer: dict[str, Any] = patient.post("/policy/replay", body)
    return answer


def print_impact(answer: dict[str, Any], *, top: int) -> None:
    """Print the summary, then each kind of change with examples, the most frequent first."""
    summary = answer["summary"]
    changed = summary["escalated"] + summary["relaxed"]
    sys.stdout.write(
        f"{summary['evaluated']} past jobs: {changed} change verdict "
        f"({summary['escalated']} stricter, {summary['relaxed']} looser), {summary['unchanged']} keep it\n"
    )
    for warning in answer["warnings"]:
        sys.stdout.write(f"note: {warning}\n")
    if answer.get("truncated"):
        sys.stdout.write("note: the window holds more jobs than one replay looks at; the newest were taken\n")
    for group in answer["groups"][:top]:
        sys.stdout.write(
            f"\n{group['count']} × {_side(group, 'original')} -> {_side(group, 'new')}  ({group['direction']})\n"
        )
        rows = [[e["job_id"], e["topic"], e["timestamp"], e["new_reason"]] for e in group["examples"]]
        Printer().table(
            ["  JOB", "TOPIC", "DECIDED", "NEW REASON"], [[f"  {row[0]}", *row[1:]] for row in rows]
        )
    hidden = len(answer["groups"]) - top
    if hidden > 0:
        sys.stdout.write(f"\n{hidden} more kinds of change; see --top and --json\n")


def _side(group: dict[str, Any], name: str) -> str:
    # Control characters in stored text must not drive the terminal.
    rule = "".join(c if c.isprintable() else "?" for c in group[f"{name}_rule_id"]) or "no rule"
    return f"{group[f'{name}_decision']} by {rule}"


def _seconds(text: str) -> float:
    try:
        seconds = float(parse_duration(text))
    except ValueError as error:
        raise fail(f"--since: {error}") from error
    if not 0 < seconds <= _WINDOW_MAX_S:
        raise fail("--since: expected more than nothing and at most 7 days")
    return seconds


def read_text(path: Path) -> str:
    """Return the text of a policy file; exits when it cannot be read or is too long."""
    try:
        with path.open("rb") as file:
            content = file.read(_FILE_BYTES + 1)
        text = content.decode()
    except OSError as error:
        raise fail(f"{path}: {(error.strerror or type(error).__name__).lower()}") from error
    except UnicodeDecodeError as error:
        raise fail(f"{path}: expected UTF-8 text") from error
    if len(content) > _FILE_BYTES:
        raise fail(f"{path}: expected at most {_FILE_BYTES} bytes")
    return text
