"""Settings of the NATS connection, streams and consumers (configuration spec §2.8, protocol spec §6)."""

from typing import Annotated, Final, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from cordum.config.base import SECURITY
from cordum.config.service import CommonSettings
from cordum.config.types import Bool, ByteSize, Duration, Secret, StrList

__all__ = ["MAX_ACK_PENDING_LIMIT", "NatsSettings"]

MAX_ACK_PENDING_LIMIT: Final = 50_000
DEFAULT_MAX_ACK_PENDING: Final = 2_048
DEFAULT_URL: Final = "nats://localhost:4222"

_TLS_WORDS = {"1.2": "1.2", "tls1.2": "1.2", "tls12": "1.2", "1.3": "1.3", "tls1.3": "1.3", "tls13": "1.3"}


def _tls_version(value: object) -> object:
    return _TLS_WORDS.get(value.strip().lower().lstrip("v"), value) if isinstance(value, str) else value


def _positive(value: float) -> float:
    if value <= 0:
        raise ValueError("expected a duration above zero")
    return value


def _not_negative(value: int) -> int:
    if value < 0:
        raise ValueError("expected zero (unlimited) or more")
    return value


def _ack_pending(value: int) -> int:
    return min(value, MAX_ACK_PENDING_LIMIT) if value > 0 else DEFAULT_MAX_ACK_PENDING


PositiveDuration = Annotated[Duration, AfterValidator(_positive)]


class NatsSettings(CommonSettings):
    """How to reach NATS and how our streams and durable consumers are shaped. Durations are seconds."""

    urls: StrList = Field((DEFAULT_URL,), validation_alias="NATS_URL", json_schema_extra=SECURITY)
    tls_ca: str = Field("", validation_alias="NATS_TLS_CA", json_schema_extra=SECURITY)
    tls_cert: str = Field("", validation_alias="NATS_TLS_CERT", json_schema_extra=SECURITY)
    tls_key: str = Field("", validation_alias="NATS_TLS_KEY", json_schema_extra=SECURITY)
    tls_server_name: str = Field("", validation_alias="NATS_TLS_SERVER_NAME", json_schema_extra=SECURITY)
    tls_insecure: Bool = Field(False, validation_alias="NATS_TLS_INSECURE", json_schema_extra=SECURITY)
    tls_min_version: Annotated[Literal["", "1.2", "1.3"], BeforeValidator(_tls_version)] = Field(
        "", validation_alias="CORDUM_TLS_MIN_VERSION", json_schema_extra=SECURITY
    )
    allow_plaintext: Bool = Field(
        False, validation_alias="CORDUM_NATS_ALLOW_PLAINTEXT", json_schema_extra=SECURITY
    )
    username: str = Field("", validation_alias="NATS_USERNAME", json_schema_extra=SECURITY)
    password: Secret | None = Field(None, validation_alias="NATS_PASSWORD")
    token: Secret | None = Field(None, validation_alias="NATS_TOKEN")
    nkey: Secret | None = Field(None, validation_alias="NATS_NKEY")
    ping_interval_s: PositiveDuration = Field(30.0, validation_alias="NATS_PING_INTERVAL")
    use_jetstream: Bool = Field(True, validation_alias="NATS_USE_JETSTREAM", json_schema_extra=SECURITY)
    js_replicas: int = Field(1, ge=1, le=5, validation_alias="NATS_JS_REPLICAS")
    js_ack_wait_s: PositiveDuration = Field(30.0, validation_alias="NATS_JS_ACK_WAIT")
    js_max_age_s: PositiveDuration = Field(7 * 86_400.0, validation_alias="NATS_JS_MAX_AGE")
    js_max_bytes: Annotated[ByteSize, AfterValidator(_not_negative)] = Field(
        0, validation_alias="NATS_JS_MAX_BYTES"
    )
    max_ack_pending: Annotated[int, AfterValidator(_ack_pending)] = Field(
        DEFAULT_MAX_ACK_PENDING, validation_alias="NATS_MAX_ACK_PENDING"
    )

    @property
    def uses_tls(self) -> bool:
        """Tell whether every URL asks for TLS."""
        return bool(self.urls) and all(url.startswith("tls://") for url in self.urls)

    @property
    def min_tls(self) -> str:
        """Return the lowest TLS version: as set, else 1.3 in production and 1.2 outside."""
        return self.tls_min_version or ("1.3" if self.production else "1.2")

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        if not self.urls:
            raise ValueError("NATS_URL: expected at least one URL")
        if bool(self.tls_cert) != bool(self.tls_key):
            raise ValueError("NATS_TLS_CERT, NATS_TLS_KEY: expected both or none")
        if len({url.startswith("tls://") for url in self.urls}) > 1:
            raise ValueError("NATS_URL: expected either only `tls://` URLs or none")
        if self.production:
            self._check_production()
        return self

    def _check_production(self) -> None:
        if not self.uses_tls and not self.allow_plaintext:
            raise ValueError(
                "NATS_URL: expected a `tls://` URL in production (or CORDUM_NATS_ALLOW_PLAINTEXT=true)"
            )
        if self.uses_tls and not any((self.tls_ca, self.tls_cert, self.tls_server_name)):
            raise ValueError("NATS_TLS_CA: expected a CA for the `tls://` URL in production")
        if self.tls_insecure:
            raise ValueError("NATS_TLS_INSECURE: expected `false` in production")
        if not self.use_jetstream:
            raise ValueError("NATS_USE_JETSTREAM: expected `true` in production")
