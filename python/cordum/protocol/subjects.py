"""NATS subjects, streams and durable names (protocol spec §7, §8)."""

from typing import Final

SUBMIT: Final = "sys.job.submit"
RESULT: Final = "sys.job.result"
ACCEPTED: Final = "sys.internal.job.result.accepted"
DLQ: Final = "sys.job.dlq"
AUDIT_EXPORT: Final = "sys.audit.export"
PROGRESS: Final = "sys.job.progress"
CANCEL: Final = "sys.job.cancel"
HEARTBEAT: Final = "sys.heartbeat"
HANDSHAKE: Final = "sys.handshake"
TRUST_CHALLENGE: Final = "sys.worker.handshake.challenge"
TRUST_AUTHENTICATE: Final = "sys.worker.handshake.authenticate"
CONFIG_CHANGED: Final = "sys.config.changed"
WORKFLOW_EVENT: Final = "sys.workflow.event"
ALERT: Final = "sys.alert"
OUTPUT_POLICY_AUDIT: Final = "sys.audit.output_policy"

STREAM_SYS: Final = "CORDUM_SYS"
STREAM_JOBS: Final = "CORDUM_JOBS"
STREAM_SYS_SUBJECTS: Final = (SUBMIT, RESULT, DLQ, AUDIT_EXPORT, "sys.internal.>")
STREAM_JOBS_SUBJECTS: Final = ("job.>", "worker.>")


def durable_name(queue: str, subject: str) -> str:
    """Return the durable consumer name shared by the replicas of one service (protocol spec §8.2)."""
    return f"dur_{queue}__{subject}".replace(".", "_").replace("*", "STAR").replace(">", "GT")
