"""The audit trail, event by event (security spec §19.6)."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from fastapi import Request
from starlette.responses import Response

from cordum.audit import AuditEvent
from cordum.domain.errors import InvalidInput
from cordum.gateway.api import Api
from cordum.gateway.http import json_reply
from cordum.gateway.state import Gateway
from cordum.security.principal import Caller

__all__ = ["add_audit_event_routes"]

_SCANNED_MAX: Final = 10_000
_LIMIT_DEFAULT: Final = 100
_LIMIT_MAX: Final = 200
_SEARCH_MAX: Final = 256
_READ: Final = "audit.read.events"
_ROUTINE: Final = frozenset(
    {
        *("system.auth", _READ, "edge.session_started", "edge.session_ended", "edge.execution_started"),
        *("edge.execution_ended", "edge.action_attempted", "mcp.tool_invocation"),
        *("mcp.tool_outbound_invocation", "worker_handshake", "topic_registered", "topic_unregistered"),
    }
)
_CATEGORIES: Final = frozenset({"", "routine", "governance"})
_CURSOR: Final = re.compile(r"[0-9]{1,19}-[0-9]{1,19}")
_SECRET: Final = re.compile(r"secret|token|password|api_key|private_key", re.I)
_SEARCHED: Final = ("action", "identity", "reason", "job_id")


def add_audit_event_routes(api: Api) -> None:
    """Register the route and its alias."""
    filters = {
        "limit": "events, 100, at most 200",
        "cursor": "`next_cursor` of the page before",
        "event_type": "exact type",
        "severity": "exact severity",
        "category": "`routine` or `governance`",
        "search": "text in action, identity, reason or job id",
        "from": "RFC 3339 or Unix ms",
        "to": "RFC 3339 or Unix ms",
    }
    for path in ("/audit/events", "/audit/query"):
        api.add("GET", path, "audit.read", events, summary="Events of the audit trail", query=filters)


async def events(gateway: Gateway, caller: Caller, request: Request) -> Response:
    """List events of the caller's tenant, newest first.

    At most 10 000 events are looked at; `next_cursor` goes on where that ended and is blank at the end of the trail.
    """
    accepts, limit, cursor = _Filter(request), _limit(request), _cursor(request)
    items: list[dict[str, Any]] = []
    scanned, last = 0, ""
    async for stored in gateway.audit.newest(caller.tenant, _SCANNED_MAX, before=cursor):
        scanned, last = scanned + 1, stored.stream_id
        if stored.fields is not None and accepts(stored.fields):
            items.append(_shown(stored.stream_id, stored.fields))
            if len(items) == limit:
                break
    more = len(items) == limit or scanned == _SCANNED_MAX
    await gateway.audit_writer.record(
        AuditEvent(
            _READ,
            "INFO",
            caller.tenant,
            _READ,
            identity=caller.effective_principal,
            extra={"returned": str(len(items))},
        )
    )
    return json_reply({"items": items, "next_cursor": last if more else "", "returned": len(items)})


class _Filter:
    """What the query asks of an event."""

    def __init__(self, request: Request) -> None:
        query = request.query_params
        self._equal = {
            name: query[name].strip() for name in ("event_type", "severity") if query.get(name, "").strip()
        }
        if "severity" in self._equal:
            self._equal["severity"] = self._equal["severity"].upper()
        self._category = query.get("category", "").strip().lower()
        if self._category not in _CATEGORIES:
            raise _refusal("category", "expected routine or governance", code="INVALID_CATEGORY")
        self._search = query.get("search", "").strip().lower()
        if len(self._search) > _SEARCH_MAX:
            raise _refusal("search", f"expected at most {_SEARCH_MAX} characters", code="INVALID_QUERY")
        self._from, self._to = _time(request, "from"), _time(request, "to")
        if self._from is not None and self._to is not None and self._to < self._from:
            raise _refusal("to", "expected a time that is not before `from`", code="INVALID_RANGE")

    def __call__(self, event: Mapping[str, Any]) -> bool:
        if any(event.get(name) != wanted for name, wanted in self._equal.items()):
            return False
        is_routine = event.get("event_type") in _ROUTINE
        if self._category and is_routine is not (self._category == "routine"):
            return False
        return self._is_in_time(str(event.get("timestamp", ""))) and self._holds(event)

    def _is_in_time(self, text: str) -> bool:
        if self._from is None and self._to is None:
            return True
        try:
            time = datetime.fromisoformat(text)
        except ValueError:
            return False
        return (self._from is None or time >= self._from) and (self._to is None or time <= self._to)

    def _holds(self, event: Mapping[str, Any]) -> bool:
        return not self._search or any(
            self._search in str(event.get(name) or "").lower() for name in _SEARCHED
        )


def _shown(stream_id: str, event: Mapping[str, Any]) -> dict[str, Any]:
    shown = {"id": stream_id, **event}
    extra = event.get("extra")
    if isinstance(extra, Mapping):
        shown["extra"] = {name: value for name, value in extra.items() if not _SECRET.search(name)}
    return shown


def _limit(request: Request) -> int:
    text = request.query_params.get("limit", "").strip()
    if not text:
        return _LIMIT_DEFAULT
    if not (text.isascii() and text.isdigit() and len(text) < 10 and int(text) > 0):
        raise _refusal("limit", "expected a whole number, 1 or more", code="INVALID_LIMIT")
    return min(int(text), _LIMIT_MAX)


def _cursor(request: Request) -> str:
    text = request.query_params.get("cursor", "").strip()
    if text and not _CURSOR.fullmatch(text):
        raise _refusal("cursor", "expected the next_cursor of a page", code="INVALID_CURSOR")
    return text


def _time(request: Request, name: str) -> datetime | None:
    text = request.query_params.get(name, "").strip()
    if not text:
        return None
    try:
        if text.isascii() and text.isdigit() and len(text) < 15:
            return datetime.fromtimestamp(int(text) / 1_000, UTC)
        time = datetime.fromisoformat(text)
    except (ValueError, OverflowError) as error:
        expected = "expected an RFC 3339 time or Unix ms"
        if name == "from":
            raise _refusal(name, expected, code="INVALID_FROM") from error
        raise _refusal(name, expected, code="INVALID_TO") from error
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def _refusal(name: str, expected: str, *, code: str) -> InvalidInput:
    return InvalidInput(f"{name}: {expected}", code=code, field=name)
