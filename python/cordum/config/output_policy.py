"""Settings of output checks (output policy spec §14)."""

import os
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from cordum.config.base import SECURITY, Settings
from cordum.config.types import Bool, ByteSize

__all__ = ["OutputPolicySettings"]

SCAN_MAX_BYTES = 64 * 1024 * 1024


def _inline(value: int) -> int:
    if value > 2 * 1024 * 1024:
        raise ValueError("expected a size up to 2 MiB")
    return value


def _scan(value: int) -> int:
    if not 4096 <= value <= SCAN_MAX_BYTES:
        raise ValueError("expected a size from 4096 bytes to 64 MiB")
    return value


def _milliseconds(value: Any) -> Any:
    """Read a positive number of milliseconds; anything else is the default (output policy spec §2.3)."""
    text = str(value).strip()
    return int(text) if text.isascii() and text.isdigit() and int(text) > 0 else 500


class OutputPolicySettings(Settings):
    """Whether and how results are checked before they count."""

    enabled: Bool = Field(False, validation_alias="OUTPUT_POLICY_ENABLED", json_schema_extra=SECURITY)
    """The configuration document `system/default` may say otherwise: `scheduler.output_policy_enabled`."""
    fail_mode: Literal["", "open", "closed"] = Field(
        "", validation_alias="OUTPUT_POLICY_FAIL_MODE", json_schema_extra=SECURITY
    )
    """What happens to results that cannot be checked. Empty: the policy's word, else `closed`, but `open` for the first
    check outside production. Only the exact word `open` opens."""
    meta_timeout_ms: Annotated[int, BeforeValidator(_milliseconds)] = Field(
        500, validation_alias="CORDUM_OUTPUT_META_TIMEOUT_MS"
    )
    inline_max_bytes: Annotated[ByteSize, AfterValidator(_inline)] = Field(
        256 * 1024, validation_alias="OUTPUT_POLICY_INLINE_MAX_BYTES", json_schema_extra=SECURITY
    )
    """Up to this size a result is scanned before its job succeeds, a larger one afterwards; 0 = all afterwards."""
    max_scan_bytes: Annotated[ByteSize, AfterValidator(_scan)] = Field(
        16 * 1024 * 1024, validation_alias="OUTPUT_POLICY_MAX_SCAN_BYTES", json_schema_extra=SECURITY
    )
    async_concurrency: int = Field(
        2 * (os.cpu_count() or 1), ge=1, le=256, validation_alias="OUTPUT_POLICY_ASYNC_CONCURRENCY"
    )
