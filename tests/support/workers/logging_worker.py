"""A worker written with `cap-sdk-python` alone, which writes one line per handled job.

Run as a script: it must not know anything of this repository. Each line of the log is a JSON object; the
first one says that the agent has started.
"""

import argparse
import asyncio
import json
import os
import time

from cap.runtime import Agent, Context
from redis.asyncio.cluster import ClusterNode, RedisCluster


class Log:
    """Appends whole lines, so that a killed worker leaves no half a line."""

    def __init__(self, path: str) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    def write(self, **entry: object) -> None:
        """Append one line."""
        os.write(self._descriptor, (json.dumps(entry) + "\n").encode())


class ClusterStore:
    """Blobs on a Redis Cluster, which the SDK's own store does not know; `addresses` as `host:port,host:port`."""

    def __init__(self, addresses: str) -> None:
        nodes = [ClusterNode(*address.rsplit(":", 1)) for address in addresses.split(",")]
        self._client = RedisCluster(startup_nodes=nodes)

    async def get(self, key: str) -> bytes | None:
        """Read a blob."""
        value: bytes | None = await self._client.get(key)
        return value

    async def set(self, key: str, data: bytes) -> None:
        """Write a blob."""
        await self._client.set(key, data)

    async def close(self) -> None:
        """Close all connections."""
        await self._client.aclose()


def options() -> argparse.Namespace:
    """Return what the caller asked for; an option that is left out keeps the SDK's default."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--log", required=True)
    parser.add_argument("--topic", action="append", required=True)
    parser.add_argument("--id")
    parser.add_argument("--pool")
    parser.add_argument("--parallel", type=int)
    parser.add_argument("--heartbeat", type=float)
    parser.add_argument("--fail", action="store_true", help="raise in every handler")
    return parser.parse_args()


def build(chosen: argparse.Namespace, log: Log) -> Agent:
    """Return the agent with one handler per topic."""
    given = {
        "worker_id": chosen.id,
        "pool": chosen.pool,
        "max_parallel": chosen.parallel,
        "heartbeat_interval": chosen.heartbeat,
    }
    redis_url = os.environ.get("REDIS_URL", "")
    if not redis_url.startswith("redis"):
        given["store"] = ClusterStore(redis_url)
    agent = Agent(**{name: value for name, value in given.items() if value is not None})

    async def handle(context: Context, payload: object) -> dict[str, object]:
        dispatch = context.job.dispatch
        log.write(
            job_id=context.job_id,
            dispatch_id=dispatch.dispatch_id,
            attempt=dispatch.attempt,
            topic=context.job.topic,
            at_us=time.time_ns() // 1000,
        )
        if chosen.fail:
            raise RuntimeError("asked to fail")
        return {"echo": payload, "worker": chosen.id or "cap-runtime"}

    for topic in chosen.topic:
        agent.job(topic)(handle)
    return agent


async def main() -> None:
    """Serve until the process is ended."""
    chosen = options()
    log = Log(chosen.log)
    agent = build(chosen, log)
    await agent.start()
    log.write(started=True)
    try:
        await asyncio.Event().wait()
    finally:
        await agent.close()


if __name__ == "__main__":
    asyncio.run(main())
