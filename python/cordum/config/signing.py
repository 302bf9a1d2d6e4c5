"""Settings of whoever signs policies, or trusts what a development key signed (policy spec §11.2)."""

from typing import Self

from pydantic import Field, model_validator

from cordum.config.base import SECURITY
from cordum.config.service import CommonSettings
from cordum.config.types import Secret

__all__ = ["SigningKeySettings", "SigningSettings"]


class SigningSettings(CommonSettings):
    """The id of the signing key, and a seed that stands for a key outside production."""

    signing_key_id: str = Field(
        "default", validation_alias="CORDUM_POLICY_SIGNING_KEY_ID", json_schema_extra=SECURITY
    )
    dev_signing_seed: Secret = Field(Secret(""), validation_alias="CORDUM_POLICY_DEV_SIGNING_SEED")

    @model_validator(mode="after")
    def _no_seed_in_production(self) -> Self:
        # Everybody who knows the seed has the private key.
        if self.production and self.dev_signing_seed.get_secret_value():
            raise ValueError("CORDUM_POLICY_DEV_SIGNING_SEED: expected a signing key instead in production")
        return self


class SigningKeySettings(SigningSettings):
    """The signing key itself, as text or as the name of a file."""

    signing_key: Secret = Field(Secret(""), validation_alias="CORDUM_POLICY_SIGNING_KEY")
    signing_key_path: str = Field(
        "", validation_alias="CORDUM_POLICY_SIGNING_KEY_PATH", json_schema_extra=SECURITY
    )
