"""`cordumctl policy bundles`, `get`, `publish`, `rollback` and `snapshots` (CLI spec §12, policy spec §18)."""

import sys
from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any, Final

import typer

from cordum.cli.connection import Connection, describe, fail
from cordum.cli.jobs import segment, words
from cordum.cli.output import Form, note
from cordum.cli.policy_difference import print_difference
from cordum.cli.policy_tests import describe_failure

__all__ = ["bundle_path", "bundles", "get", "publish", "rollback", "snapshots"]

_TIMEOUT_S: Final = 60.0
"""A write runs the tests of the merged policy, a preview compares two policies; both outlast a usual request."""
_SHOWN: Final = 20

Message = Annotated[str, typer.Option("--message", help="Why; kept with the snapshots and in the audit.")]
SkipTests = Annotated[
    bool, typer.Option("--skip-tests", help="Although tests of the policy fail; the audit tells it.")
]


def bundle_path(argument: str, bundle_id: str) -> str:
    """Return the path of one bundle; in a path `~` stands for `/`. Exits for a blank id, naming the argument."""
    if not bundle_id.strip(" /"):
        raise fail(f"{argument}: expected the id of a bundle, e.g. secops/eu")
    return f"/policy/bundles/{segment(bundle_id.replace('/', '~'))}"


def bundles(context: typer.Context) -> None:
    """List the policy bundles.

    Example: cordumctl policy bundles
    """
    answer = context.obj.get("/policy/bundles")
    items = answer["items"]
    rows = [
        [
            b["id"],
            "yes" if b.get("enabled") else "no",
            b.get("source"),
            b.get("rule_count"),
            b.get("author"),
            b.get("updated_at"),
        ]
        for b in items
    ]
    header = ["ID", "ENABLED", "SOURCE", "RULES", "AUTHOR", "UPDATED"]
    context.obj.printer.items(items, header, rows, empty="no policy bundles")
    for error in answer.get("errors") or ():
        note(f"warning: bundle {error.get('fragment_id')} cannot be read: {error.get('error')}")


def get(context: typer.Context, bundle_id: str) -> None:
    """Print the text of a bundle, byte for byte; with --json its record.

    Example: cordumctl policy get secops/eu > eu.yaml
    """
    connection: Connection = context.obj
    bundle = connection.get(bundle_path("BUNDLE_ID", bundle_id))
    if connection.printer.is_data:
        connection.printer.data(bundle)
    elif connection.printer.form is Form.ID:
        sys.stdout.write(f"{bundle['id']}\n")
    else:
        sys.stdout.buffer.write(bundle["content"].encode())


def publish(
    context: typer.Context,
    ids: Annotated[
        list[str] | None, typer.Option("--id", help="Bundle; comma list or repeated; none: all of secops/.")
    ] = None,
    message: Message = "",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say which requests change verdict; nothing is stored.")
    ] = False,
    skip_tests: SkipTests = False,
) -> None:
    """Enable bundles and print the id of the snapshot that holds them.

    Example: cordumctl policy publish --id secops/eu --message 'incident 12'
    """
    body = {"bundle_ids": words(ids), "message": message}
    query = {"dry_run": "true"} if dry_run else {"skip_tests": "true"} if skip_tests else {}
    answer = _write(context.obj, "/policy/publish", body, query)
    if dry_run:
        _preview(context.obj, answer, fails=not skip_tests)
        return
    _done(context.obj, answer)
    note(f"published {', '.join(answer['published'])}")


def rollback(
    context: typer.Context, snapshot: str, message: Message = "", skip_tests: SkipTests = False
) -> None:
    """Put the bundles of a snapshot back and print the id of the snapshot that holds them now.

    Example: cordumctl policy rollback 2026-03-01T09:30:00Z-5e1fab3490 --message 'incident 12'
    """
    if not snapshot.strip():
        raise fail("SNAPSHOT: expected the id of a snapshot, see cordumctl policy snapshots")
    body = {"snapshot_id": snapshot, "message": message}
    answer = _write(context.obj, "/policy/rollback", body, {"skip_tests": "true"} if skip_tests else {})
    _done(context.obj, answer)
    note(f"rolled back to {answer['rollback_to']}")


def snapshots(
    context: typer.Context,
    kernel: Annotated[
        bool, typer.Option("--kernel", help="Those that decisions name; the first one decides now.")
    ] = False,
) -> None:
    """List the snapshots of the bundles, newest first: what `policy rollback` takes.

    Example: cordumctl policy snapshots
    """
    if kernel:
        items = context.obj.get("/policy/snapshots")["items"]
        rows = [[s["id"], "" if rank else "yes"] for rank, s in enumerate(items)]
        context.obj.printer.items(items, ["SNAPSHOT", "ACTIVE"], rows, empty="no policy loaded")
        return
    items = context.obj.get("/policy/bundles/snapshots")["items"]
    rows = [[s.get(name) for name in ("id", "created_at", "author", "bundle_ids", "note")] for s in items]
    header = ["ID", "CREATED", "AUTHOR", "BUNDLES", "NOTE"]
    context.obj.printer.items(items, header, rows, empty="no snapshots of bundles")


def _write(
    connection: Connection, path: str, body: Mapping[str, Any], query: Mapping[str, str]
) -> dict[str, Any]:
    """Send a write of the policy; when it is refused say which problems or tests are why, and exit 1."""
    patient = replace(connection, timeout_s=max(connection.timeout_s, _TIMEOUT_S))
    status, answer = patient.send("POST", path, query=query, body=body)
    if status < 400:
        written: dict[str, Any] = answer
        return written
    if isinstance(answer, dict):
        for problem in (answer.get("errors") or ())[:_SHOWN]:
            line = f"line {problem['line']}" if problem.get("line") else ""
            note(": ".join(part for part in (problem.get("path"), line, problem.get("message")) if part))
        _note_failed(answer.get("failed") or ())
    raise fail(describe(status, answer, connection.api_key))


def _done(connection: Connection, answer: Mapping[str, Any]) -> None:
    """Print the new snapshot on stdout; how to undo the write, and warnings, on stderr."""
    if connection.printer.is_data:
        connection.printer.data(answer)
    else:
        sys.stdout.write(f"{answer['snapshot_after']}\n")
    for warning in answer.get("warnings") or ():
        note(f"warning: {warning}")
    note(f"the bundles before are kept: cordumctl policy rollback {answer['snapshot_before']}")


def _preview(connection: Connection, answer: Mapping[str, Any], *, fails: bool) -> None:
    """Print what publishing would change; exits 1 when failing tests would refuse it."""
    tests = answer["tests"]
    if connection.printer.is_data:
        connection.printer.data(answer)
    else:
        print_difference(answer["diff"], top=_SHOWN)
    note(f"would publish {', '.join(answer['published'])}; nothing is stored")
    for warning in answer.get("warnings") or ():
        note(f"warning: {warning}")
    _note_failed(tests["cases"])
    if tests["failed"] and fails:
        raise fail(f"{tests['failed']} of the policy's tests fail, publishing would be refused")


def _note_failed(cases: Any) -> None:
    for case in cases[:_SHOWN]:
        # Control characters in policy text must not drive the terminal.
        note("".join(c if c.isprintable() else "?" for c in describe_failure("base policy", case)))
