"""Settings of the safety kernel (configuration spec §2.2, §2.6, §2.13; policy spec §14, §22)."""

from typing import Annotated, Final, Literal, Self

from pydantic import AfterValidator, Field, field_validator, model_validator

from cordum.config.base import SECURITY
from cordum.config.signing import SigningSettings
from cordum.config.types import Address, Bool, ByteSize, Duration, ListenAddress, StrList

__all__ = ["KernelSettings"]


def _positive(value: float) -> float:
    if value <= 0:
        raise ValueError("expected a duration above zero")
    return value


def _size(value: int) -> int:
    if value <= 0:
        raise ValueError("expected a size above zero")
    return value


def _scan_size(value: int) -> int:
    if not 4096 <= value <= 64 * 1024 * 1024:
        raise ValueError("expected a size from 4096 bytes to 64 MiB")
    return value


_STRICTNESS: Final[dict[Literal["off", "warn", "enforce"], frozenset[str]]] = {
    "off": frozenset({"off", "disabled", "none", "false", "0"}),
    "warn": frozenset({"warn"}),
    "enforce": frozenset({"enforce", "strict", "required", "true", "1"}),
}
PositiveDuration = Annotated[Duration, AfterValidator(_positive)]


class KernelSettings(SigningSettings):
    """Where the kernel listens, what policy it serves, how it treats connections. Durations are seconds."""

    addr: ListenAddress = Field(Address("localhost", 50051), validation_alias="SAFETY_KERNEL_ADDR")
    admin_addr: ListenAddress = Field(Address("", 9095), validation_alias="SAFETY_KERNEL_ADMIN_ADDR")
    metrics_public: Bool = Field(
        False, validation_alias="SAFETY_KERNEL_METRICS_PUBLIC", json_schema_extra=SECURITY
    )
    tls_cert: str = Field("", validation_alias="SAFETY_KERNEL_TLS_CERT", json_schema_extra=SECURITY)
    tls_key: str = Field("", validation_alias="SAFETY_KERNEL_TLS_KEY", json_schema_extra=SECURITY)
    tls_client_ca: str = Field("", validation_alias="SAFETY_KERNEL_TLS_CLIENT_CA", json_schema_extra=SECURITY)
    policy_path: str = Field("config/safety.yaml", validation_alias="SAFETY_POLICY_PATH")
    policy_url: str = Field("", validation_alias="SAFETY_POLICY_URL", json_schema_extra=SECURITY)
    policy_url_allowlist: StrList = Field(
        (), validation_alias="SAFETY_POLICY_URL_ALLOWLIST", json_schema_extra=SECURITY
    )
    """Hosts, or `.suffix`; when set, no other host is asked."""
    policy_url_allow_private: Bool = Field(
        False, validation_alias="SAFETY_POLICY_URL_ALLOW_PRIVATE", json_schema_extra=SECURITY
    )
    policy_max_bytes: Annotated[ByteSize, AfterValidator(_size)] = Field(
        2 * 1024 * 1024, validation_alias="SAFETY_POLICY_MAX_BYTES"
    )
    strict: str = Field("", validation_alias="CORDUM_POLICY_STRICT", json_schema_extra=SECURITY)
    config_scope: str = Field("system", validation_alias="SAFETY_POLICY_CONFIG_SCOPE")
    config_id: str = Field("policy", validation_alias="SAFETY_POLICY_CONFIG_ID")
    config_key: str = Field("bundles", validation_alias="SAFETY_POLICY_CONFIG_KEY")
    config_disable: Bool = Field(
        False, validation_alias="SAFETY_POLICY_CONFIG_DISABLE", json_schema_extra=SECURITY
    )
    velocity_fail_mode: Literal["closed", "open"] = Field(
        "closed", validation_alias="VELOCITY_FAIL_MODE", json_schema_extra=SECURITY
    )
    cache_ttl_s: Duration = Field(0.0, validation_alias="SAFETY_DECISION_CACHE_TTL")
    """0 = no cache."""
    cache_max_size: int = Field(10_000, le=10_000_000, validation_alias="SAFETY_DECISION_CACHE_MAX_SIZE")
    delegation_policy_enabled: Bool = Field(
        False, validation_alias="CORDUM_DELEGATION_POLICY_ENABLED", json_schema_extra=SECURITY
    )
    """Whether delegated calls are told from direct ones."""
    malformed_bundle: Literal["reject", "skip"] = Field(
        "reject", validation_alias="SAFETY_POLICY_MALFORMED_BUNDLE", json_schema_extra=SECURITY
    )
    reload_interval_s: PositiveDuration = Field(30.0, validation_alias="SAFETY_POLICY_RELOAD_INTERVAL")
    public_key: str = Field("", validation_alias="SAFETY_POLICY_PUBLIC_KEY", json_schema_extra=SECURITY)
    public_key_id: str = Field(
        "default", validation_alias="SAFETY_POLICY_PUBLIC_KEY_ID", json_schema_extra=SECURITY
    )
    trusted_keys_dir: str = Field(
        "", validation_alias="CORDUM_POLICY_TRUSTED_KEYS_DIR", json_schema_extra=SECURITY
    )
    signature: str = Field("", validation_alias="SAFETY_POLICY_SIGNATURE", json_schema_extra=SECURITY)
    signature_path: str = Field(
        "", validation_alias="SAFETY_POLICY_SIGNATURE_PATH", json_schema_extra=SECURITY
    )
    signature_required: Bool = Field(
        False, validation_alias="SAFETY_POLICY_SIGNATURE_REQUIRED", json_schema_extra=SECURITY
    )
    reflection: Bool = Field(False, validation_alias="CORDUM_GRPC_REFLECTION", json_schema_extra=SECURITY)
    reflection_force: Bool = Field(
        False, validation_alias="CORDUM_GRPC_REFLECTION_FORCE", json_schema_extra=SECURITY
    )
    max_connection_age_s: PositiveDuration = Field(
        7_200.0, validation_alias="CORDUM_GRPC_SERVER_MAX_CONNECTION_AGE"
    )
    max_connection_age_grace_s: PositiveDuration = Field(
        30.0, validation_alias="CORDUM_GRPC_SERVER_MAX_CONNECTION_AGE_GRACE"
    )
    keepalive_time_s: PositiveDuration = Field(30.0, validation_alias="CORDUM_GRPC_SERVER_KEEPALIVE_TIME")
    keepalive_timeout_s: PositiveDuration = Field(
        10.0, validation_alias="CORDUM_GRPC_SERVER_KEEPALIVE_TIMEOUT"
    )
    enforcement_min_time_s: PositiveDuration = Field(
        15.0, validation_alias="CORDUM_GRPC_SERVER_ENFORCEMENT_MIN_TIME"
    )

    decision_log_ttl_s: int = Field(
        2_592_000, ge=0, le=10 * 31_536_000, validation_alias="CORDUM_DECISION_LOG_TTL_SECONDS"
    )
    decision_log_max_bytes: Annotated[ByteSize, AfterValidator(_size)] = Field(
        256 * 1024 * 1024, validation_alias="CORDUM_DECISION_LOG_MAX_BYTES"
    )

    output_max_scan_bytes: Annotated[ByteSize, AfterValidator(_scan_size)] = Field(
        16 * 1024 * 1024, validation_alias="OUTPUT_POLICY_MAX_SCAN_BYTES", json_schema_extra=SECURITY
    )
    """Of a larger result only the beginning and the end are scanned; at most 64 MiB."""
    output_scanners_path: str = Field("config/output_scanners.yaml", validation_alias="OUTPUT_SCANNERS_PATH")
    """Patterns of the operator beside the built-in detectors; read again with the policy."""
    output_min_confidence: float = Field(
        0.5, ge=0, le=1, validation_alias="OUTPUT_POLICY_MIN_CONFIDENCE", json_schema_extra=SECURITY
    )
    """Less certain findings are ignored where the policy says nothing."""

    @property
    def cache_size(self) -> int:
        """Entries of the decision cache; not above zero means the default (policy spec §12)."""
        return self.cache_max_size if self.cache_max_size > 0 else 10_000

    @property
    def reflection_enabled(self) -> bool:
        """Tell whether to serve reflection; production needs the second switch too."""
        return self.reflection and (self.reflection_force or not self.production)

    @property
    def needs_signature(self) -> bool:
        """Tell whether the base policy must be signed: always in production (policy spec §11.1)."""
        return self.signature_required or self.production

    @property
    def skip_malformed_bundles(self) -> bool:
        """Tell whether a broken bundle is left out instead of refusing the whole load (policy spec §8.4)."""
        return self.malformed_bundle == "skip"

    @property
    def strictness(self) -> Literal["off", "warn", "enforce"]:
        """What an unsigned bundle means (policy spec §11.2)."""
        text = self.strict.strip().lower()
        if not text:
            return "enforce" if self.needs_signature else "warn"
        return next(level for level, words in _STRICTNESS.items() if text in words)

    @field_validator("strict")
    @classmethod
    def _known_strictness(cls, value: str) -> str:
        if value.strip() and not any(value.strip().lower() in words for words in _STRICTNESS.values()):
            raise ValueError("expected `off`, `warn` or `enforce`")
        return value

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        if bool(self.tls_cert) != bool(self.tls_key):
            raise ValueError("SAFETY_KERNEL_TLS_CERT, SAFETY_KERNEL_TLS_KEY: expected both or none")
        if self.tls_client_ca and not self.tls_cert:
            raise ValueError("SAFETY_KERNEL_TLS_CLIENT_CA: expected SAFETY_KERNEL_TLS_CERT with it")
        if self.production and self.strictness != "enforce":
            raise ValueError("CORDUM_POLICY_STRICT: expected `enforce` in production")
        if self.production and not self.tls_cert:
            raise ValueError("SAFETY_KERNEL_TLS_CERT, SAFETY_KERNEL_TLS_KEY: expected both in production")
        return self
