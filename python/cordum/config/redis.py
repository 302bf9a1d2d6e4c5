"""Redis connection and retention settings (configuration spec §2.9, §2.10, §2.12)."""

from urllib.parse import urlsplit

from pydantic import Field, field_validator

from cordum.config.base import SECURITY, Settings
from cordum.config.types import Bool, Duration, Secret, StrList

__all__ = ["RedisSettings", "StoreSettings"]


class RedisSettings(Settings):
    """Where Redis is and how to reach it. A non-empty ``cluster_addresses`` selects the cluster client."""

    url: str = Field("redis://localhost:6379", validation_alias="REDIS_URL", json_schema_extra=SECURITY)
    cluster_addresses: StrList = Field(
        (), validation_alias="REDIS_CLUSTER_ADDRESSES", json_schema_extra=SECURITY
    )
    tls_ca: str = Field("", validation_alias="REDIS_TLS_CA", json_schema_extra=SECURITY)
    tls_cert: str = Field("", validation_alias="REDIS_TLS_CERT", json_schema_extra=SECURITY)
    tls_key: str = Field("", validation_alias="REDIS_TLS_KEY", json_schema_extra=SECURITY)
    tls_server_name: str = Field("", validation_alias="REDIS_TLS_SERVER_NAME", json_schema_extra=SECURITY)
    tls_insecure: Bool = Field(False, validation_alias="REDIS_TLS_INSECURE", json_schema_extra=SECURITY)
    password: Secret = Field(Secret(""), validation_alias="REDIS_PASSWORD")
    pool_size: int = Field(20, ge=1, le=1000, validation_alias="REDIS_POOL_SIZE")
    dial_timeout_s: Duration = Field(5.0, gt=0, validation_alias="REDIS_DIAL_TIMEOUT")
    read_timeout_s: Duration = Field(3.0, gt=0, validation_alias="REDIS_READ_TIMEOUT")
    write_timeout_s: Duration = Field(3.0, gt=0, validation_alias="REDIS_WRITE_TIMEOUT")

    @field_validator("url")
    @classmethod
    def _known_scheme(cls, value: str) -> str:
        try:
            parts = urlsplit(value)
            usable = parts.scheme in {"redis", "rediss"} and parts.port != 0 and bool(parts.hostname)
        except ValueError:
            usable = False
        if not usable:
            raise ValueError("expected a URL such as `redis://host:6379` or `rediss://host:6379`")
        return value

    @field_validator("cluster_addresses")
    @classmethod
    def _host_and_port(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for address in value:
            host, _, port = address.rpartition(":")
            if not host or not port.isdigit():
                raise ValueError("expected a list of addresses such as `node-a:6379,node-b:6379`")
        return value


class StoreSettings(Settings):
    """Retention and layout. ``*_ttl_s`` are seconds; a bad or non-positive value becomes the default.

    The duration form of a TTL wins over the form in seconds (configuration spec §2.10).
    """

    partitions: int = Field(64, ge=1, le=256, validation_alias="SCHEDULER_PARTITIONS")
    job_recent_max: int = Field(100_000, ge=1, validation_alias="JOB_RECENT_MAX")
    dlq_max_size: int = Field(10_000, ge=1, validation_alias="SCHEDULER_DLQ_MAX_SIZE")
    dlq_ttl_days: int = Field(30, ge=1, validation_alias="CORDUM_DLQ_ENTRY_TTL_DAYS")
    data_ttl_duration: Duration | None = Field(None, gt=0, validation_alias="REDIS_DATA_TTL")
    data_ttl_seconds: int | None = Field(None, gt=0, validation_alias="REDIS_DATA_TTL_SECONDS")
    job_meta_ttl_duration: Duration | None = Field(None, gt=0, validation_alias="JOB_META_TTL")
    job_meta_ttl_seconds: int | None = Field(None, gt=0, validation_alias="JOB_META_TTL_SECONDS")
    idempotency_ttl_s: Duration = Field(7_776_000.0, gt=0, validation_alias="CORDUM_IDEMPOTENCY_TTL")

    @field_validator("partitions")
    @classmethod
    def _power_of_two(cls, value: int) -> int:
        if value & (value - 1):
            raise ValueError("expected a power of two between 1 and 256")
        return value

    @property
    def data_ttl_s(self) -> int:
        """Return the TTL of context and result blobs in seconds."""
        return max(1, int(self.data_ttl_duration or self.data_ttl_seconds or 86_400))

    @property
    def job_meta_ttl_s(self) -> int:
        """Return the TTL of a job record after its end in seconds."""
        return max(1, int(self.job_meta_ttl_duration or self.job_meta_ttl_seconds or 604_800))

    @property
    def dlq_ttl_s(self) -> int:
        """Return the TTL of a dead-letter entry in seconds."""
        return self.dlq_ttl_days * 86_400
