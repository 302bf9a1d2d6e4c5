"""Effective configuration: the documents of all scopes as one (configuration spec §5.5, packs spec §10.3, §10.5)."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import orjson

__all__ = ["SCOPES", "EffectiveConfig", "merge"]

Data = dict[str, Any]

SCOPES: Final = ("system", "org", "team", "workflow", "step")
"""Scopes from the widest to the narrowest."""
_OWN_SECTIONS: Final = frozenset({"pools", "timeouts", "overridable"})
_HIDDEN_SECTIONS: Final = frozenset({"pools", "timeouts", "mcp", "scheduler", "auth", "packs", "bundles"})
_SECRET_WORDS: Final = ("password", "secret", "token", "api_key", "private")
_JUDGED: Final = ("denied_topics", "allowed_topics", "mcp")
_GUARDED: Final = ("safety", "limits")
_OVERRIDABLE: Final = "overridable"
_DEPTH_MAX: Final = 32
_NOTHING: Final = "-"
"""A pattern no topic and no name of a tool equals: the allow list of "nothing"."""
_STRENGTH: Final = (
    ("off", "warn", "enforce"),
    ("log", "warn", "redact", "block"),
    ("low", "medium", "high"),
)


@dataclass(frozen=True)
class EffectiveConfig:
    """The configuration of one scope. ``readable`` is False when a document of it is not one: nothing may run then."""

    version: str
    data: Data
    readable: bool = True

    @cached_property
    def hash(self) -> str:
        """SHA-256 of the canonical JSON of the data, hex."""
        return hashlib.sha256(orjson.dumps(self.data, option=orjson.OPT_SORT_KEYS)).hexdigest()

    @property
    def document(self) -> Data:
        """The answer of `GET /api/v1/config/effective`."""
        return {"version": self.version, "hash": self.hash, "data": self.data}

    @cached_property
    def for_worker(self) -> str:
        """JSON for the environment of a job, without secrets and internals; empty when there is nothing to say."""
        shown = {name: part for name, part in self.data.items() if name not in _HIDDEN_SECTIONS}
        shown = _without_secrets(shown)
        return orjson.dumps({**self.document, "data": shown}).decode() if shown else ""

    @cached_property
    def for_policy(self) -> bytes:
        """JSON of what policy looks at (policy spec §6.8); empty when nothing of it is set.

        What is not readable stays so for the kernel, which then denies.
        """
        safety = self.data.get("safety")
        if not self.readable:
            return b"unreadable"
        if isinstance(safety, dict) and not any(safety.get(name) for name in _JUDGED):
            return b""
        return b"" if safety is None else orjson.dumps({"safety": safety})


def merge(documents: Sequence[tuple[Mapping[str, Any], int]], *, readable: bool = True) -> EffectiveConfig:
    """Merge (data, revision) of all `SCOPES`, in their order.

    Maps merge by key, everything else is replaced by the narrower scope; `safety` and `limits` of the system are only
    made stricter, except for the paths its `overridable` lists.
    """
    version = "|".join(f"{scope}:{revision}" for scope, (_, revision) in zip(SCOPES, documents, strict=True))
    system = documents[0][0]
    merged: Data = {}
    for data, _ in documents:
        merged = _merged(merged, {name: part for name, part in data.items() if _is_shown(name)})
    listed = system.get(_OVERRIDABLE)
    free = {path for path in listed if isinstance(path, str)} if isinstance(listed, list) else set()
    for section in _GUARDED:
        if section in system and section not in free:
            merged[section] = _narrowed(system[section], merged[section], section, free)
    return EffectiveConfig(version, merged, readable)


def _is_shown(name: str) -> bool:
    return name not in _OWN_SECTIONS and not name.startswith("_")


def _merged(broad: Any, narrow: Any, depth: int = 0) -> Any:
    if not (isinstance(broad, dict) and isinstance(narrow, Mapping)) or depth > _DEPTH_MAX:
        return narrow
    return {
        **broad,
        **{name: _merged(broad.get(name), part, depth + 1) for name, part in narrow.items()},
    }


def _narrowed(system: Any, merged: Any, path: str, free: set[str]) -> Any:
    """Return the stricter of what the system says and what the scopes together say."""
    if path in free:
        return merged
    name = path.rpartition(".")[2]
    if isinstance(system, Mapping):
        if not isinstance(merged, Mapping):
            return dict(system)
        guarded = {key: _narrowed(system[key], merged.get(key), f"{path}.{key}", free) for key in system}
        return {**merged, **guarded}
    if isinstance(system, list):
        return _narrowed_list(name, system, merged if isinstance(merged, list) else system)
    if isinstance(system, bool):
        return system or merged is True
    if isinstance(system, int | float) and path.startswith("limits."):
        return _smaller(system, merged)
    return _stricter_word(system, merged)


def _narrowed_list(name: str, system: list[Any], merged: list[Any]) -> list[Any]:
    """A list of what is allowed may lose entries, every other list may gain them. An empty allow list allows all."""
    if not name.startswith(("allow", "upstream")):
        return system + [entry for entry in merged if entry not in system]
    if not system or not merged:
        return merged or system
    kept = [entry for entry in merged if any(_covers(wide, entry) for wide in system)]
    kept += [entry for entry in system if entry not in kept and any(_covers(wide, entry) for wide in merged)]
    return kept or [_NOTHING]


def _covers(wide: Any, narrow: Any) -> bool:
    """Whether a pattern surely matches everything another one does; what is not seen at once counts as "no"."""
    if wide == narrow:
        return True
    if not (isinstance(wide, str) and isinstance(narrow, str) and wide.endswith("*")):
        return False
    prefix = wide[:-1]
    return not set(prefix) & set("*?[\\") and narrow.startswith(prefix) and not set(narrow) & set("/[\\")


def _smaller(system: float, merged: Any) -> float:
    """A limit that is not positive is no limit."""
    if isinstance(merged, bool) or not isinstance(merged, int | float) or merged <= 0:
        return system
    return min(system, merged) if system > 0 else merged


def _stricter_word(system: Any, merged: Any) -> Any:
    for words in _STRENGTH:
        if system in words and merged in words:
            return max(system, merged, key=words.index)
    return system


def _without_secrets(value: Any, depth: int = 0) -> Any:
    if isinstance(value, list):
        return [_without_secrets(part, depth + 1) for part in value]
    if not isinstance(value, Mapping) or depth > _DEPTH_MAX:
        return value
    return {
        name: _without_secrets(part, depth + 1)
        for name, part in value.items()
        if not any(word in name.lower() for word in _SECRET_WORDS)
    }
