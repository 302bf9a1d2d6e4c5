"""Outcomes that could not be told (scheduler spec §13, §26)."""

from collections.abc import Sequence

import orjson
from prometheus_client import REGISTRY

from cordum._core import Planner
from cordum.bus.connection import Bus
from cordum.bus.messages import OutMessage, PubOutcome
from cordum.bus.publisher import Publisher
from cordum.config.redis import StoreSettings
from cordum.runtime.clock import now_us
from cordum.scheduler.duties import Duties
from cordum.scheduler.side_writes import SideWrites
from cordum.store.blobs import BlobStore
from cordum.store.connection import RedisClient
from cordum.store.dlq import DeadLetterStore
from cordum.store.jobs import JobStore


class Refusing(Publisher):
    """A publisher whose stream takes nothing."""

    async def publish_burst(
        self, messages: Sequence[OutMessage], *, atomic: bool = False
    ) -> list[PubOutcome]:
        """Refuse all messages."""
        return [PubOutcome(False, kind="refused") for _ in messages]


def _unsent(topic: str) -> float:
    return REGISTRY.get_sample_value("cordum_dlq_emit_failures_total", {"topic": topic}) or 0.0


async def test_an_unsent_dead_letter_event_is_counted_for_its_topic_and_stays_due(
    redis_client: RedisClient, bus: Bus
) -> None:
    jobs = await JobStore.open(redis_client, StoreSettings(partitions=4))
    planner = Planner("s-1", jobs.partitions)
    planner.configure(orjson.dumps({"topics": {"job.a": ["p"]}}))
    side = SideWrites(jobs, BlobStore(redis_client, 60))
    duties = Duties(planner, jobs, DeadLetterStore(jobs), bus, Refusing(bus), side)
    letter = {"status": "JOB_STATUS_FAILED", "reason": "r", "reason_code": "c", "created_at": "t"}
    for job_id, topic in (("known", "job.a"), ("foreign", "job.b")):
        change = {"id": job_id, "from": [""], "to": "FAILED", "set": {"topic": topic, "tenant": "acme"}}
        owed = {"dlq": letter, "after": ["result", "dlq"]}
        await jobs.change("job_create", {**change, **owed}, now_us=now_us())
    before = [_unsent("job.a"), _unsent("other")]
    await duties.perform(["known", "foreign"])
    assert [_unsent("job.a"), _unsent("other")] == [number + 1 for number in before]
    assert [record and record["after"] for record in await jobs.get_many(["known", "foreign"])] == [
        "result,dlq",
        "result,dlq",
    ]
