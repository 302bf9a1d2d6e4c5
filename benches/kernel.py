"""Suite `kernel`: the safety kernel as a process, asked over gRPC: batches, single checks, checks during reloads."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import grpc.aio

from benches.policies import engine_policy, engine_request
from benches.processes import BenchError
from benches.results import Report, at_least, at_most
from benches.stack import Stack, missing_part
from cordum.protocol.cap import PolicyCheckResponse
from cordum.runtime.clock import monotonic_s
from cordum.v1.safety_batch_pb2 import BatchRequest, BatchResponse

__all__ = ["run"]

SUITE = "kernel"
RUNS = 3
RULES = 1_000
_BATCH = 256
_IN_FLIGHT = 3
_OFFERED_PER_S = 500
_RELOAD_EVERY_S = 0.25
_TIMER_S = 0.0015
"""Timers of the event loop may be late by a millisecond, which is not the kernel's; the rest is waited for awake."""
_EVALUATE_BATCH = "/cordum.v1.SafetyKernelBatch/EvaluateBatch"
_CHECK = "/cordum.agent.v1.SafetyKernel/Check"


def run(report: Report, folder: Path, *, quick: bool) -> None:
    """Run the suite and add its rows; skipped when the kernel is missing."""
    reason = missing_part(("kernel",))
    if reason:
        report.skip(SUITE, reason)
        return
    seconds = 1.0 if quick else 5.0
    policy = engine_policy(RULES).decode()
    with Stack(folder, ("kernel",), policy=policy) as stack:
        asyncio.run(_measure(report, stack, seconds))


async def _measure(report: Report, stack: Stack, seconds: float) -> None:
    # Rules are allow, deny and approval in turn; refused requests are logged one by one.
    allowed = [engine_request(rule) for rule in range(0, RULES, 3)]
    mixed = [engine_request(rule * 7919 % RULES) for rule in range(RULES)]
    async with grpc.aio.insecure_channel(stack.kernel_address) as channel:
        await _check_answers(channel, mixed)
        # Singles first: after a flood the kernel is busy storing what it decided.
        for name, requests in (("all allowed", allowed), ("two thirds refused", mixed)):
            waits = [await _offered(channel, requests, seconds) for _ in range(RUNS)]
            bar = at_most(3) if name == "all allowed" else None
            note = f"{_OFFERED_PER_S}/s offered"
            report.add(SUITE, f"single Check, {name}, p50", "ms", [_at(w, 0.5) for w in waits], None, note)
            report.add(SUITE, f"single Check, {name}, p99", "ms", [_at(w, 0.99) for w in waits], bar, note)
        waits = [await _reloading(stack, channel, allowed, seconds) for _ in range(RUNS)]
        note = f"{_OFFERED_PER_S}/s offered, {RULES} rules reloaded every {_RELOAD_EVERY_S} s"
        report.add(SUITE, "single Check during reloads, p99", "ms", [_at(w, 0.99) for w in waits], None, note)
        for name, requests in (("all allowed", allowed), ("two thirds refused", mixed)):
            await _add_batches(report, stack, channel, name, requests, seconds)


async def _check_answers(channel: grpc.aio.Channel, requests: Sequence[bytes]) -> None:
    """Raise BenchError unless every intended rule decides: a wrong answer has no speed."""
    batch = BatchRequest(requests=requests[:_BATCH]).SerializeToString()
    answer = BatchResponse.FromString(await channel.unary_unary(_EVALUATE_BATCH)(batch, timeout=10))
    for number, item in enumerate(answer.items):
        rule = PolicyCheckResponse.FromString(item.response).rule_id
        if rule != f"r{number * 7919 % RULES}":
            raise BenchError(f"expected rule r{number * 7919 % RULES} to decide, got `{rule}`")


async def _add_batches(
    report: Report,
    stack: Stack,
    channel: grpc.aio.Channel,
    name: str,
    requests: Sequence[bytes],
    seconds: float,
) -> None:
    chosen = [requests[number % len(requests)] for number in range(_BATCH)]
    batch = BatchRequest(requests=chosen).SerializeToString()
    rates, costs = [], []
    for _ in range(RUNS):
        usage, started_s = stack.usage(), monotonic_s()
        calls = await _flood(channel, batch, started_s + seconds)
        decisions = calls * _BATCH
        rates.append(decisions / (monotonic_s() - started_s))
        costs.append(usage.since()["kernel"] / decisions)
    bar = at_least(150_000) if name == "all allowed" else None
    report.add(
        SUITE, f"EvaluateBatch of {_BATCH}, {name}", "decisions/s", rates, bar, f"{_IN_FLIGHT} in flight"
    )
    report.add(SUITE, f"CPU of the kernel per decision, {name}", "µs", costs)


async def _flood(channel: grpc.aio.Channel, batch: bytes, end_s: float) -> int:
    call = channel.unary_unary(_EVALUATE_BATCH)

    async def ask() -> int:
        calls = 0
        while monotonic_s() < end_s:
            await call(batch, timeout=10)
            calls += 1
        return calls

    async with asyncio.TaskGroup() as group:
        asking = [group.create_task(ask()) for _ in range(_IN_FLIGHT)]
    return sum(task.result() for task in asking)


async def _offered(channel: grpc.aio.Channel, requests: Sequence[bytes], seconds: float) -> list[float]:
    """Return the milliseconds of every call, counted from the moment it was due: a late call is not forgiven."""
    call = channel.unary_unary(_CHECK)
    waits: list[float] = []

    async def ask(request: bytes, due_s: float) -> None:
        await call(request, timeout=10)
        waits.append((monotonic_s() - due_s) * 1e3)

    started_s = monotonic_s()
    async with asyncio.TaskGroup() as group:
        for number in range(int(seconds * _OFFERED_PER_S)):
            due_s = started_s + number / _OFFERED_PER_S
            await asyncio.sleep(max(0.0, due_s - monotonic_s() - _TIMER_S))
            while monotonic_s() < due_s:  # noqa: ASYNC110 - a timer is too coarse
                await asyncio.sleep(0)
            group.create_task(ask(requests[number % len(requests)], due_s))
    return waits


async def _reloading(
    stack: Stack, channel: grpc.aio.Channel, requests: Sequence[bytes], seconds: float
) -> list[float]:
    stop = asyncio.Event()

    async def reload() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            text = engine_policy(RULES).decode().replace("version: bench", f"version: bench{number}")
            draft = stack.policy_path.with_suffix(".new")
            draft.write_text(text, encoding="utf-8")
            draft.replace(stack.policy_path)
            await asyncio.sleep(_RELOAD_EVERY_S)

    async with asyncio.TaskGroup() as group:
        group.create_task(reload())
        waits = await _offered(channel, requests, seconds)
        stop.set()
    return waits


def _at(values: Sequence[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]
