"""What a worker may prove itself with, as stored in `cfg:system:workers` (scheduler spec §19.2, protocol §14.1)."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Final, Self

from cordum.domain.errors import CordumError

__all__ = ["PROOF_ALGORITHM", "WorkerCredential"]

PROOF_ALGORITHM: Final = "ECDSA_P256_SHA256"
_LISTS: Final = ("allowed_pools", "allowed_topics")


@dataclass(frozen=True, slots=True)
class WorkerCredential:
    """One record. Empty lists mean "no limit"; times are RFC 3339, ``revoked_at`` is empty while it counts."""

    worker_id: str
    tenant_id: str = "default"
    credential_hash: str = ""
    """Argon2id of the token as PHC text; the token itself is never stored."""
    allowed_pools: tuple[str, ...] = ()
    allowed_topics: tuple[str, ...] = ()
    pack_id: str = ""
    agent_id: str = ""
    created_by: str = "api"
    created_at: str = ""
    revoked_at: str = ""
    proof_key_id: str = ""
    proof_algorithm: str = ""
    proof_public_key_pem: str = ""
    """Key the worker signs its trust handshake with; empty for a worker that only has a token."""

    @property
    def is_active(self) -> bool:
        """Tell whether the record was not revoked."""
        return not self.revoked_at

    @classmethod
    def read(cls, worker_id: str, record: object) -> Self:
        """Read a stored record. Raises CordumError for one that is none: it must not pass for one without limits."""
        if not isinstance(record, Mapping):
            raise CordumError(f"credential of worker `{worker_id}` is not an object")
        values: dict[str, Any] = {}
        for name in (field.name for field in fields(cls)):
            value = record.get(name)
            if value is None or value == "":
                continue
            if name in _LISTS:
                values[name] = _list(worker_id, name, value)
            elif isinstance(value, str):
                values[name] = value
            else:
                raise CordumError(f"credential of worker `{worker_id}`: expected a text in `{name}`")
        if values.setdefault("worker_id", worker_id) != worker_id:
            raise CordumError(f"credential of worker `{worker_id}` names another worker")
        return cls(**values)

    def record(self) -> dict[str, Any]:
        """Return the form `read` reads; proof members only where there is a proof key."""
        stored = {field.name: getattr(self, field.name) for field in fields(self)}
        for name in _LISTS:
            stored[name] = list(stored[name])
        return {name: value for name, value in stored.items() if value or not name.startswith("proof_")}


def _list(worker_id: str, name: str, value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise CordumError(f"credential of worker `{worker_id}`: expected a list of texts in `{name}`")
    return tuple(sorted({item.strip() for item in value} - {""}))
