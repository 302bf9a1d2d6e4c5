"""The invariant checker finds each kind of broken promise, and nothing in a clean history."""

from collections.abc import Callable

import pytest

from tests.support.invariants import Evidence, JobEvidence, violations
from tests.support.observer import SeenDispatch, SeenResult
from tests.support.worker_log import Handled

_ID = "j1"
_DISPATCH = "j1:1:00000001"


def clean() -> Evidence:
    """One job that ran once and succeeded."""
    seen = SeenDispatch(_ID, _DISPATCH, 1, "worker.w.jobs", f"dispatch:{_DISPATCH}")
    record = {
        "id": _ID,
        "state": "SUCCEEDED",
        "attempts": "1",
        "dispatch_id": _DISPATCH,
        "dispatched_at": "200",
    }
    states = ("PENDING", "SCHEDULED", "DISPATCHED", "SUCCEEDED")
    return Evidence(
        jobs={
            _ID: JobEvidence(
                record,
                [{"ts": 100, "state": state} for state in states],
                [{"decision": "ALLOW", "checked_at": 150}],
                has_result=True,
            )
        },
        indexes={"SUCCEEDED": {_ID}},
        leftovers={"job:due": set()},
        stored=[seen],
        observed=[seen],
        handled=[Handled(_ID, _DISPATCH, 1, "job.test.echo")],
        accepted=[SeenResult(_ID, 5, _DISPATCH), SeenResult(_ID, 5, _DISPATCH)],
    )


def _state(evidence: Evidence, state: str) -> None:
    evidence.jobs[_ID].record["state"] = state


def _end_twice(evidence: Evidence) -> None:
    evidence.jobs[_ID].events.append({"ts": 300, "state": "FAILED"})
    _state(evidence, "FAILED")


def _skip_to_the_end(evidence: Evidence) -> None:
    del evidence.jobs[_ID].events[:-1]


def _late_decision(evidence: Evidence) -> None:
    evidence.jobs[_ID].decisions[0]["checked_at"] = 201


def _other_dispatch_of_the_attempt(evidence: Evidence) -> None:
    again = SeenDispatch(_ID, "j1:1:00000002", 1, "worker.w.jobs", "dispatch:j1:1:00000002")
    evidence.stored.append(again)


BREAKS: list[tuple[str, Callable[[Evidence], object], str]] = [
    ("lost", lambda e: e.jobs.clear(), "lost: no record"),
    ("still open", lambda e: _state(e, "RUNNING"), "not terminal: RUNNING"),
    ("ended twice", _end_twice, "terminal 2 times"),
    ("illegal move", _skip_to_the_end, "illegal move (none) -> SUCCEEDED"),
    ("last event differs", lambda e: _state(e, "FAILED"), "record says FAILED"),
    ("never judged", lambda e: e.jobs[_ID].decisions.clear(), "dispatched without an ALLOW"),
    ("judged afterwards", _late_decision, "dispatched without an ALLOW"),
    ("lost attempt", lambda e: e.jobs[_ID].record.update(attempts="2"), "2 attempts, 1 dispatch events"),
    ("stored twice", lambda e: e.stored.append(e.stored[0]), "stream: dispatch j1:1:00000001 published 2"),
    (
        "seen twice",
        lambda e: e.observed.append(e.observed[0]),
        "observer: dispatch j1:1:00000001 published 2",
    ),
    ("two ids for an attempt", _other_dispatch_of_the_attempt, "attempt ('j1', 1) has 2 dispatch ids"),
    ("run twice", lambda e: e.handled.append(e.handled[0]), "was run 2 times"),
    ("never run", lambda e: e.handled.clear(), "succeeded, but no worker ran it"),
    ("never stored", lambda e: e.stored.clear(), "which the stream does not hold"),
    ("no result", lambda e: setattr(e.jobs[_ID], "has_result", False), "succeeded without a result"),
    ("never accepted", lambda e: e.accepted.clear(), "accepted results say nothing"),
    (
        "accepted twice",
        lambda e: e.accepted.append(SeenResult(_ID, 6, "")),
        "accepted results say ['FAILED', 'S",
    ),
    ("in no index", lambda e: e.indexes.clear(), "indexed as []"),
    ("in two indexes", lambda e: e.indexes.update(PENDING={_ID}), "indexed as ['PENDING', 'SUCCEEDED']"),
    ("left over", lambda e: e.leftovers["job:due"].add(_ID), "job:due: 1 left over"),
]


def test_a_clean_history_breaks_nothing() -> None:
    assert violations(clean(), [_ID]) == []


@pytest.mark.parametrize(
    ("damage", "expected"), [case[1:] for case in BREAKS], ids=[case[0] for case in BREAKS]
)
def test_each_kind_of_damage_is_found(damage: Callable[[Evidence], object], expected: str) -> None:
    evidence = clean()
    damage(evidence)
    found = violations(evidence, [_ID])
    assert any(expected in fault for fault in found), found


def test_a_dispatch_the_stream_lost_with_its_server_is_forgiven_only_then() -> None:
    evidence = clean()
    evidence.stored.clear()
    assert violations(evidence, [_ID])
    assert violations(evidence, [_ID], bus_died=True) == []
