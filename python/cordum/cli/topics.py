"""`cordumctl topic …` (CLI spec §8)."""

import re
import sys
from typing import Annotated, Any, Final

import typer

from cordum.cli.connection import Connection, describe, fail
from cordum.cli.jobs import segment, words
from cordum.cli.output import note

__all__ = ["TOPIC", "app"]

app = typer.Typer(help="List, register and delete topics.", no_args_is_help=True, rich_markup_mode=None)

TOPIC: Final = re.compile(r"job\.[a-zA-Z0-9_-]+(\.[a-zA-Z0-9_*-]+)*")
_STATUSES: Final = ("active", "deprecated", "disabled")
_HEADER: Final = ("NAME", "POOL", "INPUT SCHEMA", "OUTPUT SCHEMA", "STATUS", "ACTIVE WORKERS")


@app.command("list")
def list_topics(
    context: typer.Context,
    status: Annotated[str, typer.Option(help="Only this status.")] = "",
    pool: Annotated[str, typer.Option(help="Only this pool.")] = "",
    degraded: Annotated[
        bool, typer.Option("--degraded", help="Only active topics without worker; exit 1 if any.")
    ] = False,
) -> None:
    """List topics. A topic is degraded when it is active and no worker serves it."""
    listed: list[dict[str, Any]] = context.obj.get("/topics").get("items") or []
    shown = [
        topic
        for topic in sorted(listed, key=lambda topic: str(topic["name"]))
        if (not status or topic["status"] == status)
        and (not pool or topic["pool"] == pool)
        and (not degraded or _is_degraded(topic))
    ]
    empty = "no such topics" if listed else "no topics registered"
    context.obj.printer.items(shown, _HEADER, [_row(topic) for topic in shown], key="name", empty=empty)
    if degraded and shown:
        raise typer.Exit(1)


def _is_degraded(topic: dict[str, Any]) -> bool:
    return topic["status"] == "active" and not topic["active_worker_count"]


def _row(topic: dict[str, Any]) -> list[Any]:
    workers = f"{topic['active_worker_count']}{' degraded' if _is_degraded(topic) else ''}"
    texts = [topic.get(name) for name in ("name", "pool", "input_schema_id", "output_schema_id", "status")]
    return [*texts, workers]


@app.command()
def create(
    context: typer.Context,
    name: str,
    pool: Annotated[str, typer.Option(help="Pool that serves it; needed unless disabled.")] = "",
    input_schema: Annotated[str, typer.Option(help="Schema of its payloads.")] = "",
    output_schema: Annotated[str, typer.Option(help="Schema of its results.")] = "",
    pack_id: Annotated[str, typer.Option()] = "",
    requires: Annotated[list[str] | None, typer.Option(help="Comma list or repeated.")] = None,
    risk_tags: Annotated[list[str] | None, typer.Option(help="Comma list or repeated.")] = None,
    status: Annotated[str, typer.Option(help="active, deprecated or disabled.")] = "active",
) -> None:
    """Register a topic, or replace its registration.

    Example: cordumctl topic create job.billing.issue --pool billing
    """
    if not TOPIC.fullmatch(name):
        raise fail(f"topic must match job.* pattern: {name}")
    if status not in _STATUSES:
        raise fail(f"--status: expected one of {', '.join(_STATUSES)}")
    if not pool and status != "disabled":
        raise fail(f"topic pool required for {name}: pass --pool")
    connection: Connection = context.obj
    body = {
        "name": name,
        "pool": pool,
        "input_schema_id": input_schema,
        "output_schema_id": output_schema,
        "pack_id": pack_id,
        "requires": words(requires),
        "risk_tags": words(risk_tags),
        "status": status,
    }
    code, answer = connection.send("POST", "/topics", body=body)
    if code >= 400:
        raise fail(describe(code, answer, connection.api_key))
    if connection.as_json:
        connection.printer.data(answer)
    else:
        sys.stdout.write(f'Topic "{name}" {"updated" if code == 200 else "registered"}\n')


@app.command()
def delete(context: typer.Context, name: str) -> None:
    """Delete the registration of a topic; one that is not there is no error."""
    connection: Connection = context.obj
    code, answer = connection.send("DELETE", f"/topics/{segment(name)}")
    if code == 404:
        note(f'topic "{name}" is not registered for this tenant')
        return
    if code >= 400:
        raise fail(describe(code, answer, connection.api_key))
    sys.stdout.write(f'Topic "{name}" deleted\n')
