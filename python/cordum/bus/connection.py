"""One NATS connection of a service: always reconnects, never buffers without bound (protocol spec §6).

While NATS is away nothing is queued for it: publishes fail within their deadline with ``Unavailable``. Only
bytes that were already handed to the socket layer when the connection broke may still go out, and they do so
before the reconnect callbacks run.
"""

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

import nats.errors
import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.js import JetStreamContext

from cordum.bus.parser import BatchParser, Take
from cordum.bus.tls import make_tls_context
from cordum.config.nats import NatsSettings
from cordum.domain.errors import ConfigError, Unavailable

__all__ = ["Bus", "ReconnectCallback", "Seal"]

ReconnectCallback = Callable[[], Awaitable[None]]
Seal = Callable[[Sequence[bytes]], list[bytes]]
"""Returns packets as they go out; may run in any thread."""

RECONNECT_WAIT_S: Final = 2
CONNECT_TIMEOUT_S: Final = 2
PENDING_BYTES: Final = 4 * 1024 * 1024
CALLBACK_LIMIT_S: Final = 15.0

_log = structlog.get_logger("cordum.bus")


class Bus:
    """A connection with its JetStream context. Make one with ``open``; one per process is enough."""

    def __init__(self, settings: NatsSettings) -> None:
        self.settings = settings
        self.client = Client()
        self._parser = BatchParser(self.client)
        self.client._ps = self._parser
        self.js: JetStreamContext = self.client.jetstream(timeout=5)
        self.jetstream = settings.use_jetstream
        """Whether JetStream answers; False means core NATS only, at most once."""
        self.atomic_streams: frozenset[str] = frozenset()
        """Streams that accept atomic batches; set by ``ensure_streams``."""
        self.seal: Seal | None = None
        """What every packet published here gets; None: nothing."""
        self._connected = asyncio.Event()
        self._callbacks: list[ReconnectCallback] = []

    @classmethod
    async def open(
        cls,
        settings: NatsSettings,
        name: str = "cordum-bus",
        *,
        deadline_s: float = 10.0,
        reconnect_wait_s: float = RECONNECT_WAIT_S,
    ) -> "Bus":
        """Connect within ``deadline_s`` seconds.

        Raises Unavailable when no server answers or, in production, when JetStream does not; ConfigError for
        unusable TLS or credentials.
        """
        bus = cls(settings)
        options = {**_options(settings, name), "reconnect_time_wait": reconnect_wait_s}
        if settings.production and not settings.uses_tls:
            _log.warning("nats connection is not encrypted", reason="CORDUM_NATS_ALLOW_PLAINTEXT")
        if settings.production and not {"user", "token", "nkeys_seed_str"} & options.keys():
            _log.warning("nats connection has no authentication")
        try:
            async with asyncio.timeout(deadline_s):
                await bus.client.connect(
                    servers=list(settings.urls),
                    error_cb=bus._on_error,
                    disconnected_cb=bus._on_disconnected,
                    reconnected_cb=bus._on_reconnected,
                    **options,
                )
        except (TimeoutError, OSError, nats.errors.Error) as error:
            await bus.client.close()
            raise Unavailable(f"nats does not answer: {_text(bus.client.last_error or error)}") from error
        bus._connected.set()
        await bus._probe_jetstream()
        return bus

    @property
    def is_connected(self) -> bool:
        """Tell whether the connection is up right now."""
        return bool(self.client.is_connected)

    @property
    def server_version(self) -> tuple[int, int]:
        """Return (major, minor) of the connected server."""
        version = self.client.connected_server_version
        return int(version.major), int(version.minor)

    @property
    def max_payload(self) -> int:
        """Return the largest message the broker takes, headers included, in bytes."""
        return int(self.client.max_payload)

    def on_reconnect(self, callback: ReconnectCallback) -> None:
        """Run ``callback`` after every reconnect, in order of registration; its failure is logged."""
        self._callbacks.append(callback)

    def remove_on_reconnect(self, callback: ReconnectCallback) -> None:
        """Forget a callback; unknown ones are ignored."""
        if callback in self._callbacks:
            self._callbacks.remove(callback)

    async def wait_connected(self, deadline_s: float) -> None:
        """Wait until the connection is up; raise Unavailable after ``deadline_s`` seconds."""
        if self.is_connected:
            return
        try:
            async with asyncio.timeout(deadline_s):
                await self._connected.wait()
        except TimeoutError as error:
            raise Unavailable("nats is not connected") from error

    async def ping(self, timeout_s: float = 2.0) -> None:
        """Make a round trip to the server; raise Unavailable when it does not answer in time."""
        if not self.is_connected:
            raise Unavailable("nats is not connected")
        try:
            async with asyncio.timeout(timeout_s):
                await self.client.flush(timeout=max(1, int(timeout_s + 1)))
        except (TimeoutError, OSError, nats.errors.Error) as error:
            raise Unavailable(f"nats does not answer: {_text(error)}") from error

    async def subscribe_inbox(self, subject: str, take: Take) -> Subscription:
        """Have ``take`` hear every message of an inbox nobody knows yet; `forget_inbox` ends that.

        It takes the way around the client's queue and task, which cost more than the message: what is not asked for
        is not bounded here.
        """
        subscription = await self.client.subscribe(subject, cb=_unasked)
        self._parser.direct[subscription._id] = take
        return subscription

    def forget_inbox(self, subscription: Subscription) -> None:
        """Hear no more of a subscription that has ended."""
        self._parser.direct.pop(subscription._id, None)

    async def publish_core(
        self, subject: str, payload: bytes, *, reply: str = "", headers: dict[str, str] | None = None
    ) -> None:
        """Publish at most once, without confirmation; raise Unavailable when not connected."""
        if not self.is_connected:
            raise Unavailable("nats is not connected")
        if self.seal is not None:
            (payload,) = self.seal([payload])
        try:
            await self.client.publish(subject, payload, reply=reply, headers=headers)
        except (OSError, nats.errors.Error) as error:
            raise Unavailable(f"nats refused the message: {_text(error)}") from error

    async def request(self, subject: str, payload: bytes, timeout_s: float = 5.0) -> Msg:
        """Send a request and return the reply; raise Unavailable when nobody answers in time."""
        await self.wait_connected(timeout_s)
        try:
            return await self.client.request(subject, payload, timeout=timeout_s)
        except (TimeoutError, OSError, nats.errors.Error) as error:
            raise Unavailable(f"nats request to `{subject}` failed: {_text(error)}") from error

    async def close(self, drain_s: float = 5.0) -> None:
        """Send what is pending and disconnect; safe to call twice and while NATS is away."""
        if self.client.is_closed:
            return
        try:
            async with asyncio.timeout(drain_s):
                if self.is_connected:
                    await self.client.drain()
        except (TimeoutError, OSError, nats.errors.Error) as error:
            _log.warning("nats drain failed", error=_text(error))
        await self.client.close()
        self._connected.clear()

    async def _probe_jetstream(self) -> None:
        if not self.jetstream:
            return
        try:
            await self.js.account_info()
        except (TimeoutError, OSError, nats.errors.Error) as error:
            if self.settings.production:
                await self.client.close()
                raise Unavailable(f"nats jetstream does not answer: {_text(error)}") from error
            _log.error("nats jetstream does not answer, running at most once", error=_text(error))
            self.jetstream = False

    async def _on_error(self, error: Exception) -> None:
        _log.warning("nats error", error=_text(error))

    async def _on_disconnected(self) -> None:
        self._connected.clear()
        if not self.client.is_closed:
            _log.warning("nats disconnected")

    async def _on_reconnected(self) -> None:
        _log.info("nats connected again", server_version=str(self.client.connected_server_version))
        self._connected.set()
        for callback in tuple(self._callbacks):
            try:
                async with asyncio.timeout(CALLBACK_LIMIT_S):
                    await callback()
            except Exception as error:  # one subscriber's failure must not stop the client's reconnect
                _log.error("reconnect callback failed", error=_text(error))


async def _unasked(message: Msg) -> None:
    _log.warning("a message nobody asked for", subject=message.subject)


def _options(settings: NatsSettings, name: str) -> dict[str, Any]:
    options: dict[str, Any] = {
        "name": name,
        "max_reconnect_attempts": -1,
        "connect_timeout": CONNECT_TIMEOUT_S,
        "ping_interval": settings.ping_interval_s,
        "max_outstanding_pings": 2,
        "pending_size": PENDING_BYTES,
        "flush_timeout": 5.0,
        "drain_timeout": 5,
        **_credentials(settings),
    }
    if settings.uses_tls:
        context: ssl.SSLContext = make_tls_context(settings)
        options["tls"] = context
        if settings.tls_server_name:
            options["tls_hostname"] = settings.tls_server_name
    return options


def _credentials(settings: NatsSettings) -> dict[str, str]:
    """Return the first configured credential: user and password, token, NKey seed."""
    if settings.username and settings.password is not None:
        return {"user": settings.username, "password": settings.password.get_secret_value()}
    if settings.token is not None:
        return {"token": settings.token.get_secret_value()}
    if settings.nkey is not None:
        return _nkey(settings.nkey.get_secret_value())
    return {}


def _nkey(seed: str) -> dict[str, str]:
    try:
        import nkeys
    except ImportError as error:
        raise ConfigError(
            "NATS_NKEY: expected the package `nkeys`", hint="pip install 'nats-py[nkeys]'"
        ) from error
    try:
        nkeys.from_seed(bytearray(seed.strip().encode())).wipe()
    except (nkeys.NkeysError, ValueError) as error:
        _log.warning("NATS_NKEY is not a valid seed and is not used", error=type(error).__name__)
        return {}
    return {"nkeys_seed_str": seed.strip()}


def _text(error: BaseException) -> str:
    return str(error) or type(error).__name__
