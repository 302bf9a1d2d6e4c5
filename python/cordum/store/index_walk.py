"""Walk one or several sorted sets together, newest first, in complete groups of equal score (gateway spec
§8)."""

from collections.abc import Sequence

from cordum.store.connection import RedisClient

__all__ = ["IndexWalk", "Member"]

Member = tuple[int, str]
"""Score and member."""


class IndexWalk:
    """A merged walk over zsets with integer scores. Not restartable; page by passing a new ``max_score``."""

    def __init__(
        self,
        client: RedisClient,
        index_keys: Sequence[str],
        *,
        max_score: int | None = None,
        min_score: int | None = None,
        page: int = 50,
    ) -> None:
        self._client = client
        self._keys = list(index_keys)
        self._max: int | None = max_score
        self._min = min_score
        self._count = max(8, 2 * page // len(self._keys) + 4) if self._keys else 0

    async def next(self) -> list[Member]:
        """Return the next members, newest first, never splitting a score; empty at the end. Raises
        Unavailable."""
        while self._keys:
            upper = "+inf" if self._max is None else self._max
            lower = "-inf" if self._min is None else self._min
            replies = await self._client.pipeline(
                [
                    ("ZREVRANGEBYSCORE", key, upper, lower, "WITHSCORES", "LIMIT", 0, self._count)
                    for key in self._keys
                ]
            )
            members, horizon, unfinished = self._merge(replies)
            # Below the horizon an index may hold members that were not fetched yet; they come with the
            # next round.
            complete = [member for member in members if horizon is None or member[0] > horizon]
            self._keys = unfinished
            self._max = horizon
            if complete:
                return complete
            # All fetched members share the horizon's score: fetch more of them at once.
            self._count *= 4
        return []

    def _merge(self, replies: list[object]) -> tuple[list[Member], int | None, list[str]]:
        members: list[Member] = []
        horizon: int | None = None
        unfinished: list[str] = []
        for reply in replies:
            if isinstance(reply, Exception):
                raise reply
            found = _members(reply)
            members += found
            if len(found) >= self._count:
                horizon = found[-1][0] if horizon is None else max(horizon, found[-1][0])
        if horizon is not None:
            # An exhausted index is asked again only if some of its members were held back by the horizon.
            for key, reply in zip(self._keys, replies, strict=True):
                found = _members(reply)
                if len(found) >= self._count or (found and found[-1][0] <= horizon):
                    unfinished.append(key)
        members.sort(reverse=True)
        return members, horizon, unfinished


def _members(reply: object) -> list[Member]:
    flat: list[bytes] = reply if isinstance(reply, list) else []
    return [(int(float(flat[i + 1])), flat[i].decode()) for i in range(0, len(flat), 2)]
