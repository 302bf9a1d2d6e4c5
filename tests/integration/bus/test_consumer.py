"""The batch consumer against a real server."""

import asyncio
from collections import Counter
from collections.abc import Sequence

import pytest
from nats.js.errors import NotFoundError

from cordum.bus import (
    ACK,
    CORRUPT_RETRY,
    NAK,
    TERM,
    Bus,
    InMessage,
    OutMessage,
    Publisher,
    Verdict,
    ensure_streams,
    is_poison,
)
from cordum.config.nats import NatsSettings
from cordum.protocol import subjects
from tests.integration.bus.consuming import Inbox, make_consumer, running
from tests.support.nats_server import NatsServer
from tests.support.processes import wait_until

DURABLE = "dur_cordum-scheduler__sys_job_submit"


async def fill(bus: Bus, count: int, start: int = 0) -> None:
    messages = [OutMessage(subjects.SUBMIT, b"%d" % n) for n in range(start, start + count)]
    outcomes = await Publisher(bus).publish_burst(messages)
    assert all(outcome.ok for outcome in outcomes)


async def left(bus: Bus) -> tuple[int, int]:
    info = await bus.js.consumer_info(subjects.STREAM_SYS, DURABLE)
    return info.num_pending or 0, info.num_ack_pending or 0


async def is_empty(bus: Bus) -> bool:
    try:
        return await left(bus) == (0, 0)
    except NotFoundError:  # the consumer has not been made yet
        return False


async def test_all_messages_arrive_once_in_batches_no_larger_than_asked(bus: Bus) -> None:
    await fill(bus, 2_000)
    inbox = Inbox()
    async with running(make_consumer(bus, inbox, batch_max=100)):
        await wait_until(lambda: len(inbox.seen) >= 2_000)
        await wait_until(lambda: is_empty(bus))

    assert Counter(inbox.seen) == Counter(b"%d" % n for n in range(2_000))
    assert max(map(len, inbox.batches)) <= 100
    assert len(inbox.batches) < 200


async def test_a_single_message_is_handled_at_once_when_idle(bus: Bus) -> None:
    inbox = Inbox()
    async with running(make_consumer(bus, inbox)):
        await fill(bus, 1)
        await wait_until(lambda: inbox.seen)
        loop = asyncio.get_running_loop()
        times = []
        for n in range(20):
            start = loop.time()
            await fill(bus, 1, start=n + 1)
            await wait_until(lambda n=n: len(inbox.seen) == n + 2, interval_s=0.0005)
            times.append(loop.time() - start)

    assert sorted(times)[10] < 0.02


async def test_the_durable_has_the_documented_settings_and_is_corrected_when_it_differs(bus: Bus) -> None:
    changed = bus.settings.model_copy(update={"js_ack_wait_s": 12.0, "max_ack_pending": 99})
    for settings in (bus.settings, changed):
        async with running(make_consumer(bus, Inbox(), settings)):

            async def matches(settings: NatsSettings = settings) -> bool:
                names = [info.name for info in await bus.js.consumers_info(subjects.STREAM_SYS)]
                if DURABLE not in names:
                    return False
                config = (await bus.js.consumer_info(subjects.STREAM_SYS, DURABLE)).config
                return (config.ack_wait, config.max_ack_pending, config.max_deliver) == (
                    settings.js_ack_wait_s,
                    settings.max_ack_pending,
                    -1,
                )

            await wait_until(matches)


async def test_messages_of_a_crashed_handler_come_again_and_none_is_acked(bus: Bus) -> None:
    seen: list[tuple[bytes, int]] = []

    async def crash_once(batch: list[InMessage]) -> Sequence[Verdict]:
        seen.extend((message.data, message.delivered) for message in batch)
        if batch[0].delivered == 1:
            raise RuntimeError("handler broke")
        return [ACK] * len(batch)

    await fill(bus, 3)
    async with running(make_consumer(bus, crash_once)):
        await wait_until(
            lambda: {entry for entry in seen if entry[1] == 2} == {(b"%d" % n, 2) for n in range(3)}
        )
        await wait_until(lambda: is_empty(bus))

    assert len(seen) == 6


async def test_a_handler_with_too_few_verdicts_loses_nothing(bus: Bus) -> None:
    calls = 0

    async def forgetful(batch: list[InMessage]) -> Sequence[Verdict]:
        nonlocal calls
        calls += 1
        return [] if calls == 1 else [ACK] * len(batch)

    await fill(bus, 2)
    async with running(make_consumer(bus, forgetful)):
        await wait_until(lambda: calls >= 2)
        await wait_until(lambda: is_empty(bus))


async def test_a_nak_delay_is_respected(bus: Bus) -> None:
    times: list[float] = []

    async def postpone(batch: list[InMessage]) -> Sequence[Verdict]:
        times.append(asyncio.get_running_loop().time())
        return [NAK(0.4) if message.delivered == 1 else ACK for message in batch]

    await fill(bus, 1)
    async with running(make_consumer(bus, postpone)):
        await wait_until(lambda: len(times) == 2)

    assert 0.35 < times[1] - times[0] < 2.0


async def test_garbage_is_retried_three_times_then_terminated_and_other_messages_flow(bus: Bus) -> None:
    corrupt_deliveries: list[int] = []
    handled: list[bytes] = []

    async def decode(batch: list[InMessage]) -> Sequence[Verdict]:
        verdicts = []
        for message in batch:
            if message.data.startswith(b"\xff"):
                corrupt_deliveries.append(message.delivered)
                poison = is_poison(message, corrupt=True)
                assert CORRUPT_RETRY.payload == b'-NAK {"delay": 5000000000}'
                verdicts.append(TERM if poison else NAK(0.01))
            else:
                handled.append(message.data)
                verdicts.append(ACK)
        return verdicts

    publisher = Publisher(bus)
    await publisher.publish(OutMessage(subjects.SUBMIT, b"\xff\x00garbage"))
    async with running(make_consumer(bus, decode)):
        await fill(bus, 50)
        await wait_until(lambda: corrupt_deliveries == [1, 2, 3, 4])
        await wait_until(lambda: len(handled) == 50)
        await wait_until(lambda: is_empty(bus))


async def test_a_handler_slower_than_the_ack_wait_is_not_given_its_messages_twice(bus: Bus) -> None:
    settings = bus.settings.model_copy(update={"js_ack_wait_s": 0.6})
    seen: list[bytes] = []

    async def slow(batch: list[InMessage]) -> Sequence[Verdict]:
        seen.extend(message.data for message in batch)
        await asyncio.sleep(1.5)
        return [ACK] * len(batch)

    await fill(bus, 4)
    # With one slot and batches of two, the second pair waits in the buffer longer than its ack wait too.
    async with running(make_consumer(bus, slow, settings, batch_max=2, in_flight=2)):
        await wait_until(lambda: len(seen) >= 4)
        await wait_until(lambda: is_empty(bus))

    assert sorted(seen) == [b"0", b"1", b"2", b"3"]


async def test_at_most_two_batches_are_in_flight(bus: Bus) -> None:
    now = most = 0

    async def count(batch: list[InMessage]) -> Sequence[Verdict]:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(0.01)
        now -= 1
        return [ACK] * len(batch)

    await fill(bus, 200)
    async with running(make_consumer(bus, count, batch_max=10)):
        await wait_until(lambda: is_empty(bus))

    assert most == 2


async def test_stopping_finishes_started_batches_and_gives_the_rest_back_at_once(bus: Bus) -> None:
    started = asyncio.Event()
    finish = asyncio.Event()
    done: list[bytes] = []

    async def hold(batch: list[InMessage]) -> Sequence[Verdict]:
        started.set()
        await finish.wait()
        done.extend(message.data for message in batch)
        return [ACK] * len(batch)

    await fill(bus, 30)
    consumer = make_consumer(bus, hold, batch_max=10, in_flight=1)
    async with running(consumer):
        await started.wait()
        await wait_until(lambda: consumer.held > 10)
        consumer.stop()
        finish.set()
    inbox = Inbox()
    async with running(make_consumer(bus, inbox)):
        await wait_until(lambda: len(done) + len(inbox.seen) == 30)
        await wait_until(lambda: is_empty(bus))

    assert 1 <= len(done) <= 10
    assert not set(done) & set(inbox.seen)


async def test_a_batch_that_outlives_the_drain_time_is_given_back(bus: Bus) -> None:
    started = asyncio.Event()

    async def hang(batch: list[InMessage]) -> Sequence[Verdict]:
        started.set()
        await asyncio.Event().wait()
        return []

    await fill(bus, 5)
    async with running(make_consumer(bus, hang, drain_s=0.1)):
        await started.wait()
    inbox = Inbox()
    async with running(make_consumer(bus, inbox)):
        await wait_until(lambda: len(inbox.seen) == 5)


async def test_a_paused_consumer_starts_nothing_and_leaves_the_rest_in_the_stream(bus: Bus) -> None:
    inbox = Inbox()
    consumer = make_consumer(bus, inbox, batch_max=4, in_flight=1)
    async with running(consumer):
        await fill(bus, 1)
        await wait_until(lambda: len(inbox.seen) == 1)
        consumer.pause()
        await fill(bus, 20, 1)
        await wait_until(lambda: consumer.held > 0)
        info = await bus.js.consumer_info(subjects.STREAM_SYS, consumer.durable)
        assert (info.num_pending or 0) >= 16, "only what was asked for before the pause came"
        assert len(inbox.seen) == 1
        consumer.resume()
        await wait_until(lambda: len(inbox.seen) == 21)


async def test_batches_keep_to_a_limit_that_changes(bus: Bus) -> None:
    inbox, limit = Inbox(), 3
    consumer = make_consumer(bus, inbox, batch_max=100, in_flight=1, batch_limit=lambda: limit)
    await fill(bus, 60)
    async with running(consumer):
        await wait_until(lambda: len(inbox.seen) >= 30)
        assert {len(batch) for batch in inbox.batches} <= {1, 2, 3}
        limit = 50
        await wait_until(lambda: len(inbox.seen) == 60)
    assert max(map(len, inbox.batches)) <= 50


async def test_two_replicas_share_the_work_without_overlap(bus: Bus, clean_nats: str) -> None:
    other = await Bus.open(NatsSettings(urls=(clean_nats,)), "other")
    await fill(bus, 1_000)
    left_inbox, right_inbox = Inbox(), Inbox()
    async with running(
        make_consumer(bus, left_inbox, batch_max=20), make_consumer(other, right_inbox, batch_max=20)
    ):
        await wait_until(lambda: len(left_inbox.seen) + len(right_inbox.seen) >= 1_000)
        await wait_until(lambda: is_empty(bus))

    assert Counter(left_inbox.seen + right_inbox.seen) == Counter(b"%d" % n for n in range(1_000))
    await other.close()


async def test_a_deleted_consumer_is_made_again(bus: Bus) -> None:
    inbox = Inbox()
    async with running(make_consumer(bus, inbox)):
        await fill(bus, 1)
        await wait_until(lambda: inbox.seen)
        await bus.js.delete_consumer(subjects.STREAM_SYS, DURABLE)
        await fill(bus, 1, start=1)
        await wait_until(lambda: b"1" in inbox.seen)


@pytest.mark.parametrize("how", ["stop", "kill"])
async def test_consuming_goes_on_after_nats_restarts(nats_server: NatsServer, how: str) -> None:
    # Acks the killed server had not written yet come again after the ack wait.
    settings = NatsSettings(urls=(nats_server.url,), js_ack_wait_s=1.0)
    bus = await Bus.open(settings, "test")
    await ensure_streams(bus, settings)
    inbox = Inbox()
    async with running(make_consumer(bus, inbox)):
        await fill(bus, 100)
        await wait_until(lambda: len(inbox.seen) == 100)
        getattr(nats_server, how)()
        await wait_until(lambda: not bus.is_connected)
        nats_server.start()
        await bus.wait_connected(10)
        await fill(bus, 100, start=100)
        await wait_until(lambda: len(set(inbox.seen)) == 200)
        await wait_until(lambda: is_empty(bus))
    await bus.close()
