"""Published workers where sessions decide which of them live (protocol spec §15.3, §15.4)."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from tests.support.processes import wait_until
from tests.support.stack import Stack, StackOptions, running_stack
from tests.support.trust_keys import TrustKeys
from tests.support.trusting_agent import enrol, make_agent, started, trust_config

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

P256 = ec.SECP256R1()
SILENT_S = 3_600.0
"""Interval of heartbeats that never come: the first one is sent after it."""


@asynccontextmanager
async def system(
    folder: Path, heartbeats: str, server: str = "warn"
) -> AsyncIterator[tuple[Stack, TrustKeys]]:
    keys = TrustKeys.make(folder / "keys")
    environment = {
        **keys.environment(server),
        "CORDUM_HEARTBEAT_MODE": heartbeats,
        "SCHEDULER_WORKER_TTL": "1s",
        "WORKER_SNAPSHOT_INTERVAL": "200ms",
    }
    async with running_stack(folder, StackOptions(environment=environment)) as stack:
        yield stack, keys


async def submit(http: httpx.AsyncClient) -> str:
    answer = await http.post("/jobs", json={"prompt": "p", "topic": "job.test.echo"})
    assert answer.status_code == 200, answer.text
    return str(answer.json()["job_id"])


async def succeeds(http: httpx.AsyncClient, job_id: str) -> None:
    async def done() -> bool:
        return bool((await http.get(f"/jobs/{job_id}")).json()["state"] == "SUCCEEDED")

    await wait_until(done, timeout_s=40, interval_s=0.05)


async def parks(stack: Stack, more_than: float = 0.0) -> None:
    async def parked() -> bool:
        name = "cordum_scheduler_parks_total"
        return await stack.schedulers[0].metric(name, cause="no_workers") > more_than

    await wait_until(parked)


async def events(http: httpx.AsyncClient, kind: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await http.get("/audit/events", params={"event_type": kind})).json()[
        "items"
    ]
    return found


async def goes_silent(stack: Stack, http: httpx.AsyncClient, worker_id: str) -> None:
    """Wait until the worker was not heard for its time to live."""

    async def silent() -> bool:
        shown = (await http.get(f"/workers/{worker_id}")).json()
        return float(shown.get("heartbeat_age_seconds", 0)) > 1.5

    await stack.wait_worker_known(worker_id)
    await wait_until(silent)


@pytest.mark.parametrize("heartbeats", ["warn", "telemetry"])
async def test_a_worker_without_a_session_is_shown_and_gets_nothing(tmp_path: Path, heartbeats: str) -> None:
    async with system(tmp_path, heartbeats) as (stack, keys), stack.http() as http:
        plain, got_by_plain = make_agent(stack, None, "off")
        async with started(plain):
            await stack.wait_worker_known("plain")
            job_id = await submit(http)
            await parks(stack)
            shown = (await http.get("/workers/plain")).json()
            assert (shown["session_state"], shown["online"]) == ("no_session", True)
            key = ec.generate_private_key(P256)
            await enrol(stack, "w-1", key)
            agent, handled = make_agent(stack, trust_config(keys, "w-1", key), "enforce")
            async with started(agent):
                await succeeds(http, job_id)
            assert (handled, got_by_plain) == ([job_id], [])
            # Its handshake and all its heartbeats lacked the session, which is told once an hour.
            log = stack.schedulers[0].log_path.read_text()
            told = [line for line in log.splitlines() if "packet without session" in line]
            assert len([line for line in told if "plain" in line]) == 1

            async def told_of() -> list[tuple[str, str]]:
                found = await events(http, "heartbeat_disagreement")
                about = [one for one in found if one["extra"]["worker_id"] == "plain"]
                return [(one["action"], one["severity"]) for one in about]

            if heartbeats == "warn":
                # Sessions and heartbeats are compared once a second.
                await wait_until(told_of)
            expected = [("session_blocks_heartbeat_allows", "MEDIUM")] if heartbeats == "warn" else []
            assert await told_of() == expected


async def test_where_heartbeats_decide_the_session_of_a_silent_worker_is_not_enough(tmp_path: Path) -> None:
    async with system(tmp_path, "authority") as (stack, keys), stack.http() as http:
        key = ec.generate_private_key(P256)
        await enrol(stack, "w-1", key)
        config = trust_config(keys, "w-1", key)
        agent, handled = make_agent(stack, config, "enforce", heartbeat_interval=SILENT_S)
        async with started(agent):
            await stack.wait_worker_known("w-1")

            async def gone() -> bool:
                return (await http.get("/workers/w-1")).status_code == 404

            await wait_until(gone)
            await submit(http)
            await parks(stack)
            assert handled == []


@pytest.mark.parametrize(("heartbeats", "server"), [("warn", "warn"), ("telemetry", "enforce")])
async def test_a_live_session_is_enough_also_after_a_restart_and_until_it_is_revoked(
    tmp_path: Path, heartbeats: str, server: str
) -> None:
    async with system(tmp_path, heartbeats, server) as (stack, keys), stack.http() as http:
        (scheduler,) = stack.schedulers
        key = ec.generate_private_key(P256)
        await enrol(stack, "w-1", key)
        config = trust_config(keys, "w-1", key)
        agent, handled = make_agent(stack, config, "enforce", heartbeat_interval=SILENT_S)
        async with started(agent):
            await goes_silent(stack, http, "w-1")
            for _ in range(3):
                await succeeds(http, await submit(http))

            async def disagreed() -> bool:
                return bool(await events(http, "heartbeat_disagreement"))

            if heartbeats == "warn":
                await wait_until(disagreed)
            scheduler.kill()
            job_id = await submit(http)
            await scheduler.start()
            await succeeds(http, job_id)
            assert len(handled) == 4
            answer = await http.post("/workers/w-1/revoke-session")
            assert answer.status_code == 200

            async def gone() -> bool:
                return (await http.get("/workers/w-1")).status_code == 404

            await wait_until(gone)
            before = await scheduler.metric("cordum_scheduler_parks_total", cause="no_workers")
            await submit(http)
            await parks(stack, before)
            assert len(handled) == 4
        disagreements = await events(http, "heartbeat_disagreement")
        expected = {"session_allows_heartbeat_blocks"} if heartbeats == "warn" else set()
        assert {one["action"] for one in disagreements} == expected


async def test_sessions_count_again_after_the_store_was_away(tmp_path: Path) -> None:
    async with system(tmp_path, "telemetry") as (stack, keys), stack.http() as http:
        (scheduler,) = stack.schedulers
        key = ec.generate_private_key(P256)
        await enrol(stack, "w-1", key)
        agent, _ = make_agent(stack, trust_config(keys, "w-1", key), "enforce")
        async with started(agent):
            await succeeds(http, await submit(http))
            stack.redis.stop()

            async def noticed() -> bool:
                return "worker sessions cannot be read" in scheduler.log_path.read_text()

            await wait_until(noticed)
            stack.redis.start()
            first = await submit(http)

            async def dispatched() -> bool:
                return bool((await http.get(f"/jobs/{first}")).json()["attempts"] == 1)

            # The published worker may fail this one: its own connection broke, and it finds out by using it.
            await wait_until(dispatched)
            await succeeds(http, await submit(http))


async def test_another_way_to_judge_is_audited_once(tmp_path: Path) -> None:
    async with system(tmp_path, "warn") as (stack, _), stack.http() as http:
        (scheduler,) = stack.schedulers
        for mode in ("telemetry", "telemetry"):
            scheduler.terminate()
            scheduler.change_environment({"CORDUM_HEARTBEAT_MODE": mode})
            await scheduler.start()

        async def told() -> list[dict[str, Any]]:
            found = await events(http, "worker_trust_change")
            return [one for one in found if one["action"] == "heartbeat_mode_transition"]

        (event,) = await wait_until(told)
        assert (event["severity"], event["extra"]["worker_id"]) == ("HIGH", "*")
        assert (event["extra"]["before"], event["extra"]["now"]) == ("warn", "telemetry")
