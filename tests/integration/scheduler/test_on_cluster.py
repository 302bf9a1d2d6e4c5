"""The whole job on a three-primary Redis Cluster: no step may touch two slots (architecture §6)."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import nats
from nats.aio.client import Client
from nats.aio.msg import Msg

from cordum.protocol import subjects
from cordum.protocol.cap import BusPacket, JobResult
from cordum.runtime.clock import now_us
from tests.support.processes import wait_until
from tests.support.redis_servers import RedisServer
from tests.support.stack import APPROVER_KEY, StackOptions, running_stack

_WORKER = "cluster-worker"
_FINAL = {"SUCCEEDED", "FAILED", "DENIED", "CANCELLED", "TIMEOUT"}


@asynccontextmanager
async def _instant_worker(url: str) -> AsyncIterator[None]:
    """A worker without Redis: published workers know single servers only (protocol spec §10)."""
    client = await nats.connect(url)

    async def work(message: Msg) -> None:
        request = BusPacket.FromString(message.data).job_request
        result = JobResult(job_id=request.job_id, status=5, worker_id=_WORKER, dispatch=request.dispatch)
        await _publish(client, subjects.RESULT, job_result=result)

    await client.subscribe(f"worker.{_WORKER}.jobs", cb=work)
    packet = BusPacket(trace_id="t", sender_id=_WORKER, protocol_version=1)
    packet.created_at.FromMicroseconds(now_us())
    packet.heartbeat.worker_id, packet.heartbeat.pool = _WORKER, "test"
    await client.publish(subjects.HEARTBEAT, packet.SerializeToString())
    await client.flush()
    try:
        yield
    finally:
        await client.close()


async def _publish(client: Client, subject: str, **payload: Any) -> None:
    packet = BusPacket(trace_id="t", sender_id=_WORKER, protocol_version=1, **payload)
    packet.created_at.FromMicroseconds(now_us())
    await client.publish(subject, packet.SerializeToString())


async def test_jobs_run_deny_and_wait_for_approval_on_a_cluster(
    tmp_path: Path, redis_cluster_nodes: list[RedisServer]
) -> None:
    addresses = ",".join(f"127.0.0.1:{node.port}" for node in redis_cluster_nodes)
    options = StackOptions(environment={"REDIS_CLUSTER_ADDRESSES": addresses})
    async with (
        running_stack(tmp_path, options) as stack,
        _instant_worker(stack.nats.url),
        stack.http() as http,
    ):
        bodies = [{"topic": "job.test.echo", "prompt": f"p{n}"} for n in range(200)]
        accepted = (await http.post("/jobs/batch", json={"jobs": bodies})).json()["results"]
        denied = await http.post("/jobs", json={"topic": "job.test.denied", "prompt": "p"})
        held = (await http.post("/jobs", json={"topic": "job.test.review", "prompt": "p"})).json()["job_id"]
        async with stack.http(APPROVER_KEY) as approver:
            approved = await approver.post(f"/approvals/{held}/approve")
        ids = [item["job_id"] for item in accepted] + [held]

        async def finished() -> bool:
            states = [(await http.get(f"/jobs/{job_id}")).json()["state"] for job_id in ids[-20:]]
            return all(state in _FINAL for state in states)

        await wait_until(finished, timeout_s=30)
        states = {job_id: (await http.get(f"/jobs/{job_id}")).json()["state"] for job_id in ids}

        assert denied.status_code == 403
        assert approved.status_code == 200
        assert set(states.values()) == {"SUCCEEDED"}
        logs = "".join(service.tail(200_000) for service in stack.services)
        assert "CROSSSLOT" not in logs
        listed = (await http.get("/jobs", params={"limit": 500})).json()["items"]
        assert {item["id"] for item in listed} >= set(ids)
