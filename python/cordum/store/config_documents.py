"""Configuration documents `cfg:<scope>:<id>` with compare-and-set on their revision (configuration spec
§5.1, §5.3)."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from cordum.domain.errors import Conflict, CordumError, InvalidInput, TooLarge, Unavailable
from cordum.store import keys
from cordum.store.connection import RedisClient
from cordum.store.scripts import script

__all__ = ["DOCUMENT_MAX_BYTES", "SCOPES", "ConfigDocuments", "Document"]

SCOPES = frozenset({"system", "org", "team", "workflow", "step", "packs"})
DOCUMENT_MAX_BYTES = 1 << 20
_MAX_TRIES = 5

Data = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Document:
    """A document as read. ``revision`` 0 stands for "absent"."""

    scope: str
    scope_id: str
    data: Data = field(default_factory=dict)
    revision: int = 0
    updated_at: str = ""
    meta: Data = field(default_factory=dict)


class ConfigDocuments:
    """Repository of configuration documents. ``updated_at`` arguments are RFC 3339."""

    def __init__(self, client: RedisClient) -> None:
        self._client = client

    async def get(self, scope: str, scope_id: str) -> Document | None:
        """Return a document, or None. Raises Unavailable, CordumError when the stored text is not a
        document."""
        raw = await self._client.execute("GET", _key(scope, scope_id))
        return None if raw is None else _parse(scope, scope_id, raw)

    async def get_many(self, names: Sequence[tuple[str, str]]) -> list[Document | CordumError]:
        """Return several documents (scope, id) in one round trip per node: revision 0 for an absent one, the error for
        a stored text that is none. Raises Unavailable."""
        replies = await self._client.pipeline([("GET", _key(*name)) for name in names])
        found: list[Document | CordumError] = []
        for name, reply in zip(names, replies, strict=True):
            if isinstance(reply, Unavailable):
                raise reply
            try:
                found.append(Document(*name) if reply is None else _parse(*name, reply))
            except CordumError as error:
                found.append(error)
        return found

    async def put(
        self,
        scope: str,
        scope_id: str,
        data: Mapping[str, Any],
        *,
        expected_revision: int,
        updated_at: str,
        meta: Mapping[str, Any] | None = None,
        max_bytes: int = DOCUMENT_MAX_BYTES,
    ) -> Document:
        """Write a document if its revision is still the expected one (0: absent).

        Raises Conflict with details `revision`, TooLarge above ``max_bytes``, InvalidInput on an unknown scope,
        Unavailable.
        """
        document = Document(scope, scope_id, dict(data), expected_revision + 1, updated_at, dict(meta or {}))
        raw = orjson.dumps(document)
        if len(raw) > max_bytes:
            raise TooLarge(f"configuration document: expected at most {max_bytes} bytes, got {len(raw)}")
        command = script("document_put").command((_key(scope, scope_id),), (expected_revision, raw))
        outcome, revision = await self._client.execute(*command)
        if outcome != b"written":
            raise Conflict(
                f"document `{scope}/{scope_id}`: expected revision {expected_revision}, got {revision}",
                code="revision_conflict",
                details={"revision": revision},
            )
        return document

    async def update(
        self,
        scope: str,
        scope_id: str,
        change: Callable[[Document], Data | None],
        *,
        updated_at: str,
        meta: Mapping[str, Any] | None = None,
        tries: int = _MAX_TRIES,
        max_bytes: int = DOCUMENT_MAX_BYTES,
    ) -> Document:
        """Read, change, write; again when somebody else was first. ``change`` returns the new data, None
        for "leave it".

        Raises Conflict after ``tries`` lost rounds, and what `get` and `put` raise.
        """
        for attempt in range(tries):
            current = await self.get(scope, scope_id) or Document(scope, scope_id)
            data = change(current)
            if data is None:
                return current
            try:
                return await self.put(
                    scope,
                    scope_id,
                    data,
                    expected_revision=current.revision,
                    updated_at=updated_at,
                    meta={**current.meta, **(meta or {})},
                    max_bytes=max_bytes,
                )
            except Conflict:
                if attempt == tries - 1:
                    raise
        raise Conflict(f"document `{scope}/{scope_id}`: no tries left")

    async def bootstrap(
        self,
        sections: Mapping[str, Any],
        hashes: Mapping[str, str],
        defaults: Mapping[str, Any],
        *,
        updated_at: str,
    ) -> frozenset[str]:
        """Write file sections into `cfg:system:default` where nothing exists (configuration spec §5.3).

        ``hashes`` maps a section to the SHA-256 of its file; it is kept under `_<section>FileHash`.
        ``defaults`` are written only
        when the document is created. Returns the sections whose file differs from what is stored; those
        are left as they are.
        """
        drifted: set[str] = set()

        def add_missing(document: Document) -> Data | None:
            drifted.clear()
            data = dict(document.data) if document.revision else {**defaults, **document.data}
            for name, section in sections.items():
                hash_name = f"_{name}FileHash"
                if name not in data:
                    data[name] = section
                    data[hash_name] = hashes[name]
                elif hash_name not in data:
                    data[hash_name] = hashes[name]
                elif data[hash_name] != hashes[name]:
                    drifted.add(name)
            return None if document.revision and data == document.data else data

        await self.update(
            "system", "default", add_missing, updated_at=updated_at, meta={"source": "auto-bootstrap"}
        )
        return frozenset(drifted)


def _parse(scope: str, scope_id: str, raw: object) -> Document:
    try:
        stored = orjson.loads(raw)  # type: ignore[arg-type]  # an error reply is not JSON either
        return Document(
            scope,
            scope_id,
            dict(stored.get("data") or {}),
            int(stored.get("revision") or 0),
            str(stored.get("updated_at") or ""),
            dict(stored.get("meta") or {}),
        )
    except (orjson.JSONDecodeError, AttributeError, TypeError, ValueError) as error:
        raise CordumError(f"`{_key(scope, scope_id)}` does not hold a configuration document") from error


def _key(scope: str, scope_id: str) -> str:
    if scope not in SCOPES or not scope_id:
        raise InvalidInput(f"scope: expected one of {sorted(SCOPES)}, got `{scope}`", field="scope")
    return keys.config_document(scope, scope_id)
