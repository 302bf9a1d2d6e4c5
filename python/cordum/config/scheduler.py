"""Scheduler settings (configuration spec §2.2, §2.11, §2.12)."""

from typing import Annotated, Literal

from pydantic import Field

from cordum.config.base import SECURITY
from cordum.config.boundary import BoundarySettings
from cordum.config.kernel_client import KernelClientSettings
from cordum.config.types import Address, Bool, Duration, ListenAddress, Word

__all__ = ["SchedulerSettings"]


class SchedulerSettings(BoundarySettings, KernelClientSettings):
    """What only the scheduler reads."""

    metrics_addr: ListenAddress = Field(Address("", 9090), validation_alias="SCHEDULER_METRICS_ADDR")
    metrics_public: Bool = Field(
        False, validation_alias="SCHEDULER_METRICS_PUBLIC", json_schema_extra=SECURITY
    )
    pools_path: str = Field("config/pools.yaml", validation_alias="POOL_CONFIG_PATH")
    timeouts_path: str = Field("config/timeouts.yaml", validation_alias="TIMEOUT_CONFIG_PATH")
    config_reload_s: Duration = Field(30.0, gt=0, validation_alias="SCHEDULER_CONFIG_RELOAD_INTERVAL")
    snapshot_interval_s: Duration = Field(5.0, gt=0, validation_alias="WORKER_SNAPSHOT_INTERVAL")
    worker_ttl_s: Duration = Field(30.0, gt=0, validation_alias="SCHEDULER_WORKER_TTL")
    readiness_required: Bool = Field(
        False, validation_alias="WORKER_READINESS_REQUIRED", json_schema_extra=SECURITY
    )
    readiness_ttl_s: Duration = Field(60.0, gt=0, validation_alias="WORKER_READINESS_TTL")
    batch_max: int = Field(256, ge=1, le=1000, validation_alias="SCHEDULER_BATCH_MAX")
    batch_linger_ms: int = Field(2, ge=0, le=1000, validation_alias="SCHEDULER_BATCH_LINGER_MS")
    batches_in_flight: int = Field(2, ge=1, le=16, validation_alias="SCHEDULER_BATCHES_IN_FLIGHT")
    max_parked: int = Field(1_000_000, ge=1, validation_alias="SCHEDULER_MAX_PARKED")
    """Above so many parked jobs no submits are taken; results and due jobs go on (scheduler spec §32)."""
    failpoints: str = Field("", validation_alias="CORDUM_FAILPOINTS", json_schema_extra=SECURITY)
    """Steps at which a test ends the process, `<step>=<kill|raise>[@<n>],…`; refused in production (docs/proof.md)."""
    policy_fail_mode: Annotated[Literal["closed", "open"], Word] = Field(
        "closed", validation_alias="POLICY_CHECK_FAIL_MODE", json_schema_extra=SECURITY
    )
    """`open` lets jobs run while the safety kernel does not answer; refused in production (scheduler spec §22)."""
