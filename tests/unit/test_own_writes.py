"""Answers after a write of the policy (policy spec §10)."""

import pytest

from cordum.gateway import own_writes
from cordum.gateway.own_writes import FRESH_S, WAIT_MAX_S, OwnWrites


class Clock:
    """Time passes only in pauses."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s

    async def sleep(self, seconds: float) -> None:
        self.now_s += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(own_writes.asyncio, "sleep", clock.sleep)
    return clock


class Kernel:
    """Answers with each snapshot in turn, then with the last for ever."""

    def __init__(self, *snapshots: str) -> None:
        self.snapshots = list(snapshots)
        self.calls = 0

    async def __call__(self) -> str:
        self.calls += 1
        return self.snapshots.pop(0) if len(self.snapshots) > 1 else self.snapshots[0]


async def ask(writes: OwnWrites, kernel: Kernel) -> str:
    return await writes.ask(kernel, lambda snapshot: snapshot)


async def test_without_a_write_one_answer_is_enough(clock: Clock) -> None:
    kernel = Kernel("1:aa|cfg:old")
    assert await ask(OwnWrites(clock), kernel) == "1:aa|cfg:old"
    assert kernel.calls == 1


async def test_a_kernel_that_lags_is_asked_again(clock: Clock) -> None:
    writes, kernel = OwnWrites(clock), Kernel("1:aa", "1:aa|cfg:old", "1:aa|cfg:new")
    writes.note("cfg:new")
    assert await ask(writes, kernel) == "1:aa|cfg:new"
    assert kernel.calls == 3


async def test_a_policy_of_bundles_alone_is_compared_too(clock: Clock) -> None:
    writes, kernel = OwnWrites(clock), Kernel("cfg:old", "cfg:new")
    writes.note("cfg:new")
    assert await ask(writes, kernel) == "cfg:new"


async def test_deleting_the_last_bundle_waits_for_a_snapshot_without_bundles(clock: Clock) -> None:
    writes, kernel = OwnWrites(clock), Kernel("1:aa|cfg:old", "1:aa")
    writes.note("")
    assert await ask(writes, kernel) == "1:aa"


async def test_waiting_ends_after_two_seconds_and_happens_once(clock: Clock) -> None:
    writes, kernel = OwnWrites(clock), Kernel("1:aa|cfg:other")
    writes.note("cfg:new")
    assert await ask(writes, kernel) == "1:aa|cfg:other"
    assert clock.now_s == pytest.approx(100.0 + WAIT_MAX_S)
    calls = kernel.calls
    assert await ask(writes, kernel) == "1:aa|cfg:other"
    assert kernel.calls == calls + 1


async def test_a_write_of_five_seconds_ago_is_no_longer_compared(clock: Clock) -> None:
    writes, kernel = OwnWrites(clock), Kernel("1:aa|cfg:other")
    writes.note("cfg:new")
    clock.now_s += FRESH_S
    await ask(writes, kernel)
    await writes.caught_up(kernel)
    assert kernel.calls == 1
