"""One way for every service process to start, run, drain and stop.

A service module is::

    async def serve(service: Service, settings: SchedulerSettings) -> None:
        redis = await wait_for_dependency("redis", lambda: RedisClient.open(settings))
        service.health.required["redis"] = redis.ping
        service.listen_health("SCHEDULER_METRICS_ADDR", settings.metrics_addr, public=settings.metrics_public)
        service.supervisor.spawn("reconciler", reconcile, on_error="restart")
        service.mark_started()
        await service.stop_requested()
        ...  # the written stop sequence: stop intake, drain, flush, ack, close

    def main() -> None:
        run_service("cordum-scheduler", SchedulerSettings.load, serve)

Exit codes: 0 after a clean stop; 1 when start-up or a task that declared `stop` failed, or the drain deadline
passed.
"""

import asyncio
import gc
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from typing import Any, Final, NoReturn, TypeVar

import uvloop

from cordum.config.base import Settings
from cordum.config.service import CommonSettings
from cordum.config.types import Address
from cordum.domain.errors import ConfigError, CordumError, Unavailable
from cordum.runtime.backoff import Backoff
from cordum.runtime.clock import monotonic_s
from cordum.runtime.health import STALL_LIMIT_S, HealthState, health_app, metrics_address
from cordum.runtime.http import HttpListener
from cordum.runtime.ids import host_name, instance_id
from cordum.runtime.logs import configure_logging, get_logger, mask_text
from cordum.runtime.supervisor import Supervisor

__all__ = ["DRAIN_S", "Service", "run_service", "wait_for_dependency"]

DRAIN_S: Final = 15.0
"""Seconds between the stop signal and the forced end (scheduler spec §25)."""
HEALTH_PORT: Final = 9096
_TICK_S: Final = 1.0
_GC_THRESHOLDS: Final = (50_000, 20, 50)

S = TypeVar("S", bound=Settings)
T = TypeVar("T")

_log = get_logger()


class Service:
    """What a running service knows about itself: settings of the frame, supervisor, health, stop signal."""

    def __init__(self, name: str, common: CommonSettings) -> None:
        self.name = name
        self.common = common
        self.instance_id = common.instance or instance_id(name)
        self.pod = common.instance or host_name()
        self.health = HealthState()
        self.supervisor = Supervisor(self._task_failed)
        self.failed = False
        self._frame = Supervisor(self._task_failed)
        self._stop = asyncio.Event()
        self._deadline: asyncio.Timeout | None = None

    @property
    def production(self) -> bool:
        """Tell whether production mode is on."""
        return self.common.production

    def mark_started(self) -> None:
        """Start-up is complete: `/livez` and `/readyz` may say ok."""
        self.health.started = True
        _log.info("started", instance=self.instance_id)

    async def stop_requested(self) -> None:
        """Return when the service shall drain: a signal came, or a task that declared `stop` failed."""
        await self._stop.wait()

    @property
    def is_stopping(self) -> bool:
        """Tell whether the stop was requested."""
        return self._stop.is_set()

    def request_stop(self, reason: str) -> None:
        """Begin the stop: 15 s to finish, or cancellation at once during start-up."""
        if self._stop.is_set():
            return
        _log.info("stopping", reason=reason)
        self.health.stopping = True
        self._stop.set()
        if self._deadline is not None:
            loop = asyncio.get_running_loop()
            self._deadline.reschedule(loop.time() + (DRAIN_S if self.health.started else 0.0))

    def listen_health(self, variable: str, address: Address, *, public: bool) -> int:
        """Open the metrics and health listener; return its port. Raises ConfigError or Unavailable.

        In production with loopback metrics the probes also get `CORDUM_HEALTH_ADDR` (security spec §14).
        """
        bound, warning = metrics_address(variable, address, public=public, production=self.production)
        if warning:
            _log.warning(warning)
        health = self.common.health_addr
        if health is None and self.production and bound.is_loopback:
            health = Address("", HEALTH_PORT)
        if health is not None and health != bound:
            self._open("health listener", health, pod=None)
        return self._open("metrics listener", bound, pod=self.pod)

    def _open(self, name: str, address: Address, *, pod: str | None) -> int:
        listener = HttpListener(health_app(self.health, pod), address.bind_host, address.port)
        self._frame.spawn(name, listener.serve, on_error="stop")
        _log.info("listening", listener=name, address=str(Address(address.host, listener.port)))
        return listener.port

    def _task_failed(self, name: str, error: BaseException) -> None:
        self.failed = True
        self.request_stop(f"task {name} failed: {type(error).__name__}")

    def _on_signal(self, number: signal.Signals) -> None:
        if self._stop.is_set():
            _log.warning("second signal, exiting at once", signal=number.name)
            os._exit(128 + number)
        self.request_stop(number.name)

    async def _watch_loop(self) -> None:
        """Tick once a second, so that `/healthz` notices a stalled event loop."""
        self.health.tick()
        while True:
            await asyncio.sleep(_TICK_S)
            gap_s = self.health.tick()
            if gap_s > STALL_LIMIT_S:
                _log.warning("event loop was stalled", stalled_s=round(gap_s, 1))

    async def run(self, body: Callable[[], Awaitable[None]]) -> int:
        """Run the service function under the frame; return the exit code. Listeners are closed last."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._on_signal, number)
        async with self._frame:
            self._frame.spawn("event loop watch", self._watch_loop)
            return await self._run_body(body)

    async def _run_body(self, body: Callable[[], Awaitable[None]]) -> int:
        try:
            async with asyncio.timeout(None) as self._deadline, self.supervisor:
                await body()
        except TimeoutError:
            if self._deadline is None or not self._deadline.expired():
                raise
            if not self.health.started:
                return 1 if self.failed else 0
            _log.error("drain deadline passed, work in flight is left to redelivery", deadline_s=DRAIN_S)
            return 1
        finally:
            self._deadline = None
        _log.info("stopped")
        return 1 if self.failed else 0


def run_service(name: str, load: Callable[[], S], serve: Callable[[Service, S], Awaitable[None]]) -> NoReturn:
    """Load settings, run ``serve`` under the frame and exit the process with its code."""
    sys.exit(_run(name, load, serve))


def _run(name: str, load: Callable[[], S], serve: Callable[[Service, S], Awaitable[None]]) -> int:
    configure_logging(name)
    try:
        common, settings = _load_settings(load)
        configure_logging(name, common.log_level, common.log_format)
        _log.info("mode", production=common.production)
        for line in (*common.warnings, *settings.warnings):
            _log.warning("setting replaced by its default", reason=line)
        changed = common.non_defaults() | settings.non_defaults()
        _log.info("effective configuration", settings={k: mask_text(v) for k, v in changed.items()})
        _relax_collector()
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(_serve(name, common, settings, serve))
    except Exception as error:  # the outermost border: say why, exit 1
        return _refuse(name, error)


def _relax_collector() -> None:
    """Keep what start-up made out of the collector's passes and let it run seldom.

    Batches make many short-lived objects without cycles; at the default threshold collecting costs about 5 % CPU.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_GC_THRESHOLDS)


async def _serve(
    name: str, common: CommonSettings, settings: S, serve: Callable[[Service, S], Awaitable[None]]
) -> int:
    service = Service(name, common)
    return await service.run(lambda: serve(service, settings))


def _load_settings(load: Callable[[], S]) -> tuple[CommonSettings, S]:
    """Load both models and report the errors of both together."""
    errors: list[str] = []
    loaded: list[Any] = []
    for loader in (CommonSettings.load, load):
        try:
            loaded.append(loader())
        except ConfigError as error:
            found = error.details.get("settings")
            lines = found if isinstance(found, list) else [error.message]
            errors.extend(line for line in lines if line not in errors)
    if errors:
        raise ConfigError("; ".join(errors), details={"settings": errors})
    return loaded[0], loaded[1]


def _refuse(name: str, failure: Exception) -> int:
    """Say why the process does not run: one line for people and one for the log per reason. Return 1."""
    for error in _leaves(failure):
        if not isinstance(error, CordumError):
            _log.error("service failed", exc_info=error)
            _complain(name, f"{type(error).__name__}: {error}", None)
            continue
        found = error.details.get("settings")
        for line in found if isinstance(found, list) else [error.message]:
            _log.error("start refused", code=error.code, reason=str(line), hint=error.hint)
            _complain(name, str(line), error.hint)
    return 1


def _complain(name: str, text: str, hint: str | None) -> None:
    sys.stderr.write(f"{name}: error: {mask_text(text)}" + (f" ({hint})" if hint else "") + "\n")


def _leaves(error: BaseException) -> list[BaseException]:
    """Return the plain errors inside an exception group, or the error itself."""
    if isinstance(error, BaseExceptionGroup):
        return [leaf for inner in error.exceptions for leaf in _leaves(inner)]
    return [error]


async def wait_for_dependency(name: str, probe: Callable[[], Awaitable[T]], *, budget_s: float = 30.0) -> T:
    """Try ``probe`` until it succeeds and return its result.

    Unavailable, OSError and TimeoutError are retried with back-off; Unavailable is raised when the budget is
    spent.
    """
    backoff = Backoff(0.1, 2.0)
    end_s = monotonic_s() + budget_s
    while True:
        try:
            return await probe()
        except (Unavailable, OSError) as error:
            reason = mask_text(str(error) or type(error).__name__)
            delay_s = backoff.next_s()
            if monotonic_s() + delay_s >= end_s:
                raise Unavailable(f"{name} is not reachable: {reason}", hint=f"is {name} running?") from error
            _log.warning("waiting for dependency", dependency=name, reason=reason)
        await asyncio.sleep(delay_s)
