"""Publishing with confirmation against a real server."""

import pytest

from cordum.bus import Bus, OutMessage, Publisher, ensure_streams
from cordum.config.nats import NatsSettings
from cordum.domain.errors import TooLarge, Unavailable
from cordum.protocol import subjects
from tests.support.nats_server import NatsServer
from tests.support.processes import wait_until


def submits(count: int, prefix: str = "m") -> list[OutMessage]:
    return [OutMessage(subjects.SUBMIT, f"{prefix}{n}".encode(), f"jobreq:{prefix}{n}") for n in range(count)]


async def stored(bus: Bus, stream: str = subjects.STREAM_SYS) -> int:
    return int((await bus.js.stream_info(stream)).state.messages)


@pytest.mark.parametrize("atomic", [False, True])
@pytest.mark.parametrize("count", [1, 2, 300, 2_500])
async def test_every_message_of_a_burst_is_stored_once_and_confirmed_in_order(
    bus: Bus, count: int, atomic: bool
) -> None:
    outcomes = await Publisher(bus).publish_burst(submits(count), atomic=atomic)

    assert all(outcome.ok and not outcome.duplicate for outcome in outcomes)
    first = outcomes[0].seq
    assert [outcome.seq for outcome in outcomes] == list(range(first, first + count))
    assert await stored(bus) == count
    message = await bus.js.get_msg(subjects.STREAM_SYS, seq=first + count - 1)
    assert message.data == f"m{count - 1}".encode()
    assert (message.headers or {})["Nats-Msg-Id"] == f"jobreq:m{count - 1}"


async def test_a_message_published_twice_is_stored_once_and_reported_as_duplicate(bus: Bus) -> None:
    publisher = Publisher(bus)
    first = await publisher.publish(submits(1)[0])
    second = await publisher.publish(submits(1)[0])

    assert (first.duplicate, second.duplicate) == (False, True)
    assert second.seq == first.seq
    assert await stored(bus) == 1


async def test_an_atomic_batch_holding_a_stored_id_still_stores_its_other_messages(bus: Bus) -> None:
    publisher = Publisher(bus)
    await publisher.publish(submits(1)[0])

    outcomes = await publisher.publish_burst(submits(5), atomic=True)

    assert [outcome.ok for outcome in outcomes] == [True] * 5
    assert [outcome.duplicate for outcome in outcomes] == [True, False, False, False, False]
    assert await stored(bus) == 5


async def test_an_atomic_batch_with_one_id_twice_stores_it_once(bus: Bus) -> None:
    messages = [*submits(3), *submits(1)]

    outcomes = await Publisher(bus).publish_burst(messages, atomic=True)

    assert [outcome.duplicate for outcome in outcomes] == [False, False, False, True]
    assert await stored(bus) == 3


async def test_dispatches_are_never_sent_atomically(bus: Bus) -> None:
    received: list[bytes] = []

    async def worker(message: object) -> None:
        received.append(message.data)  # type: ignore[attr-defined]

    await bus.client.subscribe("job.demo", cb=worker)
    publisher = Publisher(bus)
    dispatches = [OutMessage("job.demo", b"%d" % n, f"dispatch:{n}") for n in range(10)]

    outcomes = await publisher.publish_burst([*submits(1), *dispatches], atomic=True)

    assert all(outcome.ok for outcome in outcomes)
    await wait_until(lambda: len(received) >= 10)
    assert sorted(received) == sorted(b"%d" % n for n in range(10))
    assert "Nats-Batch-Id" not in (
        (await bus.js.get_msg(subjects.STREAM_JOBS, seq=outcomes[-1].seq)).headers or {}
    )


async def test_a_payload_over_the_broker_limit_fails_alone_and_for_good(bus: Bus) -> None:
    big = OutMessage(subjects.SUBMIT, b"x" * (bus.max_payload + 1), "big")
    publisher = Publisher(bus)

    outcomes = await publisher.publish_burst([*submits(2), big], atomic=True)

    assert [outcome.ok for outcome in outcomes] == [True, True, False]
    assert (outcomes[2].kind, outcomes[2].permanent) == ("too_large", True)
    with pytest.raises(TooLarge):
        await publisher.publish(big)
    assert bus.is_connected


async def test_a_payload_that_fits_only_without_its_headers_does_not_break_the_connection(bus: Bus) -> None:
    outcome = (
        await Publisher(bus).publish_burst(
            [OutMessage(subjects.SUBMIT, b"x" * (bus.max_payload - 10), "edge")]
        )
    )[0]

    assert outcome.kind == "too_large"
    await bus.ping()


async def test_a_subject_without_stream_is_reported_as_permanent(bus: Bus) -> None:
    outcomes = await Publisher(bus).publish_burst([OutMessage("nobody.listens", b"x"), *submits(1)])

    assert (outcomes[0].kind, outcomes[0].permanent) == ("no_stream", True)
    assert outcomes[1].ok


async def test_a_deleted_stream_is_permanent_until_it_is_ensured_again(bus: Bus) -> None:
    await bus.js.delete_stream(subjects.STREAM_SYS)
    publisher = Publisher(bus)
    missing = (await publisher.publish_burst(submits(1)))[0]
    await ensure_streams(bus, bus.settings)
    found = (await publisher.publish_burst(submits(1)))[0]

    assert (missing.kind, missing.permanent) == ("no_stream", True)
    assert found.ok


async def test_publishing_while_nats_is_down_fails_within_the_deadline_and_stores_nothing_later(
    nats_server: NatsServer,
) -> None:
    settings = NatsSettings(urls=(nats_server.url,))
    bus = await Bus.open(settings, "test")
    await ensure_streams(bus, settings)
    publisher = Publisher(bus, timeout_s=0.5)
    nats_server.stop()
    await wait_until(lambda: not bus.is_connected)

    outcomes = await publisher.publish_burst(submits(3), atomic=True)
    with pytest.raises(Unavailable):
        await publisher.publish(submits(1)[0])
    with pytest.raises(Unavailable):
        await bus.publish_core("sys.heartbeat", b"x")
    nats_server.start()
    await bus.wait_connected(10)

    assert {outcome.kind for outcome in outcomes} == {"connection"}
    assert (await publisher.publish(submits(1, "later")[0])).ok
    assert await stored(bus) == 1
    await bus.close()


async def test_a_burst_cut_by_a_server_restart_can_be_repeated_without_storing_anything_twice(
    nats_server: NatsServer,
) -> None:
    settings = NatsSettings(urls=(nats_server.url,))
    bus = await Bus.open(settings, "test")
    await ensure_streams(bus, settings)
    publisher = Publisher(bus, timeout_s=1.0)
    messages = submits(1_000)
    await publisher.publish_burst(messages[:500])
    nats_server.kill()
    failed = await publisher.publish_burst(messages)
    nats_server.start()
    await bus.wait_connected(10)
    again = await publisher.publish_burst(messages)

    assert not any(outcome.ok for outcome in failed)
    assert all(outcome.ok for outcome in again)
    assert await stored(bus) == 1_000
    await bus.close()


async def test_without_jetstream_messages_still_reach_core_subscribers(nats_url: str) -> None:
    bus = await Bus.open(NatsSettings(urls=(nats_url,), use_jetstream=False), "test")
    received: list[bytes] = []

    async def hear(message: object) -> None:
        received.append(message.data)  # type: ignore[attr-defined]

    await bus.client.subscribe("core.only", cb=hear)

    outcomes = await Publisher(bus).publish_burst(
        [OutMessage("core.only", b"a"), OutMessage("core.only", b"b")]
    )

    assert all(outcome.ok for outcome in outcomes)
    await wait_until(lambda: received == [b"a", b"b"])
    await bus.close()
