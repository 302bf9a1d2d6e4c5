"""Packets that name another worker than their sender, where nobody has to prove anything (protocol spec §5.2)."""

from typing import Any

from cap.heartbeat import heartbeat_payload
from structlog.testing import capture_logs

from cordum._core import Planner
from cordum.protocol.cap import BusPacket
from cordum.scheduler.protocol_alerts import ProtocolAlerts

NOW = 1_800_000_000_000_000


def beat(sender_id: str, worker_id: str) -> bytes:
    packet = BusPacket.FromString(heartbeat_payload(worker_id, "p", 0, 4, 0.0))
    packet.sender_id = sender_id
    return bytes(packet.SerializeToString())


def shake(sender_id: str, worker_id: str) -> bytes:
    packet = BusPacket(trace_id="t", sender_id=sender_id, protocol_version=1)
    packet.handshake.component_id, packet.handshake.role = worker_id, 3
    packet.created_at.FromMicroseconds(NOW)
    return bytes(packet.SerializeToString())


def result(sender_id: str, worker_id: str) -> bytes:
    packet = BusPacket(trace_id="t", sender_id=sender_id, protocol_version=1)
    packet.job_result.job_id, packet.job_result.worker_id, packet.job_result.status = "j", worker_id, 5
    packet.created_at.FromMicroseconds(NOW)
    return bytes(packet.SerializeToString())


def test_presence_and_results_in_another_name_count_and_are_told() -> None:
    planner = Planner("s-1", 4)
    planner.configure(b'{"topics": {"job.a": ["p"]}}')
    packets = [beat("w-1", "w-1"), beat("w-1", "w-2"), shake("w-1", "w-3"), shake("w-4", "w-4")]
    _, beats, shakes, invalid, _ = planner.presence(packets, NOW)
    assert [worker for worker, _ in beats] == ["w-1", "w-2"]
    assert [worker for worker, *_ in shakes] == ["w-3", "w-4"]
    assert invalid == []
    assert planner.take_misnamed() == [("w-1", "w-2"), ("w-1", "w-3")]
    assert planner.take_misnamed() == []
    plan = planner.plan_results([result("w-1", "w-1"), result("w-1", "w-2")], 1)
    assert plan.misnamed() == [("w-1", "w-2")]
    assert plan.invalid() == []


def test_a_sender_is_warned_of_once_an_hour() -> None:
    bus: Any = None
    alerts = ProtocolAlerts(bus)
    with capture_logs() as logs:
        alerts.misnamed("presence", [("w-1", "w-2"), ("w-1", "w-3"), ("w-4", "w-5")])
        alerts.misnamed("result", [("w-1", "w-2")])
    told = [(entry["log_level"], entry["sender_id"], entry["worker_id"]) for entry in logs]
    assert told == [("warning", "w-1", "w-2"), ("warning", "w-4", "w-5")]
