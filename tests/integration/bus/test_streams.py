"""Connection, streams, look-up and core subscriptions against a real server."""

import asyncio

import pytest
from nats.aio.msg import Msg
from nats.js import api

from cordum.bus import (
    Bus,
    CoreSubscription,
    OutMessage,
    Publisher,
    ensure_streams,
    find_message_ids,
    keep_streams,
)
from cordum.config.nats import NatsSettings
from cordum.domain.errors import Unavailable
from cordum.protocol import subjects
from cordum.runtime.clock import now_us
from tests.support.nats_server import NatsServer
from tests.support.processes import free_port, wait_until


async def open_bus(url: str, **changes: object) -> tuple[Bus, NatsSettings]:
    settings = NatsSettings(urls=(url,), **changes)  # type: ignore[arg-type]
    return await Bus.open(settings, "test"), settings


async def test_both_streams_have_the_documented_shape(bus: Bus) -> None:
    for name, wanted in (
        (subjects.STREAM_SYS, subjects.STREAM_SYS_SUBJECTS),
        (subjects.STREAM_JOBS, subjects.STREAM_JOBS_SUBJECTS),
    ):
        config = (await bus.js.stream_info(name)).config
        assert set(config.subjects or ()) == set(wanted)
        assert (config.max_age, config.max_bytes, config.duplicate_window) == (7 * 86_400, -1, 120)
        assert (config.storage, config.retention) == (api.StorageType.FILE, api.RetentionPolicy.LIMITS)
        assert (config.allow_atomic, config.allow_direct) == (True, True)
    assert bus.atomic_streams == {subjects.STREAM_SYS, subjects.STREAM_JOBS}


async def test_a_wide_stream_is_narrowed_and_keeps_its_messages(clean_nats: str) -> None:
    bus, settings = await open_bus(clean_nats, js_max_age_s=3_600.0, js_max_bytes=1_000_000)
    await bus.js.add_stream(name=subjects.STREAM_SYS, subjects=["sys.>"])
    await bus.js.publish(subjects.SUBMIT, b"kept")

    await ensure_streams(bus, settings)

    info = await bus.js.stream_info(subjects.STREAM_SYS)
    assert set(info.config.subjects or ()) == set(subjects.STREAM_SYS_SUBJECTS)
    assert (info.config.max_age, info.config.max_bytes) == (3_600, 1_000_000)
    assert info.config.allow_atomic
    assert info.state.messages == 1
    await bus.close()


async def test_services_that_start_together_agree_on_the_streams(clean_nats: str) -> None:
    opened = [await open_bus(clean_nats) for _ in range(4)]
    async with asyncio.TaskGroup() as group:
        for bus, settings in opened:
            group.create_task(ensure_streams(bus, settings))

    names = {info.config.name for info in await opened[0][0].js.streams_info()}
    assert names == {subjects.STREAM_SYS, subjects.STREAM_JOBS}
    for bus, _ in opened:
        await bus.close()


async def test_a_trust_handshake_subject_is_in_no_stream(bus: Bus) -> None:
    async def answer(message: Msg) -> None:
        await message.respond(b"ours")

    await bus.client.subscribe("sys.worker.handshake.challenge", cb=answer)

    assert (await bus.request("sys.worker.handshake.challenge", b"hello")).data == b"ours"


async def test_streams_exist_again_after_a_restart_that_lost_them(nats_server: NatsServer) -> None:
    bus, settings = await open_bus(nats_server.url)
    await keep_streams(bus, settings)
    await bus.js.delete_stream(subjects.STREAM_SYS)
    nats_server.stop()
    nats_server.start()

    async def is_back() -> bool:
        return (
            bus.is_connected
            and (await Publisher(bus).publish_burst([OutMessage(subjects.SUBMIT, b"x")]))[0].ok
        )

    await wait_until(is_back)
    await bus.close()


async def test_opening_without_a_server_fails_within_its_deadline() -> None:
    with pytest.raises(Unavailable):
        await Bus.open(NatsSettings(urls=(f"nats://127.0.0.1:{free_port()}",)), "test", deadline_s=0.5)


async def test_a_bus_survives_a_minute_long_outage_in_principle(nats_server: NatsServer) -> None:
    bus, _ = await open_bus(nats_server.url)
    calls: list[bool] = []

    async def broken() -> None:
        raise RuntimeError("callback broke")

    async def works() -> None:
        calls.append(bus.is_connected)

    bus.on_reconnect(broken)
    bus.on_reconnect(works)
    nats_server.kill()
    await wait_until(lambda: not bus.is_connected)
    with pytest.raises(Unavailable):
        await bus.ping()
    nats_server.start()
    await wait_until(lambda: calls == [True])
    await bus.ping()
    await bus.close()
    await bus.close()


async def test_wrong_credentials_are_refused_and_right_ones_accepted(tmp_path: object) -> None:
    server = NatsServer(
        free_port(), tmp_path / "nats", extra="authorization { user: cordum, password: s3cret }"
    )  # type: ignore[operator]
    server.start()
    try:
        with pytest.raises(Unavailable):
            await open_wait(server.url, username="cordum", password="wrong")
        bus, _ = await open_bus(server.url, username="cordum", password="s3cret")
        await bus.ping()
        await bus.close()
    finally:
        server.stop()


async def open_wait(url: str, **changes: object) -> Bus:
    return await Bus.open(NatsSettings(urls=(url,), **changes), "test", deadline_s=1.0)  # type: ignore[arg-type]


async def test_look_up_finds_exactly_the_dispatches_of_one_subject_since_a_time(bus: Bus) -> None:
    publisher = Publisher(bus)
    await publisher.publish(OutMessage("worker.w1.jobs", b"old", "dispatch:old"))
    await wait_until(lambda: True)
    since = now_us()
    burst = [OutMessage("worker.w1.jobs", b"x" * 1_000, f"dispatch:{n}") for n in range(2_500)]
    await publisher.publish_burst([*burst, OutMessage("worker.w2.jobs", b"x", "dispatch:other")])
    wanted = {"dispatch:0", "dispatch:2499", "dispatch:other", "dispatch:never", "dispatch:old"}

    found = await find_message_ids(bus, "worker.w1.jobs", since, wanted)

    assert found == {"dispatch:0", "dispatch:2499"}
    assert await bus.js.consumers_info(subjects.STREAM_JOBS) == []


async def test_look_up_without_matching_messages_answers_with_nothing(bus: Bus) -> None:
    assert await find_message_ids(bus, "job.none", now_us(), {"dispatch:1"}) == set()


async def test_look_up_never_says_absent_when_it_cannot_read(bus: Bus) -> None:
    await bus.js.delete_stream(subjects.STREAM_JOBS)
    with pytest.raises(Unavailable):
        await find_message_ids(bus, "job.demo", now_us(), {"dispatch:1"})


async def test_core_messages_arrive_in_batches_and_a_broken_handler_does_not_stop_them(bus: Bus) -> None:
    received: list[bytes] = []
    batches = 0

    async def hear(batch: list[Msg]) -> None:
        nonlocal batches
        batches += 1
        received.extend(message.data for message in batch)
        if batches == 1:
            raise RuntimeError("handler broke")

    subscription = CoreSubscription(bus, subjects.HEARTBEAT, hear)
    async with asyncio.TaskGroup() as group:
        group.create_task(subscription.run())
        await subscription.ready.wait()
        for n in range(500):
            await bus.publish_core(subjects.HEARTBEAT, b"%d" % n)
        await wait_until(lambda: len(received) == 500)
        subscription.stop()

    assert received == [b"%d" % n for n in range(500)]
    assert batches < 500


async def test_a_slow_core_handler_loses_the_newest_messages_not_memory(bus: Bus) -> None:
    go = asyncio.Event()
    received: list[bytes] = []

    async def slow(batch: list[Msg]) -> None:
        await go.wait()
        received.extend(message.data for message in batch)

    subscription = CoreSubscription(bus, subjects.HEARTBEAT, slow, batch_max=1, max_pending=10)
    async with asyncio.TaskGroup() as group:
        group.create_task(subscription.run())
        await subscription.ready.wait()
        for n in range(100):
            await bus.publish_core(subjects.HEARTBEAT, b"%d" % n)
        await bus.ping()
        await bus.ping()
        go.set()
        subscription.stop()

    assert 1 <= len(received) <= 12
    assert received[0] == b"0"
    assert received == sorted(received, key=int)


async def test_core_subscriptions_hear_again_after_a_restart(nats_server: NatsServer) -> None:
    bus, _ = await open_bus(nats_server.url)
    received: list[bytes] = []

    async def hear(batch: list[Msg]) -> None:
        received.extend(message.data for message in batch)

    subscription = CoreSubscription(bus, subjects.CANCEL, hear, queue="cordum-scheduler")
    async with asyncio.TaskGroup() as group:
        group.create_task(subscription.run())
        await subscription.ready.wait()
        nats_server.stop()
        await wait_until(lambda: not bus.is_connected)
        nats_server.start()
        await bus.wait_connected(10)
        await bus.publish_core(subjects.CANCEL, b"stop it")
        await wait_until(lambda: received == [b"stop it"])
        subscription.stop()
    await bus.close()
