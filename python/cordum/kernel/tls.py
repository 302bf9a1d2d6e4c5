"""Server certificate of the kernel, read again every 30 s while connections come in (policy spec §14)."""

from pathlib import Path
from typing import Final

import grpc

from cordum.config.kernel import KernelSettings
from cordum.domain.errors import ConfigError
from cordum.runtime.clock import monotonic_s
from cordum.runtime.logs import get_logger

__all__ = ["server_credentials"]

REREAD_S: Final = 30.0

_log = get_logger()


def server_credentials(settings: KernelSettings) -> grpc.ServerCredentials:
    """Build credentials that follow the files. Raises ConfigError when they cannot be read now.

    A later pair that cannot be read leaves the last good one in use.
    """
    reader = _PairReader(settings)
    return grpc.dynamic_ssl_server_credentials(
        reader.read(), reader.refresh, require_client_authentication=bool(settings.tls_client_ca)
    )


class _PairReader:
    def __init__(self, settings: KernelSettings) -> None:
        self._settings = settings
        self._read_at_s = monotonic_s()

    def read(self) -> grpc.ServerCertificateConfiguration:
        settings = self._settings
        try:
            pair = (Path(settings.tls_key).read_bytes(), Path(settings.tls_cert).read_bytes())
            client_ca = Path(settings.tls_client_ca).read_bytes() if settings.tls_client_ca else None
        except OSError as error:
            raise ConfigError(
                f"SAFETY_KERNEL_TLS_CERT, _KEY, _CLIENT_CA: expected readable files, got `{error.filename}`"
            ) from error
        return grpc.ssl_server_certificate_configuration([pair], client_ca)

    def refresh(self) -> grpc.ServerCertificateConfiguration | None:
        """Called by gRPC at each handshake, in a thread of its own; None keeps the current pair."""
        if monotonic_s() - self._read_at_s < REREAD_S:
            return None
        self._read_at_s = monotonic_s()
        try:
            return self.read()
        except ConfigError as error:
            _log.error("tls pair not reloaded", reason=error.message)
            return None
