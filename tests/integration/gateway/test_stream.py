"""Live streams: own tenant only, nothing secret, both framings, an orderly end."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from nats.aio.client import Client
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from cordum.protocol.cap import BusPacket
from tests.support.gateway import GatewayProcess, key_of

Person = Callable[..., httpx.AsyncClient]
WAIT_S = 10.0


def stream_url(gateway: GatewayProcess, path: str = "/stream") -> str:
    return f"{gateway.url.replace('http', 'ws', 1)}/api/v1{path}"


@asynccontextmanager
async def watching(
    gateway: GatewayProcess, who: str, path: str = "/stream"
) -> AsyncIterator[ClientConnection]:
    """Open a WebSocket as a test person."""
    async with connect(stream_url(gateway, path), additional_headers={"X-API-Key": key_of(who)}) as socket:
        yield socket


async def next_frame(socket: ClientConnection) -> dict[str, Any]:
    async with asyncio.timeout(WAIT_S):
        frame: dict[str, Any] = json.loads(await socket.recv())
        return frame


async def test_a_client_sees_its_own_tenant_only(gateway: GatewayProcess, as_person: Person) -> None:
    async with (
        watching(gateway, "vera") as acme,
        watching(gateway, "gina") as globex,
        watching(gateway, "root") as all_,
    ):
        foreign = (await as_person("gina").post("/jobs", json={"prompt": "p"})).json()["job_id"]
        own = (await as_person("alice").post("/jobs", json={"prompt": "p", "labels": {"a": "b"}})).json()[
            "job_id"
        ]
        frame = await next_frame(acme)
        assert frame["jobRequest"]["jobId"] == own
        assert frame["jobRequest"]["labels"] == {"a": "b"}
        assert "env" not in frame["jobRequest"]
        assert frame["createdAt"].endswith("Z")
        assert (await next_frame(globex))["jobRequest"]["jobId"] == foreign
        assert {(await next_frame(all_))["jobRequest"]["jobId"] for _ in range(2)} == {own, foreign}


async def test_results_reach_only_the_tenant_of_the_job(gateway: GatewayProcess, as_person: Person) -> None:
    alice = as_person("alice")
    job_id = (await alice.post("/jobs", json={"prompt": "p"})).json()["job_id"]
    async with watching(gateway, "vera") as acme, watching(gateway, "gina") as globex:
        await alice.post(f"/jobs/{job_id}/cancel")
        kinds = set()
        for _ in range(2):
            frame = await next_frame(acme)
            kinds |= {"jobResult", "jobCancel"} & frame.keys()
        assert kinds == {"jobResult", "jobCancel"}
        own = (await as_person("gina").post("/jobs", json={"prompt": "p"})).json()["job_id"]
        assert (await next_frame(globex))["jobRequest"]["jobId"] == own


async def test_tokens_and_signatures_never_reach_a_client(gateway: GatewayProcess, bus: Client) -> None:
    packet = BusPacket(sender_id="w1", protocol_version=1, auth_token="secret-a", signature=b"s")
    packet.heartbeat.worker_id = "w1"
    packet.heartbeat.auth_token = "secret-b"
    async with watching(gateway, "root") as everything, watching(gateway, "vera") as acme:
        await bus.publish("sys.heartbeat", b"garbage")
        await bus.publish("sys.heartbeat", packet.SerializeToString())
        async with asyncio.timeout(WAIT_S):
            text = str(await everything.recv())
        assert "w1" in text
        assert "secret" not in text
        assert "signature" not in text
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await acme.recv()


async def test_a_job_stream_carries_that_job_only(gateway: GatewayProcess, as_person: Person) -> None:
    alice = as_person("alice")
    first = (await alice.post("/jobs", json={"prompt": "p"})).json()["job_id"]
    async with watching(gateway, "vera", f"/jobs/{first}/stream") as socket:
        other = (await alice.post("/jobs", json={"prompt": "p"})).json()["job_id"]
        await alice.post(f"/jobs/{other}/cancel")
        await alice.post(f"/jobs/{first}/cancel")
        frame = await next_frame(socket)
        assert (frame.get("jobResult") or frame.get("jobCancel"))["jobId"] == first


@pytest.mark.parametrize(
    ("who", "path", "status"),
    [("", "/stream", 401), ("nobody", "/stream", 403), ("gina", "/jobs/unknown/stream", 404)],
)
async def test_an_upgrade_is_refused_before_it_happens(
    gateway: GatewayProcess, who: str, path: str, status: int
) -> None:
    headers = {"X-API-Key": key_of(who)} if who else {}
    with pytest.raises(InvalidStatus) as refused:
        async with connect(stream_url(gateway, path), additional_headers=headers):
            pass
    assert refused.value.response.status_code == status
    assert json.loads(refused.value.response.body or b"{}")["status"] == status


async def test_a_browser_offers_its_key_as_subprotocol(gateway: GatewayProcess) -> None:
    encoded = base64.urlsafe_b64encode(key_of("vera").encode()).decode().rstrip("=")
    async with connect(stream_url(gateway), subprotocols=["cordum-api-key", encoded]) as socket:  # type: ignore[list-item]
        assert socket.subprotocol == "cordum-api-key"
    async with connect(stream_url(gateway), subprotocols=[f"cordum-api-key.{encoded}"]) as socket:  # type: ignore[list-item]
        assert socket.subprotocol == f"cordum-api-key.{encoded}"
    with pytest.raises(InvalidStatus):
        async with connect(stream_url(gateway), subprotocols=["cordum-api-key", "bm9wZQ"]):  # type: ignore[list-item]
            pass


async def test_server_sent_events_of_a_job_end_with_its_last_state(as_person: Person) -> None:
    alice = as_person("alice")
    job_id = (await alice.post("/jobs", json={"prompt": "p"})).json()["job_id"]
    events: list[tuple[str, dict[str, Any]]] = []
    async with alice.stream(
        "GET", f"/jobs/{job_id}/stream", headers={"Accept": "text/event-stream"}
    ) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert answer.headers["x-accel-buffering"] == "no"
        name = ""
        async for line in answer.aiter_lines():
            if line.startswith("event: "):
                name = line.removeprefix("event: ")
            elif line.startswith("data: "):
                events.append((name, json.loads(line.removeprefix("data: "))))
                if len(events) == 1:
                    await alice.post(f"/jobs/{job_id}/cancel")
    states = [data["state"] for name, data in events if name == "job.status"]
    assert states == ["PENDING", "CANCELLED"]
    assert "job.result" in {name for name, _ in events}


async def test_a_stopping_gateway_says_goodbye_and_ends_cleanly(
    gateway: GatewayProcess, tmp_path: Path
) -> None:
    environment = {key: gateway.environment[key] for key in ("REDIS_URL", "NATS_URL", "SAFETY_KERNEL_ADDR")}
    own = GatewayProcess(tmp_path, **environment).start()
    async with watching(own, "vera") as socket:
        stopped = asyncio.get_running_loop().run_in_executor(None, own.stop)
        with pytest.raises(ConnectionClosed) as closed:
            await next_frame(socket)
        assert closed.value.rcvd is not None
        assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (1001, "server_shutdown")
        assert await stopped == 0
