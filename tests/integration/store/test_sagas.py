"""Stacks of compensations: what each script does, repeated and out of turn (scheduler spec §14)."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cordum.store import keys
from cordum.store.connection import RedisClient
from cordum.store.jobs import JobStore
from cordum.store.sagas import SagaStore
from tests.integration.store.conftest import NOW, key_names

SCOPE, TENANT = "run-1", "acme"


async def _push(sagas: SagaStore, *ids: str, scope: str = SCOPE, tenant: str = TENANT) -> list[str]:
    return (await sagas.push_many([(scope, tenant, [(job_id, job_id.encode()) for job_id in ids])]))[0][1]


async def _emptied(sagas: SagaStore, scope: str = SCOPE, tenant: str = TENANT) -> list[str]:
    """Roll back and return the templates in the order they came."""
    lock = sagas.lock(scope)
    assert await lock.acquire()
    popped: list[str] = []
    while (answer := await sagas.pop(scope, tenant, lock.token))[0] == "entry":
        popped.append(answer[1].decode())
        await sagas.done(scope, answer[1])
    assert answer[0] == "empty"
    assert await lock.release()
    return popped


async def test_compensations_come_back_newest_first_and_a_job_once(redis_client: RedisClient) -> None:
    sagas = SagaStore(redis_client)
    assert await _push(sagas, "a", "b") == ["pushed", "pushed"]
    assert await _push(sagas, "b", "c", "c") == ["seen", "pushed", "seen"]
    assert await _emptied(sagas) == ["c", "b", "a"]
    assert await _push(sagas, "a") == ["seen"]
    assert await _emptied(sagas) == []


async def test_runs_do_not_see_each_others_stacks(redis_client: RedisClient) -> None:
    sagas = SagaStore(redis_client)
    await _push(sagas, "a", scope="run-1")
    await _push(sagas, "b", scope="run-2")
    assert await _emptied(sagas, "run-1") == ["a"]
    assert await _emptied(sagas, "run-2") == ["b"]


async def test_what_is_in_flight_comes_again_before_the_rest(redis_client: RedisClient) -> None:
    sagas = SagaStore(redis_client)
    await _push(sagas, "a", "b")
    crashed = sagas.lock(SCOPE)
    assert await crashed.acquire()
    assert await sagas.pop(SCOPE, TENANT, crashed.token) == ("entry", b"b")
    assert await crashed.release()
    assert await _emptied(sagas) == ["b", "a"]


async def test_a_rollback_without_its_lock_gets_nothing(redis_client: RedisClient) -> None:
    sagas = SagaStore(redis_client)
    await _push(sagas, "a")
    holder = sagas.lock(SCOPE)
    assert await holder.acquire()
    assert not await sagas.lock(SCOPE).acquire()
    assert await sagas.pop(SCOPE, TENANT, "somebody else") == ("lost", b"")
    assert await holder.release()
    assert await sagas.pop(SCOPE, TENANT, holder.token) == ("lost", b"")
    assert await _emptied(sagas) == ["a"]


async def test_a_push_after_the_rollback_is_told_so(redis_client: RedisClient) -> None:
    sagas = SagaStore(redis_client)
    assert (await sagas.push_many([(SCOPE, TENANT, [("a", b"a")])]))[0][0] is False
    await _emptied(sagas)
    assert await sagas.push_many([(SCOPE, TENANT, [("late", b"late")])]) == [(True, ["pushed"])]


async def test_a_scope_belongs_to_the_tenant_that_used_it_first(redis_client: RedisClient) -> None:
    sagas = SagaStore(redis_client)
    await _push(sagas, "a")
    assert await _push(sagas, "x", tenant="globex") == ["foreign"]
    lock = sagas.lock(SCOPE)
    assert await lock.acquire()
    assert await sagas.pop(SCOPE, "globex", lock.token) == ("foreign", b"")
    assert await lock.release()
    assert await _emptied(sagas) == ["a"]


async def test_every_key_of_a_saga_shares_a_slot_and_ends(redis_client: RedisClient) -> None:
    sagas = SagaStore(redis_client)
    await _push(sagas, "a", "b", scope="}odd{")
    lock = sagas.lock("}odd{")
    assert await lock.acquire()
    await sagas.pop("}odd{", TENANT, lock.token)
    names = {key for key in await key_names(redis_client) if key.startswith("saga:")}
    assert names == {
        f"saga:{{%7Dodd%7B}}:{part}" for part in ("stack", "seen", "inflight", "rolled", "tenant", "lock")
    }
    for name in names:
        assert 0 < await redis_client.execute("TTL", name) <= 7 * 86_400, name


async def test_a_full_stack_refuses(redis_client: RedisClient) -> None:
    sagas = SagaStore(redis_client)
    ids = [str(n) for n in range(10_001)]
    assert (await _push(sagas, *ids))[-2:] == ["pushed", "full"]


@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(st.lists(st.one_of(st.integers(0, 5), st.sampled_from(["pop", "done", "crash"])), max_size=25))
async def test_nothing_is_lost_in_any_order_of_steps(
    redis_client: RedisClient, steps: list[int | str]
) -> None:
    await redis_client.execute_on_primaries("FLUSHALL")
    sagas = SagaStore(redis_client)
    pushed: set[str] = set()
    done: list[str] = []
    flying = b""
    lock = sagas.lock(SCOPE)
    assert await lock.acquire()
    for step in steps:
        if isinstance(step, int):
            await _push(sagas, f"j{step}")
            pushed.add(f"j{step}")
        elif step == "pop" and not flying:
            flying = (await sagas.pop(SCOPE, TENANT, lock.token))[1]
        elif step == "done" and flying:
            await sagas.done(SCOPE, flying)
            done.append(flying.decode())
            flying = b""
        elif step == "crash":
            flying = b""
    assert await lock.release()
    assert sorted([*done, *await _emptied(sagas)]) == sorted(pushed)


@pytest.mark.parametrize(
    ("rev", "ended", "left"),
    [(1, ("result",), "dlq,saga"), (1, ("result", "dlq", "saga"), None), (9, ("result",), "result,dlq,saga")],
)
async def test_duties_end_one_by_one_while_the_record_stands_still(
    jobs: JobStore, rev: int, ended: tuple[str, ...], left: str | None
) -> None:
    change = {"id": "j", "from": [""], "to": "FAILED", "after": ["result", "dlq", "saga"]}
    await jobs.change("job_create", change, now_us=NOW)
    await jobs.duties_done([("j", rev, ended)])
    record = await jobs.get("j")
    assert record is not None
    assert record.get("after") == left
    listed = await jobs.client.execute("ZSCORE", keys.job_after(jobs.tag("j")), "j")
    assert (listed is None) == (left is None)


@pytest.mark.parametrize(
    ("part", "asked", "after"),
    [
        ("c", "saga", "result,saga"),
        ("m", "saga", "result"),
        ("x", "saga", "result"),
        ("", "saga", "result"),
        ("c", "rollback", "result,rollback"),
        ("m", "rollback", "result,rollback"),
        ("x", "rollback", "result"),
        ("c", "none", "result"),
    ],
)
async def test_a_saga_duty_joins_the_outbox_where_the_record_calls_for_it(
    jobs: JobStore, part: str, asked: str, after: str
) -> None:
    fields = {"saga": part} if part else {}
    await jobs.change("job_create", {"id": "j", "from": [""], "to": "PENDING", "set": fields}, now_us=NOW)
    change = {"id": "j", "from": ["PENDING"], "to": "FAILED", "after": ["result"], "saga": asked}
    reply = await jobs.change("result_commit", change, now_us=NOW + 1)
    record = await jobs.get("j")
    assert record is not None
    assert (record["after"], reply[10].decode()) == (after, part)
