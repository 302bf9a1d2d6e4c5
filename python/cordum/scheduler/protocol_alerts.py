"""Packets that break the protocol: counted, and told on `sys.alert` (protocol spec §5.2, §18)."""

from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Final, NamedTuple

import structlog
from cachetools import TTLCache
from google.protobuf.message import DecodeError

from cordum.bus.connection import Bus
from cordum.domain.errors import CordumError
from cordum.protocol import subjects
from cordum.protocol.cap import BusPacket, SystemAlert
from cordum.runtime.clock import monotonic_s, now_us
from cordum.runtime.ids import new_id
from cordum.scheduler import metrics
from cordum.scheduler.packets import SENDER

__all__ = ["Misnamed", "ProtocolAlerts", "Refused", "fault_of", "read_packet"]

Refused = Callable[[str, Iterable[tuple[bytes, str]]], Awaitable[None]]
"""Takes the subject, and the packets refused there with their reasons."""
Misnamed = Callable[[str, Iterable[tuple[str, str]]], None]
"""Takes the kind of packets, and their senders with the workers they name."""

_TOLD_MAX: Final = 10_000
_MINUTE_S: Final = 60.0
_HOUR_S: Final = 3_600.0
_TEXT_MAX: Final = 256
_VERSION: Final = 1

_log = structlog.get_logger("cordum.scheduler")


class _Kind(NamedTuple):
    """What an alert says of a fault: number and text of its code, number and word of its severity."""

    number: int
    code: str
    severity: int = 3
    level: str = "ERROR"


_MALFORMED: Final = _Kind(101, "protocol_malformed_packet")
_KINDS: Final = {
    "version": _Kind(100, "protocol_version_mismatch"),
    "unknown_payload": _Kind(102, "protocol_unknown_payload", 2, "WARNING"),
}


def read_packet(data: bytes) -> Any | None:
    """Return a packet of our version; None for anything else."""
    try:
        packet = BusPacket.FromString(data)
    except DecodeError:
        return None
    return packet if packet.protocol_version == _VERSION else None


def fault_of(data: bytes) -> str:
    """Return why a packet that was refused could not be used: the reason label of its count."""
    try:
        packet = BusPacket.FromString(data)
    except DecodeError:
        return "malformed"
    if packet == BusPacket():
        return "malformed"
    if packet.protocol_version != _VERSION:
        return "version"
    return "unknown_payload" if packet.WhichOneof("payload") is None else "invalid"


class ProtocolAlerts:
    """Counts every refused packet; alerts at most once a minute per sender and code."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._told: TTLCache[tuple[str, int], bool] = TTLCache(_TOLD_MAX, _MINUTE_S, timer=monotonic_s)
        self._misnamed: TTLCache[str, bool] = TTLCache(_TOLD_MAX, _HOUR_S, timer=monotonic_s)

    async def refused(self, subject: str, packets: Iterable[tuple[bytes, str]]) -> None:
        """Note packets that were dropped, each with the reason label of its count."""
        for data, reason in packets:
            metrics.count_invalid(subject, (reason,))
            kind = _KINDS.get(reason, _MALFORMED)
            packet = _decoded(data)
            sender = packet.sender_id[:_TEXT_MAX]
            if (sender, kind.number) in self._told:
                continue
            self._told[sender, kind.number] = True
            _log.warning("packet refused", subject=subject, sender_id=sender, reason=reason)
            try:
                await self._bus.publish_core(subjects.ALERT, _alert(packet, subject, reason, kind))
            except CordumError as error:
                _log.warning("alert not sent", reason=error.message)

    def misnamed(self, packet: str, pairs: Iterable[tuple[str, str]]) -> None:
        """Warn of packets, taken all the same, whose sender names another worker than itself; once an hour each."""
        for sender, named in pairs:
            if sender not in self._misnamed:
                self._misnamed[sender] = True
                _log.warning(
                    "packet names another worker than its sender",
                    packet=packet,
                    sender_id=sender[:_TEXT_MAX],
                    worker_id=named[:_TEXT_MAX],
                )


def _decoded(data: bytes) -> Any:
    try:
        return BusPacket.FromString(data)
    except DecodeError:
        return BusPacket()


def _alert(refused: Any, subject: str, reason: str, kind: _Kind) -> bytes:
    trace_id = refused.trace_id or new_id()
    alert = SystemAlert(
        level=kind.level,
        message=f"packet refused: {reason}",
        component=SENDER,
        severity=kind.severity,
        error_code_enum=kind.number,
        source_component=SENDER,
        trace_id=trace_id,
    )
    alert.code = kind.code
    alert.details.update({"offending_sender": refused.sender_id[:_TEXT_MAX], "subject": subject})
    if job_id := _job_id(refused):
        alert.details["job_id"] = job_id[:_TEXT_MAX]
    packet = BusPacket(trace_id=trace_id, sender_id=SENDER, protocol_version=_VERSION, alert=alert)
    packet.created_at.FromMicroseconds(now_us())
    encoded: bytes = packet.SerializeToString(deterministic=True)
    return encoded


def _job_id(packet: Any) -> str:
    payload = packet.WhichOneof("payload")
    return str(getattr(getattr(packet, payload), "job_id", "")) if payload else ""
