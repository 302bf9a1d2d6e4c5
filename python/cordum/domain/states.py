"""Job states and policy decisions (scheduler spec §2, policy spec §1). Spelling is part of the HTTP API."""

from enum import StrEnum


class JobState(StrEnum):
    """Persisted job states."""

    PENDING = "PENDING"
    APPROVAL_REQUIRED = "APPROVAL_REQUIRED"
    SCHEDULED = "SCHEDULED"
    DISPATCHED = "DISPATCHED"
    RUNNING = "RUNNING"
    RETRYING = "RETRYING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    TIMEOUT = "TIMEOUT"
    DENIED = "DENIED"
    OUTPUT_QUARANTINED = "OUTPUT_QUARANTINED"


TERMINAL_STATES: frozenset[JobState] = frozenset(
    {
        JobState.SUCCEEDED,
        JobState.FAILED,
        JobState.CANCELLED,
        JobState.TIMEOUT,
        JobState.DENIED,
        JobState.OUTPUT_QUARANTINED,
    }
)

# States that count against a tenant's concurrency limit (scheduler spec §5).
ACTIVE_STATES: frozenset[JobState] = frozenset({JobState.SCHEDULED, JobState.DISPATCHED, JobState.RUNNING})


class Decision(StrEnum):
    """Policy decision words used in HTTP and storage."""

    ALLOW = "ALLOW"
    DENY = "DENY"
    REQUIRE_APPROVAL = "REQUIRE_APPROVAL"
    THROTTLE = "THROTTLE"
    ALLOW_WITH_CONSTRAINTS = "ALLOW_WITH_CONSTRAINTS"
    UNAVAILABLE = "UNAVAILABLE"
