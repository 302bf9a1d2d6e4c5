"""The scheduler asks its kernel over TLS, with a certificate where the kernel demands one (security spec §10.3)."""

from pathlib import Path

import pytest

from cordum.config.base import load_all
from cordum.config.kernel_client import KernelClientSettings
from cordum.domain.errors import ConfigError
from cordum.runtime.kernel_dial import open_kernel
from tests.integration.bus.test_tls import make_identity
from tests.support.processes import wait_until
from tests.support.stack import Stack, StackOptions
from tests.support.submitting import BusSubmitter, open_bus

pytestmark = pytest.mark.timeout(120)


@pytest.mark.slow
async def test_jobs_are_judged_by_a_kernel_that_speaks_tls_only(tmp_path: Path) -> None:
    authority = make_identity("authority")
    ca, _ = authority.write(tmp_path, "ca")
    server = make_identity("localhost", authority).write(tmp_path, "server")
    client = make_identity("scheduler", authority).write(tmp_path, "client")
    folder = tmp_path / "stack"
    folder.mkdir()
    stack = Stack(folder, StackOptions(gateway=False))
    stack.kernel.change_environment(
        {
            "SAFETY_KERNEL_TLS_CERT": server[0],
            "SAFETY_KERNEL_TLS_KEY": server[1],
            "SAFETY_KERNEL_TLS_CLIENT_CA": ca,
        }
    )
    stack.schedulers[0].change_environment(
        {
            "SAFETY_KERNEL_ADDR": f"localhost:{stack.kernel_port}",
            "SAFETY_KERNEL_TLS_CA": ca,
            "SAFETY_KERNEL_CLIENT_CERT": client[0],
            "SAFETY_KERNEL_CLIENT_KEY": client[1],
        }
    )
    try:
        await stack.start()
        async with stack.store() as jobs:
            bus = await open_bus(stack.nats.url)
            try:
                (job_id,) = await BusSubmitter(bus, jobs, "job.test.denied").submit(1)

                async def denied() -> bool:
                    record = await jobs.get(job_id)
                    return record is not None and record["state"] == "DENIED"

                await wait_until(denied)
            finally:
                await bus.close()
    finally:
        stack.stop()


def load(monkeypatch: pytest.MonkeyPatch, **environment: str) -> KernelClientSettings:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    settings: KernelClientSettings = load_all(KernelClientSettings)[0]
    return settings


@pytest.mark.parametrize(
    ("environment", "complaint"),
    [
        ({"SAFETY_KERNEL_TLS_REQUIRED": "true"}, "SAFETY_KERNEL_TLS_CA"),
        (
            {
                "SAFETY_KERNEL_TLS_REQUIRED": "1",
                "SAFETY_KERNEL_TLS_CA": "ca.pem",
                "SAFETY_KERNEL_INSECURE": "1",
            },
            "SAFETY_KERNEL_INSECURE",
        ),
        ({"SAFETY_KERNEL_CLIENT_CERT": "c.pem"}, "SAFETY_KERNEL_CLIENT_KEY"),
        ({"SAFETY_KERNEL_TLS_REQUIRED": "maybe"}, "SAFETY_KERNEL_TLS_REQUIRED"),
    ],
)
def test_a_half_told_connection_refuses_the_start(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], complaint: str
) -> None:
    with pytest.raises(ConfigError, match=complaint):
        load(monkeypatch, **environment)


@pytest.mark.parametrize(
    ("environment", "complaint"),
    [
        ({}, "SAFETY_KERNEL_TLS_CA: expected a CA file in production"),
        ({"SAFETY_KERNEL_INSECURE": "true"}, "SAFETY_KERNEL_INSECURE"),
        ({"SAFETY_KERNEL_TLS_CA": "/nowhere/ca.pem"}, "expected a readable file"),
    ],
)
async def test_production_asks_its_kernel_over_tls_or_not_at_all(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], complaint: str
) -> None:
    settings = load(monkeypatch, **environment)
    with pytest.raises(ConfigError, match=complaint):
        open_kernel(settings, production=True)
