"""What was planted in withheld results is shown by no route, stream, command, event or log (output policy §17.8)."""

import asyncio
import json
import os
import re
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import nats
import orjson
import pytest
from nats.aio.msg import Msg
from websockets.asyncio.client import connect

from cordum.protocol import subjects
from cordum.protocol.cap import JobStatus
from cordum.security.permissions import ROLES, is_allowed
from cordum.store.blobs import BlobStore
from cordum.store.connection import RedisClient
from cordum.store.jobs import JobStore, Record
from tests.support.hand_worker import HandWorker
from tests.support.observer import DispatchObserver
from tests.support.processes import wait_until
from tests.support.routes import PROBES, SOCKETS
from tests.support.stack import API_KEY, APPROVER_KEY, POLICY, Stack, StackOptions, running_stack

pytestmark = [pytest.mark.faults, pytest.mark.slow, pytest.mark.timeout(400)]

# Put together here, so that the repository holds no token.
SECRET = "AKIA" + "7QJ5X2MZ4KVB6TNE"
ADDRESS = "rosalind.planted" + "@example.com"
TOPIC = "job.test.echo"
RULES = """\
output_policy: {enabled: true, fail_mode: closed}
output_rules:
  - {id: stop, match: {topics: ["job.*"], scanners: [secret]}, decision: quarantine, reason: a secret}
  - {id: mask, match: {topics: ["job.*"], scanners: [pii]}, decision: redact}
  - {id: errors, match: {has_error: true, scanners: [secret]}, decision: quarantine}
"""
# Everybody who may read jobs and has no business with quarantine.
READERS = {
    role: role[0] * 64
    for role in ROLES
    if is_allowed(role, "jobs.read") and not is_allowed(role, "dlq.write") and role != "anonymous"
}
KEYS = [
    {"key": API_KEY, "tenant": "default", "role": "admin", "principal_id": "admin"},
    {"key": APPROVER_KEY, "tenant": "default", "role": "operator", "principal_id": "approver"},
    *({"key": key, "tenant": "default", "role": role, "principal_id": role} for role, key in READERS.items()),
]
COMMANDS = (
    ("job", "get", "{job}"),
    ("job", "status", "{job}"),
    ("job", "list"),
    ("dlq", "list"),
    ("dlq", "show", "{job}"),
)


def options() -> StackOptions:
    return StackOptions(
        policy=POLICY + RULES,
        environment={
            "OUTPUT_POLICY_ENABLED": "true",
            "OUTPUT_POLICY_FAIL_MODE": "closed",
            "OUTPUT_POLICY_INLINE_MAX_BYTES": "4096",
            "CORDUM_API_KEYS": orjson.dumps(KEYS).decode(),
            "CORDUM_LOG_LEVEL": "debug",
        },
    )


@asynccontextmanager
async def listening(stack: Stack, key: str, path: str) -> AsyncIterator[tuple[list[str], list[str]]]:
    """Collect what both framings of a live stream say for the length of the block."""
    events: list[str] = []
    frames: list[str] = []
    ready = [asyncio.Event(), asyncio.Event()]

    async def listen() -> None:
        headers = {"X-API-Key": key, "Accept": "text/event-stream"}
        async with (
            httpx.AsyncClient(timeout=120) as client,
            client.stream("GET", stack.http_url + path, headers=headers) as answer,
        ):
            assert answer.status_code == 200
            ready[0].set()
            async for line in answer.aiter_lines():
                events.append(line)

    async def watch() -> None:
        url = stack.http_url.replace("http", "ws", 1) + path
        async with connect(url, additional_headers={"X-API-Key": key}) as socket:
            ready[1].set()
            async for frame in socket:
                frames.append(str(frame))

    async with asyncio.TaskGroup() as group:
        listeners = [group.create_task(listen()), group.create_task(watch())]
        for one in ready:
            await one.wait()
        yield events, frames
        for listener in listeners:
            listener.cancel()


@asynccontextmanager
async def overhearing(stack: Stack) -> AsyncIterator[list[tuple[str, bytes]]]:
    """Collect every message on the bus but the reports of the worker itself."""
    heard: list[tuple[str, bytes]] = []

    async def hear(message: Msg) -> None:
        if not message.subject.endswith(subjects.RESULT):
            heard.append((message.subject, message.data))

    client = await nats.connect(stack.nats.url)
    try:
        await client.subscribe(">", cb=hear)
        await client.flush()
        yield heard
    finally:
        await client.close()


async def get_routes(
    http: httpx.AsyncClient, root_url: str, record: Record
) -> list[tuple[str, dict[str, str]]]:
    """Return every GET route of the gateway and its query, filled with what names this job."""
    paths = (await http.get(f"{root_url}/openapi.json")).json()["paths"]
    names = {
        **dict.fromkeys(("ptr", "pointer", "result_ptr"), f"redis://res:{record['id']}"),
        **dict.fromkeys(("trace_id", "trace"), record["trace_id"]),
        "key": f"res:{record['id']}",
        "job_id": record["id"],
        "state": record["state"],
    }
    found: list[tuple[str, dict[str, str]]] = [(root_url + path, {}) for path in sorted(PROBES)]
    for path, methods in paths.items():
        if "get" not in methods or path in SOCKETS:
            continue
        filled = re.sub(r"\{(\w+)[^}]*\}", lambda match: names.get(match[1], record["id"]), path)
        given = {one["name"] for one in methods["get"].get("parameters", ()) if one["in"] == "query"}
        found.append((root_url + filled, {}))
        if query := {name: names[name] for name in sorted(given & names.keys())}:
            found.append((root_url + filled, query))
    return found


async def everything_shown(stack: Stack, record: Record) -> dict[str, str]:
    """Return what readers get from every route and command, and what the metrics say."""
    shown: dict[str, str] = {}
    for role, key in READERS.items():
        async with stack.http(key) as reader:
            for route, query in await get_routes(reader, stack.http_url, record):
                shown[f"{role} {route} {query}"] = (await reader.get(route, params=query)).text
    for command in COMMANDS:
        arguments = [word.format(job=record["id"]) for word in command]
        shown[" ".join(arguments)] = await run_command(stack, arguments)
    async with httpx.AsyncClient(timeout=10) as client:
        for service in stack.services:
            url = service.ready_url.rsplit("/", 1)[0] + "/metrics"
            shown[f"{service.name} metrics"] = (await client.get(url)).text
    return shown


async def run_command(stack: Stack, arguments: list[str]) -> str:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("CORDUM_")}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "cordum.cli.main", *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={**inherited, "CORDUM_GATEWAY": stack.http_url, "CORDUM_API_KEY": READERS["viewer"]},
    )
    out, _ = await process.communicate()
    assert b"No such command" not in out, out.decode()
    return out.decode()


async def everything_stored(client: RedisClient) -> dict[str, bytes]:
    """Return every key of the store with all it holds."""
    stored: dict[str, bytes] = {}
    for key in await client.execute("KEYS", "*"):
        kind = (await client.execute("TYPE", key)).decode()
        read: dict[str, tuple[Any, ...]] = {
            "string": ("GET", key),
            "hash": ("HGETALL", key),
            "list": ("LRANGE", key, 0, -1),
            "set": ("SMEMBERS", key),
            "zset": ("ZRANGE", key, 0, -1),
            "stream": ("XRANGE", key, "-", "+"),
        }
        stored[key.decode()] = repr(await client.execute(*read[kind])).encode()
    return stored


async def ended(jobs: JobStore, job_id: str, state: str) -> Record:
    found: Record = {}

    async def is_over() -> bool:
        found.clear()
        found.update(await jobs.get(job_id) or {})
        return found.get("state") == state and not found.get("after")

    await wait_until(is_over, timeout_s=30)
    return found


async def test_what_was_planted_in_withheld_results_is_nowhere(tmp_path: Path) -> None:
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
        async with (
            AsyncExitStack() as streams,
            listening(stack, READERS["viewer"], "/api/v1/stream") as (events, frames),
            overhearing(stack) as told,
            stack.http() as admin,
        ):
            planted = []
            for text in (SECRET, ADDRESS, SECRET, SECRET):
                answer = await admin.post("/jobs", json={"topic": TOPIC, "prompt": "go"})
                planted.append((str(answer.json()["job_id"]), text))
            of_jobs: list[list[str]] = []
            for job_id, _ in planted:
                path = f"/api/v1/jobs/{job_id}/stream"
                of_jobs += await streams.enter_async_context(listening(stack, READERS["viewer"], path))
            await observer.reach(4)
            dispatches = {seen.job_id: seen.dispatch_id for seen in observer.dispatches}
            # Scanned only after its job succeeded.
            large_id, _ = planted.pop()
            large = json.dumps({"padding": "- " * 4096, "note": f"here is {SECRET}"})
            await blobs.set_result(large_id, large.encode())
            await worker.report(large_id, JobStatus.JOB_STATUS_SUCCEEDED, dispatch_id=dispatches[large_id])
            failed_id, _ = planted.pop()
            await worker.report(
                failed_id,
                JobStatus.JOB_STATUS_FAILED,
                dispatch_id=dispatches[failed_id],
                error_message=f"login with {SECRET} and {ADDRESS} refused",
            )
            for job_id, text in planted:
                await blobs.set_result(job_id, json.dumps({"note": f"here is {text}"}).encode())
                await worker.report(
                    job_id,
                    JobStatus.JOB_STATUS_SUCCEEDED,
                    dispatch_id=dispatches[job_id],
                    error_message=f"warning: {text}",
                )
            (secret_id, _), (masked_id, _) = planted
            records = [
                await ended(jobs, secret_id, "OUTPUT_QUARANTINED"),
                await ended(jobs, masked_id, "SUCCEEDED"),
                await ended(jobs, failed_id, "FAILED"),
                await ended(jobs, large_id, "OUTPUT_QUARANTINED"),
            ]
            for heard in (events, frames):
                await wait_until(
                    lambda heard=heard: any(secret_id in line and "jobResult" in line for line in heard),
                    timeout_s=10,
                )
            shown: dict[str, str] = {}
            for record in records:
                shown |= await everything_shown(stack, record)
            stored = await everything_stored(jobs.client)
        await client.close()
        logs = {service.name: service.tail(10_000_000) for service in stack.services}
    assert len(shown) >= 100
    assert all(any("OUTPUT_QUARANTINED" in line for line in heard) for heard in of_jobs[:1])
    assert any("OUTPUT_QUARANTINED" in text for text in shown.values())
    assert any("login with [REDACTED] and [REDACTED] refused" in text for text in shown.values())
    # The masked copy is there to be read.
    assert any("[REDACTED]" in text for text in shown.values())
    for text in (SECRET, ADDRESS):
        assert [route for route, body in shown.items() if text in body] == []
        lines = [line for heard in (events, frames, *of_jobs) for line in heard]
        assert [line for line in lines if text in line] == []
        assert [subject for subject, body in told if text.encode() in body] == []
        assert [name for name, log in logs.items() if text in log] == []
    held = {key for key, body in stored.items() if SECRET.encode() in body or ADDRESS.encode() in body}
    assert held == {f"res:{secret_id}", f"res:{masked_id}", f"res:{large_id}"}
