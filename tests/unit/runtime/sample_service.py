"""A real service process for the tests of the frame; its behaviour is chosen by `SAMPLE_MODE`."""

import asyncio

from pydantic import Field

from cordum.config.base import SECURITY, Settings
from cordum.config.types import Address, Bool, ListenAddress
from cordum.domain.errors import Unavailable
from cordum.runtime.logs import get_logger
from cordum.runtime.service import Service, run_service


class SampleSettings(Settings):
    metrics_addr: ListenAddress = Field(Address("127.0.0.1", 0), validation_alias="SAMPLE_METRICS_ADDR")
    metrics_public: Bool = Field(False, validation_alias="SAMPLE_METRICS_PUBLIC", json_schema_extra=SECURITY)
    mode: str = Field("plain", validation_alias="SAMPLE_MODE")


async def _forever() -> None:
    await asyncio.Event().wait()


async def _fail() -> None:
    raise RuntimeError("task is broken")


async def _ok() -> None:
    return


async def _down() -> None:
    raise Unavailable("no answer from redis://user:pw@host")


async def serve(service: Service, settings: SampleSettings) -> None:
    if settings.mode == "refuse":
        raise Unavailable("redis is not reachable: refused", hint="is redis running?")
    service.health.required["redis"] = _down if settings.mode == "degraded" else _ok
    service.health.soft["safety"] = _down
    service.listen_health("SAMPLE_METRICS_ADDR", settings.metrics_addr, public=settings.metrics_public)
    service.supervisor.spawn("loop", _forever)
    if settings.mode == "fail":
        service.supervisor.spawn("broken", _fail, on_error="stop")
    service.mark_started()
    await service.stop_requested()
    if settings.mode == "hang":
        await _forever()
    get_logger().info("drained")


if __name__ == "__main__":
    run_service("cordum-sample", SampleSettings.load, serve)
