"""Settings of the API gateway (configuration spec §2.1–§2.3, §2.7)."""

from pathlib import Path
from typing import Annotated, Final, Literal, Self

from pydantic import AfterValidator, AliasChoices, Field, model_validator

from cordum.config.base import SECURITY
from cordum.config.boundary import BoundarySettings
from cordum.config.kernel_client import KernelClientSettings
from cordum.config.redis import StoreSettings
from cordum.config.signing import SigningKeySettings
from cordum.config.types import Address, Bool, ByteSize, Duration, ListenAddress, Secret, StrList, Word

__all__ = ["GatewaySettings"]

_DEFAULT_WS_BUFFER: Final = 256
_MAX_WS_BUFFER: Final = 10_000


def _ws_buffer(value: int) -> int:
    return min(value, _MAX_WS_BUFFER) if value > 0 else _DEFAULT_WS_BUFFER


class GatewaySettings(SigningKeySettings, BoundarySettings, KernelClientSettings, StoreSettings):
    """What the gateway reads beside NatsSettings and RedisSettings. Durations are seconds, sizes bytes."""

    handshake: Annotated[Literal["", "off", "warn", "enforce"], Word] = Field(
        "", validation_alias="CORDUM_SDK_HANDSHAKE", json_schema_extra=SECURITY
    )
    policy_strict: str = Field("", validation_alias="CORDUM_POLICY_STRICT", json_schema_extra=SECURITY)
    evaluate_redact: Bool = Field(
        False, validation_alias="CORDUM_POLICY_EVALUATE_REDACT", json_schema_extra=SECURITY
    )
    http_addr: ListenAddress = Field(Address("", 8081), validation_alias="GATEWAY_HTTP_ADDR")
    metrics_addr: ListenAddress = Field(Address("", 9092), validation_alias="GATEWAY_METRICS_ADDR")
    metrics_public: Bool = Field(False, validation_alias="GATEWAY_METRICS_PUBLIC", json_schema_extra=SECURITY)
    http_tls_cert: str = Field("", validation_alias="GATEWAY_HTTP_TLS_CERT", json_schema_extra=SECURITY)
    http_tls_key: str = Field("", validation_alias="GATEWAY_HTTP_TLS_KEY", json_schema_extra=SECURITY)
    http_idle_timeout_s: Duration = Field(120.0, gt=0, validation_alias="GATEWAY_HTTP_IDLE_TIMEOUT")
    kernel_timeout_s: Duration = Field(5.0, gt=0, validation_alias="GATEWAY_POLICY_TIMEOUT")
    output_scanners_path: str = Field("", validation_alias="OUTPUT_SCANNERS_PATH")
    """The kernel's scanner file, for `POST /policy/validate` and `/policy/analyze`."""

    tenant_id: str = Field("default", validation_alias="TENANT_ID", json_schema_extra=SECURITY)
    api_keys: Secret = Field(Secret(""), validation_alias="CORDUM_API_KEYS")
    api_key: Secret = Field(Secret(""), validation_alias=AliasChoices("CORDUM_API_KEY", "API_KEY"))
    api_keys_path: str = Field("", validation_alias="CORDUM_API_KEYS_PATH", json_schema_extra=SECURITY)
    allow_no_auth: Bool = Field(
        False, validation_alias="CORDUM_ALLOW_INSECURE_NO_AUTH", json_schema_extra=SECURITY
    )
    allow_header_principal: Bool = Field(
        True, validation_alias="CORDUM_ALLOW_HEADER_PRINCIPAL", json_schema_extra=SECURITY
    )
    user_auth: Bool = Field(False, validation_alias="CORDUM_USER_AUTH_ENABLED", json_schema_extra=SECURITY)
    jwt_required: Bool = Field(False, validation_alias="CORDUM_JWT_REQUIRED", json_schema_extra=SECURITY)
    license_required: Bool = Field(
        False, validation_alias="CORDUM_LICENSE_REQUIRED", json_schema_extra=SECURITY
    )

    allowed_origins: StrList = Field(
        (),
        validation_alias=AliasChoices(
            "CORDUM_ALLOWED_ORIGINS", "CORDUM_CORS_ALLOW_ORIGINS", "CORS_ALLOW_ORIGINS"
        ),
        json_schema_extra=SECURITY,
    )
    hsts_max_age_s: int = Field(63_072_000, gt=0, validation_alias="CORDUM_HSTS_MAX_AGE")
    max_json_body_bytes: ByteSize = Field(2 << 20, gt=0, validation_alias="GATEWAY_MAX_JSON_BODY_BYTES")
    max_job_payload_bytes: ByteSize = Field(2 << 20, gt=0, validation_alias="GATEWAY_MAX_JOB_PAYLOAD_BYTES")
    ws_ping_interval_s: Duration = Field(30.0, gt=0, validation_alias="GATEWAY_WS_PING_INTERVAL")
    ws_pong_timeout_s: Duration = Field(10.0, gt=0, validation_alias="GATEWAY_WS_PONG_TIMEOUT")
    ws_client_buffer: Annotated[int, AfterValidator(_ws_buffer)] = Field(
        _DEFAULT_WS_BUFFER, validation_alias="CORDUM_WS_CLIENT_BUFFER_SIZE"
    )

    @property
    def header_principals(self) -> bool:
        """Tell whether `X-Principal-Id` counts; never in production (README decision 10)."""
        return self.allow_header_principal and not self.production

    @property
    def has_credentials(self) -> bool:
        """Tell whether any API key is configured."""
        return bool(
            self.api_keys.get_secret_value().strip()
            or self.api_key.get_secret_value().strip()
            or self.api_keys_path
        )

    @model_validator(mode="after")
    def _check_gateway(self) -> Self:
        if bool(self.http_tls_cert) != bool(self.http_tls_key):
            raise ValueError("GATEWAY_HTTP_TLS_CERT, GATEWAY_HTTP_TLS_KEY: expected both or none")
        for path in filter(None, (self.http_tls_cert, self.http_tls_key, self.api_keys_path)):
            if not Path(path).is_file():
                raise ValueError("gateway: a configured certificate, key or API key file does not exist")
        if not self.has_credentials and not self.allow_no_auth:
            raise ValueError(
                "CORDUM_API_KEYS: expected at least one API key (or CORDUM_ALLOW_INSECURE_NO_AUTH=true)"
            )
        self._refuse_unbuilt()
        if self.production:
            self._check_gateway_production()
        return self

    def _refuse_unbuilt(self) -> None:
        """A security feature that is asked for and not there must stop the start, not be ignored."""
        for wanted, variable in (
            (self.jwt_required, "CORDUM_JWT_REQUIRED"),
            (self.user_auth, "CORDUM_USER_AUTH_ENABLED"),
            (self.license_required, "CORDUM_LICENSE_REQUIRED"),
        ):
            if wanted:
                raise ValueError(f"{variable}: not supported by this version")

    def _check_gateway_production(self) -> None:
        if not self.has_credentials:
            raise ValueError("CORDUM_API_KEYS: expected at least one API key in production")
        if self.allow_no_auth:
            raise ValueError("CORDUM_ALLOW_INSECURE_NO_AUTH: expected `false` in production")
        if "*" in self.allowed_origins:
            raise ValueError("CORDUM_ALLOWED_ORIGINS: expected origins, not `*`, in production")
        if not self.http_tls_cert:
            raise ValueError("GATEWAY_HTTP_TLS_CERT: expected a certificate in production")
