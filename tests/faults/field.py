"""A system under test together with everything that watches it."""

from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from nats.aio.client import Client

from cordum.domain.states import TERMINAL_STATES
from cordum.store.jobs import JobStore
from tests.support.invariants import Evidence, collect, states_of, violations, wait_quiet
from tests.support.observer import DispatchObserver, connect
from tests.support.processes import wait_until
from tests.support.stack import Stack, StackOptions, running_stack
from tests.support.submitting import TEST_TOPIC, BusSubmitter, HttpSubmitter, open_bus
from tests.support.worker_log import KeepsLog

# The worker's Redis client refuses more than 100 connections, one per handler.
_PARALLEL = 90


@dataclass
class Field:
    """The running system, an open store, an observer of all dispatches and a submitter on the bus."""

    stack: Stack
    jobs: JobStore
    observer: DispatchObserver
    submitter: BusSubmitter
    client: Client
    """A plain NATS connection."""
    http: HttpSubmitter
    """Submits through the gateway, where the stack has one."""

    @property
    def submitted(self) -> list[str]:
        """Ids of all jobs given to the system."""
        return [*self.submitter.submitted, *self.http.submitted]

    async def verdict(
        self, timeout_s: float, *, by_hand: Iterable[KeepsLog] = (), bus_died: bool = False
    ) -> Evidence:
        """Wait until the system is quiet, then demand that no promise was broken; return the evidence."""
        submitted = self.submitted
        await wait_quiet(self.jobs, self.stack.nats.url, submitted, timeout_s)
        evidence = await collect(
            self.jobs,
            self.stack.nats.url,
            submitted,
            observed=self.observer.dispatches,
            workers=[*self.stack.workers, *by_hand],
        )
        faults = violations(evidence, submitted, bus_died=bus_died)
        assert not faults, f"{len(faults)} violations, first: " + "\n".join(faults[:10])
        return evidence

    async def all_run(self, timeout_s: float = 15.0) -> None:
        """Wait until every submitted job has ended."""

        async def ended() -> bool:
            return set(await self.states()) <= TERMINAL_STATES

        await wait_until(ended, timeout_s=timeout_s)

    async def states(self) -> dict[str, int]:
        """Return how many of the submitted jobs are in which state."""
        return dict(await states_of(self.jobs, self.submitted))


@asynccontextmanager
async def fault_field(folder: Path, options: StackOptions, *, workers: int = 1) -> AsyncIterator[Field]:
    """Run a system with workers of the test topic for the length of a block."""
    async with AsyncExitStack() as exits:
        stack = await exits.enter_async_context(running_stack(folder, options))
        names = [f"w-{number}" for number in range(1, workers + 1)]
        for name in names:
            await stack.worker(TEST_TOPIC, worker_id=name, pool="test", parallel=_PARALLEL)
        await stack.wait_worker_known(*names)
        jobs = await exits.enter_async_context(stack.store())
        observer = await exits.enter_async_context(DispatchObserver().watching(stack.nats.url))
        bus = await open_bus(stack.nats.url)
        exits.push_async_callback(bus.close)
        client = await connect(stack.nats.url)
        exits.push_async_callback(client.close)
        http = HttpSubmitter(await exits.enter_async_context(stack.http()))
        yield Field(stack, jobs, observer, BusSubmitter(bus, jobs), client, http)
