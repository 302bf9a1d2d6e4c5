"""The configured key that signs policies and session tokens (policy spec §11.2, protocol spec §14.1)."""

from cordum.config.signing import SigningKeySettings
from cordum.security.policy_signatures import Signer

__all__ = ["read_signer"]


def read_signer(settings: SigningKeySettings) -> Signer | None:
    """Return the signer of the settings, None without one. Raises ConfigError for a key that is none."""
    material = settings.signing_key.get_secret_value() or settings.signing_key_path
    if material:
        return Signer.read(material, settings.signing_key_id, name="CORDUM_POLICY_SIGNING_KEY")
    if seed := settings.dev_signing_seed.get_secret_value():
        return Signer.from_seed(seed, settings.signing_key_id)
    return None
