"""`pools.yaml` and `timeouts.yaml` of a scheduler (scheduler spec §23.1, §23.2)."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

import structlog

from cordum.config.files import PoolsFile, TimeoutsFile, load_file, section_hash
from cordum.config.scheduler import SchedulerSettings
from cordum.domain.errors import ConfigError

__all__ = ["RoutingFiles", "differences"]

_DIFFERENCES_MAX: Final = 20

_log = structlog.get_logger("cordum.scheduler")


class RoutingFiles:
    """The files as they were when they were last readable; what is wrong with them is told once.

    Reading them first raises ConfigError: the pools file is mandatory, the time-outs file in production when named.
    Another time-outs file that cannot be used leaves the defaults.
    """

    def __init__(self, settings: SchedulerSettings, *, production: bool) -> None:
        self._settings = settings
        self._faults: dict[str, str] = {}
        self._drift: dict[str, list[str]] = {}
        self.pools = load_file(settings.pools_path, PoolsFile)
        self.timeouts = TimeoutsFile()
        try:
            self.timeouts = load_file(settings.timeouts_path, TimeoutsFile)
        except ConfigError as error:
            if production and "timeouts_path" in settings.model_fields_set:
                raise
            self._tell("timeouts", "time-outs file not used, defaults apply", error)

    def read_again(self) -> None:
        """Read what changed; a file that is wrong now counts as it was before."""
        try:
            self.pools = load_file(self._settings.pools_path, PoolsFile)
            self._faults.pop("pools", None)
        except ConfigError as error:
            self._tell("pools", "pools file not used any more, what was read of it before stays", error)
        try:
            self.timeouts = load_file(self._settings.timeouts_path, TimeoutsFile)
            self._faults.pop("timeouts", None)
        except ConfigError as error:
            self._tell(
                "timeouts", "time-outs file not used any more, what was read of it before stays", error
            )

    def _tell(self, name: str, text: str, error: ConfigError) -> None:
        if self._faults.get(name) != error.message:
            self._faults[name] = error.message
            _log.warning(text, error=error.message)

    def sections(self) -> dict[str, Any]:
        """Return both as the sections they become."""
        return {
            "pools": self.pools.model_dump(mode="json", exclude_defaults=True),
            "timeouts": self.timeouts.model_dump(mode="json"),
        }

    def hashes(self) -> dict[str, str]:
        """Return what tells one content of a section from another."""
        return {name: section_hash(section) for name, section in self.sections().items()}

    def tell_drift(self, stored: Mapping[str, Any], drifted: frozenset[str]) -> None:
        """Warn of sections that are not what their file says, with the first differences; once until these change."""
        sections = self.sections()
        found = {name: list(differences(stored.get(name), sections[name])) for name in sorted(drifted)}
        if found and found != self._drift:
            _log.warning(
                "config file differs from stored section; delete cfg:system:default or apply the file to load it",
                sections=sorted(found),
                differences={name: paths[:_DIFFERENCES_MAX] for name, paths in found.items()},
            )
        self._drift = found


def differences(stored: Any, wanted: Any, at: str = "") -> Iterator[str]:
    """Return the paths at which a stored section and its file differ, and which of the two has what is there."""
    if isinstance(stored, Mapping) and isinstance(wanted, Mapping):
        for name in sorted({*stored, *wanted}):
            path = f"{at}.{name}" if at else str(name)
            if name not in stored:
                yield f"{path}: only in the file"
            elif name not in wanted:
                yield f"{path}: only stored"
            else:
                yield from differences(stored[name], wanted[name], path)
    elif stored != wanted:
        yield f"{at or '(section)'}: changed"
