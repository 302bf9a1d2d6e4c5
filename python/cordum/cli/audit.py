"""`cordumctl audit verify`: was the audit trail touched? (CLI spec §13)

Exit codes: 0 ok, 2 compromised, 3 partial, 1 any error.
"""

import sys
from dataclasses import replace
from datetime import UTC, datetime
from typing import Annotated, Final

import typer

from cordum.cli.connection import fail
from cordum.cli.exits import CommandExit
from cordum.config.types import parse_duration
from cordum.runtime.clock import utc_now

__all__ = ["app"]

app = typer.Typer(help="The audit trail.", no_args_is_help=True)

_TIMEOUT_S: Final = 120.0
_GAPS_SHOWN: Final = 20
_CODES: Final = {"ok": 0, "compromised": 2, "partial": 3}


@app.callback()
def group() -> None:
    """Keep `verify` a command of its own."""


@app.command()
def verify(
    context: typer.Context,
    tenant: Annotated[str, typer.Argument(help="Tenant; default that of the key.")] = "",
    since: Annotated[str, typer.Option(help="Unix ms, RFC 3339, or how long ago (24h, 7d).")] = "",
    until: Annotated[str, typer.Option(help="Unix ms, RFC 3339, or how long ago.")] = "",
    limit: Annotated[int, typer.Option(help="Events looked at.", min=1, max=100_000)] = 10_000,
) -> None:
    """Check numbers, hashes and signatures of the audit chain.

    Example: cordumctl audit verify --since 24h
    """
    connection = replace(context.obj, timeout_s=max(context.obj.timeout_s, _TIMEOUT_S))
    if tenant:
        connection = replace(connection, tenant=tenant)
    query = {"since": _ms("--since", since), "until": _ms("--until", until), "limit": limit}
    report = connection.get("/audit/verify", **{name: value for name, value in query.items() if value})
    if connection.as_json:
        connection.printer.data(report)
    else:
        sys.stdout.write(
            f"{report['status']}: {report['verified_events']} of {report['total_events']} events verified, "
            f"numbers {report['first_seq']} to {report['last_seq']}, {report['hmac_verified']} signed\n"
        )
        for gap in report["gaps"][:_GAPS_SHOWN]:
            sys.stdout.write(f"  at {gap['at_seq']}: {gap['type']}\n")
        if len(report["gaps"]) > _GAPS_SHOWN:
            sys.stdout.write(f"  and {len(report['gaps']) - _GAPS_SHOWN} more\n")
    code = _CODES.get(report["status"], 1)
    if code:
        raise CommandExit(code)


def _ms(option: str, text: str) -> int:
    """Return Unix milliseconds; 0 for nothing."""
    text = text.strip()
    if not text:
        return 0
    if text.isascii() and text.isdigit():
        return int(text)
    try:
        return int((utc_now().timestamp() - parse_duration(text)) * 1_000)
    except ValueError:
        pass  # no duration: a time, or nothing we know
    try:
        time = datetime.fromisoformat(text)
    except ValueError as error:
        raise fail(f"{option}: expected Unix milliseconds, an RFC 3339 time or a duration") from error
    return int((time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp() * 1_000)
