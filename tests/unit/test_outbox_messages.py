"""What the outbox sweep says about a job, and what the side writes keep."""

import asyncio
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from cordum.config.redis import StoreSettings
from cordum.domain.errors import Unavailable
from cordum.domain.states import JobState
from cordum.protocol.cap import BusPacket
from cordum.scheduler.packets import accepted_result
from cordum.scheduler.side_writes import SideWrites
from cordum.store.jobs import JobStore
from cordum.store.scripts import Command


@pytest.mark.parametrize(
    "state", [JobState.DISPATCHED, JobState.RUNNING, JobState.SCHEDULED, JobState.PENDING]
)
def test_a_job_that_moved_on_is_reported_as_retrying_and_not_under_its_next_dispatch(state: JobState) -> None:
    message = accepted_result({"id": "j", "state": str(state), "dispatch_id": "j:2:aa"}, {})
    result = BusPacket.FromString(message.payload).job_result
    assert (result.status, result.dispatch.dispatch_id) == (10, "")
    assert message.msg_id == "sys.internal.job.result.accepted:j:10:-"


@pytest.mark.parametrize(("text", "told"), [("17", 17), ("soon", 0), ("-3", 0), ("9" * 30, 0)])
def test_a_damaged_duration_holds_up_no_sweep(text: str, told: int) -> None:
    message = accepted_result({"id": "j", "state": "SUCCEEDED", "execution_ms": text}, {})
    assert BusPacket.FromString(message.payload).job_result.execution_ms == told


class _HalfDown:
    """A store of which one node does not answer the first time."""

    def __init__(self) -> None:
        self.sent: list[list[Command]] = []

    async def pipeline(self, commands: Sequence[Command]) -> list[Any]:
        self.sent.append(list(commands))
        first = len(self.sent) == 1
        return [Unavailable("node is down") if first and c[0] == "ZREM" else 1 for c in commands]


def test_side_writes_that_were_not_answered_are_sent_again() -> None:
    store = _HalfDown()
    jobs: Any = JobStore(store, StoreSettings(), 4)  # type: ignore[arg-type]
    side = SideWrites(jobs, SimpleNamespace(data_ttl_s=60))  # type: ignore[arg-type]
    side.tenants([("acme", "j", False, False)])
    with pytest.raises(Unavailable):
        asyncio.run(side.flush())
    asyncio.run(side.flush())
    assert [command[0] for command in store.sent[1]] == ["ZREM", "ZREM"]
