"""The transition table of scheduler spec §2.2, written down a second time, from the specification."""

_ALL_ENDS = "SUCCEEDED FAILED CANCELLED TIMEOUT"

_TABLE = {
    "": "PENDING APPROVAL_REQUIRED SCHEDULED DISPATCHED RUNNING FAILED CANCELLED DENIED",
    "PENDING": "APPROVAL_REQUIRED SCHEDULED DISPATCHED RUNNING RETRYING DENIED OUTPUT_QUARANTINED "
    + _ALL_ENDS,
    "APPROVAL_REQUIRED": "PENDING SCHEDULED DISPATCHED RUNNING DENIED " + _ALL_ENDS,
    "SCHEDULED": "SCHEDULED DISPATCHED RUNNING RETRYING DENIED OUTPUT_QUARANTINED " + _ALL_ENDS,
    "DISPATCHED": "SCHEDULED RUNNING RETRYING OUTPUT_QUARANTINED " + _ALL_ENDS,
    "RUNNING": "RUNNING RETRYING OUTPUT_QUARANTINED " + _ALL_ENDS,
    "RETRYING": "SCHEDULED DISPATCHED RUNNING RETRYING OUTPUT_QUARANTINED " + _ALL_ENDS,
    "SUCCEEDED": "OUTPUT_QUARANTINED",
}
_EDGES = {before: frozenset(after.split()) for before, after in _TABLE.items()}

STATE_OF_STATUS = {
    5: "SUCCEEDED",
    6: "FAILED",
    7: "CANCELLED",
    8: "DENIED",
    9: "TIMEOUT",
    10: "RETRYING",
    11: "FAILED",
}
"""State that a `JobStatus` of an accepted result stands for (scheduler spec §2.1)."""


def allowed(before: str, after: str) -> bool:
    """Tell whether a job may move so; ``before`` is empty for a new job."""
    return after in _EDGES.get(before, frozenset())
