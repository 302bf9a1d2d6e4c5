"""`cordumctl up`: the whole system on one machine, on real servers (architecture §8)."""

import asyncio
import signal
import sys
from collections.abc import Iterable, Mapping
from typing import Final

from cordum.domain.errors import CordumError
from cordum.embedded.layout import KEY_ROLES, DataDir
from cordum.embedded.stack import Options, Ports, choose_ports, server_specs, service_specs
from cordum.embedded.supervisor import Child, ChildSpec, stop_children

__all__ = ["Options", "run_up"]

READY_LIMIT_S: Final = 60.0
"""Seconds until a child that neither answers nor ends is given up; the usual start takes a few."""


def run_up(options: Options) -> int:
    """Run the system until Ctrl-C or SIGTERM; return the exit code. Problems are one line each on stderr."""
    data = DataDir(options.data_dir)
    try:
        with data.locked():
            asyncio.run(_Up(options, data).run())
    except Exception as failure:  # the outermost border: say why, exit 1
        for error in _leaves(failure):
            if not isinstance(error, CordumError | OSError):
                raise
            hint = f" ({error.hint})" if isinstance(error, CordumError) and error.hint else ""
            sys.stderr.write(f"error: {error}{hint}\n")
        return 1
    return 0


class _Up:
    """One run: start servers, then services; watch; stop services, bus, store in that order."""

    def __init__(self, options: Options, data: DataDir) -> None:
        self._options = options
        self._data = data
        self._servers: list[Child] = []
        self._services: list[Child] = []
        self._ports: Ports | None = None
        self._is_ready = False
        self._stop = asyncio.Event()

    async def run(self) -> None:
        """Start everything, wait for the stop signal, stop everything."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, self._on_signal)
        self._data.clear_endpoints()
        self._data.rotate_logs()
        self._data.copy_defaults()
        keys, is_first_start = self._data.load_keys()
        self._ports = choose_ports(self._options)
        servers = server_specs(self._data, self._ports)
        services = service_specs(self._options, self._data, self._ports, keys)
        async with asyncio.TaskGroup() as lives:
            try:
                async with asyncio.TaskGroup() as starting:
                    start = starting.create_task(self._start(lives, servers, services))
                    interrupt = starting.create_task(self._cancel_on_stop(start))
                    start.add_done_callback(lambda _: interrupt.cancel())
                if not self._stop.is_set():
                    self._announce(keys, is_first_start)
                    await self._stop.wait()
            finally:
                await self._shut_down()

    async def _start(
        self, lives: asyncio.TaskGroup, servers: Iterable[ChildSpec], services: Iterable[ChildSpec]
    ) -> None:
        """Start the servers, then all services at once. Raises Unavailable when one does not come up."""
        await self._start_all(lives, servers, self._servers)
        await self._start_all(lives, services, self._services)

    async def _start_all(
        self, lives: asyncio.TaskGroup, specs: Iterable[ChildSpec], started: list[Child]
    ) -> None:
        async with asyncio.TaskGroup() as waiting:
            for spec in specs:
                child = Child(spec, self._on_change)
                started.append(child)
                lives.create_task(child.run(), name=spec.name)
                waiting.create_task(child.wait_ready(READY_LIMIT_S))

    async def _cancel_on_stop(self, start: "asyncio.Task[None]") -> None:
        await self._stop.wait()
        start.cancel()

    async def _shut_down(self) -> None:
        self._is_ready = False
        self._data.clear_endpoints()
        self._stop.set()
        redis_last = [[child] for child in reversed(self._servers)]
        await stop_children([self._services, *redis_last])

    def _on_signal(self) -> None:
        if self._stop.is_set():  # a second Ctrl-C does not wait for the drain
            for child in (*self._services, *self._servers):
                child.kill()
        self._stop.set()

    def _on_change(self, child: Child, what: str) -> None:
        if what == "started":
            self._publish()
        else:
            sys.stderr.write(f"{child.spec.name} {what}; see {child.spec.log_path}\n")

    def _publish(self) -> None:
        if not self._is_ready or self._ports is None:
            return
        pids = {child.spec.name: child.pid for child in (*self._servers, *self._services)}
        self._data.write_endpoints({**self._ports.endpoints(), "pids": pids})

    def _announce(self, keys: Mapping[str, str], is_first_start: bool) -> None:
        """Tell that the system is ready; keys are shown once, later only where they are."""
        ports = self._ports
        assert ports is not None  # noqa: S101 — settled before any child starts
        lines = ["Cordum is running.", f"  Gateway   http://localhost:{ports.http}"]
        if is_first_start:
            lines += [f"  API key   {keys[name]}  ({name}, role {role})" for name, role in KEY_ROLES.items()]
        lines.append(f"  API keys  {self._data.shown / 'keys.json'}")
        lines.append(f"  Policy    {self._options.policy or self._data.shown / 'safety.yaml'}")
        lines.append(f"  Logs      {self._data.shown / 'logs'}")
        lines.append("Ctrl-C stops everything.")
        sys.stdout.write("\n".join(lines) + "\n")
        sys.stdout.flush()
        self._is_ready = True
        self._publish()


def _leaves(error: BaseException) -> list[BaseException]:
    """Return the plain errors inside an exception group, or the error itself."""
    if isinstance(error, BaseExceptionGroup):
        return [leaf for inner in error.exceptions for leaf in _leaves(inner)]
    return [error]
