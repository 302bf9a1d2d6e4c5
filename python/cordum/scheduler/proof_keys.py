"""The proof key in use and its replacement while the scheduler runs (protocol spec §14.1)."""

import asyncio
from typing import Final

import structlog

from cordum.config.worker_trust import WorkerTrustSettings
from cordum.domain.errors import ConfigError
from cordum.protocol.sealing import PacketSeal
from cordum.security.proof_key import ProofKey

__all__ = ["ProofKeys"]

POLL_S: Final = 30.0

_log = structlog.get_logger("cordum.scheduler")


class ProofKeys:
    """Holds the key; a pair of files that is unreadable or no pair, as while it is being replaced, changes nothing."""

    def __init__(self, settings: WorkerTrustSettings, seal: PacketSeal) -> None:
        self._settings = settings
        self._seal = seal
        self.current = self._read()
        seal.use_key(self.current.pkcs8)

    def _read(self) -> ProofKey:
        settings = self._settings
        return ProofKey.read(settings.proof_key_id, settings.proof_private_file, settings.proof_public_file)

    async def follow_files(self, interval_s: float = POLL_S) -> None:
        """Read the files again and again until cancelled."""
        while True:
            await asyncio.sleep(interval_s)
            self.reload()

    def reload(self) -> None:
        """Use the key that is in the files now."""
        try:
            key = self._read()
        except ConfigError as error:
            _log.error("proof key not read, the old one stays", reason=error.message)
            return
        if key.pkcs8 != self.current.pkcs8:
            self.current = key
            self._seal.use_key(key.pkcs8)
            _log.info("proof key replaced", key_id=key.key_id)
