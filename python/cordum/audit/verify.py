"""Verification of an audit chain (security spec §19.5)."""

import hashlib
import hmac
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from cordum.audit.chain import AuditChain, ChainKeys, StoredEvent, head_text, mac_of, parts_of_head
from cordum.audit.events import canonical
from cordum.domain.errors import CordumError

__all__ = ["VERIFY_DEFAULT", "VERIFY_MAX", "ChainReport", "verify_chain"]

VERIFY_DEFAULT: Final = 10_000
VERIFY_MAX: Final = 100_000
_GAPS_MAX: Final = 1_000

GapType = Literal[
    "missing", "out_of_order", "hash_mismatch", "hmac_mismatch", "retention_trimmed", "head_mismatch"
]


@dataclass
class ChainReport:
    """What was found; `status` follows from the gaps."""

    total_events: int = 0
    verified_events: int = 0
    gaps: list[dict[str, Any]] = field(default_factory=list)
    first_seq: int = 0
    last_seq: int = 0
    hmac_verified: int = 0
    hmac_skipped: int = 0
    is_partial: bool = False

    @property
    def status(self) -> Literal["ok", "partial", "compromised"]:
        """`compromised` for any gap but trimmed events."""
        if any(gap["type"] != "retention_trimmed" for gap in self.gaps):
            return "compromised"
        return "partial" if self.gaps or self.is_partial else "ok"

    def to_json(self) -> dict[str, Any]:
        """Return the answer of `GET /audit/verify`; no retention is enforced yet, so no window is named."""
        return {
            "status": self.status,
            "total_events": self.total_events,
            "verified_events": self.verified_events,
            "gaps": self.gaps,
            "retention_boundary_seq": self.first_seq or 1,
            "first_seq": self.first_seq,
            "last_seq": self.last_seq,
            "hmac_verified": self.hmac_verified,
            "hmac_skipped": self.hmac_skipped,
            "hmac_seen": self.hmac_verified > 0,
        }

    def add_gap(self, seq: int, kind: GapType) -> None:
        """Note a gap; of very many the first ones tell enough."""
        if len(self.gaps) < _GAPS_MAX:
            self.gaps.append({"at_seq": seq, "type": kind})


async def verify_chain(
    chain: AuditChain,
    tenant: str,
    *,
    limit: int = VERIFY_DEFAULT,
    since_ms: int | None = None,
    until_ms: int | None = None,
) -> ChainReport:
    """Check the events of a tenant in chain order, and the head when the end is reached. Raises Unavailable."""
    # Events may come while we look: the end of the walk lies between the heads before and after it.
    before = _head(await chain.head(tenant))
    report, walk = ChainReport(), _Walk(chain.keys, before)
    is_cut = False
    async for stored in chain.oldest(tenant, min(limit, VERIFY_MAX) + 1, since_ms):
        if until_ms is not None and int(stored.stream_id.partition("-")[0]) > until_ms:
            is_cut = True
            break
        if report.total_events == min(limit, VERIFY_MAX):
            is_cut = report.is_partial = True
            break
        walk.check(stored, report, starts_anywhere=since_ms is not None)
    if not is_cut and (since_ms is None or report.total_events):
        _check_heads(tenant, before, _head(await chain.head(tenant)), walk, report)
    return report


class _Walk:
    """The place in the chain."""

    def __init__(self, chain_keys: ChainKeys, head: tuple[int, str, str] | None) -> None:
        self._keys = chain_keys
        self._head = head
        self._has_keys = bool(chain_keys.all())
        self._is_first = True
        self.seq = 0
        self.event_hash = ""
        self.met_head = head is None or head[0] == 0

    def check(self, stored: StoredEvent, report: ChainReport, *, starts_anywhere: bool) -> None:
        report.total_events += 1
        event = stored.fields or {}
        seq = event.get("seq")
        if isinstance(seq, bool) or not isinstance(seq, int) or seq < 1:
            report.add_gap(self.seq + 1, "hash_mismatch")
            return
        gaps = len(report.gaps)
        self._check_place(seq, event, report, starts_anywhere=starts_anywhere)
        self._check_content(seq, event, report)
        if len(report.gaps) == gaps:
            report.verified_events += 1
        report.first_seq = report.first_seq or seq
        report.last_seq = self.seq = max(self.seq, seq)
        self.event_hash = str(event.get("event_hash", ""))
        if self._head is not None and (seq, self.event_hash) == self._head[:2]:
            self.met_head = True

    def is_signed(self, tenant: str, head: tuple[int, str, str]) -> bool:
        """Tell whether the MAC of a head holds."""
        text = head_text(tenant, head[0], head[1])
        return any(_same(mac_of(key, text), head[2]) for key in self._keys.all())

    def _check_place(
        self, seq: int, event: dict[str, Any], report: ChainReport, *, starts_anywhere: bool
    ) -> None:
        previous = event.get("prev_hash", "")
        if self._is_first:
            self._is_first = False
            if seq > 1 and not starts_anywhere:
                # No boundary of a retention is kept yet: a chain that does not begin at 1 lost its beginning.
                report.add_gap(1, "missing")
            return
        if seq <= self.seq:
            report.add_gap(seq, "out_of_order")
        elif seq > self.seq + 1:
            report.add_gap(self.seq + 1, "missing")
        elif previous != self.event_hash:
            report.add_gap(seq, "hash_mismatch")

    def _check_content(self, seq: int, event: dict[str, Any], report: ChainReport) -> None:
        form = canonical({name: event[name] for name in event if name not in {"event_hash", "hmac"}})
        if not _same(hashlib.sha256(form).hexdigest(), event.get("event_hash")):
            report.add_gap(seq, "hash_mismatch")
            return
        key = self._keys.by_id(str(event.get("key_id", "")))
        if key is None:
            # Whoever rewrites a chain would leave the MAC out: without a key id only events before the key pass.
            report.hmac_skipped += 1
            if report.hmac_verified and self._has_keys:
                report.add_gap(seq, "hmac_mismatch")
        elif _same(mac_of(key, form), event.get("hmac")):
            report.hmac_verified += 1
        else:
            report.add_gap(seq, "hmac_mismatch")


def _head(text: str) -> tuple[int, str, str] | None:
    """Return the parts of a head, None for a damaged one."""
    try:
        return parts_of_head(text)
    except CordumError:
        return None


def _check_heads(
    tenant: str,
    before: tuple[int, str, str] | None,
    after: tuple[int, str, str] | None,
    walk: _Walk,
    report: ChainReport,
) -> None:
    """The event of the earlier head must be there, and the later head must not lag behind the last event."""
    is_right = before is not None and after is not None and walk.met_head and after[0] >= walk.seq
    if is_right and after is not None and report.hmac_verified:
        is_right = walk.is_signed(tenant, after)
    if not is_right:
        report.add_gap(walk.seq, "head_mismatch")


def _same(expected: str, given: object) -> bool:
    return isinstance(given, str) and hmac.compare_digest(expected.encode(), given.encode("utf-8", "replace"))
