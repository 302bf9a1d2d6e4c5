"""Issuing and revoking worker credentials (scheduler spec §19.2, gateway spec §17).

The event of a write is stored in the document together with the write and then appended to the audit chain; should that
fail, the next write of the document does it first.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import structlog
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from cordum.audit import AuditChain, AuditEvent
from cordum.audit.events import Severity
from cordum.audit.worker_trust import trust_change
from cordum.bus.connection import Bus
from cordum.domain.errors import Conflict, CordumError, InvalidInput, NotFound
from cordum.domain.worker_credentials import PROOF_ALGORITHM, WorkerCredential
from cordum.gateway.packets import config_changed
from cordum.gateway.routing import Routing, load_routing
from cordum.protocol import subjects
from cordum.runtime.clock import now_s, rfc3339
from cordum.security.principal import Caller
from cordum.security.worker_tokens import hash_token, new_token
from cordum.store.agents import load_agents
from cordum.store.config_documents import ConfigDocuments, Document
from cordum.store.connection import RedisClient
from cordum.store.worker_credentials import WORKERS_DOCUMENT, CredentialSet, load_credentials
from cordum.store.worker_sessions import Session, WorkerSessions

__all__ = ["CredentialRequest", "CredentialWriter", "Issued"]

_EVENT: Final = "_audit_event"
_TRIES: Final = 32
_HASHES_AT_ONCE: Final = 2
"""A hash takes 64 MiB."""

_log = structlog.get_logger("cordum.gateway")

Change = Callable[[CredentialSet], WorkerCredential | None]


@dataclass(frozen=True, slots=True)
class CredentialRequest:
    """What a caller asks a credential for. None: as it is in the record being replaced."""

    worker_id: str
    tenant_id: str
    allowed_pools: tuple[str, ...] | None = None
    allowed_topics: tuple[str, ...] | None = None
    pack_id: str | None = None
    agent_id: str | None = None
    proof_key_id: str | None = None
    proof_public_key_pem: str | None = None


@dataclass(frozen=True, slots=True)
class Issued:
    """A credential with its token, which nobody can read again; ``is_new``: the worker had none before."""

    credential: WorkerCredential
    token: str
    is_new: bool


class CredentialWriter:
    """Reads and changes `cfg:system:workers` on behalf of callers."""

    def __init__(self, redis: RedisClient, bus: Bus, audit: AuditChain, sessions: WorkerSessions) -> None:
        self._redis = redis
        self._sessions = sessions
        self._documents = ConfigDocuments(redis)
        self._bus = bus
        self._audit = audit
        self._hashing = asyncio.Semaphore(_HASHES_AT_ONCE)

    async def visible(self, caller: Caller) -> list[WorkerCredential]:
        """Return the credentials of the caller's tenant, by worker id; of all tenants for a cross-tenant caller."""
        found = await load_credentials(self._documents)
        shown = [one for one in found.by_worker.values() if _may_touch(caller, one)]
        return sorted(shown, key=lambda one: one.worker_id)

    async def issue(self, request: CredentialRequest, caller: Caller) -> Issued:
        """Give a worker a new token; the one it had is dead at once.

        Raises InvalidInput `WORKER_CRED_BINDING_INVALID`, NotFound for an unknown pool or topic, or for a worker of
        another tenant, Conflict, Unavailable.
        """
        _require_known(request, await load_routing(self._documents))
        token = new_token()
        async with self._hashing:
            credential_hash = await asyncio.to_thread(hash_token, token)
        before: list[WorkerCredential | None] = []

        def change(stored: CredentialSet) -> WorkerCredential:
            current = stored.by_worker.get(request.worker_id)
            if current is not None and not _may_touch(caller, current):
                raise _not_found()
            if request.worker_id in stored.unreadable and not caller.cross_tenant:
                # Nobody can tell whose it is.
                raise _not_found()
            before[:] = [current]
            return _merged(request, current, credential_hash, caller)

        credential = await self._write(change, caller, lambda: _issue_word(before[-1]))
        if before[-1] is not None and _proof(before[-1]) != _proof(credential):
            await self._end_session(credential, caller)
        return Issued(credential, token, before[-1] is None)

    async def revoke(self, worker_id: str, caller: Caller) -> WorkerCredential:
        """Revoke a credential; its record stays. Raises NotFound `WORKER_CRED_NOT_FOUND`, Conflict, Unavailable."""

        def change(stored: CredentialSet) -> WorkerCredential | None:
            current = stored.by_worker.get(worker_id)
            if current is None or not _may_touch(caller, current):
                raise _not_found()
            return replace(current, revoked_at=rfc3339()) if current.is_active else None

        credential = await self._write(change, caller, lambda: "credential_revoked", worker_id)
        await self._end_session(credential, caller)
        return credential

    async def _end_session(self, credential: WorkerCredential, caller: Caller) -> None:
        """A session lives no longer than what it was proven with; schedulers look at that too, should this fail."""
        try:
            await self.end_session(credential.worker_id, caller)
        except CordumError as error:
            _log.error("session not revoked", worker_id=credential.worker_id, reason=error.message)

    async def end_session(self, worker_id: str, caller: Caller) -> Session | None:
        """Revoke the live session of a worker of the caller's tenant; return it, or None. Raises Unavailable."""
        tenant = "" if caller.cross_tenant else caller.tenant
        ended = await self._sessions.revoke(worker_id, tenant=tenant, now_s=now_s())
        if ended is not None:
            identity = caller.effective_principal
            await self._audit.append(
                trust_change("session_revoked", worker_id, ended.tenant, jti=ended.jti, identity=identity)
            )
        return ended

    async def _write(
        self, change: Change, caller: Caller, word: Callable[[], str], worker_id: str = ""
    ) -> WorkerCredential:
        """Apply a change to the newest revision; again while others are first."""
        for _ in range(_TRIES):
            document = await self._documents.get(*WORKERS_DOCUMENT) or Document(*WORKERS_DOCUMENT)
            stored = CredentialSet.read(document)
            credential = change(stored)
            if credential is None:
                return stored.by_worker[worker_id]
            await self._require_agent(credential)
            pending = document.meta.get(_EVENT)
            if isinstance(pending, Mapping):
                await self._audit.append_fields(pending)
            event = _event(credential, word(), caller).fields()
            try:
                await self._documents.put(
                    *WORKERS_DOCUMENT,
                    {**document.data, credential.worker_id: credential.record()},
                    expected_revision=document.revision,
                    updated_at=rfc3339(),
                    meta={**document.meta, _EVENT: event},
                )
            except Conflict:
                continue
            await self._tell(event)
            return credential
        raise Conflict("worker credentials: somebody else was always first, try again")

    async def _require_agent(self, credential: WorkerCredential) -> None:
        if not credential.agent_id or not credential.is_active:
            return
        (agent,) = await load_agents(self._redis, [credential.agent_id])
        if agent is None or not agent.may_act_for(credential.tenant_id):
            raise _unbound("agent_id: expected an active agent of the same tenant", "agent_id")

    async def _tell(self, event: Mapping[str, Any]) -> None:
        try:
            await self._bus.publish_core(subjects.CONFIG_CHANGED, config_changed(*WORKERS_DOCUMENT))
            await self._audit.append_fields(event)
        except CordumError as error:
            _log.error("credential change not announced or not in the chain yet", reason=error.message)


def _proof(credential: WorkerCredential) -> tuple[str, ...]:
    return (
        credential.tenant_id,
        credential.agent_id,
        credential.proof_key_id,
        credential.proof_public_key_pem,
    )


def _may_touch(caller: Caller, credential: WorkerCredential) -> bool:
    return caller.cross_tenant or credential.tenant_id == caller.tenant


def _merged(
    request: CredentialRequest, current: WorkerCredential | None, credential_hash: str, caller: Caller
) -> WorkerCredential:
    base = current or WorkerCredential(request.worker_id, request.tenant_id)
    asked = {
        name: value
        for name in ("allowed_pools", "allowed_topics", "pack_id", "agent_id")
        if (value := getattr(request, name)) is not None
    }
    credential = replace(
        base,
        **asked,
        credential_hash=credential_hash,
        created_by=caller.effective_principal or "api",
        created_at=rfc3339(),
        revoked_at="",
    )
    if request.proof_key_id is not None or request.proof_public_key_pem is not None:
        credential = _with_proof_key(
            credential, request.proof_key_id or "", request.proof_public_key_pem or ""
        )
    if credential.proof_key_id and not credential.agent_id:
        raise _unbound("agent_id: expected the agent that holds the proof key", "agent_id")
    return credential


def _with_proof_key(credential: WorkerCredential, key_id: str, pem: str) -> WorkerCredential:
    """Set the proof key, or remove it when both parts are empty."""
    if not key_id and not pem:
        return replace(credential, proof_key_id="", proof_algorithm="", proof_public_key_pem="")
    if not key_id or not pem:
        raise _unbound("proof_key_id, proof_public_key_pem: expected both or none", "proof_key_id")
    try:
        key = load_pem_public_key(pem.encode())
    except (ValueError, UnsupportedAlgorithm) as error:
        raise _bad_key() from error
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise _bad_key()
    return replace(credential, proof_key_id=key_id, proof_algorithm=PROOF_ALGORITHM, proof_public_key_pem=pem)


def _require_known(request: CredentialRequest, routing: Routing) -> None:
    for pool in request.allowed_pools or ():
        if pool not in routing.pools:
            raise NotFound(f"pool `{pool}` not found", code="POOL_NOT_FOUND")
    for topic in request.allowed_topics or ():
        if not routing.knows(topic):
            raise NotFound(f"topic `{topic}` not found", code="TOPIC_NOT_FOUND")


def _issue_word(before: WorkerCredential | None) -> str:
    return "credential_issued" if before is None else "credential_rotated"


def _event(credential: WorkerCredential, word: str, caller: Caller) -> AuditEvent:
    severity: Severity = "HIGH" if word == "credential_revoked" else "MEDIUM"
    return AuditEvent(
        "worker_trust_change",
        severity,
        credential.tenant_id,
        word,
        agent_id=credential.agent_id,
        identity=caller.effective_principal,
        reason=f"{word.replace('_', ' ')} for worker {credential.worker_id}",
        extra={
            "worker_id": credential.worker_id,
            "pools": ",".join(credential.allowed_pools),
            "topics": ",".join(credential.allowed_topics),
            "proof_key_id": credential.proof_key_id,
            "role": caller.role,
        },
    )


def _not_found() -> NotFound:
    return NotFound("worker credential not found", code="WORKER_CRED_NOT_FOUND")


def _unbound(message: str, field: str) -> InvalidInput:
    return InvalidInput(message, code="WORKER_CRED_BINDING_INVALID", field=field)


def _bad_key() -> InvalidInput:
    return _unbound("proof_public_key_pem: expected a P-256 public key in PEM", "proof_public_key_pem")
