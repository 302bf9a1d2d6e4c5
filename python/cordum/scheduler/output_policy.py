"""The parts of a scheduler that check what workers return, and how they hang together (output policy spec §2)."""

from collections.abc import Callable, Coroutine
from typing import Any

from cordum._core import Planner
from cordum.bus.connection import Bus
from cordum.config.output_policy import OutputPolicySettings
from cordum.protocol.kernel_client import PolicyClient
from cordum.runtime.clock import monotonic_s
from cordum.scheduler.duties import Duties
from cordum.scheduler.kernel_watch import KernelWatch
from cordum.scheduler.output_checks import OutputChecks
from cordum.scheduler.output_metrics import PENDING
from cordum.scheduler.output_modes import OutputModes
from cordum.scheduler.output_outcomes import OutputOutcomes
from cordum.scheduler.output_scans import OutputScans
from cordum.scheduler.result_pipeline import ResultPipeline
from cordum.scheduler.side_writes import SideWrites
from cordum.scheduler.withheld import Withheld
from cordum.store import keys
from cordum.store.blobs import BlobStore
from cordum.store.breaker import CircuitBreaker
from cordum.store.config_documents import ConfigDocuments
from cordum.store.connection import RedisClient
from cordum.store.jobs import JobStore

__all__ = ["OutputPolicy"]


class OutputPolicy:
    """Checks before a job succeeds, scans after it, and what waits in between."""

    def __init__(
        self,
        settings: OutputPolicySettings,
        redis: RedisClient,
        documents: ConfigDocuments,
        kernel: PolicyClient,
        jobs: JobStore,
        blobs: BlobStore,
        side: SideWrites,
        bus: Bus,
        planner: Planner,
        duties: Duties,
        *,
        production: bool,
    ) -> None:
        self._settings = settings
        self._jobs = jobs
        self._duties = duties
        breaker = CircuitBreaker(redis, keys.BREAKER_OUTPUT, monotonic_s)
        self._watch = KernelWatch(kernel, breaker, "output")
        self.modes = OutputModes(settings, documents, kernel, production=production)
        self.checks = OutputChecks(settings, kernel, breaker, self._watch, self.modes, jobs, blobs, bus)
        outcomes = OutputOutcomes(jobs, duties, side, bus, planner)
        self.scans = OutputScans(
            settings, kernel, breaker, self._watch, self.modes, jobs, blobs, planner, outcomes
        )
        self._withheld: Withheld | None = None

    def attach(self, results: ResultPipeline) -> None:
        """Connect to the pipeline whose results are checked."""
        settings = self._settings
        withheld = Withheld(
            self._jobs, results.check_again, settings.inline_max_bytes, settings.max_scan_bytes
        )
        self._withheld = withheld
        PENDING.set_function(lambda: self.scans.waiting + withheld.waiting)
        for source in (results, self._duties):
            source.on_scans = self.scans.note
            source.on_withheld = withheld.note

    def tasks(self) -> dict[str, Callable[[], Coroutine[Any, Any, None]]]:
        """Return what has to run for ever, by name."""
        tasks: dict[str, Callable[[], Coroutine[Any, Any, None]]] = {
            "output settings": self.modes.run,
            "output scans": self.scans.run,
            "output leases": self.scans.keep_leases,
            "output kernel": self._watch.run,
        }
        if self._withheld is not None:
            tasks["withheld results"] = self._withheld.run
        return tasks
