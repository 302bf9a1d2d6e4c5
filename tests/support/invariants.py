"""The invariant checker: what must hold once the system is quiet again (scheduler spec §2, §31).

`collect` gathers evidence from the records, the streams, an observer and the workers' own logs; `violations`
judges it without any I/O. Both are meant for every test that disturbs the system.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from cordum.domain.states import TERMINAL_STATES, JobState
from cordum.store import keys
from cordum.store.connection import RedisClient
from cordum.store.jobs import JobStore
from tests.support import edges
from tests.support.observer import (
    SeenDispatch,
    SeenResult,
    accepted_results,
    pending_of,
    stored_dispatches,
)
from tests.support.processes import wait_until
from tests.support.worker_log import Handled, KeepsLog

_PAGE = 500
_TERMINAL = frozenset(str(state) for state in TERMINAL_STATES)
_ALLOWING = frozenset({"ALLOW", "ALLOW_WITH_CONSTRAINTS"})
_SCHEDULES = {
    "job:disp": keys.job_disp,
    "job:after": keys.job_after,
    "job:due": keys.job_due,
    "job:retry": keys.job_retry,
    "job:deadline": keys.job_deadline,
}


@dataclass
class JobEvidence:
    """What the store says about one job; ``record`` is empty when there is none."""

    record: dict[str, str] = field(default_factory=dict)
    events: list[dict[str, Any]] = field(default_factory=list)
    decisions: list[dict[str, Any]] = field(default_factory=list)
    has_result: bool = False
    """Whether `res:<id>` exists."""

    @property
    def state(self) -> str:
        """The persisted state, empty without a record."""
        return self.record.get("state", "")


@dataclass
class Evidence:
    """Everything the checker looks at."""

    jobs: dict[str, JobEvidence] = field(default_factory=dict)
    indexes: dict[str, set[str]] = field(default_factory=dict)
    """Job ids per state, from `job:index`."""
    leftovers: dict[str, set[str]] = field(default_factory=dict)
    """Members per schedule, wait or tenant set that must be empty at the end."""
    stored: list[SeenDispatch] = field(default_factory=list)
    observed: list[SeenDispatch] = field(default_factory=list)
    handled: list[Handled] = field(default_factory=list)
    accepted: list[SeenResult] = field(default_factory=list)


def violations(evidence: Evidence, submitted: Iterable[str], *, bus_died: bool = False) -> list[str]:
    """Return one line per broken promise; an empty list means that the system kept all of them.

    ``bus_died``: NATS hands a message to plain subscribers before its stream has stored it, so after a crash
    of NATS a worker may have run a dispatch that the stream never got.
    """
    wanted = list(submitted)
    faults: list[str] = []
    for job_id in wanted:
        job = evidence.jobs.get(job_id, JobEvidence())
        faults += [f"{job_id}: {fault}" for fault in _job_faults(job)]
    faults += _dispatch_faults(evidence)
    faults += _worker_faults(evidence, set(wanted))
    if not bus_died:
        faults += _unstored_faults(evidence)
    faults += _accepted_faults(evidence, wanted)
    faults += _index_faults(evidence)
    for name, members in evidence.leftovers.items():
        if members:
            faults.append(f"{name}: {len(members)} left over, such as {sorted(members)[:3]}")
    return faults


def _job_faults(job: JobEvidence) -> list[str]:
    if not job.state:
        return ["lost: no record"]
    faults: list[str] = []
    if job.state not in _TERMINAL:
        faults.append(f"not terminal: {job.state}")
    states = [str(event.get("state")) for event in job.events]
    ends = [state for state in states if state in _TERMINAL]
    if job.state in _TERMINAL and len(ends) != 1 and ends != ["SUCCEEDED", "OUTPUT_QUARANTINED"]:
        faults.append(f"terminal {len(ends)} times: {states}")
    if states and states[-1] != job.state:
        faults.append(f"record says {job.state}, last event {states[-1]}")
    for before, after in zip(["", *states], states, strict=False):
        if not edges.allowed(before, after):
            faults.append(f"illegal move {before or '(none)'} -> {after}: {states}")
    return faults + _decision_faults(job, states) + _attempt_faults(job, states)


def _decision_faults(job: JobEvidence, states: Sequence[str]) -> list[str]:
    if "DISPATCHED" not in states:
        return []
    if job.record.get("approval_decision") == "approve":
        return []
    dispatched_at = int(job.record.get("dispatched_at", "0"))
    before = [
        decision
        for decision in job.decisions
        if decision.get("decision") in _ALLOWING and int(decision.get("checked_at", 0)) <= dispatched_at
    ]
    return [] if before else [f"dispatched without an ALLOW: {job.decisions}"]


def _attempt_faults(job: JobEvidence, states: Sequence[str]) -> list[str]:
    attempts, dispatches = int(job.record.get("attempts", "0")), states.count("DISPATCHED")
    faults = []
    if attempts != dispatches:
        faults.append(f"{attempts} attempts, {dispatches} dispatch events")
    dispatch_id = job.record.get("dispatch_id", "")
    if dispatches and not dispatch_id.startswith(f"{job.record.get('id')}:{attempts}:"):
        faults.append(f"attempt {attempts} has dispatch id {dispatch_id!r}")
    return faults


def _dispatch_faults(evidence: Evidence) -> list[str]:
    faults: list[str] = []
    for where, dispatches in (("stream", evidence.stored), ("observer", evidence.observed)):
        ids = Counter(dispatch.dispatch_id for dispatch in dispatches)
        faults += [f"{where}: dispatch {name} published {n} times" for name, n in ids.items() if n > 1]
        attempts = Counter((d.job_id, d.attempt) for d in set(dispatches))
        faults += [f"{where}: attempt {key} has {n} dispatch ids" for key, n in attempts.items() if n > 1]
        faults += [
            f"{where}: message id {d.message_id!r} of dispatch {d.dispatch_id}"
            for d in dispatches
            if d.message_id != f"dispatch:{d.dispatch_id}"
        ]
    for dispatch in {*evidence.stored, *evidence.observed}:
        job = evidence.jobs.get(dispatch.job_id, JobEvidence())
        if dispatch.attempt > int(job.record.get("attempts", "0")):
            faults.append(f"dispatch {dispatch.dispatch_id} was published but never committed")
    return faults


def _unstored_faults(evidence: Evidence) -> list[str]:
    stored = {dispatch.dispatch_id for dispatch in evidence.stored}
    run = {run.dispatch_id for run in evidence.handled}
    faults = [f"worker: dispatch {name} is not in the stream" for name in run - stored]
    for job_id, job in evidence.jobs.items():
        dispatch_id = job.record.get("dispatch_id")
        if job.state == JobState.SUCCEEDED and dispatch_id and dispatch_id not in stored:
            faults.append(f"{job_id}: succeeded by dispatch {dispatch_id}, which the stream does not hold")
    return faults


def _worker_faults(evidence: Evidence, submitted: set[str]) -> list[str]:
    runs = Counter(run.dispatch_id for run in evidence.handled)
    faults = [f"worker: dispatch {name} was run {n} times" for name, n in runs.items() if n > 1]
    handled = {run.job_id for run in evidence.handled}
    faults += [f"worker: unknown job {job_id}" for job_id in handled - submitted]
    for job_id, job in evidence.jobs.items():
        if job.state == JobState.SUCCEEDED and job.record.get("dispatch_id"):
            if job_id not in handled:
                faults.append(f"{job_id}: succeeded, but no worker ran it")
            if not job.has_result:
                faults.append(f"{job_id}: succeeded without a result")
    return faults


def _accepted_faults(evidence: Evidence, submitted: Sequence[str]) -> list[str]:
    ends: dict[str, set[str]] = defaultdict(set)
    for result in evidence.accepted:
        state = edges.STATE_OF_STATUS.get(result.status, f"status {result.status}")
        if state != "RETRYING":
            ends[result.job_id].add(state)
    faults: list[str] = []
    for job_id in submitted:
        state, told = evidence.jobs.get(job_id, JobEvidence()).state, ends.get(job_id, set())
        # DENIED also stands for a quarantine and for a refusal of a job that ran (scheduler spec §2.1, §2.2).
        fits = told == {state} or (told == {"DENIED"} and state in {"FAILED", "OUTPUT_QUARANTINED"})
        if state in _TERMINAL and not fits:
            faults.append(f"{job_id}: {state}, but accepted results say {sorted(told) or 'nothing'}")
    return faults


def _index_faults(evidence: Evidence) -> list[str]:
    faults: list[str] = []
    listed: dict[str, set[str]] = defaultdict(set)
    for state, members in evidence.indexes.items():
        for job_id in members:
            listed[job_id].add(state)
    for job_id, job in evidence.jobs.items():
        if job.state and listed.get(job_id, set()) != {job.state}:
            faults.append(f"{job_id}: {job.state}, but indexed as {sorted(listed.get(job_id, set()))}")
    faults += [f"{job_id}: indexed without a record" for job_id in listed.keys() - evidence.jobs.keys()]
    return faults


# -- evidence -----------------------------------------------------------------------------------------------


async def collect(
    jobs: JobStore,
    nats_url: str,
    submitted: Iterable[str],
    *,
    observed: Sequence[SeenDispatch] = (),
    workers: Iterable[KeepsLog] = (),
) -> Evidence:
    """Gather the evidence of a quiet system."""
    indexes = await _indexes(jobs)
    known = set(submitted).union(*indexes.values())
    evidence = Evidence(indexes=indexes, observed=list(observed))
    evidence.jobs = await _jobs(jobs, sorted(known))
    tenants = {job.record.get("tenant", "default") for job in evidence.jobs.values()}
    evidence.leftovers = await leftovers(jobs, tenants)
    evidence.stored = await stored_dispatches(nats_url)
    evidence.accepted = await accepted_results(nats_url)
    evidence.handled = [run for worker in workers for run in worker.handled()]
    return evidence


async def _jobs(store: JobStore, ids: Sequence[str]) -> dict[str, JobEvidence]:
    found: dict[str, JobEvidence] = {}
    for start in range(0, len(ids), _PAGE):
        page = ids[start : start + _PAGE]
        records = await store.get_many(page)
        results = await store.client.pipeline([("EXISTS", keys.result_blob(job_id)) for job_id in page])
        for job_id, record, exists in zip(page, records, results, strict=True):
            if record is None:
                continue
            events, decisions = await store.events(job_id), await store.decisions(job_id)
            found[job_id] = JobEvidence(record, events, decisions, bool(exists))
    return found


async def _indexes(store: JobStore) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for state in JobState:
        found[str(state)] = await _members(store.client, [keys.job_index(tag, state) for tag in store.tags])
    return found


async def leftovers(store: JobStore, tenants: Iterable[str] = ("default",)) -> dict[str, set[str]]:
    """Return the members of every set that must be empty while no job is open."""
    found = {
        name: await _members(store.client, [index(tag) for tag in store.tags])
        for name, index in _SCHEDULES.items()
    }
    waits = [
        key.decode() for page in await store.client.execute_on_primaries("KEYS", "job:wait:*") for key in page
    ]
    found["job:wait"] = await _members(store.client, waits)
    for tenant in tenants:
        for name, key in (("open", keys.tenant_open(tenant)), ("active", keys.tenant_active(tenant))):
            found[f"job:tenant:{name} of {tenant}"] = await _members(store.client, [key])
    return found


async def _members(client: RedisClient, zsets: Sequence[str]) -> set[str]:
    if not zsets:
        return set()
    replies = await client.pipeline([("ZRANGE", key, 0, -1) for key in zsets])
    return {member.decode() for reply in replies for member in reply}


async def states_of(store: JobStore, ids: Sequence[str]) -> Counter[str]:
    """Return how many of the jobs are in which state; `(none)` for those without a record."""
    states: Counter[str] = Counter()
    for start in range(0, len(ids), _PAGE):
        rows = await store.fields(ids[start : start + _PAGE], ("state",))
        states.update((row[0] or b"(none)").decode() for row in rows)
    return states


async def wait_quiet(store: JobStore, nats_url: str, ids: Sequence[str], timeout_s: float) -> None:
    """Wait until every job is terminal, all duties are done and every bus message is acknowledged."""

    async def quiet() -> bool:
        states = await states_of(store, ids)
        if any(state not in _TERMINAL for state in states):
            return False
        open_sets = await leftovers(store)
        return not any(open_sets.values()) and await pending_of(nats_url, "CORDUM_SYS") == 0

    try:
        await wait_until(quiet, timeout_s=timeout_s, interval_s=0.25)
    except AssertionError as error:
        states = dict(await states_of(store, ids))
        left = {name: len(members) for name, members in (await leftovers(store)).items() if members}
        pending = await pending_of(nats_url, "CORDUM_SYS")
        raise AssertionError(
            f"not quiet after {timeout_s} s: {states}, left {left}, unacknowledged {pending}"
        ) from error
