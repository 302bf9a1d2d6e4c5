"""A worker written with the published `cap-sdk-python`: run it beside a Cordum system and it takes jobs.

Addresses come from NATS_URL and REDIS_URL, else from `.cordum/endpoints.json` (written by `cordumctl up`),
else from the SDK's defaults. The worker names no pool: the scheduler derives it from the topics it serves.

    python examples/worker.py
"""

import asyncio
import contextlib
import json
import logging
import os
import signal
from pathlib import Path
from typing import Any

from cap.runtime import Agent, Context

ENDPOINTS = Path(".cordum/endpoints.json")
SLOW_DEFAULT_S = 30.0
SLOW_LIMIT_S = 60.0

log = logging.getLogger("worker")


def addresses() -> dict[str, str]:
    """Return `nats_url` and `redis_url` for the agent; a missing one is left to the SDK's default."""
    published = json.loads(ENDPOINTS.read_text(encoding="utf-8")) if ENDPOINTS.is_file() else {}
    found = {
        "nats_url": os.environ.get("NATS_URL") or published.get("nats", ""),
        "redis_url": os.environ.get("REDIS_URL") or published.get("redis", ""),
    }
    return {name: url for name, url in found.items() if url}


agent = Agent(
    **addresses(),
    worker_id=os.environ.get("WORKER_ID", "example-worker"),
    # The SDK opens a Redis connection per running handler; its client allows 100.
    max_parallel=64,
    heartbeat_interval=2.0,
    shutdown_timeout=3.0,
)


@agent.job("job.default")
@agent.job("job.demo.echo")
async def echo(context: Context, document: dict[str, Any]) -> dict[str, Any]:
    """Give the prompt back. ``document`` is what the gateway stored for the job."""
    return {"echo": document.get("prompt", ""), "job_id": context.job_id}


@agent.job("job.demo.review")
async def review(context: Context, document: dict[str, Any]) -> dict[str, Any]:
    """Do what a person has approved."""
    log.info("approved work starts: %s", context.job_id)
    return {"done": document.get("prompt", ""), "approved": True}


@agent.job("job.demo.slow")
async def slow(context: Context, document: dict[str, Any]) -> dict[str, Any]:
    """Take `context.seconds` (30 by default): long enough to be cancelled."""
    wanted = document.get("context")
    seconds = wanted.get("seconds", SLOW_DEFAULT_S) if isinstance(wanted, dict) else SLOW_DEFAULT_S
    log.info("slow work starts: %s", context.job_id)
    await asyncio.sleep(min(float(seconds), SLOW_LIMIT_S))
    return {"slept_s": seconds}


async def main() -> None:
    """Serve jobs until Ctrl-C or SIGTERM."""
    this = asyncio.current_task()
    if this is not None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, this.cancel)
    log.info("serving job.default and job.demo.*")
    await agent.run()


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    with contextlib.suppress(KeyboardInterrupt, asyncio.CancelledError):
        asyncio.run(main())
