"""Counts decisions and logs those that are not a plain allow (policy spec §21)."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from cordum._core import tally_decision, tally_decisions
from cordum.kernel.metrics import (
    DECISIONS,
    DEFAULT_DECISIONS,
    DELEGATION_MATCHES,
    SCOPE_EVALUATIONS,
    SCOPE_VIOLATIONS,
)
from cordum.runtime.logs import log_many

__all__ = ["DecisionReport"]

_NAMES: Final = ("", "ALLOW", "DENY", "REQUIRE_APPROVAL", "THROTTLE", "ALLOW_WITH_CONSTRAINTS")
_DENY: Final = 2
_LINES_MAX: Final = 512
"""Requests of one batch, so every one may have its line."""

Tally = tuple[list[int], tuple[int, int], int, list[tuple[str, str, str, int, str, int]]]


ScopeCounts = tuple[list[int], list[tuple[str, str, int]]]


class DecisionReport:
    """Reports answered calls of one policy.

    ``delegation_fields``: per rule id, the delegation keys of the rule, counted when it denies. ``scope_counts`` takes
    what scope rules counted since it was last asked, None without such rules.
    """

    def __init__(
        self,
        snapshot: str,
        delegation_fields: Mapping[str, Sequence[str]],
        scope_counts: Callable[[], ScopeCounts | None] | None = None,
    ) -> None:
        self._snapshot = snapshot
        self._delegation_fields = delegation_fields
        self._scope_counts = scope_counts if scope_counts and scope_counts() else None

    def one(self, request: bytes, answer: bytes, seconds: float) -> None:
        """Report one answered call: serialized `PolicyCheckRequest` and `PolicyCheckResponse`."""
        self._report(tally_decision(request, answer, int(seconds * 1e6)))

    def batch(self, request: bytes, answer: bytes) -> None:
        """Report an answered batch: serialized `BatchRequest` and `BatchResponse`."""
        self._report(tally_decisions(request, answer, _LINES_MAX))

    def _report(self, tally: Tally) -> None:
        counts, (allowed, denied), _, held = tally
        for number, count in enumerate(counts):
            if count and number < len(_NAMES) and _NAMES[number]:
                DECISIONS.labels(_NAMES[number]).inc(count)
        if allowed:
            DEFAULT_DECISIONS.labels("ALLOW").inc(allowed)
        if denied:
            DEFAULT_DECISIONS.labels("DENY").inc(denied)
        if self._scope_counts is not None:
            _count_scopes(self._scope_counts())
        if not held:
            return
        if self._delegation_fields:
            self._count_delegation(held)
        # Who and what, never content nor the values of labels.
        log_many("decision", [self._line(*row) for row in held])

    def _count_delegation(self, held: Sequence[tuple[str, str, str, int, str, int]]) -> None:
        for _, _, _, decision, rule_id, _ in held:
            for field in self._delegation_fields.get(rule_id, ()) if decision == _DENY else ():
                DELEGATION_MATCHES.labels(field, "deny").inc()

    def _line(
        self, job_id: str, tenant: str, topic: str, decision: int, rule_id: str, us: int
    ) -> dict[str, Any]:
        return {
            "job_id": job_id,
            "tenant": tenant,
            "topic": topic,
            "decision": _NAMES[decision] if decision < len(_NAMES) else str(decision),
            "rule_id": rule_id,
            "snapshot": self._snapshot,
            "duration_us": us,
        }


def _count_scopes(counts: ScopeCounts | None) -> None:
    if counts is None:
        return
    evaluations, violations = counts
    for result, count in zip(("allow", "deny", "error"), evaluations, strict=True):
        if count:
            SCOPE_EVALUATIONS.labels(result).inc(count)
    for intent, kind, count in violations:
        SCOPE_VIOLATIONS.labels(intent or "unknown", kind).inc(count)
