"""The one mapping from errors to HTTP answers: the envelope of gateway spec §10."""

import re
from collections.abc import Mapping
from typing import Any, Final

import orjson
from starlette.responses import Response

from cordum.domain.errors import CordumError, InvalidInput

__all__ = ["SERVICE_UNAVAILABLE_RETRY_S", "envelope", "error_response", "slug"]

SERVICE_UNAVAILABLE_RETRY_S: Final = 2
_PUBLIC_5XX: Final = {
    500: ("internal error", "internal_error"),
    502: ("upstream service error", "upstream_service_error"),
    503: ("service unavailable", "service_unavailable"),
}
_STATUS_TEXT: Final = {404: "not found", 405: "method not allowed", 426: "upgrade required"}


def slug(text: str) -> str:
    """Return the default code of a message: lower-cased, runs of other characters as `_`."""
    return re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")


def envelope(
    status: int,
    message: str,
    request_id: str,
    *,
    code: str = "",
    details: Mapping[str, object] | None = None,
) -> bytes:
    """Return the JSON body of an error. Server errors lose their cause: it is logged, never sent."""
    if status in _PUBLIC_5XX:
        message, default = _PUBLIC_5XX[status]
        code = code if code not in {"", "internal_error", "listen_failed"} else default
    body: dict[str, object] = {"error": message, "code": code or slug(message), "status": status}
    body.update(details or {})
    body["request_id"] = request_id
    return orjson.dumps(body, default=str)


def error_response(error: CordumError, request_id: str) -> Response:
    """Return the HTTP answer to one of our errors."""
    details = dict(error.details) if error.http < 500 else {}
    if error.field and "field" not in details:
        details["field"] = error.field
    headers: dict[str, str] = {}
    if error.http in {429, 503}:
        headers["Retry-After"] = str(max(1, error.retry_after_s or SERVICE_UNAVAILABLE_RETRY_S))
    code = "" if error.code == InvalidInput.default_code else error.code
    body = envelope(error.http, error.message, request_id, code=code, details=details)
    return Response(body, error.http, headers, "application/json")


def status_response(status: int, request_id: str, headers: Mapping[str, str] | None = None) -> Response:
    """Return the answer to a request the router refused: unknown path, wrong method."""
    text = _STATUS_TEXT.get(status, "internal error" if status >= 500 else "bad request")
    kept: dict[str, Any] = dict(headers or {})
    return Response(envelope(status, text, request_id), status, kept, "application/json")
