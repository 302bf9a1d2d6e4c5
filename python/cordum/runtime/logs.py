"""Structured logs: one JSON object per line on stdout, secrets masked.

Fields: `time` (RFC 3339, UTC), `level`, `service`, `msg`, then `trace_id` and `job_id` when bound
(``structlog.contextvars.bound_contextvars``), then the attributes of the call.
"""

import logging
import sys
from collections.abc import Sequence
from typing import Any, Final, Literal

import orjson
import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from cordum.runtime.clock import rfc3339
from cordum.runtime.masking import mask_mapping, mask_text, may_hold_secret

__all__ = ["configure_logging", "get_logger", "log_many", "mask_text", "render_json", "render_text"]

_LEVELS: Final = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warn": logging.WARNING,
    "error": logging.ERROR,
}
_LEVEL_NAMES: Final = {"warning": "warn", "critical": "error", "exception": "error"}
_FIRST: Final = ("trace_id", "job_id")
_batch: "_BatchWriter | None" = None


def get_logger(**bound: Any) -> Any:
    """Return a logger: ``info(msg, **attributes)`` and so on; ``bound`` goes into each of its lines."""
    return structlog.get_logger(**bound)


def configure_logging(service: str, level: str = "info", output: Literal["json", "text"] = "json") -> None:
    """Set up logging of this process; library loggers (uvicorn, nats, grpc) join from WARN upwards."""
    processors: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.format_exc_info,
        _Frame(service),
        render_json if output == "json" else render_text,
    ]
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        logger_factory=structlog.BytesLoggerFactory(sys.stdout.buffer),
        cache_logger_on_first_use=True,
    )
    global _batch
    _batch = _BatchWriter(service, is_on=_LEVELS[level] <= logging.INFO, writes_json=output == "json")
    root = logging.getLogger()
    root.handlers[:] = [_LibraryHandler()]
    root.setLevel(max(_LEVELS[level], logging.WARNING))


def log_many(msg: str, events: Sequence[dict[str, Any]]) -> None:
    """Log ``events`` at INFO under one message and time, as `get_logger().info` would, in one write.

    For what is logged hundreds of times a moment; attributes must not be secrets by their name.
    """
    if _batch is None or not _batch.writes_json:
        for event in events:
            structlog.get_logger().info(msg, **event)
    elif _batch.is_on:
        _batch.write(msg, events)


class _BatchWriter:
    """Renders many lines at once. Masking is for what has the shape of a secret, which hardly ever occurs: all texts
    together are looked at first."""

    def __init__(self, service: str, *, is_on: bool, writes_json: bool) -> None:
        self.is_on = is_on
        self.writes_json = writes_json
        self._frame = _Frame(service)
        self._service = service
        self._output = structlog.BytesLogger(sys.stdout.buffer)

    def write(self, msg: str, events: Sequence[dict[str, Any]]) -> None:
        texts = "\n".join(value for event in events for value in event.values() if isinstance(value, str))
        if may_hold_secret(texts):
            lines = [orjson.dumps(self._frame(None, "info", {"event": msg, **event})) for event in events]
        else:
            head = {"time": rfc3339(), "level": "info", "service": self._service, "msg": msg}
            lines = [orjson.dumps(head | event) for event in events]
        self._output.info(b"\n".join(lines))


class _Frame:
    """Puts the leading fields in front and masks secrets."""

    def __init__(self, service: str) -> None:
        self._service = service

    def __call__(self, _logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
        framed: dict[str, Any] = {
            "time": rfc3339(),
            "level": _LEVEL_NAMES.get(method, method),
            "service": self._service,
            "msg": mask_text(str(event.pop("event", ""))),
        }
        for name in _FIRST:
            if name in event:
                framed[name] = event.pop(name)
        framed.update(mask_mapping(dict(event)))
        return framed


def render_json(_logger: WrappedLogger, _method: str, event: EventDict) -> bytes:
    """Render one line of JSON; values JSON does not know become their text."""
    return orjson.dumps(event, default=_as_text, option=orjson.OPT_NON_STR_KEYS)


def render_text(_logger: WrappedLogger, _method: str, event: EventDict) -> bytes:
    """Render one line for people: time, level, service, message, then `name=value`."""
    head = f"{event.pop('time')} {event.pop('level').upper():5} {event.pop('service')} {event.pop('msg')}"
    exception = event.pop("exception", None)
    tail = "".join(f" {name}={value}" for name, value in event.items())
    return (head + tail + (f"\n{exception}" if exception else "")).encode("utf-8", "replace")


def _as_text(value: Any) -> str:
    return mask_text(str(value))


class _LibraryHandler(logging.Handler):
    """Hands records of the standard library's logging to the structured log."""

    def emit(self, record: logging.LogRecord) -> None:
        level = "error" if record.levelno >= logging.ERROR else "warning"
        attributes: dict[str, Any] = {"logger": record.name}
        if record.exc_info and record.exc_info[0] is not None:
            attributes["exc_info"] = record.exc_info
        try:
            getattr(structlog.get_logger(), level)(record.getMessage(), **attributes)
        except (ValueError, TypeError, OSError):
            self.handleError(record)
