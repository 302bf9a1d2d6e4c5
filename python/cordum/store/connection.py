"""The Redis connection: standalone or cluster, TLS, one round trip per node for any number of commands
(architecture §6).

Replies are raw: bytes, integers, None, lists. A command that Redis refused comes back as an exception in
its place; a lost
connection raises `Unavailable`. Library exceptions are translated here and nowhere else.
"""

import asyncio
from collections.abc import Sequence
from typing import Any, Self

from redis import exceptions
from redis._parsers.hiredis import NOT_ENOUGH_DATA
from redis.asyncio import BlockingConnectionPool
from redis.crc import key_slot

from cordum import _core
from cordum.config.redis import RedisSettings
from cordum.domain.errors import CordumError, Unavailable
from cordum.store.endpoint import Endpoint
from cordum.store.metrics import ROUND_TRIPS
from cordum.store.scripts import Command, source_of

__all__ = ["Command", "RedisClient", "RedisCommandError"]

_SLOTS = 16_384
_REDIRECT_ROUNDS = 5
_TRY_AGAIN_PAUSE_S = 0.05
_CONNECTION_ERRORS = (exceptions.ConnectionError, exceptions.TimeoutError, OSError, TimeoutError)
# Refusals of a node that is starting, failing over or full: the same command may succeed later.
_TRANSIENT = (
    exceptions.ClusterDownError,
    exceptions.ReadOnlyError,
    exceptions.OutOfMemoryError,
    exceptions.TryAgainError,
)
_TRANSIENT_WORDS = ("LOADING", "MASTERDOWN", "CLUSTERDOWN", "OOM", "BUSY", "READONLY", "NOREPLICAS")


class RedisCommandError(CordumError):
    """Redis refused a command; our mistake or a damaged key."""

    default_code = "internal_error"


class _Node:
    """One server and its connections.

    Connections stay with the node between calls: the way through the library's pool costs as much as a short call. It
    opens them and closes them all.
    """

    def __init__(self, endpoint: Endpoint, host: str, port: int, settings: RedisSettings) -> None:
        self.host = host
        self.port = port
        self._timeout_s = settings.read_timeout_s
        self._slots = asyncio.Semaphore(settings.pool_size)
        self._idle: list[Any] = []
        self._pool = BlockingConnectionPool(
            max_connections=settings.pool_size,
            timeout=settings.read_timeout_s,
            **endpoint.connection_arguments(host, port),
        )

    async def run(self, commands: Sequence[Command]) -> list[Any]:
        """Send all commands, then read all replies. Raises a redis or OS error when the connection fails."""
        await self._take_slot()
        try:
            return await self._run(commands)
        finally:
            self._slots.release()

    async def _take_slot(self) -> None:
        if self._slots.locked():
            async with asyncio.timeout(self._timeout_s):
                await self._slots.acquire()
        else:
            await self._slots.acquire()

    async def _run(self, commands: Sequence[Command]) -> list[Any]:
        connection = await self._connection()
        finished = False
        try:
            async with asyncio.timeout(self._timeout_s):
                packed = _core.pack_commands(list(commands))
                await connection.send_packed_command(packed, check_health=False)
                replies = await _read_replies(connection, len(commands))
            finished = True
            ROUND_TRIPS.inc()
            return replies
        finally:
            if finished:
                self._idle.append(connection)
            else:
                await self._give_up(connection)

    async def _connection(self) -> Any:
        while self._idle:
            connection = self._idle.pop()
            if _is_usable(connection):
                return connection
            await self._give_up(connection)
        return await self._pool.get_connection()

    async def _give_up(self, connection: Any) -> None:
        """Close a connection the server closed, or that is half read: it must not serve the next caller."""
        await connection.disconnect(nowait=True)
        await self._pool.release(connection)

    async def close(self) -> None:
        self._idle.clear()
        await self._pool.aclose()


def _is_usable(connection: Any) -> bool:
    """Tell whether an idle connection is open, and nothing came on it that nobody asked for."""
    reader = connection._reader
    return reader is not None and not reader.at_eof() and not reader._buffer


async def _read_replies(connection: Any, count: int) -> list[Any]:
    """Read replies in their order; a refusal is an exception in its place.

    The client's own way to read costs about 3 µs per reply, also for those that have arrived: these are taken from its
    reader at once, and it is asked for the others.
    """
    replies: list[Any] = []
    while len(replies) < count:
        try:
            replies.append(await connection.read_response())
        except exceptions.ResponseError as error:
            replies.append(error)
        # Absent with another parser than hiredis, and after a disconnect.
        reader = getattr(connection._parser, "_reader", None)
        while reader is not None and len(replies) < count:
            reply = reader.gets()
            if reply is NOT_ENOUGH_DATA:
                break
            if isinstance(reply, exceptions.ConnectionError):
                raise reply
            replies.append(reply)
    return replies


class RedisClient:
    """A Redis deployment. `pipeline` is the hot path; `execute` is the same for one command."""

    def __init__(self, settings: RedisSettings) -> None:
        self._settings = settings
        self._endpoint = Endpoint.parse(settings)
        self._nodes: dict[tuple[str, int], _Node] = {}
        self._slots: list[_Node] = []
        self._stale = False
        self.is_cluster = bool(settings.cluster_addresses)

    @classmethod
    async def open(cls, settings: RedisSettings) -> Self:
        """Connect and, for a cluster, learn its topology. Raises Unavailable."""
        client = cls(settings)
        started = False
        try:
            await client._start()
            started = True
        finally:
            if not started:
                await client.close()
        return client

    async def _start(self) -> None:
        if self.is_cluster:
            await self._refresh_slots()
        else:
            self._node(self._endpoint.host, self._endpoint.port)
            await self.ping()

    async def close(self) -> None:
        """Close every connection; safe to call twice."""
        nodes, self._nodes, self._slots = self._nodes, {}, []
        for node in nodes.values():
            await node.close()

    async def ping(self) -> None:
        """Ask every known primary. Raises Unavailable."""
        for node in self._primaries():
            await self._run(node, [("PING",)])

    async def execute(self, *args: Any) -> Any:
        """Run one command. Raises Unavailable or RedisCommandError."""
        reply = (await self.pipeline([args]))[0]
        if isinstance(reply, Exception):
            raise reply
        return reply

    async def execute_on_primaries(self, *args: Any) -> list[Any]:
        """Run one keyless command on every primary; replies in no particular order. Raises Unavailable."""
        return [_raised((await self._run(node, [args]))[0]) for node in self._primaries()]

    async def scan(self, match: str, *, count: int, rounds: int, limit: int) -> list[str]:
        """Return keys that match, of all primaries, for people who look: at most ``limit``, after at most ``rounds``
        steps of about ``count`` keys per node, so that not every key need be seen. Raises Unavailable."""
        found: list[str] = []
        for node in self._primaries():
            cursor = 0
            for _ in range(rounds):
                reply = _raised(
                    (await self._run(node, [("SCAN", cursor, "MATCH", match, "COUNT", count)]))[0]
                )
                cursor = int(reply[0])
                found += [key.decode("utf-8", "replace") for key in reply[1]]
                if cursor == 0 or len(found) >= limit:
                    break
        return found[:limit]

    async def pipeline(self, commands: Sequence[Command]) -> list[Any]:
        """Run commands in one round trip per node; replies in the order of the commands.

        A refused command is an exception (Unavailable or RedisCommandError) in its place. Raises
        Unavailable when no node
        could be reached; in a cluster, commands of a lost node are Unavailable instances while others have
        their replies.
        """
        if not commands:
            return []
        replies = await (self._cluster(commands) if self.is_cluster else self._standalone(commands))
        for index, reply in enumerate(replies):
            if isinstance(reply, Exception):
                replies[index] = _translated(reply)
        return replies

    async def _standalone(self, commands: Sequence[Command]) -> list[Any]:
        node = self._node(self._endpoint.host, self._endpoint.port)
        return await self._run(node, commands)

    async def _run(self, node: _Node, commands: Sequence[Command]) -> list[Any]:
        try:
            replies = await node.run(commands)
            missing = [i for i, reply in enumerate(replies) if isinstance(reply, exceptions.NoScriptError)]
            if missing:
                await self._reload(node, commands, replies, missing)
        except _CONNECTION_ERRORS as error:
            self._stale = True
            reason = str(error) or type(error).__name__
            raise Unavailable(f"redis at `{node.host}:{node.port}` did not answer: {reason}") from error
        return replies

    @staticmethod
    async def _reload(
        node: _Node, commands: Sequence[Command], replies: list[Any], missing: list[int]
    ) -> None:
        """Load the scripts a restarted or new node does not know and repeat only those calls, in one round
        trip."""
        digests = list(dict.fromkeys(commands[i][1] for i in missing))
        sources = [source for source in map(source_of, digests) if source is not None]
        loads: list[Command] = [("SCRIPT", "LOAD", source) for source in sources]
        again = await node.run([*loads, *(commands[i] for i in missing)])
        for index, reply in zip(missing, again[len(loads) :], strict=True):
            replies[index] = reply

    async def _cluster(self, commands: Sequence[Command]) -> list[Any]:
        if self._stale or not self._slots:
            await self._refresh_slots()
        replies: list[Any] = [None] * len(commands)
        groups: dict[_Node, list[int]] = {}
        for index, command in enumerate(commands):
            groups.setdefault(self._slots[_slot(command)], []).append(index)
        await self._run_groups(groups, commands, replies)
        for _ in range(_REDIRECT_ROUNDS):
            redirected = [i for i, reply in enumerate(replies) if _is_redirect(reply)]
            if not redirected:
                break
            await self._follow(redirected, commands, replies)
        if all(isinstance(reply, Unavailable) for reply in replies):
            raise replies[0]
        return replies

    async def _run_groups(
        self, groups: dict[_Node, list[int]], commands: Sequence[Command], replies: list[Any]
    ) -> None:
        async def run_group(node: _Node, indexes: list[int]) -> None:
            try:
                found = await self._run(node, [commands[i] for i in indexes])
            except Unavailable as error:
                found = [error] * len(indexes)
            for index, reply in zip(indexes, found, strict=True):
                replies[index] = reply

        if len(groups) == 1:
            await run_group(*next(iter(groups.items())))
            return
        async with asyncio.TaskGroup() as tasks:
            for node, indexes in groups.items():
                tasks.create_task(run_group(node, indexes))

    async def _follow(self, indexes: list[int], commands: Sequence[Command], replies: list[Any]) -> None:
        """Send again what was answered by MOVED, ASK or TRYAGAIN, and nothing else."""
        groups: dict[_Node, list[int]] = {}
        for index in indexes:
            reply = replies[index]
            if isinstance(reply, exceptions.MovedError):
                self._stale = True
                self._slots[reply.slot_id] = self._node(reply.host or self._endpoint.host, reply.port)
                groups.setdefault(self._slots[reply.slot_id], []).append(index)
            elif isinstance(reply, exceptions.AskError):
                node = self._node(reply.host or self._endpoint.host, reply.port)
                replies[index] = (await self._run_or_error(node, [("ASKING",), commands[index]]))[-1]
            else:
                await asyncio.sleep(_TRY_AGAIN_PAUSE_S)
                groups.setdefault(self._slots[_slot(commands[index])], []).append(index)
        if groups:
            await self._run_groups(groups, commands, replies)

    async def _run_or_error(self, node: _Node, commands: Sequence[Command]) -> list[Any]:
        try:
            return await self._run(node, commands)
        except Unavailable as error:
            return [error]

    def _node(self, host: str, port: int) -> _Node:
        node = self._nodes.get((host, port))
        if node is None:
            node = self._nodes[(host, port)] = _Node(self._endpoint, host, port, self._settings)
        return node

    def _primaries(self) -> list[_Node]:
        return list(dict.fromkeys(self._slots)) if self.is_cluster else list(self._nodes.values())

    async def _refresh_slots(self) -> None:
        """Learn which node owns which slot from the first node that answers. Raises Unavailable."""
        failure = Unavailable("no redis cluster node answered")
        for host, port in [*self._nodes, *self._endpoint.seeds]:
            node = self._node(host, port)
            try:
                ranges = _raised((await self._run(node, [("CLUSTER", "SLOTS")]))[0])
            except CordumError as error:
                failure = error if isinstance(error, Unavailable) else Unavailable(error.message)
                continue
            if self._adopt(ranges, host):
                return
            failure = Unavailable("redis cluster slots are not all served")
        raise failure

    def _adopt(self, ranges: Any, asked_host: str) -> bool:
        slots: list[_Node | None] = [None] * _SLOTS
        for first, last, primary, *_ in ranges:
            # An empty host means "the one you asked" (cluster-preferred-endpoint-type unknown-endpoint).
            node = self._node((primary[0] or b"").decode() or asked_host, primary[1])
            slots[first : last + 1] = [node] * (last + 1 - first)
        complete = [node for node in slots if node is not None]
        if len(complete) != _SLOTS:
            return False
        self._slots, self._stale = complete, False
        return True


def _slot(command: Command) -> int:
    key = command[3] if command[0] in {"EVALSHA", "EVAL"} else command[1] if len(command) > 1 else b""
    return key_slot(key if isinstance(key, bytes) else str(key).encode())


def _is_redirect(reply: Any) -> bool:
    return isinstance(reply, exceptions.AskError | exceptions.TryAgainError)


def _translated(error: Exception) -> CordumError:
    if isinstance(error, CordumError):
        return error
    text = str(error)
    if isinstance(error, _TRANSIENT) or text.startswith(_TRANSIENT_WORDS):
        return Unavailable(f"redis refused a command: {text}")
    return RedisCommandError(f"redis refused a command: {text}")


def _raised(reply: Any) -> Any:
    if isinstance(reply, Exception):
        raise _translated(reply)
    return reply
