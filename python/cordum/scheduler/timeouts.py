"""Dispatch, running and deadline time-outs (scheduler spec §15, rows 2 to 5)."""

from collections import Counter
from collections.abc import Sequence

from cordum._core import Planner
from cordum.config.files import ReconcilerTimeouts
from cordum.domain.states import TERMINAL_STATES, JobState
from cordum.runtime.clock import now_us
from cordum.scheduler.configuration import Configuration
from cordum.scheduler.moves import Change, Moves, transition_event
from cordum.store import keys
from cordum.store.jobs import JobStore, Record, number_of
from cordum.store.scripts import Command
from cordum.store.sweeps import DueWalk, drop_due, timed_out

__all__ = ["Timeouts"]

_DUE_STATES = frozenset({JobState.DISPATCHED, JobState.RUNNING, JobState.RETRYING})


class Timeouts:
    """Ends what took too long. Jobs whose result waits for its output check are spared, but not by a cancel (§11)."""

    def __init__(self, planner: Planner, jobs: JobStore, moves: Moves, configuration: Configuration) -> None:
        self._planner = planner
        self._jobs = jobs
        self._moves = moves
        self._configuration = configuration
        self._limits: tuple[ReconcilerTimeouts, dict[str, int]] | None = None

    async def sweep_due(self) -> Counter[str]:
        """End what is past its dispatch, running or retry-state time-out; return how many per state.

        Raises Unavailable.
        """
        stale: Counter[str] = Counter()
        before_us = now_us()
        walk = DueWalk(self._jobs, keys.job_due, before_us)
        while ids := await walk.next():
            found = await self._jobs.get_many(ids)
            records = [r for r in found if r is not None and r.get("state") in _DUE_STATES]
            await drop_due(self._jobs, sorted(set(ids) - {record["id"] for record in records}))
            unchecked = [record for record in records if not record.get("pending_result")]
            judged = await timed_out(self._jobs, unchecked, before_us=before_us)
            stale.update(record["state"].lower() for record in judged)
            left = await self._expire(judged)
            walk.stayed([record["id"] for record in records if record["id"] not in left])
        return stale

    async def sweep_deadlines(self) -> Counter[str]:
        """End what is past its deadline, whatever it waits for; return how many per state. Raises Unavailable."""
        stale: Counter[str] = Counter()
        before_us = now_us()
        walk = DueWalk(self._jobs, keys.job_deadline, before_us)
        while ids := await walk.next():
            found = await self._jobs.get_many(ids)
            records = [
                record
                for record in found
                if record is not None
                and record.get("state")
                and not record.get("pending_result")
                # A dispatch may have given it another one since the index was read.
                and number_of(record, "deadline_unix") <= before_us
            ]
            stale.update(
                record["state"].lower() for record in records if record["state"] not in TERMINAL_STATES
            )
            moved = await self._moves.time_out(records, lambda _: "timeout: deadline expired")
            walk.stayed([job_id for job_id in ids if job_id not in moved])
        return stale

    async def _expire(self, records: Sequence[Record]) -> set[str]:
        now = now_us()
        alive = {
            record["id"]
            for record in records
            if record["state"] == JobState.DISPATCHED
            and self._planner.alive(record.get("worker_id", ""), record.get("pool", ""), now)
        }
        running = [record for record in records if record["id"] in alive]
        engines = [record for record in records if record["state"] == JobState.RETRYING]
        late = [
            record for record in records if record["id"] not in alive and record["state"] != JobState.RETRYING
        ]
        moved = {record["id"] for record in await self._moves.apply(running, self._to_running)}
        moved |= await self._moves.fail(engines, "the workflow did not try again in time")
        return moved | await self._moves.time_out(late, self._reason)

    def _reason(self, record: Record) -> str | None:
        if record["state"] == JobState.DISPATCHED:
            return f"timeout: dispatched exceeded ({self._configuration.dispatch_timeout_s}s)"
        if record["state"] == JobState.RUNNING:
            limit_s = self._planner.running_timeout_us(record.get("topic", "")) // 1_000_000
            return f"timeout: running exceeded ({limit_s}s)"
        return None

    def _to_running(self, record: Record) -> Change | None:
        """The worker lives: it has the job, whatever its heartbeats say (scheduler spec §2.4 d)."""
        if record["state"] != JobState.DISPATCHED:
            return None
        now = now_us()
        return {
            "to": str(JobState.RUNNING),
            "due": now + self._planner.running_timeout_us(record.get("topic", "")),
            "events": [transition_event(now, JobState.RUNNING)],
        }

    async def follow_limits(self) -> bool:
        """Give jobs under way the time-outs of today when those changed; tell whether they did. Raises Unavailable."""
        timeouts = self._configuration.timeouts
        limits = (
            timeouts.reconciler,
            {name: topic.timeout_seconds for name, topic in timeouts.topics.items()},
        )
        if limits == self._limits:
            return False
        for state in (JobState.DISPATCHED, JobState.RUNNING):
            await self._rewrite(state)
        self._limits = limits
        return True

    async def _rewrite(self, state: JobState) -> None:
        walk = DueWalk(self._jobs, lambda tag: keys.job_index(tag, state), now_us())
        while ids := await walk.next():
            walk.stayed(ids)
            rows = await self._jobs.fields(ids, ("state", "updated_at", "topic"))
            commands: list[Command] = []
            for job_id, (current, since, topic) in zip(ids, rows, strict=True):
                if current == state.encode() and since is not None:
                    due = int(since) + self._limit_us(state, (topic or b"").decode())
                    # XX: a job that ended meanwhile must not come back.
                    commands.append(("ZADD", keys.job_due(self._jobs.tag(job_id)), "XX", due, job_id))
            await self._jobs.client.pipeline(commands)

    def _limit_us(self, state: JobState, topic: str) -> int:
        if state == JobState.DISPATCHED:
            return self._configuration.dispatch_timeout_s * 1_000_000
        return self._planner.running_timeout_us(topic)
