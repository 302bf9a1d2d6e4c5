"""Live streams: WebSocket, server-sent events, else 426 (gateway spec §36, protocol spec §21)."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from typing import Final

import orjson
from fastapi import FastAPI, Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from cordum.domain.errors import CordumError
from cordum.domain.states import TERMINAL_STATES
from cordum.gateway.api import PREFIX, Api, require
from cordum.gateway.auth import select_subprotocol
from cordum.gateway.http import json_reply
from cordum.gateway.live import LiveClient, StreamClosed
from cordum.gateway.state import Gateway
from cordum.runtime.logs import get_logger
from cordum.security.principal import Caller
from cordum.store.jobs import Record

__all__ = ["add_stream_routes"]

WRITE_TIMEOUT_S: Final = 5.0
RECHECK_S: Final = 120.0
KEEP_ALIVE_S: Final = 15.0
STATUS_POLL_S: Final = 1.0

_log = get_logger()
_event_ids = itertools.count(1)


def add_stream_routes(app: FastAPI, api: Api, gateway: Gateway) -> None:
    """Register both streams, each as WebSocket and as HTTP route."""
    sockets = _Sockets(gateway)
    for path in ("/stream", "/jobs/{job_id}/stream"):
        app.router.routes.append(WebSocketRoute(PREFIX + path, sockets.serve))
        api.add("GET", path, "jobs.read", events, summary="Live events (WebSocket or SSE)")


async def events(gateway: Gateway, caller: Caller, request: Request) -> Response:
    """Serve server-sent events; any other plain GET is told to upgrade."""
    record = await _record(gateway, caller, request.path_params.get("job_id", ""))
    if "text/event-stream" not in request.headers.get("accept", ""):
        body = {
            "error": "upgrade required",
            "code": "upgrade_required",
            "status": 426,
            "request_id": request.scope["cordum.request_id"],
        }
        return json_reply(body, 426, {"Upgrade": "websocket"})
    client = await gateway.live.attach(caller, record["id"] if record else "")
    return StreamingResponse(
        _job_events(gateway, client, record) if record else _tenant_events(gateway, client),
        media_type="text/event-stream",
        headers={"X-Accel-Buffering": "no"},
    )


async def _record(gateway: Gateway, caller: Caller, job_id: str) -> Record | None:
    return await gateway.actions.find(caller, job_id) if job_id else None


def _sse(event: str, data: str) -> str:
    return f"id: {next(_event_ids)}\nevent: {event}\ndata: {data}\n\n"


async def _tenant_events(gateway: Gateway, client: LiveClient) -> AsyncIterator[str]:
    try:
        yield "retry: 2000\n"
        while True:
            frames = await client.next(KEEP_ALIVE_S)
            # A comment line with a single newline: a blank line would be an empty event for some clients.
            yield "".join(_sse(frame.event, frame.data) for frame in frames) or ": ka\n"
    except StreamClosed:
        return
    finally:
        gateway.live.detach(client)


async def _job_events(gateway: Gateway, client: LiveClient, record: Record) -> AsyncIterator[str]:
    """Yield the events of one job and its states; end after a terminal one."""
    state, quiet_s = "", 0.0
    try:
        yield "retry: 2000\n"
        while True:
            current = await gateway.jobs.get(record["id"]) or record
            if current.get("state", "") != state:
                state = current.get("state", "")
                yield _sse("job.status", _status(current))
                if state in TERMINAL_STATES:
                    return
            frames = await client.next(STATUS_POLL_S)
            quiet_s = 0.0 if frames else quiet_s + STATUS_POLL_S
            if frames:
                yield "".join(_sse(frame.event, frame.data) for frame in frames)
            elif quiet_s >= KEEP_ALIVE_S:
                quiet_s = 0.0
                yield ": ka\n"
    except StreamClosed:
        return
    finally:
        gateway.live.detach(client)


def _status(record: Record) -> str:
    return orjson.dumps(
        {
            "job_id": record["id"],
            "state": record.get("state", ""),
            "topic": record.get("topic", ""),
            "trace_id": record.get("trace_id", ""),
            "updated_at": int(record.get("updated_at", "0")),
        }
    ).decode()


class _Sockets:
    """WebSocket connections. Pings and the frame limit are the server's (uvicorn) business."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def serve(self, websocket: WebSocket) -> None:
        caller: Caller = websocket.scope["caller"]
        require(caller, "jobs.read")
        record = await _record(self._gateway, caller, websocket.path_params.get("job_id", ""))
        client = await self._gateway.live.attach(caller, record["id"] if record else "")
        reason = "client_close"
        try:
            await websocket.accept(subprotocol=select_subprotocol(websocket.scope.get("subprotocols", [])))
            _log.info("stream connected", conn_id=websocket.scope["cordum.request_id"], tenant=caller.tenant)
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(_discard_input(websocket, client))
                tasks.create_task(self._recheck(websocket, client))
                tasks.create_task(_send(websocket, client))
        except* StreamClosed as ended:
            closed = ended.exceptions[0]
            if isinstance(closed, StreamClosed):
                reason = closed.reason
                if reason != "client_close":
                    await _close(websocket, closed)
        except* (WebSocketDisconnect, TimeoutError, RuntimeError, OSError):
            reason = "write_error"
        finally:
            self._gateway.live.detach(client)
            _log.info("stream ended", conn_id=websocket.scope["cordum.request_id"], reason=reason)

    async def _recheck(self, websocket: WebSocket, client: LiveClient) -> None:
        """End the stream when its credential is no longer valid."""
        while True:
            await asyncio.sleep(RECHECK_S)
            try:
                self._gateway.auth.caller(
                    websocket.scope["cordum.headers"], websocket=True, tenant=client.tenant
                )
            except CordumError:
                client.close(1008, "credential revoked")


async def _discard_input(websocket: WebSocket, client: LiveClient) -> None:
    while (await websocket.receive())["type"] != "websocket.disconnect":
        continue
    client.close(1000, "client_close")


async def _send(websocket: WebSocket, client: LiveClient) -> None:
    while True:
        for frame in await client.next():
            async with asyncio.timeout(WRITE_TIMEOUT_S):
                await websocket.send_text(frame.data)


async def _close(websocket: WebSocket, closed: StreamClosed) -> None:
    try:
        await websocket.close(closed.code, closed.reason)
    except (RuntimeError, OSError) as error:
        _log.info("stream was gone before it was closed", error=str(error))
