"""Suite `peers`: the same rules in other policy engines, in the same run (extra `bench-peers`).

Every engine gets the rules of `engine_policy` ("topic glob and two attributes") in its own idiom, loaded once;
only decisions are timed. Each adapter is checked against the intended rule before it is measured.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median, quantiles
from typing import Any, NamedTuple

from benches.peer_engines import PEERS, Case, Decide, Peer
from benches.policies import engine_case, engine_policy, engine_request
from benches.processes import BenchError
from benches.results import Report, at_least
from cordum import _core
from cordum.protocol.cap import PolicyCheckResponse
from cordum.runtime.clock import monotonic_s
from cordum.v1.safety_batch_pb2 import BatchRequest

__all__ = ["run"]

SUITE = "peers"
SIZES = (10, 100, 1_000, 10_000)
_COMPARED = 1_000
_BATCH = 256
_SLOW_S = 0.5
_TURNS = 3
"""An engine that needs longer than this for one decision is not measured with more rules."""


class Speed(NamedTuple):
    """Decisions per second, and the 99th percentile of single decisions in µs."""

    single: float
    p99_us: float
    batch: float
    two_threads: float | None


def run(report: Report, folder: Path, *, quick: bool) -> None:
    """Run the suite and add its rows; engines that are not installed are skipped by name."""
    seconds = 0.2 if quick else 1.0
    sizes = SIZES[:3] if quick else SIZES
    ours: dict[tuple[int, str], Speed] = {}
    for rules in sizes:
        for hits, numbers in _hits(rules).items():
            ours[rules, hits] = _measure_ours(rules, numbers, seconds)
            _add(report, "cordum", rules, hits, ours[rules, hits], None)
    for peer in PEERS:
        try:
            release = version(peer.distribution)
        except PackageNotFoundError:
            report.skip(peer.name, "not installed: pip install 'cordum[bench-peers]'")
            continue
        _measure_peer(report, peer, release, sizes, seconds, ours)


def _hits(rules: int) -> dict[str, list[int]]:
    return {
        "uniform": [number * 7919 % rules for number in range(_BATCH)],
        "last rule": [rules - 1] * _BATCH,
    }


def _measure_peer(
    report: Report,
    peer: Peer,
    release: str,
    sizes: Sequence[int],
    seconds: float,
    ours: dict[tuple[int, str], Speed],
) -> None:
    name = f"{peer.name} {release}"
    for rules in sizes:
        decide = peer.load([engine_case(number) for number in range(rules)])
        started_s = monotonic_s()
        _check(name, decide, rules - 1)
        slow = monotonic_s() - started_s > _SLOW_S
        for hits, numbers in _hits(rules).items():
            speed = _measure(
                decide, [engine_case(number) for number in numbers], seconds, threads=peer.threads
            )
            _add(report, name, rules, hits, speed, ours[rules, hits])
        if slow and rules != sizes[-1]:
            report.skip(f"{name} with more than {rules} rules", f"one decision takes over {_SLOW_S} s")
            return


def _check(name: str, decide: Decide, rule: int) -> None:
    """Raise BenchError unless the intended rule decides: a wrong answer has no speed."""
    case = engine_case(rule)
    answer = decide.one(case)
    if answer != case.rule_id:
        raise BenchError(f"{name}: expected rule {case.rule_id} to decide, got {answer!r}")


def _measure(decide: Decide, cases: Sequence[Case], seconds: float, *, threads: bool) -> Speed:
    single, p99_us = _single(decide.one, cases, seconds)
    batch = _rate(decide.many, [cases], len(cases), seconds) if decide.many else single
    return Speed(single, p99_us, batch, _two_threads(decide.one, cases, seconds) if threads else None)


def _measure_ours(rules: int, numbers: Sequence[int], seconds: float) -> Speed:
    engine = _core.PolicyEngine.compile(engine_policy(rules))
    requests = [engine_request(number) for number in numbers]
    answer = PolicyCheckResponse.FromString(engine.evaluate(requests[-1]))
    if answer.rule_id != f"r{numbers[-1]}":
        raise BenchError(f"expected rule r{numbers[-1]} to decide, got `{answer.rule_id}`")
    batch = BatchRequest(requests=requests).SerializeToString()
    single, p99_us = _single(engine.evaluate, requests, seconds)
    # In turns: what else the machine does then falls on both.
    one, two = [], []
    for _ in range(_TURNS):
        one.append(_rate(engine.evaluate_batch, [batch], len(requests), seconds))
        two.append(_two_threads(engine.evaluate_batch, [batch], seconds, len(requests)))
    return Speed(single, p99_us, median(one), median(two))


def _single(call: Callable[[Any], Any], arguments: Sequence[Any], seconds: float) -> tuple[float, float]:
    times_s: list[float] = []
    started_s = monotonic_s()
    while monotonic_s() - started_s < seconds or len(times_s) < 2:
        for argument in arguments:
            before_s = monotonic_s()
            call(argument)
            times_s.append(monotonic_s() - before_s)
            if times_s[-1] > seconds:
                break
    return len(times_s) / sum(times_s), quantiles(times_s, n=100)[98] * 1e6


def _rate(call: Callable[[Any], Any], arguments: Sequence[Any], decisions: int, seconds: float) -> float:
    calls, started_s = 0, monotonic_s()
    while (elapsed_s := monotonic_s() - started_s) < seconds or not calls:
        for argument in arguments:
            call(argument)
            calls += 1
            if monotonic_s() - started_s > seconds:
                break
    return calls * decisions / max(elapsed_s, monotonic_s() - started_s)


def _two_threads(
    call: Callable[[Any], Any], arguments: Sequence[Any], seconds: float, decisions: int = 1
) -> float:
    with ThreadPoolExecutor(2) as pool:
        running = [pool.submit(_rate, call, arguments, decisions, seconds) for _ in range(2)]
        return sum(one.result() for one in running)


def _add(report: Report, name: str, rules: int, hits: str, speed: Speed, ours: Speed | None) -> None:
    where = f"{name}, {rules} rules, {hits}"
    report.add(SUITE, f"{where}, one by one", "decisions/s", [speed.single])
    report.add(SUITE, f"{where}, p99 of one", "µs", [speed.p99_us])
    report.add(SUITE, f"{where}, batches of {_BATCH}", "decisions/s", [speed.batch])
    threads = "batches" if ours is None else "one by one"
    if speed.two_threads is not None:
        report.add(SUITE, f"{where}, two threads, {threads}", "decisions/s", [speed.two_threads])
    if ours is None:
        ratio = (speed.two_threads or 0.0) / speed.batch
        report.add(SUITE, f"{where}, two threads against one", "times", [ratio], at_least(1.8))
        return
    best = max(speed.single, speed.batch)
    bar = at_least(100) if rules == _COMPARED else None
    report.add(SUITE, f"cordum in batches against {where}", "times", [ours.batch / best], bar)
