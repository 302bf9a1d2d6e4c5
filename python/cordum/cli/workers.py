"""`cordumctl worker …`: workers and their credentials (CLI spec §8)."""

import os
import sys
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from cordum.cli.connection import Connection, describe, fail
from cordum.cli.jobs import segment
from cordum.cli.output import note

__all__ = ["app", "list_workers"]

app = typer.Typer(help="Workers known to the control plane.", no_args_is_help=True, rich_markup_mode=None)
credential = typer.Typer(
    help="What workers prove themselves with.", no_args_is_help=True, rich_markup_mode=None
)
app.add_typer(credential, name="credential")

_STALE_S: Final = 60
_ROWS: Final = 100
_KEY_MAX_BYTES: Final = 4 * 1024


@app.command("list")
def list_workers(
    context: typer.Context,
    pool: Annotated[str, typer.Option(help="Only workers of this pool.")] = "",
    stale: Annotated[
        bool, typer.Option("--stale", help=f"Only workers silent for more than {_STALE_S} s.")
    ] = False,
) -> None:
    """List workers.

    Example: cordumctl worker list --pool billing
    """
    items: list[dict[str, Any]] = context.obj.get("/workers").get("items") or []
    if pool:
        items = [item for item in items if item.get("pool") == pool]
    if stale:
        items = [item for item in items if item.get("heartbeat_age_seconds", 0) > _STALE_S]
    rows = [
        [
            i["worker_id"],
            i.get("pool"),
            "yes" if i.get("online") else "no",
            f"{i.get('heartbeat_age_seconds', '-')}s",
            f"{i.get('active_jobs', 0)}/{i.get('max_parallel_jobs', 0)}",
            i.get("ready_topics"),
            i.get("session_state"),
        ]
        for i in items
    ]
    header = ["WORKER ID", "POOL", "ONLINE", "HEARTBEAT AGE", "ACTIVE/MAX", "TOPICS", "SESSION"]
    context.obj.printer.items(items, header, rows, key="worker_id")


@app.command()
def show(context: typer.Context, worker_id: str) -> None:
    """Show a worker and its newest jobs as JSON."""
    path = f"/workers/{segment(worker_id)}"
    jobs = context.obj.get(f"{path}/jobs").get("items") or []
    context.obj.printer.data({**context.obj.get(path), "jobs": jobs})


@credential.command("list")
def list_credentials(
    context: typer.Context,
    all: Annotated[bool, typer.Option("--all", help=f"More than the first {_ROWS}.")] = False,
) -> None:
    """List credentials, revoked ones too.

    Example: cordumctl worker credential list
    """
    items: list[dict[str, Any]] = context.obj.get("/workers/credentials").get("items") or []
    shown = items if all else items[:_ROWS]
    rows = [
        [
            i["worker_id"],
            "revoked" if i.get("revoked_at") else "active",
            i.get("allowed_pools"),
            i.get("allowed_topics"),
            i.get("pack_id"),
            i.get("created_by"),
            i.get("created_at"),
        ]
        for i in shown
    ]
    header = ["WORKER ID", "STATUS", "POOLS", "TOPICS", "PACK ID", "CREATED BY", "CREATED AT"]
    context.obj.printer.items(shown, header, rows, key="worker_id", empty="no worker credentials")
    if len(shown) < len(items):
        note(f"{len(items) - len(shown)} more; --all shows them")


@credential.command()
def create(
    context: typer.Context,
    worker: Annotated[str, typer.Argument(help="Worker id.", metavar="[ID]")] = "",
    worker_id: Annotated[str, typer.Option(help="Worker id, instead of the argument.")] = "",
    allowed_pools: Annotated[str, typer.Option(help="Comma separated; none given: as before.")] = "",
    allowed_topics: Annotated[str, typer.Option(help="Comma separated; none given: as before.")] = "",
    agent_id: Annotated[str, typer.Option(help="Agent the worker acts for.")] = "",
    proof_key_id: Annotated[str, typer.Option(help="Id of the key of its trust handshake.")] = "",
    proof_public_key: Annotated[Path | None, typer.Option(help="PEM file with that public key.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="Write the token to this file, readable by you only.")
    ] = None,
) -> None:
    """Issue a credential and print its token, which is shown only now; an existing one is rotated.

    Example: cordumctl worker credential create w-bill-1 --allowed-pools billing --out w-bill-1.token
    """
    named = worker or worker_id
    if not named or (worker and worker_id and worker != worker_id):
        raise fail("expected one worker id")
    body: dict[str, Any] = {"worker_id": named}
    for name, text in (("allowed_pools", allowed_pools), ("allowed_topics", allowed_topics)):
        if text:
            body[name] = [item.strip() for item in text.split(",") if item.strip()]
    for name, text in (("agent_id", agent_id), ("proof_key_id", proof_key_id)):
        if text:
            body[name] = text
    if proof_public_key is not None:
        body["proof_public_key_pem"] = _read_key(proof_public_key)
    _deliver(context.obj, body, out)


def _deliver(connection: Connection, body: dict[str, Any], out: Path | None) -> None:
    target = None if out is None else _private_file(out)
    status, answer = connection.send("POST", "/workers/credentials", body=body, retry=False)
    if status >= 400:
        if out is not None and target is not None:
            os.close(target)
            out.unlink(missing_ok=True)
        raise fail(describe(status, answer, connection.api_key))
    word = "issued" if status == 201 else "rotated; the old token is dead"
    note(f'Credential for "{answer["worker_id"]}" {word}.')
    if target is not None:
        with os.fdopen(target, "w", encoding="ascii") as file:
            file.write(answer.pop("token") + "\n")
    else:
        note("Store this token now; it is not shown again.")
    if connection.as_json:
        connection.printer.data(answer)
    elif target is None:
        sys.stdout.write(f"{answer['token']}\n")


def _private_file(path: Path) -> int:
    """Open the file before a token is made: one that cannot be stored would be lost."""
    try:
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise fail(f"{path}: {(error.strerror or 'not writable').lower()}") from None


def _read_key(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(_KEY_MAX_BYTES).decode("ascii")
    except (OSError, UnicodeDecodeError):
        raise fail(f"{path}: expected a readable PEM file") from None


@credential.command()
def revoke(context: typer.Context, worker_id: str) -> None:
    """Revoke a credential; its record stays."""
    context.obj.delete(f"/workers/credentials/{segment(worker_id)}")
    sys.stdout.write(f'Credential for "{worker_id}" revoked\n')
