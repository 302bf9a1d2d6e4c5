"""The base policy with its signature: read, verified, then given to the engine (policy spec §11.1)."""

import os
from pathlib import Path
from typing import Protocol

from cordum.config.kernel import KernelSettings
from cordum.domain.errors import ConfigError, InvalidInput, Unavailable
from cordum.kernel.metrics import SIGNATURE_FAILURES
from cordum.runtime.logs import get_logger
from cordum.security.policy_signatures import SIGNATURE_MAX_BYTES, SignatureRefused, Signer, TrustedKeys

__all__ = ["SignedSource", "TextSource", "trusted_keys"]

_log = get_logger()


class TextSource(Protocol):
    """Where policy text comes from."""

    @property
    def name(self) -> str:
        """What to call the source in messages."""

    def exists(self) -> bool:
        """Tell whether there is a text to read."""

    def read(self) -> bytes:
        """Return the text. Raises CordumError."""


def trusted_keys(settings: KernelSettings) -> TrustedKeys:
    """Return the configured keys. Raises ConfigError for a bad key, or when one is needed and there is none."""
    keys = TrustedKeys.load(
        settings.public_key, settings.public_key_id, settings.trusted_keys_dir, os.environ
    )
    if seed := settings.dev_signing_seed.get_secret_value():
        _log.warning("what the development key signed is trusted")
        keys.add(Signer.from_seed(seed, settings.signing_key_id).public)
    if settings.needs_signature and not len(keys):
        raise ConfigError(
            "SAFETY_POLICY_PUBLIC_KEY is required",
            hint="policy public key required in production" if settings.production else None,
        )
    return keys


class SignedSource:
    """Passes text on only when its signature holds; without one only where none is required.

    The signature is the inline one, else the file of `SAFETY_POLICY_SIGNATURE_PATH`, else `<policy file>.sig`. One that
    is found must hold, required or not, as soon as a key is configured.
    """

    def __init__(self, source: TextSource, keys: TrustedKeys, settings: KernelSettings) -> None:
        self._source = source
        self._keys = keys
        self._required = settings.needs_signature
        self._inline = settings.signature
        self._path = Path(settings.signature_path) if settings.signature_path else None
        self._sidecar = None if settings.policy_url else Path(f"{settings.policy_path}.sig")

    @property
    def name(self) -> str:
        """What to call the source in messages."""
        return self._source.name

    def exists(self) -> bool:
        """Tell whether there is a text to read."""
        return self._source.exists()

    def read(self) -> bytes:
        """Return the verified text. Raises InvalidInput for a missing or bad signature, else as the source does."""
        content = self._source.read()
        signature = self._signature()
        if not signature and not self._required:
            return content
        if not len(self._keys) and not self._required:
            return content
        try:
            key_id = self._keys.verify(content, signature)
        except SignatureRefused as refusal:
            SIGNATURE_FAILURES.labels(refusal.reason).inc()
            _log.error(
                "policy signature rejected",
                audit_event="policy_signature_rejected",
                policy=self.name,
                reason=refusal.reason,
            )
            raise InvalidInput(f"{refusal} (`{self.name}`)", code="policy_invalid") from refusal
        _log.debug("policy signature verified", policy=self.name, key_id=key_id)
        return content

    def _signature(self) -> bytes | str | None:
        if self._inline:
            return self._inline
        if self._path is not None:
            return _read(self._path, must_exist=True)
        return _read(self._sidecar, must_exist=False) if self._sidecar is not None else None


def _read(path: Path, *, must_exist: bool) -> bytes | None:
    try:
        with path.open("rb") as file:
            return file.read(SIGNATURE_MAX_BYTES + 1)
    except FileNotFoundError as error:
        if not must_exist:
            return None
        raise Unavailable(f"policy signature `{path}` does not exist") from error
    except OSError as error:
        reason = (error.strerror or type(error).__name__).lower()
        raise Unavailable(f"policy signature `{path}` cannot be read: {reason}") from error
