"""The connection of a service to the safety kernel (security spec §10.3)."""

from pathlib import Path

from cordum.config.kernel_client import KernelClientSettings
from cordum.domain.errors import ConfigError
from cordum.protocol.kernel_client import KernelTls, PolicyClient

__all__ = ["open_kernel"]


def open_kernel(settings: KernelClientSettings, *, production: bool) -> PolicyClient:
    """Return a client of the configured kernel. Blocking: reads the files of TLS.

    Raises ConfigError when production lacks a CA or a file is not readable.
    """
    if production and settings.kernel_insecure:
        raise ConfigError("SAFETY_KERNEL_INSECURE: expected `false` in production")
    if production and not settings.kernel_tls_ca:
        raise ConfigError("SAFETY_KERNEL_TLS_CA: expected a CA file in production")
    keepalive_s = (settings.kernel_keepalive_s, settings.kernel_keepalive_timeout_s)
    tls = None
    if settings.kernel_tls_ca:
        tls = KernelTls(
            _read("SAFETY_KERNEL_TLS_CA", settings.kernel_tls_ca),
            _read("SAFETY_KERNEL_CLIENT_CERT", settings.kernel_client_cert),
            _read("SAFETY_KERNEL_CLIENT_KEY", settings.kernel_client_key),
        )
    return PolicyClient(settings.kernel_addr.dial, tls, keepalive_s=keepalive_s)


def _read(variable: str, path: str) -> bytes | None:
    if not path:
        return None
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise ConfigError(f"{variable}: expected a readable file, got `{path}`") from error
