"""A secret in a quarantined result is shown by no route, stream or log (output policy spec §17.8)."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import nats
import orjson
import pytest

from cordum.protocol.cap import JobStatus
from cordum.store.blobs import BlobStore
from cordum.store.jobs import Record
from tests.support.hand_worker import HandWorker
from tests.support.observer import DispatchObserver
from tests.support.processes import wait_until
from tests.support.stack import API_KEY, APPROVER_KEY, POLICY, Stack, StackOptions, running_stack

pytestmark = [pytest.mark.faults, pytest.mark.slow, pytest.mark.timeout(180)]

# Put together here, so that the repository holds no token.
SECRET = "AKIA" + "7QJ5X2MZ4KVB6TNE"
TOPIC = "job.test.echo"
VIEWER_KEY = "v" * 64
RULES = """\
output_policy: {enabled: true, fail_mode: closed}
output_rules:
  - {id: stop, match: {topics: ["job.*"], scanners: [secret]}, decision: quarantine, reason: a secret}
"""
KEYS = [
    {"key": API_KEY, "tenant": "default", "role": "admin", "principal_id": "admin"},
    {"key": APPROVER_KEY, "tenant": "default", "role": "operator", "principal_id": "approver"},
    {"key": VIEWER_KEY, "tenant": "default", "role": "viewer", "principal_id": "viewer"},
]


def options() -> StackOptions:
    return StackOptions(
        policy=POLICY + RULES,
        environment={
            "OUTPUT_POLICY_ENABLED": "true",
            "OUTPUT_POLICY_FAIL_MODE": "closed",
            "CORDUM_API_KEYS": orjson.dumps(KEYS).decode(),
            "CORDUM_LOG_LEVEL": "debug",
        },
    )


@asynccontextmanager
async def listening(stack: Stack, key: str) -> AsyncIterator[list[str]]:
    """Collect everything the live stream says for the length of the block."""
    heard: list[str] = []
    ready = asyncio.Event()

    async def listen() -> None:
        headers = {"X-API-Key": key, "Accept": "text/event-stream"}
        async with (
            httpx.AsyncClient(timeout=120) as client,
            client.stream("GET", f"{stack.http_url}/api/v1/stream", headers=headers) as answer,
        ):
            assert answer.status_code == 200
            ready.set()
            async for line in answer.aiter_lines():
                heard.append(line)

    async with asyncio.TaskGroup() as group:
        listener = group.create_task(listen())
        await ready.wait()
        yield heard
        listener.cancel()


async def get_routes(http: httpx.AsyncClient, root_url: str, record: Record) -> list[str]:
    """Return every GET route of the gateway, filled with what names this job."""
    paths = (await http.get(f"{root_url}/openapi.json")).json()["paths"]
    values = {"job_id": record["id"], "trace_id": record["trace_id"]}
    found = []
    for path, methods in paths.items():
        if "get" in methods and not path.endswith("/stream"):
            filled = re.sub(r"\{(\w+)[^}]*\}", lambda match: values.get(match[1], record["id"]), path)
            found.append(filled.removeprefix("/api/v1"))
    return found


async def test_a_planted_secret_is_nowhere_after_its_quarantine(tmp_path: Path) -> None:
    observer = DispatchObserver()
    async with (
        running_stack(tmp_path, options()) as stack,
        stack.store() as jobs,
        observer.watching(stack.nats.url),
    ):
        blobs = BlobStore(jobs.client, 600)
        client = await nats.connect(stack.nats.url)
        worker = HandWorker(client, blobs, "hand", "test")
        await worker.announce(TOPIC)
        await stack.wait_worker_known("hand")
        async with listening(stack, VIEWER_KEY) as heard, stack.http() as admin:
            job_id = str((await admin.post("/jobs", json={"topic": TOPIC, "prompt": "go"})).json()["job_id"])
            await observer.reach(1)
            await blobs.set_result(job_id, json.dumps({"note": f"the key is {SECRET}"}).encode())
            await worker.report(
                job_id, JobStatus.JOB_STATUS_SUCCEEDED, dispatch_id=observer.dispatches[0].dispatch_id
            )

            async def is_over() -> bool:
                record = await jobs.get(job_id)
                return (
                    record is not None and record["state"] == "OUTPUT_QUARANTINED" and not record.get("after")
                )

            await wait_until(is_over, timeout_s=30)
            await wait_until(
                lambda: any(job_id in line and "jobResult" in line for line in heard), timeout_s=10
            )
            record = await jobs.get(job_id)
            assert record is not None
            shown = await _everything_shown(stack, record)
            assert len(shown) >= 20
            assert any("OUTPUT_QUARANTINED" in text for text in shown.values())
            leaks = [route for route, text in shown.items() if SECRET in text]
        await client.close()
        logs = {service.name: service.tail(10_000_000) for service in stack.services}
    assert leaks == []
    assert [line for line in heard if SECRET in line] == []
    assert [name for name, text in logs.items() if SECRET in text] == []
    assert SECRET not in json.dumps(record)


async def _everything_shown(stack: Stack, record: Record) -> dict[str, str]:
    """Return what a viewer gets from every route."""
    shown: dict[str, str] = {}
    async with stack.http(VIEWER_KEY) as viewer:
        for route in await get_routes(viewer, stack.http_url, record):
            answer = await viewer.get(
                route, params={"state": "OUTPUT_QUARANTINED"} if route == "/jobs" else None
            )
            shown[route] = answer.text
    return shown
