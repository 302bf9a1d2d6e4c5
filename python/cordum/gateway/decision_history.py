"""Past decisions as the API shows them: the log, replays, figures per rule (policy spec §19.3–§19.5)."""

import base64
import binascii
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import uuid4

import orjson
from google.protobuf.json_format import MessageToDict

from cordum._core import scan_decisions
from cordum.domain.errors import CordumError, InvalidInput
from cordum.protocol.cap import safety_pb2
from cordum.protocol.kernel_client import PolicyClient
from cordum.runtime.clock import rfc3339
from cordum.store.connection import RedisClient
from cordum.store.decision_log import DecisionLog, StoredSegment
from cordum.store.jobs import JobStore
from cordum.v1 import safety_batch_pb2

__all__ = ["DAY_US", "VERDICTS", "WINDOW_MAX_US", "DecisionHistory", "DecisionQuery", "ReplayOrder"]

DAY_US: Final = 86_400_000_000
WINDOW_MAX_US: Final = 7 * DAY_US
JOBS_MAX: Final = 1_000
SCAN_CHUNKS_MAX: Final = 64
"""About 256 MiB of segments; a page that needs more ends early with a cursor."""
VERDICTS: Final = {
    "allow": "ALLOW",
    "deny": "DENY",
    "constrain": "ALLOW_WITH_CONSTRAINTS",
    "require_approval": "REQUIRE_APPROVAL",
    "throttle": "THROTTLE",
}
_VERDICT_OF: Final = {decision: verdict for verdict, decision in VERDICTS.items()}
_APPROVAL_FIELDS: Final = ("approval_status", "approval_decision", "approval_at", "safety_checked_at")
_CURSOR: Final = re.compile(r"(\d{1,19}):(\d{1,20}-\d{1,20})\.(\d{1,9})")

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class DecisionQuery:
    """Filters of the decision log; empty means any. Times are µs, ``until_us`` exclusive."""

    since_us: int | None = None
    until_us: int | None = None
    topic: str = ""
    rule_id: str = ""
    decision: str = ""
    agent_id: str = ""
    jobs_only: bool = False

    def as_filter(self) -> bytes:
        """Return the filter as the engine takes it."""
        names = ("since_us", "until_us", "topic", "rule_id", "decision", "agent_id", "jobs_only")
        return orjson.dumps({name: getattr(self, name) for name in names})


@dataclass(frozen=True, slots=True)
class ReplayOrder:
    """What to replay: the candidate replaces bundle ``bundle_id``, the base when that is empty."""

    since_us: int
    until_us: int
    topic: str = ""
    decision: str = ""
    use_current: bool = False
    bundle_id: str = ""
    content: str = ""
    max_jobs: int = 500
    """0 = every job of the window the kernel's limits allow."""


@dataclass(slots=True)
class _RuleFigures:
    hits: int = 0
    approvals: int = 0
    overrides: int = 0
    latencies_us: list[int] = field(default_factory=list)
    daily: dict[int, int] = field(default_factory=dict)


class DecisionHistory:
    """Reads the log of one tenant at a time; the caller has checked who may."""

    def __init__(self, redis: RedisClient, jobs: JobStore, kernel: PolicyClient) -> None:
        self._log = DecisionLog(redis)
        self._jobs = jobs
        self._kernel = kernel

    async def page(
        self, tenant: str, query: DecisionQuery, *, limit: int, cursor: str = ""
    ) -> tuple[list[Row], str | None]:
        """Return decisions, newest first, and the cursor of the next page. Raises InvalidInput, Unavailable."""
        rows, next_cursor = await self._rows(tenant, query, limit, _position(cursor))
        approvals = await self._approvals([row for row in rows if row["approval_required"]])
        return [_item(row, approvals.get(row["job_id"], {})) for row in rows], next_cursor

    async def replay(self, tenant: str, order: ReplayOrder) -> Row:
        """Run a candidate over past decisions (§19.3). Raises InvalidInput, LimitExceeded, Unavailable."""
        answer = await self._kernel.replay(
            safety_batch_pb2.ReplayRequest(
                tenant=tenant,
                since_us=order.since_us,
                until_us=order.until_us,
                topic=order.topic,
                original_decision=order.decision,
                use_current_policy=order.use_current,
                candidate_bundle_id=order.bundle_id,
                candidate_content=order.content.encode(),
                max_jobs=order.max_jobs,
                max_changes=order.max_jobs or JOBS_MAX,
            )
        )
        result = orjson.loads(answer.result)
        changes = result["changes"]
        for change in (*changes, *(one for group in result["groups"] for one in group["examples"])):
            change["timestamp"] = rfc3339(change.pop("time_us"))
        return {
            "replay_id": str(uuid4()),
            "policy_snapshot": answer.policy_snapshot,
            "time_range": {"from": rfc3339(order.since_us), "to": rfc3339(order.until_us)},
            "summary": result["summary"],
            "rule_hits": result["rule_hits"],
            "changes": changes,
            "groups": result["groups"],
            "truncated": result["is_cut"],
            "warnings": [*_unknown_warnings(result["summary"]["unknown"]), *answer.warnings],
            "errors": [],
        }

    async def analytics(self, tenant: str, since_us: int, until_us: int, rule_id: str) -> Row:
        """Return hits, approvals and overrides per rule over the newest 1 000 jobs (§19.4). Raises Unavailable."""
        query = DecisionQuery(since_us, until_us, rule_id=rule_id, jobs_only=True)
        rows, _ = await self._rows(tenant, query, JOBS_MAX, None, once_per_job=True)
        held = [row for row in rows if row["approval_required"]]
        approvals = await self._approvals(held)
        days = max(1, -(-(until_us - since_us) // DAY_US))
        figures: dict[str, _RuleFigures] = {}
        for row in rows:
            rule = figures.setdefault(row["rule_id"], _RuleFigures())
            rule.hits += 1
            day = min(days - 1, (row["time_us"] - since_us) // DAY_US)
            rule.daily[day] = rule.daily.get(day, 0) + 1
            if not row["approval_required"]:
                continue
            rule.approvals += 1
            approval = approvals.get(row["job_id"], {})
            if approval.get("approval_decision") == "approve":
                rule.overrides += 1
                if approval.get("approval_at", "").isdigit():
                    rule.latencies_us.append(max(0, int(approval["approval_at"]) - row["time_us"]))
        rules = [_rule_figures(name, rule, days) for name, rule in figures.items()]
        rules.sort(key=lambda rule: (-rule["hit_count"], rule["rule_id"]))
        highest = max(rules, key=lambda rule: rule["override_count"], default=None)
        return {
            "time_range": {"from": rfc3339(since_us), "to": rfc3339(until_us)},
            "rules": rules,
            "summary": {
                "total_rules": len(rules),
                "total_hits": len(rows),
                "total_overrides": sum(rule["override_count"] for rule in rules),
                "highest_override_rule_id": highest["rule_id"]
                if highest and highest["override_count"]
                else "",
            },
        }

    async def _rows(
        self,
        tenant: str,
        query: DecisionQuery,
        limit: int,
        position: tuple[str, int] | None,
        *,
        once_per_job: bool = False,
    ) -> tuple[list[Row], str | None]:
        last_id, before = position or ("", None)
        found: list[Row] = []
        seen: set[str] = set()
        chunks = self._log.newest_first(
            tenant, since_us=query.since_us, until_us=query.until_us, last_id=last_id
        )
        number = 0
        async for chunk in chunks:
            number += 1
            # Of a job, the gateway's question and the scheduler's are both in the log.
            wanted = limit + 1 - len(found) if not once_per_job else 4 * limit
            bound = before if chunk[0].id == last_id else None
            for row in _scan(chunk, query, wanted, bound):
                if once_per_job and row["job_id"] in seen:
                    continue
                seen.add(row["job_id"])
                found.append(row)
            if len(found) > limit:
                return found[:limit], _cursor(found[limit - 1])
            if number >= SCAN_CHUNKS_MAX:
                return found, _cursor({"time_us": 0, "id": chunk[-1].id, "row": 0})
        return found, None

    async def _approvals(self, rows: Sequence[Row]) -> dict[str, dict[str, str]]:
        """Return the approval fields of the jobs' records, in one round trip."""
        ids = list(dict.fromkeys(row["job_id"] for row in rows if row["job_id"]))[:JOBS_MAX]
        values = await self._jobs.fields(ids, _APPROVAL_FIELDS) if ids else []
        return {
            job_id: {
                name: value.decode()
                for name, value in zip(_APPROVAL_FIELDS, record, strict=True)
                if value is not None
            }
            for job_id, record in zip(ids, values, strict=True)
        }


def _scan(chunk: Sequence[StoredSegment], query: DecisionQuery, limit: int, before: int | None) -> list[Row]:
    try:
        found: list[Row] = orjson.loads(
            scan_decisions([segment.data for segment in chunk], query.as_filter(), limit, before)
        )
    except ValueError as error:
        if str(error).startswith(("topic", "decision")):
            raise InvalidInput(str(error)) from error
        raise CordumError(f"decision log cannot be read: {error}") from error
    for row in found:
        row["id"] = chunk[row.pop("segment")].id
    return found


def _cursor(row: Mapping[str, Any]) -> str:
    text = f"{row['time_us']}:{row['id']}.{row['row']}"
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _position(cursor: str) -> tuple[str, int] | None:
    """Return segment id and row a page starts before."""
    if not cursor:
        return None
    try:
        padded = cursor[:200] + "=" * (-len(cursor[:200]) % 4)
        text = base64.b64decode(padded, altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError) as error:
        raise InvalidInput("invalid cursor", field="cursor") from error
    match = _CURSOR.fullmatch(text)
    if match is None:
        raise InvalidInput("invalid cursor", field="cursor")
    return match[2], int(match[3])


def _item(row: Row, approval: Mapping[str, str]) -> Row:
    return {
        "job_id": row["job_id"],
        "topic": row["topic"],
        "matched_rule": row["rule_id"],
        "verdict": _VERDICT_OF.get(row["decision"], ""),
        "reason": row["reason"],
        "constraints": _constraints(row["constraints"]),
        "approval_status": approval.get("approval_status", "pending" if row["approval_required"] else ""),
        "approval_decision": approval.get("approval_decision", ""),
        "agent_id": row["agent_id"],
        "policy_version": row["snapshot"],
        "timestamp": rfc3339(row["time_us"]),
    }


def _constraints(text: str) -> dict[str, Any] | None:
    if not text:
        return None
    return MessageToDict(safety_pb2.PolicyConstraints.FromString(bytes.fromhex(text)))


def _unknown_warnings(unknown: Mapping[str, int]) -> list[str]:
    why = {
        "velocity": "depend on a counter",
        "content": "depend on content, which is not kept",
        "facts": "had facts too large to keep",
    }
    return [
        f"{unknown[name]} decisions {text} and were not compared"
        for name, text in why.items()
        if unknown.get(name)
    ]


def _rule_figures(rule_id: str, rule: _RuleFigures, days: int) -> Row:
    latencies = rule.latencies_us
    return {
        "rule_id": rule_id,
        "hit_count": rule.hits,
        "approval_count": rule.approvals,
        "override_count": rule.overrides,
        "override_rate": rule.overrides / rule.approvals if rule.approvals else 0.0,
        "avg_approval_latency_ms": sum(latencies) // len(latencies) // 1_000 if latencies else 0,
        "daily_hits": [rule.daily.get(day, 0) for day in range(days)],
    }
