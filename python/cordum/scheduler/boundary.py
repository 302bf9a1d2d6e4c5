"""What workers have to prove now: the environment, else the stored section `boundary` (configuration spec §2.11)."""

from collections.abc import Mapping
from typing import Annotated, Any, Final

import structlog
from pydantic import AliasChoices, BaseModel, ConfigDict, Field, ValidationError

from cordum.config.scheduler import SchedulerSettings
from cordum.config.types import Bool, Duration, Word
from cordum.config.worker_trust import TrustMode, WorkerTrustSettings

__all__ = ["Boundary"]

_TTL_MIN_S: Final = 60.0
_TTL_MAX_S: Final = 300.0

_log = structlog.get_logger("cordum.scheduler")


class _Section(BaseModel):
    """The stored section; members the environment names do not count."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    attestation: Annotated[TrustMode, Word] = Field(
        "off", validation_alias=AliasChoices("worker_attestation", "WORKER_ATTESTATION")
    )
    readiness_required: Bool = Field(
        False, validation_alias=AliasChoices("worker_readiness_required", "WORKER_READINESS_REQUIRED")
    )
    readiness_ttl_s: Duration = Field(
        60.0, gt=0, validation_alias=AliasChoices("worker_readiness_ttl", "WORKER_READINESS_TTL")
    )


class Boundary:
    """Current values; a stored section that is not valid changes nothing."""

    def __init__(self, settings: SchedulerSettings, trust: WorkerTrustSettings) -> None:
        self._fixed: dict[str, Any] = {}
        self.attestation: TrustMode = trust.attestation
        self.handshake: TrustMode = "off"
        self.sessions_decide: bool = trust.heartbeat_mode != "authority"
        """Who lives is decided by sessions (protocol spec §15.4)."""
        self.readiness_required: bool = settings.readiness_required
        self.readiness_ttl_s: float = settings.readiness_ttl_s
        for model, names in (
            (trust, ("attestation",)),
            (settings, ("readiness_required", "readiness_ttl_s")),
        ):
            self._fixed |= {name: getattr(model, name) for name in names if name in model.model_fields_set}
        if not _TTL_MIN_S <= self.readiness_ttl_s <= _TTL_MAX_S:
            _log.warning("WORKER_READINESS_TTL: expected 60s to 5m", seconds=self.readiness_ttl_s)

    @property
    def needs_proof(self) -> bool:
        """Tell whether only workers that proved who they are are eligible."""
        return "enforce" in (self.attestation, self.handshake)

    @property
    def limits_apply(self) -> bool:
        """Tell whether the limits of credentials count."""
        return self.attestation != "off" or self.handshake != "off"

    def read(self, section: object) -> None:
        """Take over the stored section as far as the environment says nothing."""
        try:
            stored = _Section.model_validate(section if isinstance(section, Mapping) else {})
        except ValidationError as error:
            _log.error("stored boundary section is invalid, nothing changes", faults=error.error_count())
            return
        before = self.attestation
        self.attestation = self._fixed.get("attestation", stored.attestation)
        self.readiness_required = self._fixed.get("readiness_required", stored.readiness_required)
        self.readiness_ttl_s = self._fixed.get("readiness_ttl_s", stored.readiness_ttl_s)
        if before != self.attestation:
            _log.warning("worker attestation changed", before=before, now=self.attestation)
