"""What workers have to prove (configuration spec §2.11)."""

from typing import Annotated, Final, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from cordum.config.base import SECURITY
from cordum.config.signing import SigningKeySettings
from cordum.config.types import Word

__all__ = ["HeartbeatMode", "TrustMode", "WorkerTrustSettings"]

TrustMode = Literal["off", "warn", "enforce"]
HeartbeatMode = Literal["authority", "warn", "telemetry"]
_ID_MAX: Final = 256


def _identity(text: str) -> str:
    if len(text) > _ID_MAX or not all("!" <= character <= "~" for character in text):
        raise ValueError(f"expected at most {_ID_MAX} printable ASCII characters without blanks")
    return text


Identity = AfterValidator(_identity)
"""What published workers accept as an id."""


class WorkerTrustSettings(SigningKeySettings):
    """How the scheduler treats workers that do not prove who they are. The signing key signs their session tokens."""

    attestation: Annotated[TrustMode, Word] = Field(
        "off", validation_alias="WORKER_ATTESTATION", json_schema_extra=SECURITY
    )
    """`warn` accepts a heartbeat without a valid credential and logs it, `enforce` drops it."""
    handshake: Annotated[Literal["", "off", "warn", "enforce"], Word] = Field(
        "", validation_alias="CORDUM_SDK_HANDSHAKE", json_schema_extra=SECURITY
    )
    """Trust handshake of workers; empty: `warn` when proof key and signing key are there, else `off`. Workers read the
    same variable: keep it out of settings they share."""
    heartbeat_mode: Annotated[HeartbeatMode, Word] = Field(
        "authority", validation_alias="CORDUM_HEARTBEAT_MODE", json_schema_extra=SECURITY
    )
    """Who decides that a worker lives. `authority`: its heartbeats. `warn`: its session, and where the heartbeats
    disagree that is logged and audited. `telemetry`: its session; heartbeats tell of load only. The last two need
    the trust handshake."""
    scheduler_id: Annotated[str, Identity] = Field(
        "cordum-scheduler", validation_alias="CORDUM_HANDSHAKE_SCHEDULER_ID", json_schema_extra=SECURITY
    )
    """Sender of dispatches and of answers to trust handshakes, as workers pin it."""
    proof_key_id: Annotated[str, Identity] = Field(
        "", validation_alias="CORDUM_HANDSHAKE_SCHEDULER_KEY_ID", json_schema_extra=SECURITY
    )
    proof_private_file: str = Field(
        "", validation_alias="CORDUM_HANDSHAKE_PRIVATE_KEY_FILE", json_schema_extra=SECURITY
    )
    proof_public_file: str = Field(
        "", validation_alias="CORDUM_HANDSHAKE_PUBLIC_KEY_FILE", json_schema_extra=SECURITY
    )

    @property
    def has_proof_key(self) -> bool:
        """Tell whether the key is named that signs dispatches."""
        return bool(self.proof_private_file)

    @property
    def has_signing_key(self) -> bool:
        """Tell whether a key is named that may sign session tokens."""
        given = (self.signing_key.get_secret_value(), self.signing_key_path)
        return any(given) or bool(self.dev_signing_seed.get_secret_value())

    @model_validator(mode="after")
    def _whole_proof_key(self) -> Self:
        named = (self.proof_key_id, self.proof_private_file, self.proof_public_file)
        if any(named) and not all(named):
            raise ValueError(
                "CORDUM_HANDSHAKE_SCHEDULER_KEY_ID, CORDUM_HANDSHAKE_PRIVATE_KEY_FILE, "
                "CORDUM_HANDSHAKE_PUBLIC_KEY_FILE: expected all or none"
            )
        return self
