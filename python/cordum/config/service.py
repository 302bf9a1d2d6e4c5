"""Settings that every service shares: mode, logging, identity (configuration spec §2.1)."""

from typing import Annotated, Literal

from pydantic import Field

from cordum.config.base import SECURITY, Settings
from cordum.config.types import Bool, ListenAddress, Word

__all__ = ["CommonSettings"]


class CommonSettings(Settings):
    """Mode and logging. ``production`` decides which insecure values are refused (security spec §1.1)."""

    env: str = Field("", validation_alias="CORDUM_ENV", json_schema_extra=SECURITY)
    production_switch: Bool = Field(False, validation_alias="CORDUM_PRODUCTION", json_schema_extra=SECURITY)
    log_level: Annotated[Literal["debug", "info", "warn", "error"], Word] = Field(
        "info", validation_alias="CORDUM_LOG_LEVEL"
    )
    log_format: Annotated[Literal["json", "text"], Word] = Field("json", validation_alias="CORDUM_LOG_FORMAT")
    instance: str = Field("", validation_alias="CORDUM_INSTANCE_ID")
    health_addr: ListenAddress | None = Field(None, validation_alias="CORDUM_HEALTH_ADDR")

    @property
    def production(self) -> bool:
        """Tell whether production mode is on; either variable is enough, neither switches the other off."""
        return self.production_switch or self.env.strip().lower() in {"production", "prod"}
