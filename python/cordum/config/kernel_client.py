"""How to reach the safety kernel (configuration spec §2.2, §2.6; security spec §10.3)."""

from typing import Self

from pydantic import Field, model_validator

from cordum.config.base import SECURITY, Settings
from cordum.config.types import Address, Bool, Duration, ListenAddress

__all__ = ["KernelClientSettings"]


class KernelClientSettings(Settings):
    """The kernel's address, and TLS towards it: with a CA the connection is encrypted and the host name checked."""

    kernel_addr: ListenAddress = Field(
        Address("localhost", 50051), validation_alias="SAFETY_KERNEL_ADDR", json_schema_extra=SECURITY
    )
    kernel_tls_ca: str = Field("", validation_alias="SAFETY_KERNEL_TLS_CA", json_schema_extra=SECURITY)
    """File of the CA; needed in production."""
    kernel_tls_required: Bool = Field(
        False, validation_alias="SAFETY_KERNEL_TLS_REQUIRED", json_schema_extra=SECURITY
    )
    """Refuse a plain connection; production always does."""
    kernel_insecure: Bool = Field(
        False, validation_alias="SAFETY_KERNEL_INSECURE", json_schema_extra=SECURITY
    )
    """Says that a plain connection is meant; refused in production and where TLS is required."""
    kernel_client_cert: str = Field(
        "", validation_alias="SAFETY_KERNEL_CLIENT_CERT", json_schema_extra=SECURITY
    )
    kernel_client_key: str = Field(
        "", validation_alias="SAFETY_KERNEL_CLIENT_KEY", json_schema_extra=SECURITY
    )
    """Pair for a kernel that demands client certificates (`SAFETY_KERNEL_TLS_CLIENT_CA`)."""
    kernel_keepalive_s: Duration = Field(30.0, gt=0, validation_alias="CORDUM_GRPC_CLIENT_KEEPALIVE_TIME")
    kernel_keepalive_timeout_s: Duration = Field(
        10.0, gt=0, validation_alias="CORDUM_GRPC_CLIENT_KEEPALIVE_TIMEOUT"
    )

    @model_validator(mode="after")
    def _check_kernel_tls(self) -> Self:
        if bool(self.kernel_client_cert) != bool(self.kernel_client_key):
            raise ValueError("SAFETY_KERNEL_CLIENT_CERT, SAFETY_KERNEL_CLIENT_KEY: expected both or none")
        if self.kernel_client_cert and not self.kernel_tls_ca:
            raise ValueError("SAFETY_KERNEL_CLIENT_CERT: expected SAFETY_KERNEL_TLS_CA with it")
        if self.kernel_tls_required:
            if not self.kernel_tls_ca:
                raise ValueError("SAFETY_KERNEL_TLS_CA: expected a CA file, because TLS is required")
            if self.kernel_insecure:
                raise ValueError("SAFETY_KERNEL_INSECURE: expected `false`, because TLS is required")
        return self
