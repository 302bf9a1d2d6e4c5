"""Structured logs: one JSON object per line on stdout, secrets masked.

Fields: `time` (RFC 3339, UTC), `level`, `service`, `msg`, then `trace_id` and `job_id` when bound
(``structlog.contextvars.bound_contextvars``), then the attributes of the call.
"""

import logging
import sys
from typing import Any, Final, Literal

import orjson
import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from cordum.runtime.clock import rfc3339
from cordum.runtime.masking import mask_mapping, mask_text

__all__ = ["configure_logging", "get_logger", "mask_text", "render_json", "render_text"]

_LEVELS: Final = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warn": logging.WARNING,
    "error": logging.ERROR,
}
_LEVEL_NAMES: Final = {"warning": "warn", "critical": "error", "exception": "error"}
_FIRST: Final = ("trace_id", "job_id")


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
    root = logging.getLogger()
    root.handlers[:] = [_LibraryHandler()]
    root.setLevel(max(_LEVELS[level], logging.WARNING))


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
