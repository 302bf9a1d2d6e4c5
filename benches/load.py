"""HTTP load from one process: keep-alive connections, each with one request in flight."""

import argparse
import asyncio
from collections import Counter

import uvloop

from benches.helpers import cpu_s, report, wait_for_go
from benches.httpwire import HttpWire, post
from benches.jobs import PAYLOAD_BYTES, submit_body
from cordum.runtime.clock import monotonic_s


class Load:
    """A fixed number of requests over all connections."""

    def __init__(self, requests: list[bytes], total: int) -> None:
        self._requests = requests
        self._total = total
        self._sent = 0
        self.statuses: Counter[int] = Counter()
        self.done = asyncio.Event()

    def next_request(self, wire: HttpWire) -> None:
        """Send one more request unless all were sent."""
        if self._sent < self._total:
            wire.send(self._requests[self._sent % len(self._requests)])
            self._sent += 1

    def on_answer(self, wire: HttpWire, status: int) -> None:
        """Count an answer and go on."""
        self.statuses[status] += 1
        if status == 0 or self.statuses.total() == self._total:
            self.done.set()
        else:
            self.next_request(wire)


async def run(options: argparse.Namespace) -> None:
    """Report `connected`; per word of the parent send all requests once and report the round."""
    headers = {"X-API-Key": options.api_key} if options.api_key else {}
    requests = [post(options.path, submit_body(i, PAYLOAD_BYTES), headers) for i in range(64)]
    load = Load(requests, options.requests)
    wires = [
        await HttpWire.open(options.port, lambda wire, status: load.on_answer(wire, status))
        for _ in range(options.connections)
    ]
    report(connected=len(wires))
    for _ in range(options.rounds):
        wait_for_go()
        load = Load(requests, options.requests)
        started_s, used_s = monotonic_s(), cpu_s()
        for wire in wires:
            load.next_request(wire)
        async with asyncio.timeout(300):
            await load.done.wait()
        report(seconds=monotonic_s() - started_s, cpu_s=cpu_s() - used_s, statuses=dict(load.statuses))
    for wire in wires:
        wire.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--path", required=True)
    parser.add_argument("--api-key", default="")
    parser.add_argument("--requests", type=int, required=True, help="per round")
    parser.add_argument("--rounds", type=int, required=True)
    parser.add_argument("--connections", type=int, default=64)
    uvloop.run(run(parser.parse_args()))
