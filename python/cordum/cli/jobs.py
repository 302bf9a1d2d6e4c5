"""`cordumctl job …`"""

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from cordum.cli.connection import Connection, describe, fail
from cordum.cli.output import note

__all__ = ["app", "json_argument", "labels_argument", "segment", "words"]

app = typer.Typer(help="Submit, inspect and cancel jobs.", no_args_is_help=True, rich_markup_mode=None)


@app.command()
def submit(
    context: typer.Context,
    topic: Annotated[str, typer.Option(help="Topic, e.g. job.default.")],
    prompt: Annotated[str, typer.Option(help="What shall be done.")] = "",
    input: Annotated[str, typer.Option(help="Context as JSON, a file, or - for stdin.")] = "",
    idempotency_key: Annotated[str, typer.Option(help="Same key, same job.")] = "",
    capability: Annotated[str, typer.Option()] = "",
    pack_id: Annotated[str, typer.Option()] = "",
    labels: Annotated[str, typer.Option(help='JSON object, e.g. {"team":"ops"}.')] = "",
    risk_tags: Annotated[list[str] | None, typer.Option(help="Comma list or repeated.")] = None,
    requires: Annotated[list[str] | None, typer.Option(help="Comma list or repeated.")] = None,
    priority: Annotated[str, typer.Option(help="batch, interactive or critical.")] = "",
) -> None:
    """Submit a job and print its id. Exit 1 when policy denies it.

    Example: cordumctl job submit --topic job.demo.echo --prompt hello
    """
    connection: Connection = context.obj
    if not prompt and not input:
        raise fail("job submit needs --prompt or --input")
    body: dict[str, Any] = {
        "topic": topic,
        "prompt": prompt or "cordumctl job submit",
        "context": json_argument("--input", input) if input else None,
        "idempotency_key": idempotency_key,
        "capability": capability,
        "pack_id": pack_id,
        "labels": labels_argument(labels),
        "risk_tags": words(risk_tags),
        "requires": words(requires),
        "priority": priority,
    }
    body = {name: value for name, value in body.items() if value not in (None, "", [], {})}
    status, answer = connection.send("POST", "/jobs", body=body, retry=bool(idempotency_key))
    job_id = answer.get("job_id") if isinstance(answer, dict) else None
    if connection.as_json:
        connection.printer.data(answer)
    elif job_id:
        sys.stdout.write(f"{job_id}\n")
    if status >= 400:
        raise fail(describe(status, answer, connection.api_key))
    if isinstance(answer, dict) and answer.get("status") == "approval_required":
        note(f"approval required: {answer.get('reason', '')}")


@app.command("get")
def get_job(context: typer.Context, job_id: str) -> None:
    """Print one job as JSON."""
    context.obj.printer.data(context.obj.get(f"/jobs/{segment(job_id)}"))


@app.command()
def status(context: typer.Context, job_id: str) -> None:
    """Print the state word of one job."""
    job = context.obj.get(f"/jobs/{segment(job_id)}")
    context.obj.printer.data(job) if context.obj.as_json else sys.stdout.write(f"{job['state']}\n")


@app.command("list")
def list_jobs(
    context: typer.Context,
    state: Annotated[str, typer.Option(help="Only this state, e.g. RUNNING.")] = "",
    topic: Annotated[str, typer.Option(help="Only this topic.")] = "",
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 100,
) -> None:
    """List jobs, newest first."""
    items: list[dict[str, Any]] = []
    cursor: Any = None
    while len(items) < limit:
        page = context.obj.get(
            "/jobs", limit=min(limit - len(items), 200), state=state.upper(), topic=topic, cursor=cursor
        )
        items += page.get("items") or []
        cursor = page.get("next_cursor")
        if not cursor or not page.get("items"):
            break
    items = items[:limit]
    rows = [[j["id"], j["state"], j.get("topic"), j.get("worker_id"), j.get("updated_at")] for j in items]
    context.obj.printer.items(items, ["ID", "STATE", "TOPIC", "WORKER", "UPDATED"], rows)


@app.command()
def cancel(context: typer.Context, job_id: str) -> None:
    """Cancel a job and print the resulting state."""
    answer = context.obj.post(f"/jobs/{segment(job_id)}/cancel", idempotent=True)
    context.obj.printer.data(answer) if context.obj.as_json else sys.stdout.write(f"{answer['state']}\n")


def segment(text: str) -> str:
    """Quote one path segment, so that an id cannot name another route."""
    from urllib.parse import quote

    return quote(text, safe="")


def words(values: list[str] | None) -> list[str]:
    """Return the entries of a list option, given repeatedly or with commas."""
    return [item.strip() for value in values or [] for item in value.split(",") if item.strip()]


def labels_argument(text: str) -> dict[str, str]:
    """Return the value of `--labels`; exits when it is no object of strings, naming the label."""
    labels = json_argument("--labels", text) if text else {}
    if not isinstance(labels, dict):
        raise fail("--labels: expected a JSON object")
    for name, value in labels.items():
        if not isinstance(value, str):
            raise fail(f"--labels: value of `{name}` must be a string")
    return labels


def json_argument(option: str, text: str) -> Any:
    """Read inline JSON (first character `{` or `[`), a file, or `-` for stdin."""
    try:
        if text == "-":
            return json.loads(sys.stdin.read())
        if text.lstrip()[:1] in ("{", "["):
            return json.loads(text)
        return json.loads(Path(text).read_text(encoding="utf-8"))
    except OSError as error:
        raise fail(f"{option}: cannot read `{text}`: {(error.strerror or '').lower()}") from None
    except ValueError as error:
        raise fail(f"{option}: not valid JSON: {error}") from None
