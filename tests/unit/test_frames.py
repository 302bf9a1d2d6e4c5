"""Live frames of withheld results (output policy spec §2.9)."""

import pytest
from prometheus_client import REGISTRY

from cordum.gateway import frames
from cordum.protocol import subjects
from cordum.protocol.cap import BusPacket, JobResult, JobStatus

DROPS = "cordum_gateway_ws_quarantine_redaction_drops_total"


def withheld() -> bytes:
    result = JobResult(
        job_id="j",
        status=JobStatus.JOB_STATUS_DENIED,
        result_ptr="redis://res:j",
        artifact_ptrs=["redis://art:a"],
        error_message="a secret",
    )
    encoded: bytes = BusPacket(sender_id="s", job_result=result).SerializeToString()
    return encoded


def test_a_withheld_result_names_nothing_to_read() -> None:
    frame = frames.read_frame(subjects.ACCEPTED, withheld())
    assert frame is not None
    assert "redis://" not in frame.data
    assert "a secret" in frame.data


def test_a_result_whose_pointers_cannot_be_removed_is_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise ValueError("no such field")

    monkeypatch.setattr(frames, "_strip", refuse)
    before = REGISTRY.get_sample_value(DROPS) or 0
    assert frames.read_frame(subjects.ACCEPTED, withheld()) is None
    assert REGISTRY.get_sample_value(DROPS) == before + 1
