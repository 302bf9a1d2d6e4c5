"""Shape of a message the planner wants published."""

Outgoing = tuple[str, bytes, str, str]
"""Subject, payload, `Nats-Msg-Id`, job id."""
