"""Policy bundles in the configuration document `cfg:system:policy`, and the snapshot history (policy spec §8, §9)."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from cordum.domain.errors import CordumError, InvalidInput
from cordum.store import keys
from cordum.store.config_documents import ConfigDocuments
from cordum.store.connection import RedisClient

__all__ = [
    "BUNDLES_KEY",
    "SCOPE",
    "SCOPE_ID",
    "Bundle",
    "bundles_snapshot",
    "enabled_sources",
    "parse_bundles",
    "read_bundles",
    "read_mirror",
    "read_snapshots",
    "remember_snapshot",
]

SCOPE: Final = "system"
SCOPE_ID: Final = "policy"
BUNDLES_KEY: Final = "bundles"
BUNDLES_MAX: Final = 1_000
_HISTORY: Final = 10
_TRUE: Final = frozenset({"1", "true", "yes", "y", "on"})
_TEXTS: Final = ("version", "name", "author", "message", "installed_at", "created_at", "updated_at", "sha256")


@dataclass(frozen=True, slots=True)
class Bundle:
    """One stored bundle; times are RFC 3339 texts, absent texts are empty (policy spec §8.2)."""

    id: str
    content: bytes
    enabled: bool = True
    version: str = ""
    name: str = ""
    author: str = ""
    message: str = ""
    installed_at: str = ""
    created_at: str = ""
    updated_at: str = ""
    sha256: str = ""
    signature: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_active(self) -> bool:
        """Tell whether the bundle takes part in the merge: enabled and not blank."""
        return self.enabled and bool(self.content.strip())


def parse_bundles(bundles: object) -> list[Bundle]:
    """Return the bundles of the map stored under `bundles`, in id order (bytes).

    Raises InvalidInput naming the bundle for a value that is neither a text nor a map with one: a bundle may hold
    denies, so that none is left out silently.
    """
    if bundles is None:
        return []
    if not isinstance(bundles, Mapping):
        raise InvalidInput("policy bundles: expected a map of bundles", field=BUNDLES_KEY)
    if len(bundles) > BUNDLES_MAX:
        raise InvalidInput(f"policy bundles: expected at most {BUNDLES_MAX}", field=BUNDLES_KEY)
    return [
        _bundle(str(name), bundles[name]) for name in sorted(bundles, key=lambda name: str(name).encode())
    ]


def _bundle(name: str, value: object) -> Bundle:
    if isinstance(value, str):
        return Bundle(name, value.encode())
    if not isinstance(value, Mapping):
        raise InvalidInput(f"policy bundle `{name}`: expected a text or a map", field=name)
    content = next((value[key] for key in ("content", "policy", "data") if value.get(key) is not None), "")
    if not isinstance(content, str):
        raise InvalidInput(f"policy bundle `{name}`: expected `content` to be a text", field=name)
    signature = value.get("_signature")
    texts = {key: str(value.get(key) or "") for key in _TEXTS}
    return Bundle(
        name,
        content.encode(),
        _enabled(value.get("enabled")),
        signature=dict(signature) if isinstance(signature, Mapping) else {},
        **texts,
    )


def _enabled(value: object) -> bool:
    if value is None or isinstance(value, bool):
        return value is not False
    return isinstance(value, str) and value.strip().lower() in _TRUE


def enabled_sources(bundles: Iterable[Bundle]) -> list[tuple[str, bytes]]:
    """Return (id, content) of the bundles that take part in the merge, in their order."""
    return [(bundle.id, bundle.content) for bundle in bundles if bundle.is_active]


def bundles_snapshot(bundles: Iterable[Bundle]) -> str:
    """Return the `cfg:` part of a snapshot; empty without an active bundle (policy spec §9)."""
    sources = enabled_sources(bundles)
    if not sources:
        return ""
    digest = hashlib.sha256()
    for name, content in sources:
        digest.update(name.encode() + b"\0" + content)
    return f"cfg:{digest.hexdigest()}"


async def read_bundles(
    client: RedisClient, *, scope: str = SCOPE, scope_id: str = SCOPE_ID, key: str = BUNDLES_KEY
) -> list[Bundle]:
    """Return the stored bundles; those of the mirror `cordum:policies` while the document does not exist.

    Raises Unavailable, CordumError for a document that cannot be read, InvalidInput.
    """
    document = await ConfigDocuments(client).get(scope, scope_id)
    if document is not None:
        return parse_bundles(document.data.get(key))
    mirror = await read_mirror(client)
    return parse_bundles(mirror.get("bundles")) if mirror is not None else []


async def read_mirror(client: RedisClient) -> dict[str, Any] | None:
    """Return what `cordum:policies` holds. Raises Unavailable, CordumError when that is no object."""
    raw = await client.execute("GET", keys.POLICIES_MIRROR)
    if raw is None:
        return None
    try:
        stored = orjson.loads(raw)
    except orjson.JSONDecodeError:
        stored = None
    if not isinstance(stored, dict):
        raise CordumError(f"`{keys.POLICIES_MIRROR}` does not hold policy bundles")
    return stored


async def read_snapshots(client: RedisClient) -> list[str]:
    """Return the snapshots that were active, newest first. Raises Unavailable."""
    entries = await client.execute("LRANGE", keys.SAFETY_SNAPSHOTS, 0, _HISTORY - 1)
    return [entry.decode("utf-8", "replace") for entry in entries]


async def remember_snapshot(client: RedisClient, snapshot: str) -> None:
    """Put a newly active snapshot first unless another replica already did. Raises Unavailable."""
    head = await client.execute("LINDEX", keys.SAFETY_SNAPSHOTS, 0)
    if not snapshot or head == snapshot.encode():
        return
    # Two replicas may both see the old head; the doubled entry is removed by readers and trimmed with time.
    await client.pipeline(
        [("LPUSH", keys.SAFETY_SNAPSHOTS, snapshot), ("LTRIM", keys.SAFETY_SNAPSHOTS, 0, _HISTORY - 1)]
    )
