"""`cordumctl pool …` (CLI spec §8)."""

import re
import sys
import time
from typing import Annotated, Any, Final

import typer

from cordum.cli.connection import Connection, describe, fail
from cordum.cli.jobs import segment, words
from cordum.cli.output import note

__all__ = ["app"]

app = typer.Typer(help="List, change and drain pools.", no_args_is_help=True, rich_markup_mode=None)
topics = typer.Typer(help="Topics a pool serves.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(topics, name="topic")

_NAME: Final = re.compile(r"(?!.*--)[a-z0-9][a-z0-9-]{1,61}[a-z0-9]")
_HEADER: Final = ("NAME", "WORKERS", "ACTIVE JOBS", "CAPACITY", "UTILIZATION")
_STATUSES: Final = ("active", "draining", "inactive")
_POLL_S: Final = 1.0
_GRACE_S: Final = 60.0


def _path(name: str, *more: str) -> str:
    return "/".join(["/pools", segment(name), *map(segment, more)])


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise fail(f"pool name: expected 3 to 63 of a-z, 0-9 and single `-`, got {name}")


@app.command("list")
def list_pools(context: typer.Context) -> None:
    """List pools with their load."""
    pools: list[dict[str, Any]] = context.obj.get("/pools").get("items") or []
    rows = [
        [p["name"], p["workers"], p["active_jobs"], p["capacity"], f"{round(100 * p['utilization'])}%"]
        for p in pools
    ]
    context.obj.printer.items(pools, _HEADER, rows, key="name")


@app.command()
def get(context: typer.Context, name: str) -> None:
    """Print one pool with its workers as JSON."""
    context.obj.printer.data(context.obj.get(_path(name)))


@app.command()
def create(
    context: typer.Context,
    name: str,
    requires: Annotated[list[str] | None, typer.Option(help="Capabilities offered; comma list.")] = None,
    description: Annotated[str, typer.Option()] = "",
) -> None:
    """Create a pool.

    Example: cordumctl pool create vision --requires gpu
    """
    _check_name(name)
    body = {"requires": words(requires), "description": description}
    context.obj.printer.data(context.obj.call("PUT", _path(name), body=body))


@app.command()
def update(
    context: typer.Context,
    name: str,
    requires: Annotated[list[str] | None, typer.Option(help="Capabilities offered; comma list.")] = None,
    description: Annotated[str | None, typer.Option()] = None,
    status: Annotated[str | None, typer.Option(help="active, draining or inactive.")] = None,
) -> None:
    """Change what is given of a pool."""
    if status is not None and status not in _STATUSES:
        raise fail(f"--status: expected one of {', '.join(_STATUSES)}")
    body: dict[str, Any] = {"description": description, "status": status}
    body["requires"] = None if requires is None else words(requires)
    given = {field: value for field, value in body.items() if value is not None}
    context.obj.printer.data(context.obj.call("PATCH", _path(name), body=given))


@app.command()
def delete(
    context: typer.Context,
    name: str,
    force: Annotated[
        bool, typer.Option("--force", help="Delete an inactive pool although it is used.")
    ] = False,
) -> None:
    """Delete a pool nobody uses."""
    connection: Connection = context.obj
    query = {"force": "true"} if force else None
    code, answer = connection.send("DELETE", _path(name), query=query)
    if code >= 400:
        if isinstance(answer, dict) and answer.get("code") == "POOL_IN_USE":
            note(f"status {answer.get('pool_status')}, queued jobs {answer.get('queued_jobs')}")
            note(f"agents {', '.join(answer.get('agent_ids') or ()) or '-'}")
            note(f"topics {', '.join(answer.get('topics') or ()) or '-'}")
        raise fail(describe(code, answer, connection.api_key))
    sys.stdout.write(f'Pool "{name}" deleted\n')


@app.command()
def drain(
    context: typer.Context,
    name: str,
    timeout: Annotated[
        int, typer.Option(help="Seconds until it is inactive in any case.", min=1, max=3600)
    ] = 300,
    wait: Annotated[bool, typer.Option("--wait", help="Return when it is inactive.")] = False,
) -> None:
    """Give a pool no new jobs."""
    connection: Connection = context.obj
    answer = connection.post(f"{_path(name)}/drain", {"timeout_seconds": timeout})
    deadline_s = time.monotonic() + timeout + _GRACE_S
    while wait and answer["status"] == "draining":
        if time.monotonic() > deadline_s:
            raise fail(f"pool {name} is still draining")
        time.sleep(_POLL_S)
        answer = connection.get(_path(name))
    if connection.as_json:
        connection.printer.data(answer)
    else:
        sys.stdout.write(f'Pool "{name}" {answer["status"]}\n')


@topics.command("add")
def add_topic(context: typer.Context, pool: str, topic: str) -> None:
    """Let a pool serve a topic."""
    context.obj.call("PUT", _path(pool, "topics", topic))
    sys.stdout.write(f'Topic "{topic}" is served by pool "{pool}"\n')


@topics.command("remove")
def remove_topic(context: typer.Context, pool: str, topic: str) -> None:
    """Let a pool serve a topic no more."""
    context.obj.call("DELETE", _path(pool, "topics", topic))
    sys.stdout.write(f'Topic "{topic}" is not served by pool "{pool}" any more\n')
