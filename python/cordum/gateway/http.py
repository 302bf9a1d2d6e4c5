"""Small HTTP helpers: reading bodies and queries, writing JSON and pages (gateway spec §7, §8)."""

from collections.abc import Mapping, MutableMapping, Sequence
from datetime import datetime
from typing import Any, Final
from urllib.parse import urlencode

import orjson
from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive

from cordum.domain.errors import InvalidInput, LimitExceeded, TooLarge, Unavailable
from cordum.gateway.submit import Outcome

__all__ = [
    "MAX_LIMIT",
    "cursor_of",
    "idempotency_header",
    "idempotency_key",
    "json_object",
    "json_reply",
    "limit_of",
    "new_job_reply",
    "page_reply",
    "read_body",
    "request_id_of",
    "time_of",
]

MAX_LIMIT: Final = 500
_KEY_MAX: Final = 256
JSON: Final = "application/json; charset=utf-8"
_SCALES: Final = ((10**12, 1_000_000), (10**15, 1_000), (10**18, 1))


def request_id_of(scope: MutableMapping[str, Any]) -> str:
    """Return the id of a request."""
    return str(scope.get("cordum.request_id", ""))


def json_reply(body: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Return a JSON answer."""
    return Response(orjson.dumps(body), status, dict(headers or {}), JSON)


def page_reply(request: Request, items: Sequence[object], next_cursor: int | None) -> Response:
    """Return a page and, when there is a next one, its `Link` header."""
    headers: dict[str, str] = {}
    if next_cursor is not None:
        query = {**request.query_params, "cursor": str(next_cursor)}
        headers["Link"] = f'<{request.url.path}?{urlencode(query)}>; rel="next"'
    return json_reply({"items": items, "next_cursor": next_cursor}, headers=headers)


async def read_body(headers: Mapping[bytes, bytes], receive: Receive, limit_bytes: int) -> bytes:
    """Read a request body. Raises TooLarge as soon as it is known to exceed ``limit_bytes``."""
    announced = headers.get(b"content-length", b"")
    if announced.isdigit() and int(announced) > limit_bytes:
        raise TooLarge("payload too large")
    message = await receive()
    body: bytes = message.get("body", b"")
    if not message.get("more_body", False):
        if len(body) > limit_bytes:
            raise TooLarge("payload too large")
        return body
    parts, size = [body], len(body)
    while message.get("more_body", False):
        if size > limit_bytes:
            raise TooLarge("payload too large")
        message = await receive()
        if message["type"] == "http.disconnect":
            raise InvalidInput("request body was cut off")
        parts.append(message.get("body", b""))
        size += len(parts[-1])
    if size > limit_bytes:
        raise TooLarge("payload too large")
    return b"".join(parts)


async def json_object(request: Request, limit_bytes: int) -> dict[str, Any]:
    """Read a JSON object; an empty body is an empty object. Raises InvalidInput `invalid_json`."""
    body = await read_body(request.scope["cordum.headers"], request.receive, limit_bytes)
    if not body.strip():
        return {}
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise InvalidInput("invalid json", code="invalid_json") from error
    if not isinstance(document, dict):
        raise InvalidInput("invalid json", code="invalid_json")
    return document


def idempotency_header(scope: MutableMapping[str, Any], headers: Mapping[bytes, bytes]) -> str:
    """Return the idempotency key of a request outside its body (§9); empty: none."""
    key = headers.get(b"idempotency-key") or headers.get(b"x-idempotency-key")
    if key:
        return key.decode("latin-1")
    if scope["query_string"]:
        return QueryParams(scope["query_string"]).get("idempotency_key", "")
    return ""


async def idempotency_key(request: Request, limit_bytes: int) -> str:
    """Return the idempotency key of a request whose body holds nothing else (§9). Raises InvalidInput."""
    key = (await json_object(request, limit_bytes)).get("idempotency_key") or ""
    if not isinstance(key, str) or len(key) > _KEY_MAX:
        raise InvalidInput(
            f"idempotency_key: expected a text of at most {_KEY_MAX} characters", field="idempotency_key"
        )
    return key or idempotency_header(request.scope, request.scope["cordum.headers"])


def new_job_reply(request: Request, outcome: Outcome, body: object) -> Response:
    """Answer a call that made a job of another one: ``body``, or what kept the job from being taken.

    Raises LimitExceeded, Unavailable.
    """
    if outcome.status == 429:
        raise LimitExceeded("throttled by policy", retry_after_s=outcome.retry_after_s)
    if outcome.status == 503:
        raise Unavailable("service unavailable")
    if outcome.status != 200:
        refusal = outcome.body[:-1] + b',"request_id":"' + request_id_of(request.scope).encode() + b'"}'
        return Response(refusal, outcome.status, media_type=JSON)
    return json_reply(body)


def limit_of(request: Request, default: int, maximum: int = MAX_LIMIT) -> int:
    """Return the page size; anything but a positive number is the default."""
    text = request.query_params.get("limit", "")
    number = int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0
    return min(number, maximum) if number > 0 else default


def cursor_of(request: Request) -> int | None:
    """Return the cursor of a page. Raises InvalidInput when it is not a number."""
    text = request.query_params.get("cursor", "")
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise InvalidInput("invalid cursor", field="cursor")
    return int(text)


def time_of(request: Request, name: str) -> int | None:
    """Return a time parameter in µs: an integer of any scale or RFC 3339. Raises InvalidInput."""
    text = request.query_params.get(name, "")
    if not text:
        return None
    if text.isascii() and text.isdigit() and len(text) <= 20:
        number = int(text)
        for bound, factor in _SCALES:
            if number < bound:
                return number * factor
        return number // 1_000
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError as error:
        raise InvalidInput(f"invalid {name}", field=name) from error
    if parsed.tzinfo is None:
        raise InvalidInput(f"invalid {name}", field=name)
    return int(parsed.timestamp() * 1_000_000)
