"""`cordumctl dlq …` (CLI spec §9)."""

import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Annotated, Any, Final

import typer

from cordum.cli.connection import Connection, describe, fail
from cordum.cli.jobs import segment
from cordum.cli.output import note
from cordum.config.types import parse_duration
from cordum.runtime.clock import utc_now

__all__ = ["app"]

app = typer.Typer(
    help="Jobs that ended badly: list, retry, delete.", no_args_is_help=True, rich_markup_mode=None
)

_CHUNK: Final = 500
_PARALLEL: Final = 10
_PAGE: Final = 200
_DONE: Final = {"retry": "retried", "delete": "deleted"}

Reason = Annotated[str, typer.Option("--reason", help="Only entries whose reason or code begins so.")]
Topic = Annotated[str, typer.Option("--topic", help="Only this topic.")]
Since = Annotated[str, typer.Option("--since", help="Only younger ones, e.g. 90m, 24h, 7d.")]
Limit = Annotated[int, typer.Option(min=1, help="At most so many.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]
Entry = dict[str, Any]


@app.command("list")
def list_entries(
    context: typer.Context,
    limit: Limit = 50,
    reason: Reason = "",
    topic: Topic = "",
    since: Since = "",
    group_by: Annotated[str, typer.Option("--group-by", help="reason or topic.")] = "",
) -> None:
    """List dead-lettered jobs, newest first; --group-by counts them.

    Example: cordumctl dlq list --group-by reason
    """
    if group_by not in {"", "reason", "topic"}:
        raise fail("--group-by: expected `reason` or `topic`")
    # Groups are counted over everything there is.
    entries = _matching(context.obj, reason, topic, since, 1 << 30 if group_by else limit)
    if group_by:
        _print_groups(context.obj, entries, group_by)
        return
    rows = [
        [e["job_id"], e.get("topic"), e.get("status"), e.get("reason"), e.get("created_at")] for e in entries
    ]
    context.obj.printer.items(entries, ["JOB", "TOPIC", "STATUS", "REASON", "CREATED"], rows, key="job_id")


def _print_groups(connection: Connection, entries: Sequence[Entry], group_by: str) -> None:
    groups: dict[str, list[Entry]] = {}
    for entry in entries:
        name = (
            short_reason(str(entry.get("reason", "")))
            if group_by == "reason"
            else str(entry.get("topic", ""))
        )
        groups.setdefault(name, []).append(entry)
    ranked = sorted(groups.items(), key=lambda group: (-len(group[1]), group[0]))
    if connection.as_json:
        connection.printer.data(
            [{"count": len(g), group_by: name, "example": g[0]["job_id"]} for name, g in ranked]
        )
        return
    rows = [[len(group), name, group[0]["job_id"]] for name, group in ranked]
    connection.printer.table(["COUNT", group_by.upper(), "EXAMPLE JOB"], rows)


@app.command()
def show(context: typer.Context, job_id: str) -> None:
    """Print one entry as JSON."""
    context.obj.printer.data(context.obj.get(f"/dlq/{segment(job_id)}"))


@app.command()
def retry(
    context: typer.Context,
    job_id: Annotated[str, typer.Argument()] = "",
    reason: Reason = "",
    topic: Topic = "",
    since: Since = "",
    limit: Limit = 100,
    yes: Yes = False,
) -> None:
    """Submit a job again and print the new id; or, with a filter, every job it matches.

    Example: cordumctl dlq retry --reason 'timeout: dispatched' --limit 100
    """
    if job_id:
        answer = context.obj.post(f"/dlq/{segment(job_id)}/retry")
        if context.obj.as_json:
            context.obj.printer.data(answer)
        else:
            sys.stdout.write(f"{answer['job_id']}\n")
        return
    _bulk(context.obj, "retry", (reason, topic, since, limit), yes)


@app.command()
def delete(
    context: typer.Context,
    job_id: Annotated[str, typer.Argument()] = "",
    reason: Reason = "",
    topic: Topic = "",
    since: Since = "",
    limit: Limit = 100,
    yes: Yes = False,
) -> None:
    """Delete one entry; or, with a filter, every entry it matches."""
    if job_id:
        context.obj.delete(f"/dlq/{segment(job_id)}")
        return
    _bulk(context.obj, "delete", (reason, topic, since, limit), yes)


def _bulk(connection: Connection, route: str, chosen: tuple[str, str, str, int], yes: bool) -> None:
    reason, topic, since, limit = chosen
    if not (reason or topic or since):
        raise fail(f"dlq {route} needs a job id, or one of --reason, --topic, --since")
    ids = [entry["job_id"] for entry in _matching(connection, reason, topic, since, limit)]
    if ids and not yes and not typer.confirm(f"{route} {len(ids)} entries?", err=True):
        raise fail("nothing was done")
    failed = 0
    for start in range(0, len(ids), _CHUNK):
        for result in _send(connection, route, ids[start : start + _CHUNK]):
            if not result.get("ok"):
                failed += 1
                note(f"{result.get('job_id')}: {result.get('error', 'failed')}")
    sys.stdout.write(f"{_DONE[route]} {len(ids) - failed}, failed {failed}\n")
    if failed:
        raise typer.Exit(1)


def _send(connection: Connection, route: str, ids: list[str]) -> list[Entry]:
    """Use the bulk route where the gateway has it, else one request per entry."""
    status, answer = connection.send("POST", f"/dlq/{route}", body={"job_ids": ids})
    if status < 400:
        return list(answer["results"])
    if status not in {404, 405}:
        raise fail(describe(status, answer, connection.api_key))
    single: Callable[[str], Entry] = lambda job_id: _single(connection, route, job_id)  # noqa: E731
    with ThreadPoolExecutor(_PARALLEL) as pool:
        return list(pool.map(single, ids))


def _single(connection: Connection, route: str, job_id: str) -> Entry:
    path = f"/dlq/{segment(job_id)}"
    method, path = ("POST", f"{path}/retry") if route == "retry" else ("DELETE", path)
    status, answer = connection.send(method, path)
    if status < 400:
        return {"job_id": job_id, "ok": True}
    return {"job_id": job_id, "ok": False, "error": describe(status, answer, connection.api_key)}


def _matching(connection: Connection, reason: str, topic: str, since: str, limit: int) -> list[Entry]:
    """Return the newest entries that match, page by page."""
    oldest = utc_now() - _age(since) if since else None
    found: list[Entry] = []
    cursor: Any = None
    while True:
        page = connection.get("/dlq/page", limit=_PAGE, cursor=cursor)
        items = page.get("items") or []
        for entry in items:
            if oldest is not None and _time(entry) < oldest:
                return found
            if _is_meant(entry, reason, topic):
                found.append(entry)
                if len(found) == limit:
                    return found
        cursor = page.get("next_cursor")
        if not cursor or not items:
            return found


def _is_meant(entry: Entry, reason: str, topic: str) -> bool:
    texts = (str(entry.get("reason", "")), str(entry.get("reason_code", "")))
    return (not reason or any(text.startswith(reason) for text in texts)) and topic in (
        "",
        entry.get("topic"),
    )


def _time(entry: Entry) -> datetime:
    return datetime.fromisoformat(str(entry.get("created_at") or "9999-01-01T00:00:00Z"))


def _age(text: str) -> timedelta:
    try:
        return timedelta(seconds=float(parse_duration(text)))
    except (OverflowError, ValueError) as error:
        raise fail(f"--since: {error}") from error


def short_reason(reason: str) -> str:
    """Return what a reason has in common with its kind: the text before the first `(` or second `:`."""
    head = reason.partition("(")[0]
    parts = head.split(":", 2)
    return ":".join(parts[:2]).strip() or "-"
