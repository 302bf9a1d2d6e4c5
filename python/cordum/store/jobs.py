"""Job records: the atomic scripts, reads, and the sets in other slots (scheduler spec §3, §30)."""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Self

import msgpack
import orjson

from cordum._core import request_to_store, stored_event_json, stored_requests_json
from cordum.config.redis import StoreSettings
from cordum.domain.errors import CordumError, Unavailable
from cordum.store import keys
from cordum.store.connection import RedisClient
from cordum.store.job_sets import recent_commands
from cordum.store.scripts import Command, script

__all__ = ["JobStore", "Record", "Reply", "number_of", "record_of"]

logger = logging.getLogger(__name__)

Record = dict[str, str]
"""Fields of a job's hash plus `id`."""
Reply = list[Any]
"""One job's answer: tag and details, strings as bytes (see `JobStore.apply`)."""

_LAYOUT_VERSION = 1
_DIGITS_MAX = 18
_TIMES = frozenset({"due", "deadline", "retry", "disp"})
_EVENT_FIELDS = ("topic", "principal", "actor_id", "capability", "risk_tags", "worker_id")
_DECISION_FIELDS = (
    "decision_key",
    "req_hash",
    *(
        f"safety_{name}"
        for name in ("decision", "reason", "rule_id", "snapshot", "constraints", "remediations", "checked_at")
    ),
)
_SCRIPTS = frozenset({"job_create", "sched_commit", "result_commit", "job_move"})


class JobStore:
    """Repository of jobs. Made by `open`, which fixes the number of partitions."""

    def __init__(self, client: RedisClient, settings: StoreSettings, partitions: int) -> None:
        self.client = client
        self.settings = settings
        self.partitions = partitions
        self.tags = tuple(keys.tag_of(partition) for partition in range(partitions))
        self._anchors = tuple(keys.job_anchor(tag) for tag in self.tags)
        self._options = tuple(self._pack_options(partition) for partition in range(partitions))

    @classmethod
    async def open(cls, client: RedisClient, settings: StoreSettings) -> Self:
        """Read the layout, writing it on first use (scheduler spec §30). Raises Unavailable, CordumError
        on a foreign layout."""
        wanted = orjson.dumps({"version": _LAYOUT_VERSION, "partitions": settings.partitions})
        await client.execute("SET", keys.JOB_LAYOUT, wanted, "NX")
        layout = orjson.loads(await client.execute("GET", keys.JOB_LAYOUT) or wanted)
        if layout.get("version") != _LAYOUT_VERSION:
            raise CordumError(
                f"job layout: expected version {_LAYOUT_VERSION}, got `{layout.get('version')}`"
            )
        partitions = int(layout["partitions"])
        if partitions != settings.partitions:
            logger.error(
                "SCHEDULER_PARTITIONS is ignored: the store was laid out with %d partitions, not %d",
                partitions,
                settings.partitions,
            )
        return cls(client, settings, partitions)

    def _pack_options(self, partition: int) -> bytes:
        settings = self.settings
        packed: bytes = msgpack.packb(
            {
                "p": keys.partition_name(partition),
                "meta_ttl_s": settings.job_meta_ttl_s,
                "recent_max": max(1, settings.job_recent_max // self.partitions),
                "dlq_max": max(1, settings.dlq_max_size // self.partitions),
                "dlq_ttl_s": settings.dlq_ttl_s,
            }
        )
        return packed

    def partition(self, job_id: str) -> int:
        """Return the partition of a job."""
        return keys.partition_of(job_id, self.partitions)

    def tag(self, job_id: str) -> str:
        """Return the hash tag of a job."""
        return self.tags[self.partition(job_id)]

    @staticmethod
    def pack(transition: Mapping[str, Any]) -> bytes:
        """Pack one transition for `apply` (keys: `rust/wire/src/transition.rs`); ``set``, ``init`` and ``incr`` are
        mappings, an empty value in ``set`` removes the field."""
        packed: bytes = msgpack.packb(_wire(transition), use_bin_type=False)
        return packed

    async def apply(
        self,
        name: str,
        groups: Sequence[tuple[int, Sequence[bytes]]],
        extra: Sequence[Command] = (),
        *,
        now_us: int,
        unsent: Callable[[Sequence[Command]], None] | None = None,
    ) -> list[list[Reply]]:
        """Run a job script over packed transitions, grouped by partition, in one pipelined step.

        ``extra`` commands ride in the same step; those that were not answered go to ``unsent``, refused ones
        are logged (scheduler spec §15.8).
        Returns per group, per job: ``[b"moved", state, rev, attempts, topic, tenant, prev_state,
        created_at, worker_id, pool, saga]``,
        ``[b"conflict" | b"ignored", why, current_state, rev]`` or ``[b"error", b"unavailable" |
        b"refused", message]`` when
        the group's call failed as a whole. Raises Unavailable when nothing could be sent.
        """
        if name not in _SCRIPTS:
            raise CordumError(f"`{name}` is not a job script")
        body, stamp = script(name), str(now_us)
        commands = [
            body.command((self._anchors[partition],), (stamp, self._options[partition], *blobs))
            for partition, blobs in groups
        ]
        replies = await self.client.pipeline([*commands, *extra])
        lost: list[Command] = []
        for command, reply in zip(extra, replies[len(commands) :], strict=True):
            if isinstance(reply, Unavailable):
                lost.append(command)
            if isinstance(reply, Exception):
                logger.warning("a side write of %s failed: %s", name, reply)
        if lost and unsent is not None:
            unsent(lost)
        answers: list[list[Reply]] = []
        for reply, (_, blobs) in zip(replies, groups, strict=False):
            if isinstance(reply, Exception):
                reply = [_failure(reply)] * len(blobs)
            answers.append(reply)
        return answers

    async def change(self, name: str, transition: Mapping[str, Any], *, now_us: int) -> Reply:
        """Apply one transition. Raises Unavailable or CordumError when the call itself failed."""
        group = (self.partition(transition["id"]), (self.pack(transition),))
        reply = (await self.apply(name, [group], now_us=now_us))[0][0]
        if reply[0] == b"error":
            message = reply[2].decode()
            raise Unavailable(message) if reply[1] == b"unavailable" else CordumError(message)
        return reply

    async def move(self, transition: Mapping[str, Any], *, now_us: int) -> Reply:
        """Apply one transition by `job_move`, for slow paths, and list the job as of now."""
        reply = await self.change("job_move", transition, now_us=now_us)
        if reply[0] == b"moved":
            await self._list_as_of(reply[5].decode(), transition["id"], now_us)
        return reply

    async def _list_as_of(self, tenant: str, job_id: str, now_us: int) -> None:
        """Give a job its place in the list of its tenant. The change is made, whether or not that succeeds."""
        try:
            commands = recent_commands([(tenant, job_id, now_us)], recent_max=self.settings.job_recent_max)
            _raise_first(await self.client.pipeline(commands))
        except CordumError as error:
            logger.warning("job %s is not listed as changed: %s", job_id, error.message)

    def clear_after_commands(self, jobs: Iterable[str | tuple[str, int]]) -> list[Command]:
        """Return commands that end post-commit duties; with a rev, only if the record has not moved since."""
        grouped: dict[int, list[str]] = {}
        for job in jobs:
            job_id, rev = (job, "") if isinstance(job, str) else (job[0], str(job[1]))
            grouped.setdefault(self.partition(job_id), []).extend((job_id, rev))
        body = script("after_clear")
        return [body.command((self._anchors[partition],), pairs) for partition, pairs in grouped.items()]

    async def clear_after(self, jobs: Iterable[str | tuple[str, int]]) -> None:
        """Run `clear_after_commands`. Raises Unavailable or CordumError."""
        _raise_first(await self.client.pipeline(self.clear_after_commands(jobs)))

    async def touch_after(self, job_ids: Iterable[str], *, now_us: int) -> None:
        """Tell the sweep of the outbox that somebody looks after these jobs' duties now. Raises Unavailable."""
        _raise_first(
            await self.client.pipeline(
                [
                    ("ZADD", keys.job_after(self.tags[partition]), "XX", *_scored(ids, now_us))
                    for partition, ids in self.by_partition(job_ids).items()
                ]
            )
        )

    async def duties_done(self, jobs: Iterable[tuple[str, int, Iterable[str]]]) -> None:
        """End single post-commit duties of (job id, rev, duties), if the record has not moved since; others stay.
        Raises Unavailable or CordumError."""
        grouped: dict[int, list[str | int]] = {}
        for job_id, rev, duties in jobs:
            grouped.setdefault(self.partition(job_id), []).extend((job_id, rev, ",".join(duties)))
        body = script("after_done")
        commands = [body.command((self._anchors[part],), triples) for part, triples in grouped.items()]
        _raise_first(await self.client.pipeline(commands))

    def confirm_dispatch_commands(self, dispatches: Iterable[tuple[str, str]]) -> list[Command]:
        """Return commands that mark the publishes of (job id, dispatch id) as confirmed, one per partition; a later
        dispatch of the job stays unconfirmed."""
        grouped: dict[int, list[str]] = {}
        for job_id, dispatch_id in dispatches:
            grouped.setdefault(self.partition(job_id), []).extend((job_id, dispatch_id))
        body = script("disp_confirm")
        return [body.command((self._anchors[partition],), pairs) for partition, pairs in grouped.items()]

    def forget_failures_commands(self, job_ids: Iterable[str]) -> list[Command]:
        """Return commands that reset the routing failures of jobs whose dispatch is confirmed (scheduler spec §9)."""
        return [("HDEL", keys.job_meta(self.tag(job_id), job_id), "route_failures") for job_id in job_ids]

    async def confirm_dispatch(self, dispatches: Iterable[tuple[str, str]]) -> None:
        """Run `confirm_dispatch_commands`. Raises Unavailable or CordumError."""
        _raise_first(await self.client.pipeline(self.confirm_dispatch_commands(dispatches)))

    def by_partition(self, job_ids: Iterable[str]) -> dict[int, list[str]]:
        """Group job ids by partition."""
        grouped: dict[int, list[str]] = {}
        for job_id in job_ids:
            grouped.setdefault(self.partition(job_id), []).append(job_id)
        return grouped

    async def get(self, job_id: str) -> Record | None:
        """Return a job's record, or None. Raises Unavailable."""
        return (await self.get_many((job_id,)))[0]

    async def get_many(self, job_ids: Sequence[str]) -> list[Record | None]:
        """Return the records of several jobs, in order, in one round trip. Raises Unavailable."""
        replies = await self.client.pipeline(
            [("HGETALL", keys.job_meta(self.tag(job_id), job_id)) for job_id in job_ids]
        )
        _raise_first(replies)
        return [record_of(job_id, reply) for job_id, reply in zip(job_ids, replies, strict=True)]

    async def fields(self, job_ids: Sequence[str], names: Sequence[str]) -> list[list[bytes | None]]:
        """Return chosen fields of several records, in one round trip. Raises Unavailable."""
        replies = await self.client.pipeline(
            [("HMGET", keys.job_meta(self.tag(job_id), job_id), *names) for job_id in job_ids]
        )
        _raise_first(replies)
        return replies

    async def request(self, job_id: str) -> bytes | None:
        """Return the stored request (protojson). Raises Unavailable."""
        return (await self.requests((job_id,)))[0]

    async def requests(self, job_ids: Sequence[str]) -> list[bytes | None]:
        """Return several stored requests (protojson), in one round trip. Raises Unavailable."""
        replies = await self.client.pipeline(
            [("GET", keys.job_request(self.tag(job_id), job_id)) for job_id in job_ids]
        )
        _raise_first(replies)
        return stored_requests_json(list(zip(job_ids, replies, strict=True)))

    async def with_requests(self, job_ids: Sequence[str]) -> list[tuple[Record | None, bytes | None]]:
        """Return several records, each with its request as it is stored (only the planner reads that), in one round
        trip. Raises Unavailable."""
        tagged = [(self.tag(job_id), job_id) for job_id in job_ids]
        replies = await self.client.pipeline(
            [("HGETALL", keys.job_meta(tag, job_id)) for tag, job_id in tagged]
            + [("GET", keys.job_request(tag, job_id)) for tag, job_id in tagged]
        )
        _raise_first(replies)
        records = [record_of(job_id, reply) for job_id, reply in zip(job_ids, replies, strict=False)]
        return list(zip(records, replies[len(job_ids) :], strict=True))

    async def events(self, job_id: str) -> list[dict[str, Any]]:
        """Return a job's transitions, oldest first; malformed entries are left out with a warning
        (scheduler spec §3.3)."""
        entries, record = await self._entries(
            keys.job_events(self.tag(job_id), job_id), job_id, _EVENT_FIELDS
        )
        return [event for event in (_event(entry, record) for entry in entries) if event is not None]

    async def decisions(self, job_id: str) -> list[dict[str, Any]]:
        """Return a job's policy decisions, newest first (scheduler spec §3.4)."""
        key = keys.job_decisions(self.tag(job_id), job_id)
        entries, record = await self._entries(key, job_id, _DECISION_FIELDS)
        decisions = [orjson.loads(entry) for entry in entries]
        if not record.get("decision_key") and record.get("safety_decision"):
            decisions.insert(0, _plain_decision(record))
        return decisions

    async def _entries(self, key: str, job_id: str, names: Sequence[str]) -> tuple[list[bytes], Record]:
        replies = await self.client.pipeline(
            [("LRANGE", key, 0, -1), ("HMGET", keys.job_meta(self.tag(job_id), job_id), *names)]
        )
        _raise_first(replies)
        entries, values = replies
        pairs = zip(names, values, strict=True)
        return entries, {"id": job_id} | {name: value.decode() for name, value in pairs if value is not None}

    async def trace(self, trace_id: str) -> list[Record]:
        """Return the records of a trace, oldest first. Raises Unavailable."""
        members = {m.decode() for m in await self.client.execute("SMEMBERS", keys.trace(trace_id))}
        # The job a trace is named after is in no set (see `trace_commands`).
        found = await self.get_many(sorted(members | {trace_id}))
        records = [
            record
            for record in found
            if record and (record["id"] in members or record["trace_id"] == trace_id)
        ]
        return sorted(records, key=lambda record: (int(record.get("created_at", "0")), record["id"]))


def _wire(transition: Mapping[str, Any]) -> dict[str, Any]:
    """Return the form the scripts take: fields as flat lists of non-empty strings, times as digits."""
    wire = dict(transition)
    if wire.get("req"):
        wire["req"] = request_to_store(wire["req"])
    empty = [name for name, value in transition.get("set", {}).items() if value == ""]
    if empty:
        wire["del"] = [*transition.get("del", ()), *empty]
    for group in ("set", "init"):
        if group in wire:
            pairs = [(name, value) for name, value in wire[group].items() if value != ""]
            wire[group] = [str(part) for pair in pairs for part in pair]
    if "incr" in wire:
        wire["incr"] = [part for pair in wire["incr"].items() for part in pair]
    for name in _TIMES & wire.keys():
        wire[name] = str(wire[name])
    return wire


def _failure(error: Exception) -> Reply:
    kind = b"unavailable" if isinstance(error, Unavailable) else b"refused"
    return [b"error", kind, str(error).encode()]


def _scored(ids: Sequence[str], score: int) -> list[int | str]:
    return [part for job_id in ids for part in (score, job_id)]


def _raise_first(replies: Sequence[Any]) -> None:
    for reply in replies:
        if isinstance(reply, Exception):
            raise reply


def number_of(record: Record, name: str) -> int:
    """Return a field as a number; 0 for what is none, so that one damaged record holds up no others."""
    text = record.get(name, "")
    return int(text) if text.isdecimal() and len(text) <= _DIGITS_MAX else 0


def record_of(job_id: str, flat: Sequence[bytes]) -> Record | None:
    """Return the record of a hash as the store gives it, None for an empty one.

    What other fields say or most records would say alike is not stored (docs/decisions/0006): it is put back here.
    """
    if not flat:
        return None
    record = {"id": job_id, "trace_id": job_id}
    for index in range(0, len(flat), 2):
        # Binary fields (pending_result) survive as surrogates and can be encoded back.
        record[flat[index].decode()] = flat[index + 1].decode("utf-8", "surrogateescape")
    if "execution_ms" in record:
        record.setdefault("agent_id", "unlinked")
    if "principal" in record:
        record.setdefault("actor_id", record["principal"])
    if ":" not in record.get("dispatch_id", ":"):
        record["dispatch_id"] = f"{job_id}:{record.get('attempts', '')}:{record['dispatch_id']}"
    if record.get("dispatch_subject") == "worker.":
        record["dispatch_subject"] = f"worker.{record.get('worker_id', '')}.jobs"
    return record


def _plain_decision(record: Record) -> dict[str, Any]:
    """Return the decision the record alone holds: a job was allowed, and nothing else was ever decided."""
    constraints, remediations = (record.get(f"safety_{name}", "") for name in ("constraints", "remediations"))
    return {
        "decision": record["safety_decision"],
        "reason": record.get("safety_reason", ""),
        "rule_id": record.get("safety_rule_id", ""),
        "policy_snapshot": record.get("safety_snapshot", ""),
        "constraints": orjson.loads(constraints) if constraints else None,
        "remediations": orjson.loads(remediations) if remediations else None,
        "approval_required": False,
        "approval_ref": "",
        "job_hash": record.get("req_hash", ""),
        "checked_at": number_of(record, "safety_checked_at"),
    }


def _event(entry: bytes, record: Record) -> dict[str, Any] | None:
    job_id = record["id"]
    if (stored := stored_event_json(job_id, entry, record)) is not None:
        entry = stored.encode()
    try:
        event = orjson.loads(entry)
        if isinstance(event, dict):
            return event
    except orjson.JSONDecodeError:
        stamp, separator, state = entry.decode("utf-8", "replace").partition("|")
        if separator and stamp.isdigit():
            return {"ts": int(stamp), "state": state}
    logger.warning("a malformed event of job %s was left out", job_id)
    return None
