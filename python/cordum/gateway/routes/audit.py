"""The audit trail: changes of policy, and proof that it was not touched (policy spec §18.3, security spec §19.5)."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from fastapi import Request
from starlette.responses import Response

from cordum.audit import verify_chain
from cordum.audit.verify import VERIFY_DEFAULT, VERIFY_MAX
from cordum.domain.errors import InvalidInput
from cordum.gateway.api import Api
from cordum.gateway.http import json_reply, limit_of
from cordum.gateway.output_audit import quarantine_entries
from cordum.gateway.policy_audit import POLICY_CHANGE, entry_of
from cordum.gateway.state import Gateway
from cordum.security.principal import Caller

__all__ = ["add_audit_routes"]

_SEARCHED_MAX: Final = 10_000
_RANGE_MS: Final = 30 * 86_400_000


def add_audit_routes(api: Api) -> None:
    """Register the routes."""
    filters = {
        "limit": "entries, 100",
        "offset": "entries to pass over",
        "action": "exact action",
        "agent_id": "exact agent",
        "rule_id": "exact rule",
        "type": "event type; `output`: quarantine events",
        "after": "RFC 3339",
        "before": "RFC 3339",
        "search": "text in message, reason, resource or actor",
    }
    api.add("GET", "/policy/audit", "policy.read", policy_audit, summary="Changes of policy", query=filters)
    span = {"since": "Unix ms", "until": "Unix ms", "limit": "events, 10000"}
    api.add("GET", "/audit/verify", "audit.verify", verify, summary="Verify the audit chain", query=span)


async def policy_audit(gateway: Gateway, caller: Caller, request: Request) -> Response:
    """List what was done to the policy, newest first; `total` counts matches among the newest 10 000 events."""
    if request.query_params.get("type", "").strip() == "output":
        return await _quarantines(gateway, caller, request)
    accepts = _Filter(request)
    limit, offset = _page(request)
    items: list[dict[str, Any]] = []
    total = 0
    async for stored in gateway.audit.newest(caller.tenant, _SEARCHED_MAX):
        if stored.fields is None or not accepts(stored.fields):
            continue
        total += 1
        if offset < total <= offset + limit:
            items.append(entry_of(stored.fields))
    return _listed(items, total, offset, limit)


async def _quarantines(gateway: Gateway, caller: Caller, request: Request) -> Response:
    """List quarantined outputs, of visible tenants (output policy spec §11.4)."""
    tenant = None if caller.cross_tenant else caller.tenant
    rule_id = request.query_params.get("rule_id", "").strip()
    limit, offset = _page(request)
    items, total = await quarantine_entries(
        gateway.jobs, tenant, rule_id, _Filter(request).accepts_quarantine, offset=offset, limit=limit
    )
    return _listed(items, total, offset, limit)


def _page(request: Request) -> tuple[int, int]:
    return limit_of(request, 100), _number(request, "offset", 0, _SEARCHED_MAX)


def _listed(items: list[dict[str, Any]], total: int, offset: int, limit: int) -> Response:
    return json_reply({"items": items, "total": total, "has_more": total > offset + limit, "offset": offset})


class _Filter:
    """What the query asks of an event."""

    def __init__(self, request: Request) -> None:
        query = request.query_params
        kind = query.get("type", "").strip()
        self._type = kind or POLICY_CHANGE
        named = {"action": "action", "agent_id": "agent_id", "rule_id": "matched_rule"}
        self._equal = {member: query[name] for name, member in named.items() if query.get(name)}
        self._search = query.get("search", "").strip().lower()[:256]
        self._after, self._before = _time(request, "after"), _time(request, "before")

    def __call__(self, event: Mapping[str, Any]) -> bool:
        if event.get("event_type") != self._type:
            return False
        if any(event.get(member) != wanted for member, wanted in self._equal.items()):
            return False
        extra = event.get("extra") or {}
        texts = (event.get("reason"), extra.get("message"), extra.get("bundle_ids"), event.get("identity"))
        return self._is_in_time(str(event.get("timestamp", ""))) and self._holds(texts)

    def accepts_quarantine(self, entry: Mapping[str, Any]) -> bool:
        """Ask of an entry about an output what is asked of an event; its rule is compared elsewhere."""
        if self._equal.get("action", entry["action"]) != entry["action"] or "agent_id" in self._equal:
            return False
        texts = (entry.get("reason"), entry["rule_id"], entry["job_id"])
        return self._is_in_time(entry["created_at"]) and self._holds(texts)

    def _is_in_time(self, text: str) -> bool:
        if self._after is None and self._before is None:
            return True
        try:
            time = datetime.fromisoformat(text)
        except ValueError:
            return False
        return (self._after is None or time >= self._after) and (self._before is None or time < self._before)

    def _holds(self, texts: Iterable[Any]) -> bool:
        return not self._search or any(self._search in str(text or "").lower() for text in texts)


async def verify(gateway: Gateway, caller: Caller, request: Request) -> Response:
    """Check numbers, hashes and signatures of the tenant's chain."""
    since, until = _ms(request, "since"), _ms(request, "until")
    if since is not None and until is not None and not 0 <= until - since <= _RANGE_MS:
        raise InvalidInput("until: expected at most 30 days after since", field="until")
    limit = _number(request, "limit", VERIFY_DEFAULT, VERIFY_MAX)
    report = await verify_chain(
        gateway.audit, caller.tenant, limit=max(1, limit), since_ms=since, until_ms=until
    )
    return json_reply(report.to_json())


def _ms(request: Request, name: str) -> int | None:
    return _number(request, name, 0, 1 << 48) if request.query_params.get(name) else None


def _number(request: Request, name: str, default: int, maximum: int) -> int:
    text = request.query_params.get(name, "").strip()
    if not text:
        return default
    if not (text.isascii() and text.isdigit() and len(text) < 16):
        raise InvalidInput(f"{name}: expected a whole number, 0 or more", field=name)
    return min(int(text), maximum)


def _time(request: Request, name: str) -> datetime | None:
    text = request.query_params.get(name, "").strip()
    if not text:
        return None
    try:
        time = datetime.fromisoformat(text)
    except ValueError as error:
        raise InvalidInput(f"{name}: expected an RFC 3339 time", field=name) from error
    return time if time.tzinfo else time.replace(tzinfo=UTC)
