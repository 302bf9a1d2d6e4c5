"""The connection: order of replies, refusals in place, script reload, moved slots, lost servers."""

import asyncio
from pathlib import Path

import pytest

from cordum.config.redis import RedisSettings
from cordum.domain.errors import Unavailable
from cordum.store.connection import RedisClient, RedisCommandError
from cordum.store.scripts import script
from tests.support.processes import wait_until
from tests.support.redis_servers import RedisServer


async def test_replies_come_in_the_order_of_the_commands(redis_client: RedisClient) -> None:
    names = [f"k{n}" for n in range(300)]
    assert await redis_client.pipeline([("SET", name, name) for name in names]) == [b"OK"] * 300
    assert await redis_client.pipeline([("GET", name) for name in names]) == [n.encode() for n in names]


async def test_a_refused_command_does_not_disturb_its_neighbours(redis_client: RedisClient) -> None:
    replies = await redis_client.pipeline([("SET", "a", 1), ("LPUSH", "a", 1), ("GET", "a")])
    assert replies[0] == b"OK"
    assert isinstance(replies[1], RedisCommandError)
    assert replies[2] == b"1"
    with pytest.raises(RedisCommandError, match="WRONGTYPE"):
        await redis_client.execute("LPUSH", "a", 1)


async def test_a_script_the_server_forgot_is_loaded_and_only_its_calls_repeated(
    redis_client: RedisClient,
) -> None:
    renew, claim = script("lock_renew"), script("idem_claim")
    await redis_client.execute_on_primaries("SCRIPT", "FLUSH")
    commands = [("INCR", "count"), *(claim.command((f"key{n}",), (f"id{n}", 60)) for n in range(20))]
    replies = await redis_client.pipeline([*commands, renew.command(("lock",), ("t", 1000))])
    assert replies == [1, *(f"id{n}".encode() for n in range(20)), 0]
    assert await redis_client.execute("GET", "count") == b"1"


async def test_a_moved_slot_is_followed(redis_cluster_nodes: list[RedisServer]) -> None:
    addresses = tuple(f"127.0.0.1:{node.port}" for node in redis_cluster_nodes)
    client = await RedisClient.open(RedisSettings(cluster_addresses=addresses))
    try:
        # What a client knows just after slots have moved: everything belongs to the first server.
        client._slots = [client._slots[0]] * len(client._slots)
        names = [f"moved{n}" for n in range(60)]
        assert await client.pipeline([("SET", name, 1, "EX", 60) for name in names]) == [b"OK"] * 60
        assert await client.pipeline([("GET", name) for name in names]) == [b"1"] * 60
        assert len(set(client._slots)) == 3
    finally:
        await client.close()


async def test_a_slot_in_migration_is_asked_at_its_new_owner(redis_cluster_nodes: list[RedisServer]) -> None:
    addresses = tuple(f"127.0.0.1:{node.port}" for node in redis_cluster_nodes)
    client = await RedisClient.open(RedisSettings(cluster_addresses=addresses))
    admins = [await RedisClient.open(RedisSettings(url=node.url)) for node in redis_cluster_nodes]
    try:
        slot = await admins[0].execute("CLUSTER", "KEYSLOT", "{mig}x")
        ids = [(await admin.execute("CLUSTER", "MYID")).decode() for admin in admins]
        port = client._slots[slot].port
        owner = next(i for i, node in enumerate(redis_cluster_nodes) if node.port == port)
        target = (owner + 1) % 3
        await admins[target].execute("CLUSTER", "SETSLOT", slot, "IMPORTING", ids[owner])
        await admins[owner].execute("CLUSTER", "SETSLOT", slot, "MIGRATING", ids[target])
        try:
            assert await client.pipeline([("SET", "{mig}x", "v"), ("GET", "{mig}x")]) == [b"OK", b"v"]
            assert await admins[owner].pipeline([("CLUSTER", "COUNTKEYSINSLOT", slot)]) == [0]
        finally:
            await client.execute("DEL", "{mig}x")
            for admin in (admins[target], admins[owner]):
                await admin.execute("CLUSTER", "SETSLOT", slot, "STABLE")
    finally:
        for each in (client, *admins):
            await each.close()


async def test_a_server_that_is_gone_is_unavailable_and_used_again_when_back(tmp_path: Path) -> None:
    server = RedisServer(tmp_path).start()
    client = await RedisClient.open(RedisSettings(url=server.url, read_timeout_s=1.0))
    try:
        server.kill()
        with pytest.raises(Unavailable):
            await client.pipeline([("PING",)])
        server.start()
        assert await client.pipeline([("PING",)]) == [b"PONG"]
    finally:
        await client.close()
        server.stop()


async def test_connections_are_used_again_and_no_more_than_allowed(tmp_path: Path) -> None:
    server = RedisServer(tmp_path).start()
    client = await RedisClient.open(RedisSettings(url=server.url, pool_size=2))
    try:
        ids = await asyncio.gather(*(client.execute("CLIENT", "ID") for _ in range(20)))
        assert len(set(ids)) <= 2
        assert await client.execute("CLIENT", "ID") in ids
        # One that is busy does not answer another caller, and one that was given up makes room.
        async with asyncio.TaskGroup() as group:
            blocked = [group.create_task(client.execute("BLPOP", "never", 5)) for _ in range(2)]
            await wait_until(lambda: len(client._primaries()[0]._idle) == 0)
            for task in blocked:
                task.cancel()
        fresh = await client.execute("CLIENT", "ID")
        assert fresh not in ids
    finally:
        await client.close()
        server.stop()


async def test_a_connection_the_server_closed_is_not_used_again(tmp_path: Path) -> None:
    server = RedisServer(tmp_path).start()
    client = await RedisClient.open(RedisSettings(url=server.url))
    admin = await RedisClient.open(RedisSettings(url=server.url))
    try:
        before = await client.execute("CLIENT", "ID")
        (idle,) = client._primaries()[0]._idle
        assert await admin.execute("CLIENT", "KILL", "ID", before) == 1
        await wait_until(lambda: idle._reader.at_eof())
        assert await client.execute("CLIENT", "ID") > before
    finally:
        for each in (client, admin):
            await each.close()
        server.stop()


async def test_opening_without_a_server_is_unavailable(tmp_path: Path) -> None:
    port = RedisServer(tmp_path).port
    with pytest.raises(Unavailable, match="did not answer"):
        await RedisClient.open(RedisSettings(url=f"redis://127.0.0.1:{port}"))
    with pytest.raises(Unavailable):
        await RedisClient.open(RedisSettings(cluster_addresses=(f"127.0.0.1:{port}",)))
