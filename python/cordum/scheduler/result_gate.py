"""Which results count when workers have to prove who they are (scheduler spec §10 row 3)."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import structlog

from cordum._core import Planner, packet_claims
from cordum.bus.messages import ACK, NAK, InMessage, Verdict
from cordum.config.worker_trust import TrustMode
from cordum.runtime.clock import monotonic_s, now_us
from cordum.scheduler import metrics
from cordum.scheduler.attestation import Attestor

__all__ = ["ResultGate"]

_AGAIN_S: Final = 1.0
CONTROL_PLANE: Final = frozenset({"api-gateway", "workflow-engine", "cordum-scheduler"})

_log = structlog.get_logger("cordum.scheduler")

Handle = Callable[[list[InMessage]], Awaitable[Sequence[Verdict]]]


class ResultGate:
    """Stands before the result pipeline; ``worker_ttl_s`` is how long a proof counts."""

    def __init__(
        self,
        handle: Handle,
        planner: Planner,
        attestor: Attestor,
        mode: Callable[[], TrustMode],
        worker_ttl_s: float,
    ) -> None:
        self._handle = handle
        self._planner = planner
        self._attestor = attestor
        self._mode = mode
        self._settled_s = monotonic_s() + worker_ttl_s

    async def handle(self, messages: list[InMessage]) -> Sequence[Verdict]:
        """Process one batch: results of workers that are not attested are acknowledged without effect."""
        if self._mode() != "enforce":
            return await self._handle(messages)
        refused = self._refuse(messages)
        passed = [message for message, verdict in zip(messages, refused, strict=True) if verdict is None]
        if len(passed) == len(messages):
            return await self._handle(messages)
        answers = iter(await self._handle(passed) if passed else ())
        return [verdict or next(answers) for verdict in refused]

    def _refuse(self, messages: list[InMessage]) -> list[Verdict | None]:
        claims = packet_claims([message.data for message in messages])
        senders = {claim[1] for claim in claims if claim[0] == "result"} - CONTROL_PLANE
        strangers = set(self._planner.unattested(sorted(senders), now_us()))
        return [self._verdict(claim, strangers) for claim in claims]

    def _verdict(self, claim: tuple[str, ...], strangers: set[str]) -> Verdict | None:
        kind, sender_id, worker_id, job_id = claim[:4]
        if kind != "result" or sender_id in CONTROL_PLANE:
            return None
        if sender_id == worker_id and sender_id not in strangers:
            return None
        if monotonic_s() < self._settled_s and self._attestor.credential(sender_id) is not None:
            # We are new here: its next heartbeat tells.
            return NAK(_AGAIN_S)
        metrics.REJECTED_PACKETS.labels("not_attested").inc()
        _log.error(
            "result of a worker that is not attested", worker_id=worker_id, sender_id=sender_id, job_id=job_id
        )
        return ACK
