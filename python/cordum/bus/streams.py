"""The two JetStream streams: created at start, corrected when they differ (protocol spec §8.1)."""

import asyncio
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

import nats.errors
import structlog
from nats.js import api
from nats.js.errors import APIError, NotFoundError

from cordum.bus.connection import Bus
from cordum.config.nats import NatsSettings
from cordum.domain.errors import Unavailable
from cordum.protocol import subjects

__all__ = ["ATOMIC_BATCH_LIMIT", "ensure_streams", "keep_streams", "stream_of"]

ATOMIC_BATCH_LIMIT: Final = 1_000
DUPLICATE_WINDOW_S: Final = 120.0
_ATTEMPTS: Final = 4
_STREAMS: Final[tuple[tuple[str, Sequence[str]], ...]] = (
    (subjects.STREAM_SYS, subjects.STREAM_SYS_SUBJECTS),
    (subjects.STREAM_JOBS, subjects.STREAM_JOBS_SUBJECTS),
)
_SYS_EXACT: Final = frozenset(s for s in subjects.STREAM_SYS_SUBJECTS if not s.endswith(">"))
_SYS_PREFIXES: Final = tuple(s[:-1] for s in subjects.STREAM_SYS_SUBJECTS if s.endswith(">"))
_JOBS_PREFIXES: Final = tuple(s[:-1] for s in subjects.STREAM_JOBS_SUBJECTS)

_log = structlog.get_logger("cordum.bus")


@lru_cache(maxsize=4_096)
def stream_of(subject: str) -> str | None:
    """Return the stream that stores ``subject``, or None for a core subject."""
    if subject in _SYS_EXACT or subject.startswith(_SYS_PREFIXES):
        return subjects.STREAM_SYS
    return subjects.STREAM_JOBS if subject.startswith(_JOBS_PREFIXES) else None


async def keep_streams(bus: Bus, settings: NatsSettings) -> None:
    """Ensure the streams now and after every reconnect. Raises Unavailable when it cannot be done now."""

    async def again() -> None:
        await ensure_streams(bus, settings)

    await ensure_streams(bus, settings)
    bus.on_reconnect(again)


async def ensure_streams(bus: Bus, settings: NatsSettings) -> None:
    """Create or correct both streams; services may race. Raises Unavailable when a stream cannot be had.

    Without JetStream nothing is done.
    """
    if not bus.jetstream:
        return
    atomic: set[str] = set()
    for name, wanted in _STREAMS:
        stored = await _ensure(bus, _config(bus, settings, name, wanted))
        if stored.allow_atomic:
            atomic.add(name)
    bus.atomic_streams = frozenset(atomic)


def _config(bus: Bus, settings: NatsSettings, name: str, wanted: Sequence[str]) -> api.StreamConfig:
    return api.StreamConfig(
        name=name,
        subjects=list(wanted),
        retention=api.RetentionPolicy.LIMITS,
        storage=api.StorageType.FILE,
        discard=api.DiscardPolicy.OLD,
        max_age=settings.js_max_age_s,
        max_bytes=settings.js_max_bytes or -1,
        duplicate_window=min(DUPLICATE_WINDOW_S, settings.js_max_age_s),
        num_replicas=settings.js_replicas,
        allow_direct=True,
        allow_atomic=True if bus.server_version >= (2, 12) else None,
    )


async def _ensure(bus: Bus, wanted: api.StreamConfig) -> api.StreamConfig:
    name = wanted.name or ""
    failure: Exception | None = None
    for attempt in range(_ATTEMPTS):
        try:
            return await _create_or_update(bus, name, wanted)
        except (TimeoutError, OSError, nats.errors.Error) as error:
            failure = error
            # Another service may be creating it, or the stream has no leader yet.
            await asyncio.sleep(0.1 * 2**attempt)
    raise Unavailable(f"stream `{name}` cannot be created or updated: {failure}") from failure


async def _create_or_update(bus: Bus, name: str, wanted: api.StreamConfig) -> api.StreamConfig:
    try:
        stored = (await bus.js.stream_info(name)).config
    except NotFoundError:
        try:
            created = (await bus.js.add_stream(wanted)).config
        except APIError as error:
            if error.err_code != 10058:  # name in use: another service was faster, with other settings
                raise
            stored = (await bus.js.stream_info(name)).config
        else:
            _log.info("stream created", stream=name)
            return created
    changes = _differences(stored, wanted)
    if not changes:
        return stored
    if "sys.>" in (stored.subjects or []):
        _log.warning("stream subjects narrowed", stream=name, before=stored.subjects, after=wanted.subjects)
    updated = await bus.js.update_stream(stored.evolve(**changes))
    _log.info("stream updated", stream=name, fields=sorted(changes))
    return updated.config


def _differences(stored: api.StreamConfig, wanted: api.StreamConfig) -> dict[str, object]:
    changes: dict[str, object] = {}
    if set(stored.subjects or ()) != set(wanted.subjects or ()):
        changes["subjects"] = wanted.subjects
    for field in ("max_age", "max_bytes", "num_replicas", "duplicate_window", "allow_direct", "allow_atomic"):
        value = getattr(wanted, field)
        if value is not None and getattr(stored, field) != value:
            changes[field] = value
    return changes
