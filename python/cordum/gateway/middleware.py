"""The frame of every request: id, access log, metrics, security headers, origins, authentication
(gateway spec §3, §12)."""

import random
import re
import sys
from collections.abc import Iterable
from time import perf_counter
from typing import Any, Final
from urllib.parse import urlsplit

import orjson
from starlette.datastructures import QueryParams
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cordum.config.gateway import GatewaySettings
from cordum.domain.errors import CordumError, Forbidden
from cordum.gateway import metrics
from cordum.gateway.auth import Authenticator
from cordum.gateway.errors import error_response, status_response
from cordum.runtime.clock import now_us, rfc3339
from cordum.runtime.logs import get_logger

__all__ = ["PUBLIC_PATHS", "AccessLog", "Authentication", "OriginPolicy", "RequestFrame"]

PUBLIC_PATHS: Final = frozenset({"/health", "/healthz", "/readyz", "/livez"})
_REQUEST_ID: Final = re.compile(rb"[A-Za-z0-9._-]{1,128}")
_LOCAL_HOSTS: Final = frozenset({"localhost", "127.0.0.1", "::1"})
_METHODS: Final = b"GET, POST, PUT, PATCH, DELETE, OPTIONS"
_ALLOWED_HEADERS: Final = (
    b"Content-Type, Authorization, X-API-Key, X-Tenant-ID, X-Cordum-Tenant, X-Principal-Id, X-Principal-Role, "
    b"X-Request-Id, Idempotency-Key, X-Idempotency-Key, Last-Event-ID, X-MCP-Session-ID, X-Agent-Id"
)
_EXPOSED_HEADERS: Final = b"X-Request-Id, X-Trace-Id, Retry-After, Link, Content-Disposition, X-Cache"

_log = get_logger()

RawHeaders = list[tuple[bytes, bytes]]


class AccessLog:
    """One JSON line per request, written in bundles: a write per request would cost more than the request."""

    def __init__(self, *, service: str = "api-gateway", text: bool = False) -> None:
        self._service = service
        self._text = text
        self._lines: list[bytes] = []
        self._second = (0, "")

    def add(self, scope: Scope, status: int, duration_s: float) -> None:
        """Note a finished request: never its query, headers or body."""
        caller = scope.get("caller")
        entry: dict[str, Any] = {
            "time": self._now(),
            "level": "info",
            "service": self._service,
            "msg": "request",
            "requestId": scope["cordum.request_id"],
            "method": scope.get("method", "GET"),
            "path": scope["path"],
            "status": status,
            "duration_ms": round(duration_s * 1000, 2),
        }
        if caller is not None:
            entry["tenant"], entry["principal"] = caller.tenant, caller.effective_principal
        if self._text:
            _log.info(
                entry.pop("msg"), **{k: v for k, v in entry.items() if k not in {"time", "level", "service"}}
            )
            return
        self._lines.append(orjson.dumps(entry))
        if len(self._lines) >= 256:
            self.flush()

    def _now(self) -> str:
        """Return the time as RFC 3339; the part before the fraction is made once a second."""
        second, micros = divmod(now_us(), 1_000_000)
        if self._second[0] != second:
            self._second = (second, rfc3339(second * 1_000_000)[:20])
        return f"{self._second[1]}{micros:06d}Z"

    def flush(self) -> None:
        """Write what was noted."""
        if self._lines:
            lines, self._lines = self._lines, []
            sys.stdout.buffer.write(b"\n".join(lines) + b"\n")
            sys.stdout.buffer.flush()


class OriginPolicy:
    """Which browser origins may call (security spec §11.2)."""

    def __init__(self, allowed: Iterable[str], *, production: bool) -> None:
        self._allowed = frozenset(origin.rstrip("/").lower() for origin in allowed)
        self._production = production

    def headers(self, origin: bytes, host: bytes) -> RawHeaders:
        """Return the CORS headers for an origin. Raises Forbidden when it is not allowed."""
        text = origin.decode("latin-1").rstrip("/").lower()
        if "*" in self._allowed:
            return [(b"access-control-allow-origin", b"*")]
        if not self._is_allowed(text, host.decode("latin-1").lower()):
            raise Forbidden("origin not allowed", code="origin_not_allowed")
        return [
            (b"access-control-allow-origin", origin),
            (b"vary", b"Origin"),
            (b"access-control-allow-credentials", b"true"),
            (b"access-control-allow-methods", _METHODS),
            (b"access-control-allow-headers", _ALLOWED_HEADERS),
            (b"access-control-expose-headers", _EXPOSED_HEADERS),
        ]

    def _is_allowed(self, origin: str, host: str) -> bool:
        if origin in self._allowed:
            return True
        parts = urlsplit(origin)
        if parts.scheme not in {"http", "https"} or not parts.netloc:
            return False
        if parts.netloc == host:
            return True
        return not self._allowed and not self._production and (parts.hostname or "") in _LOCAL_HOSTS


class RequestFrame:
    """Outermost middleware: whatever happens inside, the answer has an id, the headers and the error envelope."""

    def __init__(self, app: ASGIApp, settings: GatewaySettings, access_log: AccessLog) -> None:
        self._app = app
        self._access_log = access_log
        self._logs_info = settings.log_level in {"debug", "info"}
        self._origins = OriginPolicy(settings.allowed_origins, production=settings.production)
        self._headers: RawHeaders = [
            (b"x-content-type-options", b"nosniff"),
            (b"x-frame-options", b"DENY"),
            (b"referrer-policy", b"no-referrer"),
            (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
            (b"cache-control", b"no-store"),
        ]
        if settings.production:
            value = f"max-age={settings.hsts_max_age_s}; includeSubDomains".encode()
            self._headers.append((b"strict-transport-security", value))
        self._counters: dict[tuple[str, str, int], Any] = {}
        self._timers: dict[str, Any] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in {"http", "websocket"}:
            await self._app(scope, receive, send)
            return
        started_s = perf_counter()
        headers = scope["cordum.headers"] = dict(scope["headers"])
        given = headers.get(b"x-request-id")
        request_id = given if given and _REQUEST_ID.fullmatch(given) else _new_request_id()
        scope["cordum.request_id"] = request_id.decode()
        extra: RawHeaders = [*self._headers, (b"x-request-id", request_id)]
        status = 0

        async def send_framed(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), *extra]
            elif message["type"] == "websocket.accept":
                status = 101
                message["headers"] = [*message.get("headers", ()), (b"x-request-id", request_id)]
            await send(message)

        try:
            origin = headers.get(b"origin")
            if origin is not None:
                extra += self._origins.headers(origin, headers.get(b"host", b""))
            if scope.get("method") == "OPTIONS":
                extra.append((b"access-control-max-age", b"600"))
                await send_framed({"type": "http.response.start", "status": 204})
                await send_framed({"type": "http.response.body"})
            else:
                await self._app(scope, receive, send_framed)
        except Exception as error:  # the outermost border of a request
            if not isinstance(error, CordumError):
                _log.error("request failed", requestId=scope["cordum.request_id"], exc_info=error)
            if status:
                raise
            await _refuse(scope, receive, send_framed, error)
        finally:
            self._finish(scope, status, perf_counter() - started_s)

    def _finish(self, scope: Scope, status: int, duration_s: float) -> None:
        route = scope.get("cordum.route") or getattr(scope.get("route"), "path", "") or "unmatched"
        method = scope.get("method", "WEBSOCKET")
        key = (method, route, status)
        counter = self._counters.get(key)
        if counter is None:
            counter = self._counters[key] = metrics.REQUESTS.labels(method, route, str(status))
            self._timers.setdefault(route, metrics.REQUEST_SECONDS.labels(route))
        counter.inc()
        self._timers[route].observe(duration_s)
        if self._logs_info and scope["path"].startswith(("/api/", "/mcp/")):
            self._access_log.add(scope, status, duration_s)


class Authentication:
    """Puts the caller into the scope; refuses whoever has no valid credential, before any route is looked up."""

    def __init__(self, app: ASGIApp, authenticator: Authenticator) -> None:
        self._app = app
        self._authenticator = authenticator

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in {"http", "websocket"} and scope["path"] not in PUBLIC_PATHS:
            is_websocket = scope["type"] == "websocket"
            scope["caller"] = self._authenticator.caller(
                scope["cordum.headers"],
                websocket=is_websocket,
                tenant=_query_tenant(scope) if is_websocket else "",
            )
        await self._app(scope, receive, send)


def _query_tenant(scope: Scope) -> str:
    query = QueryParams(scope.get("query_string", b""))
    return query.get("tenant_id") or query.get("tenant") or ""


def _new_request_id() -> bytes:
    """Return 16 hex digits; they need to be different, not secret."""
    return b"%016x" % random.getrandbits(64)


async def _refuse(scope: Scope, receive: Receive, send: Send, error: Exception) -> None:
    """Answer with the error envelope; an upgrade request is answered as plain HTTP before it is accepted."""
    request_id = scope["cordum.request_id"]
    response = (
        error_response(error, request_id)
        if isinstance(error, CordumError)
        else status_response(500, request_id)
    )
    if scope["type"] == "http":
        await response(scope, receive, send)
        return
    if "websocket.http.response" not in scope.get("extensions", {}):
        await send({"type": "websocket.close", "code": 1008})
        return
    await send(
        {
            "type": "websocket.http.response.start",
            "status": response.status_code,
            "headers": response.raw_headers,
        }
    )
    await send({"type": "websocket.http.response.body", "body": bytes(response.body)})
