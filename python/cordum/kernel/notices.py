"""`sys.config.changed` notices: a policy write is looked at now, not at the next poll (policy spec §10)."""

import asyncio

from google.protobuf.message import DecodeError
from nats.aio.msg import Msg

from cordum.bus import Bus, CoreSubscription
from cordum.config.nats import NatsSettings
from cordum.domain.errors import Unavailable
from cordum.protocol import subjects
from cordum.protocol.cap import BusPacket
from cordum.runtime.backoff import Backoff
from cordum.runtime.logs import get_logger

__all__ = ["PolicyNotices"]

_log = get_logger()


class PolicyNotices:
    """Sets ``changed`` when somebody announces a change of the policy document. Best effort: polling is the net."""

    def __init__(self, settings: NatsSettings, scope: str, scope_id: str) -> None:
        self.changed = asyncio.Event()
        self._settings = settings
        self._document = (scope, scope_id)

    async def run(self) -> None:
        """Listen for ever; connects when NATS is there, however late."""
        backoff = Backoff(1.0, 30.0)
        reported = False
        while True:
            try:
                bus = await Bus.open(self._settings)
                break
            except Unavailable as error:
                if not reported:
                    _log.warning("no change notices, the policy is polled", reason=error.message)
                    reported = True
                await asyncio.sleep(backoff.next_s())
        try:
            await CoreSubscription(bus, subjects.CONFIG_CHANGED, self._on_messages).run()
        finally:
            await bus.close()

    async def _on_messages(self, messages: list[Msg]) -> None:
        if any(self._concerns(message.data) for message in messages):
            self.changed.set()

    def _concerns(self, data: bytes) -> bool:
        try:
            details = BusPacket.FromString(data).alert.details
        except DecodeError:
            return False
        return (details.get("scope", ""), details.get("scope_id", "")) == self._document
