"""W3C trace headers go with a job from the request to its dispatch (scheduler spec §8, protocol spec §6)."""

from pathlib import Path
from typing import Any

import pytest

from cordum.bus.messages import trace_context, trace_headers, trace_text
from cordum.protocol.cap import BusPacket, JobRequest, JobStatus
from cordum.store.blobs import BlobStore
from tests.support.hand_worker import HandWorker
from tests.support.observer import connect
from tests.support.processes import wait_until
from tests.support.stack import APPROVER_KEY, StackOptions, running_stack

TRACE = {"traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "tracestate": "vendor=1"}


@pytest.mark.parametrize(
    ("parent", "state", "kept"),
    [
        (TRACE["traceparent"], TRACE["tracestate"], TRACE),
        (TRACE["traceparent"], "", {"traceparent": TRACE["traceparent"]}),
        (TRACE["traceparent"], "a=\r\nX: y", {"traceparent": TRACE["traceparent"]}),
        (TRACE["traceparent"] + "\r\nX: y", "", None),
        ("", "vendor=1", None),
    ],
)
def test_only_valid_trace_headers_are_passed_on(parent: str, state: str, kept: dict[str, str] | None) -> None:
    assert trace_context(parent, state) == kept
    assert kept is None or trace_headers(trace_text(kept)) == kept


@pytest.mark.slow
@pytest.mark.timeout(120)
async def test_each_dispatch_carries_the_trace_of_its_own_request(tmp_path: Path) -> None:
    async with running_stack(tmp_path, StackOptions()) as stack, stack.store() as jobs, stack.http() as http:
        client = await connect(stack.nats.url)
        seen: dict[tuple[str, str], dict[str, str]] = {}

        async def note(message: Any) -> None:
            headers = dict(message.headers or {})
            kind, job_id, *_ = headers["Nats-Msg-Id"].split(":")
            seen[kind, job_id] = {name: headers[name] for name in TRACE if name in headers}

        for subject in ("worker.hand.jobs", "sys.job.submit"):
            await client.subscribe(subject, cb=note)
        worker = HandWorker(client, BlobStore(jobs.client, 600), "hand", "test")
        await worker.announce("job.test.echo")
        body = {"topic": "job.test.echo", "prompt": "p"}
        traced = (await http.post("/jobs", json=body, headers=TRACE)).json()["job_id"]
        plain = (await http.post("/jobs", json=body)).json()["job_id"]
        many = (await http.post("/jobs/batch", json={"jobs": [body]}, headers=TRACE)).json()["results"]

        async def dispatched() -> bool:
            states = await jobs.fields([traced, plain, many[0]["job_id"]], ("state",))
            return all(state == b"DISPATCHED" for (state,) in states) and len(seen) == 6

        try:
            await wait_until(dispatched)
            await client.flush()
            wanted = {traced: TRACE, plain: {}, many[0]["job_id"]: TRACE}
            assert seen == {
                (kind, job_id): headers
                for job_id, headers in wanted.items()
                for kind in ("jobreq", "dispatch")
            }
        finally:
            await client.close()


@pytest.mark.slow
@pytest.mark.timeout(120)
async def test_what_waited_or_failed_is_dispatched_with_the_trace_it_came_with(tmp_path: Path) -> None:
    async with running_stack(tmp_path, StackOptions()) as stack, stack.store() as jobs, stack.http() as http:
        client = await connect(stack.nats.url)
        seen: dict[str, list[dict[str, str]]] = {}
        worker = HandWorker(client, BlobStore(jobs.client, 600), "hand", "test")

        async def take(message: Any) -> None:
            headers = dict(message.headers or {})
            dispatch_id = headers["Nats-Msg-Id"].removeprefix("dispatch:")
            job_id, attempt, _ = dispatch_id.split(":")
            carried = {name: headers[name] for name in TRACE if name in headers}
            seen.setdefault(job_id, []).append(carried)
            # The first attempt asks for another one.
            status = (
                JobStatus.JOB_STATUS_FAILED_RETRYABLE if attempt == "1" else JobStatus.JOB_STATUS_SUCCEEDED
            )
            await worker.report(job_id, status, dispatch_id=dispatch_id)

        await client.subscribe("worker.hand.jobs", cb=take)
        headers = [TRACE, {"traceparent": TRACE["traceparent"]}, {}]
        bodies = [{"topic": topic, "prompt": "p"} for topic in ("job.test.echo", "job.test.review")]
        wanted: dict[str, dict[str, str]] = {}
        for body in bodies:
            for trace in headers:
                answer = await http.post("/jobs", json=body, headers=trace)
                wanted[answer.json()["job_id"]] = trace
        request = JobRequest(job_id="of-the-bus", topic="job.test.echo", context_ptr="redis://ctx:of-the-bus")
        packet = BusPacket(trace_id="t", sender_id="somebody", protocol_version=1, job_request=request)
        packet.created_at.GetCurrentTime()
        await client.publish("sys.job.submit", packet.SerializeToString(), headers=TRACE)
        wanted["of-the-bus"] = TRACE
        held = [job_id for job_id in wanted if job_id != "of-the-bus"][3:]

        async def parked() -> bool:
            rows = await jobs.fields(list(wanted), ("state", "last_cause"))
            return [cause for _, cause in rows].count(b"no_workers") == 4

        await wait_until(parked)
        async with stack.http(APPROVER_KEY) as approver:
            for job_id in held:
                answer = await approver.post(f"/approvals/{job_id}/approve", json={})
                assert answer.status_code == 200, answer.text
        await worker.announce("job.test.echo", "job.test.review")

        async def done() -> bool:
            rows = await jobs.fields(list(wanted), ("state",))
            return all(state == b"SUCCEEDED" for (state,) in rows)

        try:
            await wait_until(done)
            assert seen == {job_id: [trace, trace] for job_id, trace in wanted.items()}
            kept = await jobs.fields(list(wanted), ("trace_context",))
            assert [value is not None for (value,) in kept] == [bool(trace) for trace in wanted.values()]
        finally:
            await client.close()
