"""`cordumctl` as a process of its own, against a gateway of the tests."""

import asyncio
import os
import sys

from tests.support.gateway import GatewayProcess, key_of

__all__ = ["run_cordumctl"]


async def run_cordumctl(
    gateway: GatewayProcess, *arguments: str, who: str = "alice", stdin: str = "", **environment: str
) -> tuple[int, str, str]:
    """Run `cordumctl` as a test person of the tenant acme; return exit code, stdout, stderr."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("CORDUM_")}
    connection = {
        "CORDUM_GATEWAY": gateway.url,
        "CORDUM_API_KEY": key_of(who),
        "CORDUM_TENANT_ID": "acme",
        "COLUMNS": "100",
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "cordum.cli.main",
        *arguments,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**inherited, **connection, **environment},
    )
    out, err = await process.communicate(stdin.encode())
    return process.returncode or 0, out.decode(), err.decode()
