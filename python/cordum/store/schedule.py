"""Jobs whose time has come: the retry wheel, wake-ups and the overdue entries of time-outs, dispatches and
duties.

Scheduler spec §15, §16. Every function touches the partitions it is given, in one round trip per node.
"""

from collections.abc import Callable, Sequence

from cordum.store import keys
from cordum.store.jobs import JobStore
from cordum.store.scripts import Command, script

__all__ = [
    "count_waiting",
    "drop_strays",
    "earliest_due",
    "lease_due",
    "make_due",
    "overdue",
    "parked_counts",
    "wake_pool",
]

Index = Callable[[str], str]
"""A key function of one partition tag, such as `keys.job_due`."""


async def lease_due(
    store: JobStore, partitions: Sequence[int], *, now_us: int, limit: int, lease_us: int = 30_000_000
) -> list[str]:
    """Take parked jobs that are due, at most ``limit`` per partition; others do not see them until the
    lease ends."""
    wheel = script("wheel_lease")
    commands: list[Command] = [
        wheel.command((keys.job_retry(store.tags[partition]),), (now_us, limit, lease_us))
        for partition in partitions
    ]
    return [job_id.decode() for ids in await _all(store, commands) for job_id in ids]


async def earliest_due(store: JobStore, partitions: Sequence[int]) -> list[tuple[int, int]]:
    """Return (time in µs, partition) of the first parked job of every partition that has one."""
    commands: list[Command] = [
        ("ZRANGE", keys.job_retry(store.tags[partition]), 0, 0, "WITHSCORES") for partition in partitions
    ]
    replies = await _all(store, commands)
    return [
        (int(float(reply[1])), partition)
        for partition, reply in zip(partitions, replies, strict=True)
        if reply
    ]


async def overdue(
    store: JobStore, index: Index, *, before_us: int, limit: int, partitions: Sequence[int] | None = None
) -> list[str]:
    """Return jobs whose entry in an index is not after ``before_us``, at most ``limit`` per partition,
    oldest first."""
    chosen = range(store.partitions) if partitions is None else partitions
    commands: list[Command] = [
        ("ZRANGEBYSCORE", index(store.tags[partition]), "-inf", before_us, "LIMIT", 0, limit)
        for partition in chosen
    ]
    return [job_id.decode() for ids in await _all(store, commands) for job_id in ids]


async def parked_counts(store: JobStore) -> dict[str, int]:
    """Return how many jobs are parked now, per cause."""
    commands: list[Command] = [("HGETALL", keys.job_parked(tag)) for tag in store.tags]
    counts: dict[str, int] = {}
    for reply in await _all(store, commands):
        for index in range(0, len(reply), 2):
            cause = reply[index].decode()
            counts[cause] = counts.get(cause, 0) + int(reply[index + 1])
    return counts


async def make_due(store: JobStore, job_ids: Sequence[str], *, at_us: int) -> None:
    """Give jobs a due entry of their own, parked or not; the wheel feeds them from then on. Raises Unavailable."""
    await _all(
        store,
        [
            ("ZADD", keys.job_retry(store.tags[partition]), *(part for job in ids for part in (at_us, job)))
            for partition, ids in store.by_partition(job_ids).items()
        ],
    )


async def drop_strays(store: JobStore, job_ids: Sequence[str]) -> None:
    """Remove due entries of jobs that wait for nothing; one that waits again meanwhile stays. Raises Unavailable."""
    drop = script("wheel_drop")
    await _all(
        store,
        [
            drop.command((keys.job_retry(store.tags[partition]),), ids)
            for partition, ids in store.by_partition(job_ids).items()
        ],
    )


async def wake_pool(
    store: JobStore, pool: str, *, now_us: int, limit: int, lease_us: int = 30_000_000
) -> tuple[list[str], int | None]:
    """Take the first ``limit`` jobs in the line of a pool before their time (scheduler spec §16.3, §16.4).

    Return their ids, and the place of the first one in line; None when nobody waits. They are leased like due jobs.
    """
    share = limit // store.partitions + 1
    commands: list[Command] = [
        ("ZRANGE", keys.job_wait(tag, pool), 0, share - 1, "WITHSCORES") for tag in store.tags
    ]
    waiting: list[tuple[float, str, bytes]] = []
    for tag, reply in zip(store.tags, await _all(store, commands), strict=True):
        waiting.extend((float(reply[i + 1]), tag, reply[i]) for i in range(0, len(reply), 2))
    waiting.sort(key=lambda entry: entry[0])
    chosen: dict[str, list[int | bytes]] = {}
    for _, tag, job_id in waiting[:limit]:
        chosen.setdefault(tag, []).extend((now_us + lease_us, job_id))
    # XX: a job that left in the meantime must not come back.
    updates: list[Command] = [("ZADD", keys.job_retry(tag), "XX", *pairs) for tag, pairs in chosen.items()]
    await _all(store, updates)
    front = int(waiting[0][0]) if waiting else None
    return [job_id.decode() for _, _, job_id in waiting[:limit]], front


async def _all(store: JobStore, commands: Sequence[Command]) -> list[list[bytes]]:
    if not commands:
        return []
    replies = await store.client.pipeline(commands)
    for reply in replies:
        if isinstance(reply, Exception):
            raise reply
    return replies


async def count_waiting(store: JobStore, pool: str) -> int:
    """Return how many parked jobs wait for a pool. Raises Unavailable."""
    replies = await store.client.pipeline([("ZCARD", keys.job_wait(tag, pool)) for tag in store.tags])
    for reply in replies:
        if isinstance(reply, Exception):
            raise reply
    return sum(replies)
