"""Decisions the scheduler reports to the audit trail (policy spec §14, §21)."""

from cordum._core import PolicyEngine
from cordum.audit import AuditEvent
from cordum.protocol.cap import PolicyCheckRequest
from cordum.scheduler.trail import Trail
from cordum.v1.safety_batch_pb2 import BatchRequest

POLICY = (
    b"rules:\n"
    b"  - {id: stop, match: {topics: [job.stop]}, decision: deny, reason: no}\n"
    b"  - {id: slow, match: {topics: [job.slow]}, decision: throttle}\n"
    b"  - {id: few, match: {topics: [job.few]}, decision: allow, constraints: {budgets: {max_retries: 1}}}\n"
    b"  - {id: go, match: {topics: [job.go]}, decision: allow}\n"
)


class Writer:
    """Keeps what it is offered."""

    def __init__(self) -> None:
        self.events: list[AuditEvent] = []

    def offer(self, event: AuditEvent) -> None:
        self.events.append(event)


def batch(*jobs: tuple[str, str]) -> bytes:
    requests = [
        PolicyCheckRequest(job_id=job_id, topic=topic, tenant="acme", principal_id="ulf").SerializeToString()
        for job_id, topic in jobs
    ]
    return BatchRequest(requests=requests).SerializeToString()


def told(policy: bytes, *batches: bytes) -> list[tuple[str, str, str]]:
    writer = Writer()
    trail = Trail(writer)  # type: ignore[arg-type]
    engine = PolicyEngine.compile(policy)
    for requests in batches:
        trail.decisions(requests, engine.evaluate_batch(requests))
    assert {event.event_type for event in writer.events} <= {"safety.decision"}
    assert {(event.tenant_id, event.identity) for event in writer.events} <= {("acme", "ulf")}
    return [(event.job_id, event.decision, event.severity) for event in writer.events]


def test_everything_but_a_plain_allow_is_told() -> None:
    jobs = batch(("1", "job.stop"), ("2", "job.go"), ("3", "job.slow"), ("4", "job.few"), ("5", "job.other"))
    assert told(POLICY, jobs) == [
        ("1", "deny", "HIGH"),
        ("3", "throttle", "MEDIUM"),
        ("4", "constrain", "LOW"),
        ("5", "deny", "HIGH"),
    ]


def test_a_job_that_is_judged_again_and_again_is_told_once() -> None:
    assert told(POLICY, *[batch(("1", "job.slow"))] * 3, batch(("2", "job.slow"))) == [
        ("1", "throttle", "MEDIUM"),
        ("2", "throttle", "MEDIUM"),
    ]


def test_an_answer_that_does_not_decode_tells_nothing() -> None:
    writer = Writer()
    Trail(writer).decisions(batch(("1", "job.stop")), b"\xff\xff")  # type: ignore[arg-type]
    assert writer.events == []
