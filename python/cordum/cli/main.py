"""`cordumctl`: the operator's tool. Talks to the gateway over HTTP; `up` runs the system on this machine.

Exit codes: 0 success, 1 any error (usage, network, API), 130 interrupted (CLI spec §5).
"""

import os
import sys
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from cordum import __version__
from cordum.cli import audit, dead_letters, jobs, policy, pools, reviews, scanning, topics, workers
from cordum.cli.connection import Connection, fail
from cordum.cli.output import Form, Printer, note
from cordum.cli.status import print_status
from cordum.cli.usage import UsageError, explain

__all__ = ["app", "main"]

app = typer.Typer(
    name="cordumctl",
    help="Operate a Cordum control plane.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.add_typer(jobs.app, name="job")
app.add_typer(reviews.approvals, name="approval")
app.add_typer(dead_letters.app, name="dlq")
app.add_typer(workers.app, name="worker")
app.add_typer(topics.app, name="topic")
app.add_typer(pools.app, name="pool")
app.add_typer(policy.app, name="policy")
app.add_typer(audit.app, name="audit")
app.add_typer(scanning.app, name="output")
app.command("workers", help="List workers.")(workers.list_workers)

_VALUE_OPTIONS: Final = frozenset({"--gateway", "--api-key", "--tenant", "--cacert", "--timeout", "--output"})
_FLAG_OPTIONS: Final = frozenset({"--json", "--insecure", "--no-headers", "--verbose", "--no-color"})
_TIMEOUT_S: Final = 20.0


@app.callback()
def connect(
    context: typer.Context,
    gateway: Annotated[
        str, typer.Option(help="Gateway URL (CORDUM_GATEWAY), http://localhost:8081 by default.")
    ] = "",
    api_key: Annotated[str, typer.Option(help="API key (CORDUM_API_KEY).")] = "",
    tenant: Annotated[str, typer.Option(help="Tenant (CORDUM_TENANT_ID), `default` by default.")] = "",
    cacert: Annotated[str, typer.Option(help="CA of the gateway (CORDUM_TLS_CA).")] = "",
    insecure: Annotated[bool, typer.Option("--insecure", help="Do not verify the certificate.")] = False,
    timeout: Annotated[
        float | None, typer.Option(help="Seconds per request (CORDUM_TIMEOUT), 20 by default.", min=0.001)
    ] = None,
    output: Annotated[Form, typer.Option("--output", "-o", help="How answers are printed.")] = Form.TABLE,
    json: Annotated[bool, typer.Option("--json", help="The same as --output json.")] = False,
    no_headers: Annotated[bool, typer.Option("--no-headers", help="Tables without header.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", help="Tell each request on stderr.")] = False,
    no_color: Annotated[bool, typer.Option("--no-color", help="Accepted; nothing is coloured.")] = False,
) -> None:
    """Options of every command; they may stand anywhere on the command line."""
    context.obj = Connection(
        gateway=gateway or os.environ.get("CORDUM_GATEWAY") or "http://localhost:8081",
        api_key=api_key or os.environ.get("CORDUM_API_KEY") or "",
        tenant=tenant or os.environ.get("CORDUM_TENANT_ID") or "default",
        printer=Printer(Form.JSON if json else output, headers=not no_headers),
        timeout_s=timeout or _timeout_s(os.environ.get("CORDUM_TIMEOUT", "")),
        cacert=cacert or os.environ.get("CORDUM_TLS_CA") or "",
        insecure=insecure or os.environ.get("CORDUM_TLS_INSECURE", "").lower() in {"1", "true"},
        verbose=verbose,
    )


def _timeout_s(text: str) -> float:
    """Return the seconds of CORDUM_TIMEOUT; empty counts as unset."""
    if not text.strip():
        return _TIMEOUT_S
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise fail(f"CORDUM_TIMEOUT: expected seconds above 0, got `{text}`")
    return seconds


@app.command()
def up(
    data_dir: Annotated[Path, typer.Option(help="Everything is kept below it.")] = Path(".cordum"),
    port: Annotated[int, typer.Option(help="Gateway HTTP port.", min=0, max=65535)] = 8081,
    nats_port: Annotated[int, typer.Option(help="nats-server port.", min=0, max=65535)] = 4222,
    redis_port: Annotated[int, typer.Option(help="redis-server port.", min=0, max=65535)] = 6379,
    kernel_port: Annotated[int, typer.Option(help="Safety kernel port.", min=0, max=65535)] = 50051,
    policy: Annotated[Path | None, typer.Option(help="Policy file; default <data-dir>/safety.yaml.")] = None,
    pools: Annotated[Path | None, typer.Option(help="Pools file; default <data-dir>/pools.yaml.")] = None,
    schedulers: Annotated[int, typer.Option(help="Scheduler replicas.", min=1, max=16)] = 1,
) -> None:
    """Run the whole system on this machine until Ctrl-C. A port of 0 picks a free one.

    Example: cordumctl up --data-dir .cordum --port 8081
    """
    from cordum.embedded.up import Options, run_up

    options = Options(data_dir, port, nats_port, redis_port, kernel_port, policy, pools, schedulers)
    raise typer.Exit(run_up(options))


@app.command()
def status(context: typer.Context) -> None:
    """Show the state of the control plane. Exit 1 when NATS or Redis is down."""
    connection: Connection = context.obj
    body: dict[str, Any] = connection.get("/status")
    code, usage = connection.send("GET", "/license/usage")
    if connection.as_json:
        failed = {"license_usage_error": f"status {code}"}
        connection.printer.data({"status": body} | ({"license_usage": usage} if code < 400 else failed))
    else:
        print_status(connection.gateway, body, usage if code < 400 and isinstance(usage, dict) else {})
    if not (body.get("redis", {}).get("ok") and body.get("nats", {}).get("connected")):
        raise typer.Exit(1)


@app.command()
def version(context: typer.Context) -> None:
    """Print the version of this program."""
    if context.obj.as_json:
        context.obj.printer.data({"version": __version__})
    else:
        sys.stdout.write(f"cordumctl {__version__}\n")


def arrange(arguments: list[str]) -> list[str]:
    """Move the options of every command to the front and accept `-flag` for `--flag` (CLI spec §2)."""
    front: list[str] = []
    rest: list[str] = []
    pending = iter(arguments)
    for argument in pending:
        if argument == "--":
            rest += [argument, *pending]
            break
        if len(argument) > 2 and argument[0] == "-" and argument[1].isalpha():
            argument = f"-{argument}"
        name, equals, _ = argument.partition("=")
        if name in {"-o", "--o"}:
            name, argument = "--output", f"--output{argument[len(name) :]}"
        if argument in _FLAG_OPTIONS:
            front.append(argument)
        elif name in _VALUE_OPTIONS and not (name == "--timeout" and rest[:2] == ["pool", "drain"]):
            front += (
                [argument] if equals else [argument, *([value] if (value := next(pending, None)) else [])]
            )
        else:
            rest.append(argument)
    return front + rest


def main() -> None:
    """Run `cordumctl` and exit."""
    arguments = sys.argv[1:]
    if not arguments:
        sys.stderr.write("usage: cordumctl COMMAND ...; see cordumctl --help\n")
        sys.exit(1)
    if arguments[0] == "help":
        arguments = [*arguments[1:], "--help"]
    try:
        code = app(arrange(arguments), prog_name="cordumctl", standalone_mode=False)
    except UsageError as error:
        note(explain(error))
        sys.exit(1)
    except typer.Abort:
        note("aborted")
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
    sys.exit(code)


if __name__ == "__main__":
    main()
