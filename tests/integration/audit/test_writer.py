"""Events nobody waits for reach the chain in order, through outages; none vanishes silently (security spec §19.4)."""

import asyncio

import pytest
from prometheus_client import REGISTRY

from cordum.audit import AuditChain, AuditEvent, AuditWriter, verify_chain
from cordum.domain.errors import Unavailable
from cordum.store.connection import RedisClient


class _Interrupted(AuditChain):
    """A chain that is away for the first ``failures`` tries."""

    def __init__(self, client: RedisClient, failures: int) -> None:
        super().__init__(client)
        self.failures = failures

    async def append(self, event: AuditEvent, *, outbox: str = "") -> bool:
        if self.failures > 0:
            self.failures -= 1
            raise Unavailable("away")
        return await super().append(event, outbox=outbox)


def event(number: int) -> AuditEvent:
    return AuditEvent("safety.decision", "INFO", "acme", f"act-{number}")


def dropped(reason: str) -> float:
    return REGISTRY.get_sample_value("cordum_audit_dropped_total", {"reason": reason}) or 0.0


async def test_events_are_chained_in_order_after_an_outage_and_before_the_stop(
    standalone_client: RedisClient,
) -> None:
    chain = _Interrupted(standalone_client, failures=2)
    writer = AuditWriter(chain, 10)
    async with asyncio.TaskGroup() as group:
        group.create_task(writer.run())
        for number in range(5):
            await writer.record(event(number))
        writer.stop()
    actions = [stored.fields["action"] async for stored in chain.oldest("acme", 10) if stored.fields]
    assert actions == [f"act-{number}" for number in range(5)]
    assert (await verify_chain(chain, "acme", limit=10)).to_json()["status"] == "ok"


async def test_a_full_buffer_says_what_it_could_not_take(
    standalone_client: RedisClient, capsys: pytest.CaptureFixture[str]
) -> None:
    before = dropped("buffer_full")
    writer = AuditWriter(AuditChain(standalone_client), 2)
    for number in range(3):
        await writer.record(event(number))
    assert dropped("buffer_full") == before + 1
    assert "act-2" in capsys.readouterr().out


async def test_a_stop_without_a_store_ends_and_says_what_is_lost(standalone_client: RedisClient) -> None:
    before = dropped("stopped")
    writer = AuditWriter(_Interrupted(standalone_client, failures=10_000), 10)
    await writer.record(event(0))
    writer.stop()
    async with asyncio.timeout(10):
        await writer.run()
    assert dropped("stopped") == before + 1
