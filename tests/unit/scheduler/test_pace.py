"""Batch size, batches in flight and pauses follow the store and the bus (scheduler spec §32)."""

import asyncio

import pytest

from cordum.domain.errors import Unavailable
from cordum.scheduler.pace import Pace
from cordum.scheduler.wheel import preferred_partitions


class Clock:
    """A clock that a test turns."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


class Tap:
    """An intake that remembers whether it flows."""

    def __init__(self) -> None:
        self.flows = True

    def pause(self) -> None:
        self.flows = False

    def resume(self) -> None:
        self.flows = True


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def pace(clock: Clock) -> Pace:
    return Pace(256, 2, 1_000, clock)


@pytest.mark.parametrize(("stage", "slow_s", "fast_s"), [("commit", 0.26, 0.25), ("publish", 1.01, 1.0)])
def test_slow_stages_halve_the_batch_down_to_sixteen_and_leave_one_in_flight(
    pace: Pace, stage: str, slow_s: float, fast_s: float
) -> None:
    pace.took(stage, fast_s)
    assert (pace.batch, pace.in_flight) == (256, 2)
    sizes = []
    for _ in range(6):
        pace.took(stage, slow_s)
        sizes.append(pace.batch)
    assert sizes == [128, 64, 32, 16, 16, 16]
    assert pace.in_flight == 1


def test_one_slow_commit_among_two_hundred_does_not_matter(pace: Pace) -> None:
    for _ in range(200):
        pace.took("commit", 0.01)
    pace.took("commit", 3.0)
    pace.took("commit", 3.0)
    assert pace.batch == 256
    pace.took("commit", 3.0)
    assert pace.batch == 128


def test_batches_grow_again_when_it_is_fast_for_five_seconds(pace: Pace, clock: Clock) -> None:
    for _ in range(2):
        pace.took("commit", 1.0)
    assert pace.batch == 64
    sizes = []
    for _ in range(12):
        clock.now_s += 1.0
        pace.took("commit", 0.001)
        sizes.append((pace.batch, pace.in_flight))
    assert sizes[3] == (64, 1)
    assert sizes[4] == (128, 1)
    assert sizes[9] == (256, 2)


def test_small_configured_batches_never_grow(clock: Clock) -> None:
    pace = Pace(8, 2, 1_000, clock)
    pace.took("commit", 9.0)
    assert pace.batch == 8


def test_too_many_parked_jobs_stop_submits_only(pace: Pace) -> None:
    submits, results = Tap(), Tap()
    pace.attach(submits, results)
    pace.parked({"no_workers": 1_000})
    assert submits.flows
    pace.parked({"no_workers": 1_000, "throttle": 1})
    assert (submits.flows, results.flows) == (False, True)
    pace.parked({"no_workers": 1_000, "throttle": 0})
    assert submits.flows


async def test_a_store_that_is_away_stops_both_until_it_answers(
    pace: Pace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cordum.scheduler.pace._PROBE_S", 0.01)
    submits, results = Tap(), Tap()
    pace.attach(submits, results)
    asked, answered = 0, asyncio.Event()

    async def ping() -> None:
        nonlocal asked
        asked += 1
        if asked < 3:
            raise Unavailable("redis does not answer")
        answered.set()

    async with asyncio.TaskGroup() as group:
        probing = group.create_task(pace.run_probes(ping))
        pace.store_failed()
        pace.store_failed()
        assert (submits.flows, results.flows) == (False, False)
        async with asyncio.timeout(5):
            await answered.wait()
        probing.cancel()
    assert (asked, submits.flows, results.flows) == (3, True, True)


async def test_submits_stay_stopped_when_the_store_is_back_but_full(
    pace: Pace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cordum.scheduler.pace._PROBE_S", 0.0)
    submits, results = Tap(), Tap()
    pace.attach(submits, results)
    pace.parked({"no_workers": 5_000})
    pace.store_failed()
    answered = asyncio.Event()

    async def ping() -> None:
        answered.set()

    async with asyncio.TaskGroup() as group:
        probing = group.create_task(pace.run_probes(ping))
        async with asyncio.timeout(5):
            await answered.wait()
        probing.cancel()
    assert (submits.flows, results.flows) == (False, True)


async def test_never_more_batches_than_allowed_run_at_once(pace: Pace) -> None:
    running, most = 0, 0

    async def batch() -> None:
        nonlocal running, most
        async with pace.slot():
            running += 1
            most = max(most, running)
            await asyncio.sleep(0)
            running -= 1

    async with asyncio.TaskGroup() as group:
        for _ in range(20):
            group.create_task(batch())
    assert most == 2
    pace.took("commit", 9.0)
    most = 0
    async with asyncio.TaskGroup() as group:
        for _ in range(20):
            group.create_task(batch())
    assert most == 1


def test_partitions_are_shared_out_completely_and_move_little() -> None:
    live = ["a", "b", "c"]
    parts = {name: set(preferred_partitions(name, live, 64)) for name in live}
    assert sum(map(len, parts.values())) == 64
    assert set().union(*parts.values()) == set(range(64))
    assert min(map(len, parts.values())) >= 10
    without = {name: set(preferred_partitions(name, ["a", "b"], 64)) for name in ("a", "b")}
    assert all(parts[name] <= without[name] for name in without)
    assert preferred_partitions("new", [], 4) == [0, 1, 2, 3]
