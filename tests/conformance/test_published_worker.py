"""Workers and clients written with the published `cap-sdk-python`, unchanged (protocol spec §11, §24)."""

from pathlib import Path

import httpx
import pytest
from cap.client import submit_job

from cordum.protocol.cap import JobRequest
from cordum.store.blobs import BlobStore
from tests.conformance.conftest import POLICY, Ended, Submit
from tests.support.observer import connect
from tests.support.processes import wait_until
from tests.support.stack import Stack, StackOptions, running_stack

pytestmark = pytest.mark.slow


async def test_an_agent_with_nothing_but_defaults_completes_a_job_of_http(
    stack: Stack, submit: Submit, ended: Ended
) -> None:
    worker = await stack.worker("job.default", heartbeat_s=None)
    job_id = await submit(context={"n": 7})
    detail = await ended(job_id)
    assert (detail["state"], detail["result_ptr"]) == ("SUCCEEDED", f"redis://res:{job_id}")
    assert detail["result"]["worker"] == "cap-runtime"
    assert [run.job_id for run in worker.handled()] == [job_id]

    async with stack.store() as jobs:
        # The worker writes without expiry; ours is set with the confirmation of the result.
        async def expires() -> bool:
            return int(await jobs.client.execute("TTL", f"res:{job_id}")) > 0

        await wait_until(expires)


async def test_a_wildcard_handler_gets_the_jobs_of_its_topics(
    stack: Stack, submit: Submit, ended: Ended
) -> None:
    worker = await stack.worker("job.test.wild.*", worker_id="wild-1", pool="wild")
    ids = [await submit(topic=f"job.test.wild.{name}") for name in ("one", "two")]
    assert [(await ended(job_id))["state"] for job_id in ids] == ["SUCCEEDED", "SUCCEEDED"]
    assert {run.topic for run in worker.handled()} == {"job.test.wild.one", "job.test.wild.two"}


async def test_a_worker_id_with_dots_is_as_good_as_any(stack: Stack, submit: Submit, ended: Ended) -> None:
    await stack.worker("job.test.dots", worker_id="host.example.w-1", pool="dots")
    detail = await ended(await submit(topic="job.test.dots"))
    assert (detail["state"], detail["result"]["worker"]) == ("SUCCEEDED", "host.example.w-1")


async def test_two_workers_share_the_jobs_of_a_pool(stack: Stack, submit: Submit, ended: Ended) -> None:
    names = ("shared-1", "shared-2")
    workers = [
        await stack.worker("job.test.shared", worker_id=name, pool="shared", parallel=8) for name in names
    ]
    await stack.wait_worker_known(*names)
    ids = [await submit(topic="job.test.shared") for _ in range(30)]
    assert {(await ended(job_id))["state"] for job_id in ids} == {"SUCCEEDED"}
    runs = [[run.job_id for run in worker.handled()] for worker in workers]
    assert all(runs)
    assert sorted(runs[0] + runs[1]) == sorted(ids)


async def test_a_job_goes_only_to_the_worker_that_announced_its_topic(
    stack: Stack, submit: Submit, ended: Ended
) -> None:
    first = await stack.worker("job.test.partial.a", worker_id="partial-a", pool="partial", parallel=9)
    second = await stack.worker("job.test.partial.b", worker_id="partial-b", pool="partial", parallel=9)
    await stack.wait_worker_known("partial-a", "partial-b")
    ids = [await submit(topic=f"job.test.partial.{letter}") for letter in "aabbab"]
    assert {(await ended(job_id))["state"] for job_id in ids} == {"SUCCEEDED"}
    assert {run.topic for run in first.handled()} == {"job.test.partial.a"}
    assert {run.topic for run in second.handled()} == {"job.test.partial.b"}


async def test_a_failing_handler_fails_the_job_and_leaves_a_dead_letter(
    stack: Stack, submit: Submit, ended: Ended, http: httpx.AsyncClient
) -> None:
    await stack.worker("job.test.failing", worker_id="failing-1", pool="failing", fail=True)
    job_id = await submit(topic="job.test.failing")
    detail = await ended(job_id)
    assert (detail["state"], detail["failure_reason"]) == ("FAILED", "handler failed")

    async def is_listed() -> bool:
        letters = (await http.get("/dlq")).json()["items"]
        return job_id in {letter["job_id"] for letter in letters}

    # A tenant's list follows the commit of the job.
    await wait_until(is_listed)


async def test_a_job_of_the_sdk_client_on_the_bus_runs_like_any_other(stack: Stack, ended: Ended) -> None:
    await stack.worker("job.test.client", worker_id="client-1", pool="client")
    client = await connect(stack.nats.url)
    async with stack.store() as jobs:
        pointer = await BlobStore(jobs.client, 600).set_context("bus-job-1", b'{"n": 1}')
    request = JobRequest(job_id="bus-job-1", topic="job.test.client", context_ptr=pointer)
    await submit_job(client, request, "trace-1", "a-client")
    detail = await ended("bus-job-1")
    await client.close()
    assert (detail["state"], detail["tenant"], detail["trace_id"]) == ("SUCCEEDED", "default", "trace-1")
    assert detail["result"]["echo"] == {"n": 1}


async def test_idle_workers_stay_schedulable_over_ttls_and_a_scheduler_restart_when_readiness_is_required(
    tmp_path: Path,
) -> None:
    ttl_s = 2
    options = StackOptions(
        policy=POLICY,
        topics={"job.test.ready": "ready"},
        environment={
            "WORKER_READINESS_REQUIRED": "true",
            "WORKER_READINESS_TTL": f"{ttl_s}s",
            "SCHEDULER_WORKER_TTL": f"{ttl_s}s",
        },
    )
    async with running_stack(tmp_path, options) as stack, stack.http() as http:

        async def completes() -> None:
            body = {"prompt": "again", "topic": "job.test.ready"}
            job_id = (await http.post("/jobs", json=body)).json()["job_id"]

            async def succeeded() -> bool:
                return bool((await http.get(f"/jobs/{job_id}")).json().get("state") == "SUCCEEDED")

            await wait_until(succeeded)

        await stack.worker("job.test.ready", worker_id="ready-1", pool="ready")
        await completes()
        beats = await _heartbeats(stack, int(ttl_s * 2 / 0.5) + 1)
        assert beats, "the worker was idle for more than both limits"
        await completes()
        stack.schedulers[0].terminate()
        await stack.schedulers[0].start()
        await completes()
        stack.schedulers[0].kill()
        async with stack.store() as jobs:
            await jobs.client.execute("DEL", "sys:workers:snapshot")
        await stack.schedulers[0].start()
        await completes()


async def _heartbeats(stack: Stack, count: int) -> int:
    """Return after so many heartbeats of the worker."""
    client = await connect(stack.nats.url)
    subscription = await client.subscribe("sys.heartbeat")
    for _ in range(count):
        await subscription.next_msg(timeout=5)
    await client.close()
    return count
