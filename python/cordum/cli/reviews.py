"""`cordumctl approval …`."""

import sys
from typing import Annotated

import typer

from cordum.cli.connection import Connection, describe, fail
from cordum.cli.jobs import segment

__all__ = ["approvals"]

approvals = typer.Typer(
    help="Decide jobs that wait for a person.", no_args_is_help=True, rich_markup_mode=None
)

Reason = Annotated[str, typer.Option("--reason", help="Why; stored with the decision.")]


@approvals.command("list")
def list_approvals(
    context: typer.Context,
    all: Annotated[bool, typer.Option("--all", help="Resolved ones too.")] = False,
) -> None:
    """List jobs that wait for approval."""
    query = {"include_resolved": "true"} if all else {}
    items = context.obj.get("/approvals", **query).get("items") or []
    rows = [
        [i["job_id"], i.get("topic"), i.get("approval_status"), i.get("policy_rule_id"), i.get("reason")]
        for i in items
    ]
    context.obj.printer.items(items, ["JOB", "TOPIC", "STATUS", "RULE", "REASON"], rows, key="job_id")


@approvals.command()
def approve(context: typer.Context, job_id: str, reason: Reason = "") -> None:
    """Approve a waiting job."""
    _resolve(context.obj, job_id, "approve", reason)


@approvals.command()
def reject(context: typer.Context, job_id: str, reason: Reason = "") -> None:
    """Reject a waiting job."""
    _resolve(context.obj, job_id, "reject", reason)


@approvals.command("job")
def decide(
    context: typer.Context,
    job_id: str,
    approve: Annotated[bool, typer.Option("--approve")] = False,
    reject: Annotated[bool, typer.Option("--reject")] = False,
    reason: Reason = "",
) -> None:
    """Approve or reject a waiting job, whichever option is given."""
    if approve == reject:
        raise fail("give exactly one of --approve and --reject")
    _resolve(context.obj, job_id, "approve" if approve else "reject", reason)


def _resolve(connection: Connection, job_id: str, verb: str, reason: str) -> None:
    body = {"reason": reason} if reason else None
    for _ in range(3):
        status, answer = connection.send("POST", f"/approvals/{segment(job_id)}/{verb}", body=body)
        if not (
            status == 409 and isinstance(answer, dict) and answer.get("code") == "approval_retryable_lock"
        ):
            break
    if status >= 400:
        raise fail(describe(status, answer, connection.api_key))
    word = "approved" if verb == "approve" else "rejected"
    connection.printer.data(answer) if connection.as_json else sys.stdout.write(f"{word}\n")
