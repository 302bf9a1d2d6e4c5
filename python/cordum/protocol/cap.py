"""The one import place of CAP types (architecture §3).

``import cap`` puts its own ``pb`` folder at the front of ``sys.path``; because ``cordum`` is already imported here
and carries that folder in its ``__path__``, the generated modules resolve to the same files.
"""

from cap.pb.cordum.agent.v1 import (
    alert_pb2,
    buspacket_pb2,
    handshake_pb2,
    heartbeat_pb2,
    job_pb2,
    safety_pb2,
    safety_pb2_grpc,
)

BusPacket = buspacket_pb2.BusPacket
JobRequest = job_pb2.JobRequest
JobResult = job_pb2.JobResult
JobCancel = job_pb2.JobCancel
JobProgress = job_pb2.JobProgress
JobStatus = job_pb2.JobStatus
Heartbeat = heartbeat_pb2.Heartbeat
Handshake = handshake_pb2.Handshake
SystemAlert = alert_pb2.SystemAlert
PolicyCheckRequest = safety_pb2.PolicyCheckRequest
PolicyCheckResponse = safety_pb2.PolicyCheckResponse

__all__ = [
    "BusPacket",
    "Handshake",
    "Heartbeat",
    "JobCancel",
    "JobProgress",
    "JobRequest",
    "JobResult",
    "JobStatus",
    "PolicyCheckRequest",
    "PolicyCheckResponse",
    "SystemAlert",
    "alert_pb2",
    "buspacket_pb2",
    "handshake_pb2",
    "heartbeat_pb2",
    "job_pb2",
    "safety_pb2",
    "safety_pb2_grpc",
]
