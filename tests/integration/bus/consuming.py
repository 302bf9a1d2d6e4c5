"""Running consumers inside a test."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

from cordum.bus import ACK, BatchConsumer, Bus, InMessage, Verdict
from cordum.config.nats import NatsSettings
from cordum.protocol import subjects

Handler = Callable[[list[InMessage]], Awaitable[Sequence[Verdict]]]


class Inbox:
    """A handler that acks everything and remembers what it saw."""

    def __init__(self) -> None:
        self.batches: list[list[InMessage]] = []

    @property
    def seen(self) -> list[bytes]:
        """All payloads in order of arrival."""
        return [message.data for batch in self.batches for message in batch]

    async def __call__(self, batch: list[InMessage]) -> Sequence[Verdict]:
        """Ack all."""
        self.batches.append(batch)
        return [ACK] * len(batch)


def make_consumer(
    bus: Bus, handler: Handler, settings: NatsSettings | None = None, **options: object
) -> BatchConsumer:
    """A consumer of `sys.job.submit` as the scheduler has it."""
    return BatchConsumer(
        bus,
        subjects.STREAM_SYS,
        subjects.SUBMIT,
        "cordum-scheduler",
        settings or bus.settings,
        handler,
        **options,  # type: ignore[arg-type]
    )


@asynccontextmanager
async def running(*consumers: BatchConsumer) -> AsyncIterator[None]:
    """Run the consumers for the length of a block, then stop them in order."""
    async with asyncio.TaskGroup() as group:
        for consumer in consumers:
            group.create_task(consumer.run())
        try:
            yield
        finally:
            for consumer in consumers:
                consumer.stop()
