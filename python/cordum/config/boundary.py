"""Settings of boundary hardening that gateway and scheduler share (configuration spec §2.11)."""

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import Field

from cordum.config.base import SECURITY, Settings
from cordum.config.types import Word

__all__ = ["BoundarySettings"]

_MODES: Final = frozenset({"off", "warn", "enforce"})


class BoundarySettings(Settings):
    """What happens to jobs that do not fit the schema of their topic."""

    schema_enforcement: Annotated[Literal["off", "warn", "enforce"], Word] = Field(
        "warn", validation_alias="SCHEMA_ENFORCEMENT", json_schema_extra=SECURITY
    )
    """`warn` tells of payloads that do not fit the input schema of their topic, `enforce` refuses them, `off` does
    not look. Unset, `boundary.schema_enforcement` of the system configuration decides."""

    def schema_mode(self, system: Mapping[str, Any]) -> str:
        """Return the mode in force under a system configuration; the environment wins over it."""
        section = system.get("boundary")
        members = section if isinstance(section, Mapping) else {}
        stored = str(members.get("schema_enforcement") or members.get("SCHEMA_ENFORCEMENT") or "").lower()
        is_fixed = "schema_enforcement" in self.model_fields_set
        return self.schema_enforcement if is_fixed or stored not in _MODES else stored
