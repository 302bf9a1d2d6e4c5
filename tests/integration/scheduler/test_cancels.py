"""Cancels heard on the bus (scheduler spec §12)."""

from typing import Any

import pytest
from nats.aio.msg import Msg

from cordum.protocol import subjects
from cordum.protocol.cap import BusPacket
from cordum.runtime.clock import now_us
from cordum.scheduler.cancel import BusEvents
from cordum.scheduler.protocol_alerts import ProtocolAlerts
from tests.integration.scheduler.test_sweeps import House, house

__all__ = ["house"]


def cancel(job_id: str, reason: str = "nobody wants it") -> Msg:
    packet = BusPacket(trace_id="t", sender_id="somebody", protocol_version=1)
    packet.job_cancel.job_id, packet.job_cancel.reason = job_id, reason
    packet.job_cancel.requested_by = "somebody"
    packet.created_at.FromMicroseconds(now_us())
    client: Any = None
    return Msg(client, subject=subjects.CANCEL, data=packet.SerializeToString())


@pytest.fixture
def events(house: House) -> BusEvents:
    return BusEvents(house.planner, house.jobs, house.duties, house.side, ProtocolAlerts(house.bus))


async def test_a_cancel_ends_the_job_once_and_tells_how_long_it_took(house: House, events: BusEvents) -> None:
    await house.dispatched("runs", "w", 6, set={"dispatched_at": str(now_us() - 5_000_000)})
    await house.put("waits", "PENDING", age_s=9)
    await house.put("done", "SUCCEEDED")
    await events.on_cancel(
        [cancel("runs"), cancel("runs"), cancel("waits"), cancel("done"), cancel("absent")]
    )
    assert [await house.state(job_id) for job_id in ("runs", "waits", "done")] == [
        "CANCELLED",
        "CANCELLED",
        "SUCCEEDED",
    ]
    took = {}
    for job_id in ("runs", "waits"):
        (event,) = [event for event in await house.jobs.events(job_id) if event["state"] == "CANCELLED"]
        assert event["ctx"]["reason"] == "nobody wants it"
        took[job_id] = event["ctx"]["duration_ms"] // 1_000
    # Since it was dispatched, else since it came.
    assert took == {"runs": 5, "waits": 9}
    told = [packet.job_result.job_id for packet in await house.packets(subjects.ACCEPTED)]
    assert sorted(told) == ["runs", "waits"]
    assert await house.jobs.get("absent") is None
