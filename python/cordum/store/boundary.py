"""Topic registrations and their schemas as one snapshot, kept current from the store (scheduler spec §5, §19.4)."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson
import structlog

from cordum._core import Boundary, Schema
from cordum.domain.errors import CordumError, Unavailable
from cordum.store.config_documents import ConfigDocuments, Document
from cordum.store.connection import RedisClient
from cordum.store.schemas import SchemaStore
from cordum.store.topics import TOPICS

__all__ = ["BoundaryReader", "compile_schema"]

_log = structlog.get_logger("cordum.store")
_SYSTEM: Final = ("system", "default")
_REFERENCES_MAX: Final = 64

State = Schema | str


@dataclass(frozen=True, slots=True)
class _Compiled:
    text: bytes
    state: State
    is_alone: bool
    """It refers to no other document, so that an equal text is an equal schema."""


async def compile_schema(store: SchemaStore, text: bytes) -> tuple[Schema, int]:
    """Compile a schema with the registered documents it refers to; return it and their number.

    Raises ValueError("invalid", detail) or ("missing", url), Unavailable.
    """
    documents: dict[str, bytes] = {}
    while True:
        try:
            return await asyncio.to_thread(Schema.compile, text, list(documents.items())), len(documents)
        except ValueError as error:
            kind, url = error.args
            found = await store.behind_url(url) if kind == "missing" and url not in documents else None
            if found is None or len(documents) >= _REFERENCES_MAX:
                raise
            documents[url] = found


class BoundaryReader:
    """Holds the current snapshot. ``fresh_s`` bounds its age where it is asked for with `fresh`.

    ``mode_of`` says what a bad payload means under a system configuration.
    """

    def __init__(
        self,
        redis: RedisClient,
        mode_of: Callable[[Mapping[str, Any]], str],
        fresh_s: float,
        clock_s: Callable[[], float],
    ) -> None:
        self._documents = ConfigDocuments(redis)
        self._schemas = SchemaStore(redis)
        self._mode_of = mode_of
        self._fresh_s = fresh_s
        self._clock_s = clock_s
        self._read_s = float("-inf")
        self._compiled: dict[str, _Compiled] = {}
        self._stamp: tuple[Any, ...] = ()
        self._basis: tuple[str, Mapping[str, Any] | None, tuple[Any, ...]] = ("", None, ())
        self._registrations: Mapping[str, Any] | None = None
        self._refreshing: asyncio.Lock = asyncio.Lock()
        self.current = Boundary(mode_of({}), None, {})

    def drop(self) -> None:
        """Read again before the snapshot is used next: something was written."""
        self._read_s = float("-inf")

    async def fresh(self) -> Boundary:
        """Return the snapshot, read anew when it is too old; the last good one while the store is away."""
        if self._clock_s() - self._read_s > self._fresh_s:
            async with self._refreshing:
                if self._clock_s() - self._read_s > self._fresh_s:
                    await self.refresh()
        return self.current

    async def refresh(self) -> Boundary:
        """Read registrations and schemas; what cannot be read stays as it was."""
        self._read_s = self._clock_s()
        try:
            topics, system = await self._documents.get_many((TOPICS, _SYSTEM))
            if isinstance(topics, Document):
                self._registrations = topics.data
            else:
                _log.error("topic registrations are not readable, the last ones stay", error=topics.message)
            mode = self._mode_of(system.data if isinstance(system, Document) else {})
            stamp = await self._schemas.stamp() if self._schema_ids() and mode != "off" else ()
        except CordumError as error:
            _log.warning("topic registrations not read, the last ones stay", error=error.message)
            return self.current
        if (mode, self._registrations, stamp) != self._basis or self._is_incomplete():
            await self._rebuild(mode, stamp)
        return self.current

    def _schema_ids(self) -> list[str]:
        records = (self._registrations or {}).values()
        ids = {record.get("input_schema_id") for record in records if isinstance(record, Mapping)}
        return sorted(schema_id for schema_id in ids if isinstance(schema_id, str) and schema_id)

    def _is_incomplete(self) -> bool:
        return any(entry.state == "unavailable" for entry in self._compiled.values())

    async def _rebuild(self, mode: str, stamp: tuple[Any, ...]) -> None:
        states = await self._load_schemas() if mode != "off" else {}
        encoded = None if self._registrations is None else orjson.dumps(self._registrations)
        try:
            self.current = Boundary(mode, encoded, states)
        except ValueError as error:
            _log.error("topic registrations are invalid, the last good ones stay", error=str(error))
        self._basis = (mode, self._registrations, stamp)

    async def _load_schemas(self) -> dict[str, State]:
        ids = self._schema_ids()
        texts = await self._schemas.texts(ids) if ids else []
        known, self._compiled = self._compiled, {}
        states: dict[str, State] = {}
        for schema_id, text in zip(ids, texts, strict=True):
            before = known.get(schema_id)
            entry = await self._compile(schema_id, text, before)
            self._compiled[schema_id] = entry
            states[schema_id] = entry.state
        return states

    async def _compile(
        self, schema_id: str, text: bytes | Exception | None, before: _Compiled | None
    ) -> _Compiled:
        if text is None:
            return _Compiled(b"", "not_found", is_alone=True)
        if isinstance(text, Exception):
            return before or _Compiled(b"", "unavailable", is_alone=True)
        if before is not None and before.is_alone and before.text == text:
            return before
        try:
            schema, documents = await compile_schema(self._schemas, text)
        except ValueError as error:
            _log.error("schema does not compile", schema_id=schema_id, error=": ".join(error.args))
            return _Compiled(text, "invalid", is_alone=False)
        except Unavailable:
            return before or _Compiled(b"", "unavailable", is_alone=True)
        return _Compiled(text, schema, is_alone=not documents)
