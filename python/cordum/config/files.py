"""Configuration files of the scheduler: pools and time-outs (configuration spec §4.1, §4.2)."""

import hashlib
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import orjson
import yaml
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from cordum.domain.errors import ConfigError

__all__ = [
    "PoolsFile",
    "SchedulerSection",
    "StoredPools",
    "TimeoutsFile",
    "load_file",
    "section_hash",
    "stored_section",
]

_MAX_BYTES = 2 * 1024 * 1024


Count = Annotated[int, Field(strict=True, ge=0)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


def _time(value: str) -> str:
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise ValueError("expected a time such as `2026-01-05T10:00:00Z`")
    return value


class PoolEntry(_Strict):
    """One pool: what it offers and its lifecycle."""

    requires: tuple[str, ...] = ()
    status: Literal["active", "draining", "inactive"] = "active"
    description: str = ""
    drain_started_at: Annotated[str, AfterValidator(_time)] | None = None
    drain_timeout_seconds: Count | None = None


def _as_list(value: Any) -> Any:
    return (value,) if isinstance(value, str) else value


PoolNames = Annotated[
    tuple[Annotated[str, Field(min_length=1)], ...], BeforeValidator(_as_list), Field(min_length=1)
]


_OrEmpty = BeforeValidator(lambda value: {} if value is None else value)


class PoolsFile(_Strict):
    """`pools.yaml`: topics to pools, and the pools."""

    topics: dict[str, PoolNames] = Field(min_length=1)
    pools: Annotated[dict[str, Annotated[PoolEntry, _OrEmpty]], _OrEmpty] = {}

    @property
    def undeclared(self) -> list[str]:
        """Return the pools that only topics name: they offer no capability."""
        return sorted({name for names in self.topics.values() for name in names} - set(self.pools))


class StoredPools(PoolsFile):
    """The stored section: it may have lost its last topic."""

    topics: dict[str, PoolNames] = {}


class TopicTimeouts(_Strict):
    """Limits of one topic; 0 = not set."""

    timeout_seconds: Count = 0
    max_retries: Count = 0


class WorkflowTimeouts(_Strict):
    """Limits of one workflow; 0 = not set."""

    child_timeout_seconds: Count = 0
    total_timeout_seconds: Count = 0
    max_retries: Count = 0


class ReconcilerTimeouts(_Strict):
    """Limits of all topics, seconds; 0 takes the default."""

    dispatch_timeout_seconds: Count = 300
    running_timeout_seconds: Count = 900
    scan_interval_seconds: Count = 30
    scheduled_timeout_seconds: Count = 60
    retrying_timeout_seconds: Count = 900


class TimeoutsFile(_Strict):
    """`timeouts.yaml`; a section without members is as good as none."""

    workflows: Annotated[dict[str, WorkflowTimeouts], _OrEmpty] = {}
    topics: Annotated[dict[str, TopicTimeouts], _OrEmpty] = {}
    reconciler: Annotated[ReconcilerTimeouts, _OrEmpty] = ReconcilerTimeouts()


class SchedulerSection(BaseModel):
    """What the planner reads of the stored section `scheduler`; other members belong to others."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    tenant_weights: dict[str, Annotated[int, Field(ge=1, le=1000, strict=True)]] = {}
    """Shares of scarce workers, relative to other tenants; 1 for tenants not named (scheduler spec §32)."""


class _UniqueKeyLoader(yaml.CSafeLoader):
    """Safe loader that refuses duplicate keys."""


def _unique_mapping(loader: yaml.CSafeLoader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen: set[Any] = set()
    for key_node, _ in node.value:
        key = loader.construct_object(key_node, deep=True)
        if key in seen:
            raise yaml.constructor.ConstructorError(None, None, f"duplicate key `{key}`", key_node.start_mark)
        seen.add(key)
    return dict(loader.construct_mapping(node, deep=True))


_UniqueKeyLoader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _unique_mapping)


M = TypeVar("M", bound=BaseModel)


def load_file(path: str, model: type[M]) -> M:
    """Read and check a configuration file. Raises ConfigError naming file, line or path, and expectation."""
    try:
        raw = Path(path).read_bytes()
    except OSError as error:
        raise ConfigError(f"`{path}` is not readable: {error.strerror}") from error
    if len(raw) > _MAX_BYTES:
        raise ConfigError(f"`{path}` is larger than 2 MiB")
    try:
        data = yaml.load(raw, Loader=_UniqueKeyLoader)  # noqa: S506 - a subclass of the safe loader
        return model.model_validate(data or {})
    except yaml.YAMLError as error:
        raise ConfigError(f"`{path}`: {' '.join(str(error).split())}") from error
    except ValidationError as error:
        faults = "; ".join(
            f"{'.'.join(str(part) for part in fault['loc']) or '(document)'}: {fault['msg']}"
            for fault in error.errors()[:5]
        )
        raise ConfigError(f"`{path}`: {faults}") from error


_ENTRIES: dict[type[BaseModel], dict[str, type[BaseModel]]] = {
    PoolsFile: {"pools": PoolEntry},
    StoredPools: {"pools": PoolEntry},
    TimeoutsFile: {"topics": TopicTimeouts, "workflows": WorkflowTimeouts},
}


def stored_section(model: type[M], section: Any) -> M:
    """Check a stored section; old documents may capitalise member names (configuration spec §4.2).

    Raises ValidationError.
    """
    section = _members(model, section or {})
    for member, entry in _ENTRIES.get(model, {}).items():
        if isinstance(entries := section.get(member), dict):
            section[member] = {name: _members(entry, value) for name, value in entries.items()}
    if isinstance(limits := section.get("reconciler"), dict):
        section["reconciler"] = _members(ReconcilerTimeouts, limits)
    return model.model_validate(section)


def _members(model: type[BaseModel], section: Any) -> Any:
    """Rename capitalised members, `TimeoutSeconds` to `timeout_seconds`; the plain name wins."""
    if not isinstance(section, dict):
        return section
    plain = {name.replace("_", ""): name for name in model.model_fields}
    renamed = {
        plain.get(str(key).lower(), key) if str(key)[:1].isupper() else key: value
        for key, value in section.items()
    }
    return renamed | {key: value for key, value in section.items() if key in model.model_fields}


def section_hash(section: Any) -> str:
    """Return the SHA-256 of a section's canonical JSON (configuration spec §5.2)."""
    return hashlib.sha256(orjson.dumps(section, option=orjson.OPT_SORT_KEYS)).hexdigest()
