"""What background sweeps ask of the store, a bounded step per partition at a time (scheduler spec §15)."""

from collections.abc import Callable, Sequence
from typing import Any, Final

from cordum.domain.states import TERMINAL_STATES, JobState
from cordum.store import keys
from cordum.store.jobs import JobStore, Record
from cordum.store.scripts import Command, script

__all__ = [
    "DueWalk",
    "confirmed",
    "drop_due",
    "orphans",
    "repair_index",
    "timed_out",
    "trim_dead_letters",
    "trim_terminal",
]

BATCH: Final = 200
BATCHES_MAX: Final = 100


class DueWalk:
    """Walks the entries of an index up to a score, in batches. Entries that stay are stepped over."""

    def __init__(self, jobs: JobStore, index: Callable[[str], str], before_us: int) -> None:
        self._jobs = jobs
        self._index = index
        self._before_us = before_us
        self._offsets = dict.fromkeys(range(jobs.partitions), 0)
        self._batches = 0

    async def next(self) -> list[str]:
        """Return the next batch, at most 200 per partition; empty at the end or after 100 of them.

        Raises Unavailable.
        """
        if self._batches == BATCHES_MAX or not self._offsets:
            return []
        self._batches += 1
        walked = list(self._offsets)
        commands: list[Command] = [
            (
                "ZRANGEBYSCORE",
                self._index(self._jobs.tags[part]),
                "-inf",
                self._before_us,
                "LIMIT",
                self._offsets[part],
                BATCH,
            )
            for part in walked
        ]
        found: list[str] = []
        for part, ids in zip(walked, await _all(self._jobs, commands), strict=True):
            found += [job_id.decode() for job_id in ids]
            if len(ids) < BATCH:
                del self._offsets[part]
        return found

    def stayed(self, job_ids: Sequence[str]) -> None:
        """Step over entries of the last batch that are still there."""
        for part, ids in self._jobs.by_partition(job_ids).items():
            if part in self._offsets:
                self._offsets[part] += len(ids)


async def orphans(jobs: JobStore, state: JobState, *, before_us: int) -> list[str]:
    """Return jobs of a state, not touched since ``before_us``, that nothing will feed: they have no due entry.

    Raises Unavailable.
    """
    body = script("orphan_scan")
    offsets = dict.fromkeys(range(jobs.partitions), 0)
    found: list[str] = []
    for _ in range(BATCHES_MAX):
        if not offsets or len(found) >= BATCH * BATCHES_MAX:
            break
        walked = list(offsets)
        commands = [
            body.command(
                (keys.job_index(jobs.tags[part], state), keys.job_retry(jobs.tags[part])),
                (before_us, offsets[part], BATCH),
            )
            for part in walked
        ]
        for part, (seen, *ids) in zip(walked, await _all(jobs, commands), strict=True):
            found += [job_id.decode() for job_id in ids]
            offsets[part] += seen
            if seen < BATCH:
                del offsets[part]
    return found


async def repair_index(jobs: JobStore, state: JobState, *, offset: int) -> tuple[bool, int]:
    """Put a window of a state's index right; tell whether some partition has more, and how many entries were wrong.

    Raises Unavailable.
    """
    body = script("index_repair")
    commands = [
        body.command((keys.job_anchor(tag),), (state.value.lower(), offset, BATCH)) for tag in jobs.tags
    ]
    replies = await _all(jobs, commands)
    return any(seen == BATCH for seen, _ in replies), sum(wrong for _, wrong in replies)


async def trim_terminal(jobs: JobStore, *, now_us: int) -> None:
    """Take jobs whose records have expired off the indexes of final states. Raises Unavailable."""
    before_us = now_us - jobs.settings.job_meta_ttl_s * 1_000_000
    await _all(
        jobs,
        [
            ("ZREMRANGEBYSCORE", keys.job_index(tag, state), "-inf", before_us)
            for tag in jobs.tags
            for state in TERMINAL_STATES
        ],
    )


async def trim_dead_letters(jobs: JobStore, *, limit: int = 1_000) -> int:
    """Drop the oldest dead letters above the configured size; return how many. Raises Unavailable."""
    most = max(1, jobs.settings.dlq_max_size // jobs.partitions)
    body = script("dlq_trim")
    commands = [body.command((keys.dlq_index(tag),), (most, limit)) for tag in jobs.tags]
    return sum(len(ids) for ids in await _all(jobs, commands))


async def confirmed(jobs: JobStore, records: Sequence[Record]) -> list[Record]:
    """Leave out dispatches whose publish is not confirmed: nobody may have them yet. Raises Unavailable."""
    commands: list[Command] = [
        ("ZSCORE", keys.job_disp(jobs.tag(record["id"])), record["id"]) for record in records
    ]
    replies = await _all(jobs, commands)
    return [record for record, score in zip(records, replies, strict=True) if score is None]


async def timed_out(jobs: JobStore, records: Sequence[Record], *, before_us: int) -> list[Record]:
    """Leave out unconfirmed dispatches, and jobs whose time-out was another one already when their record was read.

    Raises Unavailable.
    """
    # Asked after the records were read: what changes later than that is held against their revision.
    commands: list[Command] = [
        ("ZSCORE", index(jobs.tag(record["id"])), record["id"])
        for record in records
        for index in (keys.job_disp, keys.job_due)
    ]
    replies = iter(await _all(jobs, commands))
    return [
        record
        for record, disp, due in zip(records, replies, replies, strict=True)
        if disp is None and due is not None and float(due) <= before_us
    ]


async def drop_due(jobs: JobStore, job_ids: Sequence[str]) -> None:
    """Remove time-outs of jobs that have none any more. Raises Unavailable."""
    drop = script("due_drop")
    await _all(
        jobs,
        [
            drop.command((keys.job_due(jobs.tags[part]),), ids)
            for part, ids in jobs.by_partition(job_ids).items()
        ],
    )


async def _all(jobs: JobStore, commands: Sequence[Command]) -> list[Any]:
    replies = await jobs.client.pipeline(commands) if commands else []
    for reply in replies:
        if isinstance(reply, Exception):
            raise reply
    return replies
