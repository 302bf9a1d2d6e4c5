"""Credential attestation of workers (protocol spec §15.5, scheduler spec §19.1, §19.2)."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, Literal

import structlog
from cachetools import TTLCache

from cordum._core import Planner
from cordum.config.worker_trust import TrustMode
from cordum.domain.errors import CordumError
from cordum.domain.worker_credentials import WorkerCredential
from cordum.runtime.clock import monotonic_s, now_us
from cordum.scheduler import metrics
from cordum.scheduler.token_verdicts import TokenVerdicts
from cordum.security.worker_tokens import is_token_form
from cordum.store.config_documents import ConfigDocuments
from cordum.store.worker_credentials import CredentialSet, load_credentials

__all__ = ["PENDING", "Attestor", "Judgement", "Reason"]

Reason = Literal[
    "",
    "pending",
    "sender_id_mismatch",
    "credential_cache_unavailable",
    "auth_token_missing",
    "credential_verify_error",
    "credential_invalid",
    "pool_not_allowed",
]
"""Why a packet does not attest its worker; empty when it does, `pending` while nobody knows."""

_LOAD_LIMIT_S: Final = 5.0
_MEET_EVERY_S: Final = 1.0
_LOG_EVERY_S: Final = 60.0
_LOGGED_MAX: Final = 10_000

_log = structlog.get_logger("cordum.scheduler")


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a token is worth: the credential it fits, else the reason."""

    reason: Reason
    credential: WorkerCredential | None = None


PENDING: Final = Judgement("pending")


class Attestor:
    """Judges the tokens of workers against the credentials of `cfg:system:workers`."""

    def __init__(
        self,
        documents: ConfigDocuments,
        planner: Planner,
        reload_s: float,
        on_verdict: Callable[[list[bytes]], Awaitable[None]],
    ) -> None:
        self._documents = documents
        self._planner = planner
        self._reload_s = reload_s
        self._verdicts = TokenVerdicts(on_verdict)
        self._credentials: CredentialSet | None = None
        self._met_s = 0.0
        self._logged: TTLCache[tuple[str, str], bool] = TTLCache(_LOGGED_MAX, _LOG_EVERY_S, timer=monotonic_s)
        self.changed = asyncio.Event()
        """Set it to have the credentials read again."""

    def judge(self, sender_id: str, worker_id: str, pool: str, token: str, packet: bytes) -> Judgement:
        """Judge one packet; ``pool`` is empty for one that names none. A `PENDING` packet is judged again later."""
        known = self._credentials
        if sender_id != worker_id:
            return Judgement("sender_id_mismatch")
        if known is None:
            return Judgement("credential_cache_unavailable")
        if not token:
            return Judgement("auth_token_missing")
        if worker_id in known.unreadable:
            return Judgement("credential_verify_error")
        credential = known.by_worker.get(worker_id)
        if credential is None or not credential.is_active or not is_token_form(token):
            return Judgement("credential_invalid")
        verdict = self._verdicts.look(worker_id, credential.credential_hash, token, packet)
        if verdict == "pending":
            return PENDING
        if verdict != "fits":
            return Judgement("credential_invalid" if verdict == "wrong" else "credential_verify_error")
        if pool and credential.allowed_pools and pool not in credential.allowed_pools:
            return Judgement("pool_not_allowed")
        return Judgement("", credential)

    def credential(self, worker_id: str) -> WorkerCredential | None:
        """Return the active credential of a worker, as far as it is known here."""
        found = self._credentials.by_worker.get(worker_id) if self._credentials is not None else None
        return found if found is not None and found.is_active else None

    async def meet(self, worker_ids: Iterable[str]) -> None:
        """Read the credentials again when one of these workers has none here, at most once a second: a worker may come
        at once with what was issued a moment ago."""
        if monotonic_s() >= self._met_s and any(self.credential(one) is None for one in worker_ids):
            self._met_s = monotonic_s() + _MEET_EVERY_S
            await self.reload()

    def report(self, mode: TrustMode, worker_id: str, reason: Reason) -> None:
        """Count a failure; the log tells it once a minute per worker and reason."""
        metrics.ATTESTATION_FAILURES.labels(reason).inc()
        if (worker_id, reason) in self._logged:
            return
        self._logged[worker_id, reason] = True
        log = _log.error if mode == "enforce" else _log.warning
        log("attestation failed", worker_id=worker_id, reason=reason, mode=mode)

    async def run(self) -> None:
        """Check tokens and keep the credentials current until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._verdicts.run())
            tasks.create_task(self._keep_current())

    async def _keep_current(self) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._reload_s):
                    await self.changed.wait()
            self.changed.clear()
            await self.reload()

    async def reload(self) -> None:
        """Read the credentials. When that fails the old ones stay; before the first success nobody is attested."""
        try:
            async with asyncio.timeout(_LOAD_LIMIT_S):
                loaded = await load_credentials(self._documents)
        except (CordumError, TimeoutError) as error:
            _log.error("worker credentials not read, the old ones stay", reason=str(error) or "time-out")
            return
        if loaded.unreadable and (self._credentials is None or loaded != self._credentials):
            _log.error("worker credentials not readable", worker_ids=loaded.unreadable[:20])
        previous, self._credentials = self._credentials, loaded
        self._apply(previous.by_worker if previous is not None else {})

    def _apply(self, previous: Mapping[str, WorkerCredential]) -> None:
        """Let what changed count for the workers that are attested; they may have been before we started."""
        for worker_id in self._planner.attested_workers(now_us()):
            before, credential = previous.get(worker_id), self.credential(worker_id)
            if credential is None or (before and before.credential_hash != credential.credential_hash):
                self._planner.withdraw(worker_id)
                self._verdicts.forget(worker_id)
            if credential is not None and (before is None or _limits(before) != _limits(credential)):
                self._planner.limit_worker(worker_id, *_limits(credential))


def _limits(credential: WorkerCredential) -> tuple[list[str], list[str]]:
    return list(credential.allowed_pools), list(credential.allowed_topics)
