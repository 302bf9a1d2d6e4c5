"""W3C trace headers go with a job from the request to its dispatch (scheduler spec §8, protocol spec §6)."""

from pathlib import Path
from typing import Any

import pytest

from cordum.bus.messages import trace_context
from cordum.store.blobs import BlobStore
from tests.support.hand_worker import HandWorker
from tests.support.observer import connect
from tests.support.processes import wait_until
from tests.support.stack import StackOptions, running_stack

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
