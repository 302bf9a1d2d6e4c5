"""The one error hierarchy. Edges map it outwards once: HTTP envelope, gRPC status, CLI exit, bus handler.

CordumError
├── InvalidInput      400 INVALID_ARGUMENT
├── Unauthenticated   401 UNAUTHENTICATED
├── Forbidden         403 PERMISSION_DENIED
├── NotFound          404 NOT_FOUND
├── Conflict          409 ABORTED
├── TooLarge          413 RESOURCE_EXHAUSTED
├── LimitExceeded     429 RESOURCE_EXHAUSTED
├── Unavailable       503 UNAVAILABLE
└── ConfigError       start-up only: process exits 1
"""

from collections.abc import Mapping
from typing import ClassVar


class CordumError(Exception):
    """Base of every error we raise on purpose.

    ``code`` is the stable machine word, ``http`` the HTTP status, ``grpc`` the gRPC status name, ``retryable``
    whether the same request may succeed later. ``details`` are extra top-level members of the HTTP envelope;
    ``retry_after_s`` becomes ``Retry-After``.
    """

    default_code: ClassVar[str] = "internal_error"
    http: ClassVar[int] = 500
    grpc: ClassVar[str] = "INTERNAL"
    retryable: ClassVar[bool] = False

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        field: str | None = None,
        hint: str | None = None,
        details: Mapping[str, object] | None = None,
        retry_after_s: int | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or self.default_code
        self.field = field
        self.hint = hint
        self.details: dict[str, object] = dict(details or {})
        self.retry_after_s = retry_after_s


class InvalidInput(CordumError):
    """The caller's data is wrong; nothing was changed."""

    default_code = "invalid_request"
    http = 400
    grpc = "INVALID_ARGUMENT"


class Unauthenticated(CordumError):
    """No or no valid credential."""

    default_code = "unauthorized"
    http = 401
    grpc = "UNAUTHENTICATED"


class Forbidden(CordumError):
    """The caller is known but may not do this."""

    default_code = "access_denied"
    http = 403
    grpc = "PERMISSION_DENIED"


class NotFound(CordumError):
    """The record does not exist for this caller."""

    default_code = "not_found"
    http = 404
    grpc = "NOT_FOUND"


class Conflict(CordumError):
    """Somebody else won: revision, state or idempotency key."""

    default_code = "conflict"
    http = 409
    grpc = "ABORTED"


class TooLarge(CordumError):
    """A size bound was exceeded."""

    default_code = "payload_too_large"
    http = 413
    grpc = "RESOURCE_EXHAUSTED"


class LimitExceeded(CordumError):
    """A rate or concurrency limit was hit."""

    default_code = "rate_limited"
    http = 429
    grpc = "RESOURCE_EXHAUSTED"
    retryable = True


class Unavailable(CordumError):
    """Redis, NATS or the kernel did not answer."""

    default_code = "service_unavailable"
    http = 503
    grpc = "UNAVAILABLE"
    retryable = True


class ConfigError(CordumError):
    """A setting or configuration file is unusable; the process must not start."""

    default_code = "config_invalid"
