"""Effective configurations, merged from stored documents that are kept in memory (packs spec §10.3)."""

from collections.abc import Callable, Iterable, Sequence
from operator import is_
from typing import Final

import structlog

from cordum.config.effective import EffectiveConfig, merge
from cordum.domain.errors import CordumError, Unavailable
from cordum.store.config_documents import ConfigDocuments, Document

__all__ = ["EffectiveConfigs", "Scope"]

_log = structlog.get_logger("cordum.store")
_ENTRIES_MAX: Final = 10_000

Scope = tuple[str, str, str, str]
"""Tenant, team, workflow, step; blank where there is none."""
_Name = tuple[str, str]


class EffectiveConfigs:
    """The configuration of every scope asked for, at most ``fresh_s`` seconds old by the monotonic ``clock_s``.

    While the store is away the last known documents stay in force. A stored text that is no document makes its scopes
    unreadable, unless it was one before.
    """

    def __init__(self, documents: ConfigDocuments, fresh_s: float, clock_s: Callable[[], float]) -> None:
        self._documents = documents
        self._clock_s = clock_s
        self._fresh_s = fresh_s
        self._known: dict[_Name, Document | CordumError] = {}
        self._read_s: dict[_Name, float] = {}
        self._merged: dict[Scope, tuple[tuple[Document | CordumError, ...], EffectiveConfig]] = {}
        self._oldest_s = float("-inf")

    def drop(self) -> None:
        """Read everything again before it is used next: some document was written."""
        self._oldest_s = self._clock_s()

    async def get(self, scope: Scope) -> EffectiveConfig:
        """Return one configuration. Raises Unavailable when it was never read."""
        return (await self.many((scope,)))[0]

    async def many(self, scopes: Sequence[Scope]) -> list[EffectiveConfig]:
        """Return the configurations of several scopes, reading what is missing in one round trip per node.

        Raises Unavailable when the store does not answer and something was never read.
        """
        if len(self._known) > _ENTRIES_MAX or len(self._merged) > _ENTRIES_MAX:
            self._known.clear()
            self._read_s.clear()
            self._merged.clear()
        names = {name for scope in scopes for name in _names(scope)}
        await self._refresh(names)
        while not all(name in self._known for name in names):
            # Somebody else emptied the memory while this waited for the store.
            await self._refresh(names)
        return [self._combine(scope) for scope in scopes]

    async def _refresh(self, names: Iterable[_Name]) -> None:
        now_s = self._clock_s()
        oldest_s = max(now_s - self._fresh_s, self._oldest_s)
        stale = [name for name in names if self._read_s.get(name, float("-inf")) <= oldest_s]
        if not stale:
            return
        try:
            found = await self._documents.get_many(stale)
        except Unavailable as error:
            if any(name not in self._known for name in stale):
                raise
            _log.warning("configuration not read, the last one stays", error=error.message)
            return
        for name, read in zip(stale, found, strict=True):
            self._read_s[name] = now_s
            self._keep(name, read)

    def _keep(self, name: _Name, read: Document | CordumError) -> None:
        known = self._known.get(name)
        if isinstance(read, CordumError):
            _log.error("configuration document is not readable", document=":".join(name), error=read.message)
            if isinstance(known, Document) and known.revision:
                return
        elif known == read:
            # The same object keeps what was merged from it. A revision proves nothing: documents are restored, too.
            return
        self._known[name] = read

    def _combine(self, scope: Scope) -> EffectiveConfig:
        tenant, _, workflow, step = scope
        known = {name: self._known[name] for name in _names(scope)}
        found = tuple(known.values())
        cached = self._merged.get(scope)
        if cached is not None and all(map(is_, cached[0], found)):
            return cached[1]
        parts = [
            self._part(known, ("system", "default"), ""),
            self._part(known, ("org", tenant), ""),
            self._part(known, ("team", scope[1]), tenant),
            self._part(known, ("workflow", workflow), tenant),
            self._part(known, ("step", f"{workflow}/{step}"), tenant)
            or self._part(known, ("step", step), tenant),
        ]
        readable = not any(isinstance(document, CordumError) for document in known.values())
        merged = merge([(part.data, part.revision) if part else ({}, 0) for part in parts], readable=readable)
        self._merged[scope] = (found, merged)
        return merged

    def _part(self, known: dict[_Name, Document | CordumError], name: _Name, owner: str) -> Document | None:
        """A document that exists and, below the tenant, belongs to ``owner`` or to nobody."""
        document = known.get(name)
        if not isinstance(document, Document) or not document.revision:
            return None
        if owner and document.meta.get("tenant") not in (None, "", owner):
            return None
        return document


def _names(scope: Scope) -> list[_Name]:
    tenant, team, workflow, step = scope
    names = [("system", "default")]
    names += [pair for pair in (("org", tenant), ("team", team), ("workflow", workflow)) if pair[1]]
    if step:
        names += [("step", f"{workflow}/{step}")] if workflow else []
        names.append(("step", step))
    return names
