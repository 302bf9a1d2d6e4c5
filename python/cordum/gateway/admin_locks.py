"""Which locks the system holds now (gateway spec §21)."""

from typing import Any, Final

from cordum.store import keys
from cordum.store.connection import RedisClient
from cordum.store.scripts import Command

__all__ = ["list_locks"]

_SHOWN_MAX: Final = 500
_ROUNDS_MAX: Final = 50
_COUNT: Final = 1_000
_HOLDER_BYTES: Final = 128
_PREFIX: Final = "cordum:"
_UNKNOWN: Final = "unknown"
_TYPES: Final = (
    ("reconciler:", "reconciler"),
    ("replayer:", "replayer"),
    ("scheduler:job:", "job"),
    ("scheduler:snapshot:", "snapshot"),
    ("dlq:cleanup", "dlq_cleanup"),
    ("wf:run:lock:", "workflow_run"),
    ("wf:delay:poller", "delay_poller"),
    ("workflow-engine:reconciler:", "workflow_reconciler"),
    ("rl:", "rate_limit"),
    ("auth:jwks:", "jwks_cache"),
    ("cb:", "circuit_breaker"),
    ("cache:marketplace", "marketplace_cache"),
)
_FIXED: Final = (
    keys.LOCK_RECONCILER,
    keys.LOCK_REPLAYER,
    keys.LOCK_SNAPSHOT_WRITER,
    keys.LOCK_DLQ_CLEANUP,
)


async def list_locks(redis: RedisClient) -> list[dict[str, Any]]:
    """Return at most 500 locks by key: those with fixed names always, others by a bounded scan. Raises Unavailable."""
    scanned = await redis.scan(f"{_PREFIX}*", count=_COUNT, rounds=_ROUNDS_MAX, limit=8 * _SHOWN_MAX)
    scanned.sort(key=lambda name: (lock_type(name) == _UNKNOWN, name))
    listed = list(dict.fromkeys((*_FIXED, *scanned)))[:_SHOWN_MAX]
    commands: list[Command] = []
    for name in listed:
        commands += [("PTTL", name), ("TYPE", name)]
    facts = await redis.pipeline(commands)
    held = [
        (name, ttl, kind)
        for name, ttl, kind in zip(listed, facts[::2], facts[1::2], strict=True)
        if kind != b"none"
    ]
    values = await redis.pipeline(
        [("GETRANGE", n, 0, _HOLDER_BYTES - 1) for n, _, k in held if k == b"string"]
    )
    holders = iter(values)
    shown = [
        {
            "key": name,
            "holder": _text(next(holders)) if kind == b"string" else "",
            "ttl_remaining_ms": max(-1, int(ttl)) if isinstance(ttl, int) else -1,
            "type": lock_type(name),
        }
        for name, ttl, kind in held
    ]
    return sorted(shown, key=lambda lock: str(lock["key"]))


def lock_type(key: str) -> str:
    """Return the type of a lock by its key."""
    rest = key.removeprefix(_PREFIX)
    return next((word for prefix, word in _TYPES if rest.startswith(prefix)), _UNKNOWN)


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else ""
