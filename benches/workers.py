"""Simulated workers in one process: they announce themselves and answer every job at once."""

import argparse
import asyncio
import signal

import uvloop

from benches.helpers import report
from benches.natswire import NatsWire
from benches.policies import CAPABILITY, pool_name
from cordum.protocol import subjects
from cordum.protocol.cap import BusPacket, Heartbeat, JobResult
from cordum.runtime.clock import now_us

_BEAT_S = 5.0
_SUCCEEDED = 5


def worker_id(number: int) -> str:
    """Return the id of worker ``number``."""
    return f"bench-worker-{number:03d}"


def heartbeats(workers: int) -> bytes:
    """Return the frames of one heartbeat of every worker; none limits its parallel jobs."""
    frames = []
    for number in range(workers):
        beat = Heartbeat(
            worker_id=worker_id(number),
            pool=pool_name(number),
            type="bench",
            capabilities=[CAPABILITY],
            max_parallel_jobs=0,
        )
        packet = BusPacket(trace_id="bench", sender_id=beat.worker_id, protocol_version=1, heartbeat=beat)
        packet.created_at.FromMicroseconds(now_us())
        frames.append(NatsWire.frame(subjects.HEARTBEAT, packet.SerializeToString()))
    return b"".join(frames)


def answer(subject: str, payload: bytes) -> bytes:
    """Return the frame with the successful result of one dispatched job."""
    packet = BusPacket.FromString(payload)
    request = packet.job_request
    result = JobResult(
        job_id=request.job_id,
        status=_SUCCEEDED,
        result_ptr=f"redis://res:{request.job_id}",
        worker_id=request.dispatch.assigned_worker_id or subject.split(".")[1],
        execution_ms=1,
        dispatch=request.dispatch,
    )
    reply = BusPacket(
        trace_id=packet.trace_id,
        sender_id=result.worker_id,
        protocol_version=1,
        created_at=packet.created_at,
        job_result=result,
    )
    return NatsWire.frame(subjects.RESULT, reply.SerializeToString())


async def work(nats_port: int, workers: int) -> None:
    """Answer until SIGTERM."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    wire = await NatsWire.open(nats_port, ("worker.*.jobs", "job.>"), answer)
    wire.send(heartbeats(workers))
    await wire.flush()
    report(ready=True)
    while not stop.is_set() and not wire.failure:
        try:
            async with asyncio.timeout(_BEAT_S):
                await stop.wait()
        except TimeoutError:
            wire.send(heartbeats(workers))
    if wire.failure:
        raise SystemExit(f"nats: {wire.failure}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nats-port", type=int, required=True)
    parser.add_argument("--workers", type=int, default=200)
    options = parser.parse_args()
    uvloop.run(work(options.nats_port, options.workers))
