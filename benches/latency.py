"""Latency of an idle system: one submit at a time, over HTTP or on the bus, until a worker gets the job."""

import argparse
import asyncio

import uvloop

from benches.driver import create, open_jobs
from benches.helpers import report, wait_for_go
from benches.httpwire import HttpWire, post
from benches.jobs import PAYLOAD_BYTES, make_job, submit_body
from benches.natswire import NatsWire
from cordum.protocol import subjects
from cordum.runtime.clock import monotonic_s

_LIMIT_S = 10.0


class Probe:
    """The three moments of one job as this process sees them."""

    def __init__(self) -> None:
        self.answered_s = self.received_s = 0.0
        self.status = 0
        self._missing = 0
        self.done = asyncio.Event()

    def begin(self, moments: int = 3) -> None:
        """Forget the last job; the next one is over after so many moments."""
        self._missing = moments
        self.done.clear()

    def on_message(self, subject: str, _payload: bytes) -> bytes:
        """Note the dispatch, or that the outcome is committed."""
        if subject != subjects.ACCEPTED:
            self.received_s = monotonic_s()
        self._seen()
        return b""

    def on_answer(self, _wire: HttpWire, status: int) -> None:
        """Note the HTTP answer."""
        self.answered_s, self.status = monotonic_s(), status
        self._seen()

    def _seen(self) -> None:
        self._missing -= 1
        if self._missing == 0:
            self.done.set()


async def measure(options: argparse.Namespace) -> None:
    """Report the milliseconds of every submit of a round: until the answer, until the dispatch arrives."""
    probe = Probe()
    await NatsWire.open(options.nats_port, ("worker.*.jobs", "job.>", subjects.ACCEPTED), probe.on_message)
    wire = await HttpWire.open(options.port, probe.on_answer)
    report(connected=True)
    for _ in range(options.rounds):
        wait_for_go()
        answered, received = [], []
        for number in range(options.requests):
            request = post("/api/v1/jobs", submit_body(number, PAYLOAD_BYTES), {"X-API-Key": options.api_key})
            probe.begin()
            sent_s = monotonic_s()
            wire.send(request)
            async with asyncio.timeout(_LIMIT_S):
                await probe.done.wait()
            if probe.status >= 300:
                raise SystemExit(f"the gateway answered {probe.status}")
            answered.append((probe.answered_s - sent_s) * 1e3)
            received.append((probe.received_s - sent_s) * 1e3)
        report(answered_ms=answered, received_ms=received)


async def measure_bus(options: argparse.Namespace) -> None:
    """Report the milliseconds from every submit message of a round to its dispatch message.

    With a store the records exist before, as those of the gateway do; else the scheduler makes them.
    """
    probe = Probe()
    jobs = await open_jobs(options.redis_url) if options.redis_url else None
    watched = ("worker.*.jobs", "job.>", subjects.ACCEPTED)
    wire = await NatsWire.open(options.nats_port, watched, probe.on_message)
    report(connected=True)
    for _ in range(options.rounds):
        wait_for_go()
        received = []
        for number in range(options.requests):
            job = make_job(number, PAYLOAD_BYTES, "bench")
            if jobs is not None:
                await create(jobs, [job])
            probe.begin(2)
            sent_s = monotonic_s()
            wire.send(NatsWire.frame(subjects.SUBMIT, job.packet))
            async with asyncio.timeout(_LIMIT_S):
                await probe.done.wait()
            received.append((probe.received_s - sent_s) * 1e3)
        report(received_ms=received)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="of the gateway; without one the bus is used")
    parser.add_argument("--redis-url", default="", help="where the records are made beforehand")
    parser.add_argument("--nats-port", type=int, required=True)
    parser.add_argument("--api-key", default="")
    parser.add_argument("--requests", type=int, required=True, help="per round")
    parser.add_argument("--rounds", type=int, required=True)
    parsed = parser.parse_args()
    uvloop.run((measure if parsed.port else measure_bus)(parsed))
