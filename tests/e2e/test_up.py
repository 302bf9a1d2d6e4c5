"""`cordumctl up`: ready soon, restarts what dies, leaves nothing behind, finds its jobs again."""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.processes import wait_until
from tests.support.system import System, running

SERVICES = ["gateway", "kernel", "nats", "redis", "scheduler"]


@pytest.fixture
async def system(tmp_path: Path) -> AsyncIterator[System]:
    system = System(tmp_path / "data")
    yield system
    if system.process is not None and system.process.returncode is None:
        await system.stop(signal.SIGTERM)


async def test_it_becomes_ready_and_shows_its_keys_once(system: System) -> None:
    await system.start()
    assert sorted(system.endpoints["pids"]) == SERVICES
    port = system.endpoints["http"].rsplit(":", 1)[1]
    assert f"Gateway   http://localhost:{port}" in system.output
    assert all(key in system.output for key in system.keys.values())
    assert await system.stop() == 0
    await system.start()
    assert not any(key in system.output for key in system.keys.values())
    assert "keys.json" in system.output


async def test_control_c_leaves_nothing_running(system: System) -> None:
    await system.start()
    pids = list(system.endpoints["pids"].values())
    assert running(pids) == pids
    assert await system.stop(signal.SIGINT) == 0
    assert running(pids) == []
    assert not system.is_ready


async def test_a_killed_supervisor_leaves_nothing_running(system: System) -> None:
    await system.start()
    pids = list(system.endpoints["pids"].values())
    await system.stop(signal.SIGKILL)
    await wait_until(lambda: not running(pids))
    await system.start()


@pytest.mark.parametrize("name", ["gateway", "scheduler", "nats"])
async def test_a_service_that_dies_is_started_again(system: System, name: str) -> None:
    await system.start()
    dead = system.kill(name)
    await wait_until(lambda: system.endpoints["pids"][name] not in (None, dead))

    async def accepts_jobs() -> bool:
        try:
            async with system.client() as client:
                reply = await client.post("/jobs", json={"topic": "job.demo.review", "prompt": "x"})
        except OSError:
            return False
        except Exception as error:
            if type(error).__module__.startswith("httpx"):
                return False
            raise
        return reply.status_code == 200

    await wait_until(accepts_jobs)


async def test_the_next_start_finds_all_jobs_again(system: System) -> None:
    await system.start()
    job_ids = set()
    async with system.client() as client:
        for _ in range(20):
            reply = await client.post("/jobs", json={"topic": "job.demo.review", "prompt": "keep me"})
            assert reply.status_code == 200, reply.text
            job_ids.add(reply.json()["job_id"])
    assert await system.stop() == 0
    await system.start()
    async with system.client() as client:
        listed = (await client.get("/jobs", params={"limit": 100})).json()["items"]
        assert {item["id"] for item in listed} == job_ids
        reply = await client.get(f"/jobs/{job_ids.pop()}")
    assert reply.json()["state"] == "APPROVAL_REQUIRED"


async def test_the_command_line_client_works_against_it(system: System) -> None:
    await system.start()

    async def ctl(*arguments: str, principal: str = "admin") -> tuple[int, str, str]:
        options = ("--gateway", system.endpoints["http"], "--api-key", system.keys[principal])
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "cordum.cli.main",
            *arguments,
            *options,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await process.communicate()
        return process.returncode or 0, out.decode(), err.decode()

    code, out, err = await ctl("status")
    assert (code, err) == (0, "")
    assert "NATS      connected" in out
    code, out, err = await ctl("job", "submit", "--topic", "job.demo.review", "--prompt", "x")
    held = out.strip()
    assert (code, err) == (0, "approval required: a person reviews this first\n")
    code, out, err = await ctl("job", "submit", "--topic", "job.demo.blocked", "--prompt", "x")
    denied = out.strip()
    assert code == 1
    assert "error: status 403: this topic is blocked by policy (code policy_denied" in err
    assert (await ctl("job", "status", held))[1] == "APPROVAL_REQUIRED\n"
    assert held in (await ctl("approval", "list"))[1]
    assert (await ctl("approval", "approve", held))[0] == 1, "nobody approves what they submitted"
    assert (await ctl("approval", "approve", held, principal="approver"))[:2] == (0, "approved\n")
    assert (await ctl("job", "cancel", held))[1] == "CANCELLED\n"
    assert denied in (await ctl("dlq", "list"))[1]
    assert (await ctl("dlq", "delete", denied))[0] == 0
    assert denied not in (await ctl("dlq", "list"))[1]
    assert held in (await ctl("job", "list", "--state", "cancelled"))[1]
    assert (await ctl("workers", "--json"))[:2] == (0, "[]\n")
    assert (await ctl("job", "get", "no-such-job"))[2].startswith("error: status 404: ")
