"""What workers have to prove (configuration spec §2.11)."""

from typing import Annotated, Literal

from pydantic import Field

from cordum.config.base import SECURITY, Settings
from cordum.config.types import Word

__all__ = ["TrustMode", "WorkerTrustSettings"]

TrustMode = Literal["off", "warn", "enforce"]


class WorkerTrustSettings(Settings):
    """How the scheduler treats workers that do not prove who they are."""

    attestation: Annotated[TrustMode, Word] = Field(
        "off", validation_alias="WORKER_ATTESTATION", json_schema_extra=SECURITY
    )
    """`warn` accepts a heartbeat without a valid credential and logs it, `enforce` drops it."""
