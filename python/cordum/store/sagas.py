"""Stacks of compensations, one per run or workflow (scheduler spec §14)."""

from collections.abc import Sequence
from typing import Final

from cordum.store import keys
from cordum.store.connection import RedisClient
from cordum.store.locks import Lock
from cordum.store.scripts import Command, script

__all__ = ["Push", "SagaStore"]

_TTL_S: Final = 7 * 86_400
_LOCK_TTL_S: Final = 120.0
_STACK_MAX: Final = 10_000

Push = tuple[str, str, Sequence[tuple[str, bytes]]]
"""Scope, tenant and (job id, template) pairs, oldest first."""


class SagaStore:
    """Repository of compensation templates. A scope belongs to the tenant that used it first."""

    def __init__(self, client: RedisClient) -> None:
        self._client = client

    async def push_many(self, pushes: Sequence[Push]) -> list[tuple[bool, list[str]]]:
        """Put templates on their stacks; tell per push whether the scope was rolled back already, and per template
        `pushed`, `seen` (before), `full` or `foreign` (the scope is another tenant's). Raises Unavailable."""
        body = script("saga_push")
        commands: list[Command] = []
        for scope, tenant, templates in pushes:
            names = [keys.saga(scope, part) for part in ("stack", "seen", "rolled", "tenant")]
            pairs = [part for pair in templates for part in pair]
            commands.append(body.command(names, (tenant, _TTL_S, _STACK_MAX, *pairs)))
        replies = await self._client.pipeline(commands)
        for reply in replies:
            if isinstance(reply, Exception):
                raise reply
        return [(bool(rolled), [word.decode() for word in words]) for rolled, *words in replies]

    def lock(self, scope: str) -> Lock:
        """Return the lock a rollback of this scope holds."""
        return Lock(self._client, keys.saga(scope, "lock"), _LOCK_TTL_S)

    async def pop(self, scope: str, tenant: str, token: str) -> tuple[str, bytes]:
        """Take the next template into flight and mark the scope as rolled back.

        Returns `entry` and the template, `empty`, `lost` (the lock) or `foreign` (the scope is another tenant's). What
        is in flight already comes again. Raises Unavailable.
        """
        names = [keys.saga(scope, part) for part in ("stack", "inflight", "rolled", "tenant", "lock")]
        word, *entry = await self._client.execute(*script("saga_pop").command(names, (tenant, token, _TTL_S)))
        return word.decode(), entry[0] if entry else b""

    async def done(self, scope: str, template: bytes) -> None:
        """Take a template out of flight: its job is on its way. Raises Unavailable."""
        await self._client.execute(*script("saga_done").command((keys.saga(scope, "inflight"),), (template,)))
