"""Puts jobs into the system without the gateway: creates their records, then submits them when told to."""

import argparse
from collections.abc import Iterator, Sequence

import uvloop

from benches.helpers import cpu_s, report, wait_for_go
from benches.jobs import TENANT, Job, make_job
from cordum.bus.connection import Bus
from cordum.bus.messages import OutMessage
from cordum.bus.publisher import Publisher
from cordum.bus.streams import ensure_streams
from cordum.config.nats import NatsSettings
from cordum.config.redis import RedisSettings, StoreSettings
from cordum.protocol import subjects
from cordum.runtime.clock import monotonic_s, now_us
from cordum.store import keys
from cordum.store.connection import RedisClient
from cordum.store.job_sets import recent_commands, tenant_commands
from cordum.store.jobs import JobStore

BATCH = 256
PARKED_TENANT = "parked"
_PARKED_S = 24 * 3_600
_PATIENCE_S = 60.0


def batches(jobs: Sequence[Job]) -> Iterator[Sequence[Job]]:
    """Return the jobs in groups of `BATCH`."""
    return (jobs[start : start + BATCH] for start in range(0, len(jobs), BATCH))


async def create(jobs: JobStore, batch: Sequence[Job], tenant: str = TENANT) -> None:
    """Create the records of one batch as the gateway does, tenant sets in the same step."""
    groups: dict[int, list[bytes]] = {}
    for job in batch:
        groups.setdefault(jobs.partition(job.job_id), []).append(jobs.pack(job.transition))
    now = now_us()
    extra = [
        *tenant_commands((tenant, job.job_id, now, True, False) for job in batch),
        *recent_commands(
            ((tenant, job.job_id, now) for job in batch), recent_max=jobs.settings.job_recent_max
        ),
    ]
    for group in await jobs.apply("job_create", list(groups.items()), extra, now_us=now):
        for reply in group:
            if reply[0] != b"moved":
                raise SystemExit(f"a job was not created: {reply!r}")


async def store_payloads(jobs: JobStore, batch: Sequence[Job], size_bytes: int) -> None:
    """Write the context document of every job of the batch."""
    text, ttl_s = b"x" * size_bytes, jobs.settings.data_ttl_s
    await jobs.client.pipeline([("SET", keys.context_blob(job.job_id), text, "EX", ttl_s) for job in batch])


async def submit(publisher: Publisher, batch: Sequence[Job]) -> None:
    """Publish one batch of submits with the message ids the gateway uses."""
    outcomes = await publisher.publish_burst(
        [OutMessage(subjects.SUBMIT, job.packet, f"jobreq:{job.job_id}") for job in batch], atomic=True
    )
    if not all(outcome.ok for outcome in outcomes):
        raise SystemExit("a submit was not confirmed")


async def park(store: JobStore, number: int) -> None:
    """Create records of jobs that wait for a worker until long after the run."""
    retry = now_us() + _PARKED_S * 1_000_000
    for start in range(0, number, BATCH):
        batch = [make_job(place, 0) for place in range(start, min(start + BATCH, number))]
        for job in batch:
            job.transition["set"] |= {"tenant": PARKED_TENANT, "last_cause": "no_workers"}
            job.transition.update(retry=retry, wait=["bench-none"])
        await create(store, batch, PARKED_TENANT)
    report(parked=number)


async def open_jobs(redis_url: str) -> JobStore:
    """Return the job repository behind a URL."""
    # While Redis forks to rewrite the log of a million jobs it is silent for seconds.
    client = await RedisClient.open(RedisSettings(url=redis_url, read_timeout_s=_PATIENCE_S))
    return await JobStore.open(client, StoreSettings())


async def drive(options: argparse.Namespace) -> None:
    """Create, store payloads, submit; report after every step and wait for the parent's word before the next."""
    store = await open_jobs(options.redis_url)
    if options.parked:
        await park(store, options.jobs)
        await store.client.close()
        return
    jobs = [make_job(number, options.inline_bytes) for number in range(options.jobs)]
    for batch in batches(jobs):
        await create(store, batch)
    report(created=len(jobs), submit_bytes=len(jobs[0].packet))
    if options.context_bytes:
        wait_for_go()
        for batch in batches(jobs):
            await store_payloads(store, batch, options.context_bytes)
        report(stored=len(jobs))
    if options.nats_url:
        settings = NatsSettings(urls=(options.nats_url,))
        bus = await Bus.open(settings, "bench-driver")
        await ensure_streams(bus, settings)
        publisher = Publisher(bus)
        report(connected=True)
        wait_for_go()
        started_s, used_s = monotonic_s(), cpu_s()
        for batch in batches(jobs):
            await submit(publisher, batch)
        report(seconds=monotonic_s() - started_s, cpu_s=cpu_s() - used_s)
        await bus.close()
    await store.client.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--redis-url", required=True)
    parser.add_argument("--nats-url", default="", help="submit too")
    parser.add_argument("--jobs", type=int, required=True)
    parser.add_argument("--inline-bytes", type=int, default=0, help="payload inside the request")
    parser.add_argument("--context-bytes", type=int, default=0, help="payload in a context document")
    parser.add_argument("--parked", action="store_true", help="only create the records, as jobs that wait")
    uvloop.run(drive(parser.parse_args()))
