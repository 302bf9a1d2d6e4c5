"""Any order and repetition of job scripts keeps the invariants of a record (scheduler spec §31)."""

from collections import Counter
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cordum.domain.states import TERMINAL_STATES
from cordum.store import keys
from cordum.store.jobs import JobStore
from cordum.store.schedule import parked_counts
from tests.integration.store.conftest import NOW, key_names, members

ACTIVE = ["PENDING", "APPROVAL_REQUIRED", "SCHEDULED", "DISPATCHED", "RUNNING", "RETRYING"]
FINAL = sorted(TERMINAL_STATES)
IDS = ["a", "b"]


def _schedules(final: bool) -> st.SearchStrategy[dict[str, Any]]:
    optional: dict[str, Any] = {
        "due": st.sampled_from([0, NOW + 5]),
        "deadline": st.sampled_from([0, NOW + 9]),
    }
    if not final:
        optional |= {"retry": st.sampled_from([0, NOW + 7]), "disp": st.sampled_from([0, NOW])}
        optional |= {"wait": st.lists(st.sampled_from(["p1", "p2"]), unique=True)}
    optional |= {"after": st.sampled_from([[], ["result"], ["result", "dlq"]]), "rev": st.integers(0, 4)}
    optional |= {"attempt": st.integers(1, 3), "dispatch_id": st.sampled_from(["d1", "d2"])}
    return st.fixed_dictionaries({}, optional=optional)


@st.composite
def _calls(draw: st.DrawFn) -> tuple[str, dict[str, Any]]:
    job_id = draw(st.sampled_from(IDS))
    name = draw(st.sampled_from(["job_create", "sched_commit", "result_commit", "job_move"]))
    if name == "job_create":
        to, allowed = draw(st.sampled_from(["PENDING", "APPROVAL_REQUIRED", "DENIED", "FAILED"])), [""]
    elif name == "sched_commit":
        to = draw(st.sampled_from(["PENDING", "SCHEDULED", "DISPATCHED", "DENIED", "FAILED"]))
        allowed = ["", "PENDING", "SCHEDULED", "RETRYING"]
    elif name == "result_commit":
        to, allowed = draw(st.sampled_from(["RUNNING", "RETRYING", *FINAL])), ACTIVE
    else:
        to = draw(st.sampled_from(ACTIVE + FINAL))
        allowed = draw(st.lists(st.sampled_from(["", *ACTIVE, *FINAL]), unique=True))
    more = draw(_schedules(to in TERMINAL_STATES))
    if to == "DISPATCHED":
        more |= {"incr": {"attempts": 1}, "set": {"dispatch_id": draw(st.sampled_from(["d1", "d2"]))}}
    if to == "FAILED":
        more |= {"dlq": {"status": "JOB_STATUS_FAILED", "reason": "r"}}
    return name, {"id": job_id, "from": allowed, "to": to, "events": ["{}"], **more}


class Model:
    """What the store must look like, derived from replies only."""

    def __init__(self) -> None:
        self.state: dict[str, str] = {}
        self.rev: dict[str, int] = dict.fromkeys(IDS, 0)
        self.attempts: dict[str, int] = dict.fromkeys(IDS, 0)

    def observe(self, job_id: str, reply: list[Any]) -> None:
        if reply[0] != b"moved":
            assert reply[2].decode() == self.state.get(job_id, "")
            assert reply[3] == self.rev[job_id]
            return
        previous, state = reply[6].decode(), reply[1].decode()
        assert previous == self.state.get(job_id, "")
        if previous in TERMINAL_STATES and state != previous:
            assert (previous, state) == ("SUCCEEDED", "OUTPUT_QUARANTINED")
        assert reply[2] == self.rev[job_id] + 1
        assert reply[3] >= self.attempts[job_id]
        self.state[job_id], self.rev[job_id], self.attempts[job_id] = state, reply[2], reply[3]


async def _check(jobs: JobStore, model: Model) -> None:
    listed: dict[str, set[str]] = {}
    for key in await key_names(jobs.client):
        if (await jobs.client.execute("TYPE", key)) == b"zset":
            for job_id in await members(jobs.client, key):
                listed.setdefault(job_id, set()).add(key.replace(f":{jobs.tag(job_id)}", ""))
    for job_id in IDS:
        record = await jobs.get(job_id)
        if record is None:
            assert job_id not in model.state
            assert job_id not in listed
            continue
        state, names = record["state"], listed[job_id]
        assert (state, int(record["rev"])) == (model.state[job_id], model.rev[job_id])
        assert int(record.get("attempts", 0)) == model.attempts[job_id]
        assert {n for n in names if n.startswith("job:index:")} == {f"job:index:{state.lower()}"}
        assert len(await jobs.events(job_id)) == model.rev[job_id]
        assert ("job:retry" in names) == ("next_attempt_at" in record)
        assert {n[9:] for n in names if n.startswith("job:wait:")} == {
            pool for pool in record.get("wait_pools", "").split(",") if pool
        }
        assert ("job:after" in names) == ("after" in record)
        assert ("job:deadline" in names) == ("deadline_unix" in record)
        ttl = await jobs.client.execute("TTL", keys.job_meta(jobs.tag(job_id), job_id))
        assert (ttl > 0) == (state in TERMINAL_STATES)
        if state in TERMINAL_STATES:
            assert not {"job:due", "job:retry", "job:disp"} & names
    records = [record for job_id in IDS if (record := await jobs.get(job_id)) is not None]
    causes = Counter(record["last_cause"] for record in records if "next_attempt_at" in record)
    counted = {cause: number for cause, number in (await parked_counts(jobs)).items() if number}
    assert counted == dict(causes)


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    database=None,
)
@given(calls=st.lists(_calls(), max_size=14), repeat=st.booleans())
async def test_any_order_and_repetition_of_calls_keeps_the_invariants(
    jobs: JobStore, calls: list[tuple[str, dict[str, Any]]], repeat: bool
) -> None:
    await jobs.client.execute_on_primaries("FLUSHALL")
    model = Model()
    for step, (name, transition) in enumerate(calls):
        for _ in range(2 if repeat else 1):
            reply = await jobs.change(name, transition, now_us=NOW + step)
            model.observe(transition["id"], reply)
    await _check(jobs, model)
