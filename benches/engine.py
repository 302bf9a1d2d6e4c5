"""Suite `engine`: policy decisions per second, through Python and, in full runs, in Rust alone."""

import json
import os
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benches.policies import engine_policy, engine_request
from benches.processes import BenchError
from benches.results import Bar, Report, at_least, at_most
from cordum import _core
from cordum.protocol.cap import PolicyCheckResponse
from cordum.runtime.clock import monotonic_s
from cordum.v1.safety_batch_pb2 import BatchRequest

__all__ = ["run"]

SUITE = "engine"
RUNS = 3
SIZES = (10, 100, 1_000, 10_000)
_BATCH = 256
_REQUESTS = 1_024
_ROOT = Path(__file__).resolve().parent.parent
_CARGO_LIMIT_S = 900


def run(report: Report, folder: Path, *, quick: bool) -> None:
    """Run the suite and add its rows; skipped when the engine is not built in."""
    engine_class: Any = getattr(_core, "PolicyEngine", None)
    if engine_class is None:
        report.skip(SUITE, "the policy engine is not part of this installation")
        return
    seconds = 0.1 if quick else 0.5
    for rules in SIZES:
        engine = engine_class.compile(engine_policy(rules))
        _check(engine, rules - 1)
        uniform = [engine_request(number * 7919 % rules) for number in range(_REQUESTS)]
        for hits, requests in (("uniform", uniform), ("last rule", [engine_request(rules - 1)] * _REQUESTS)):
            _add_python_rows(report, engine, f"{rules} rules, {hits} hits", requests, seconds)
    if quick:
        report.skip("engine in Rust alone", "quick run")
    else:
        _add_rust_rows(report)


def _check(engine: Any, rule: int) -> None:
    """Raise BenchError unless the intended rule decides: a wrong answer has no speed."""
    answer = PolicyCheckResponse.FromString(engine.evaluate(engine_request(rule)))
    if answer.rule_id != f"r{rule}":
        raise BenchError(f"expected rule r{rule} to decide, got `{answer.rule_id}`: {answer.reason}")


def _add_python_rows(
    report: Report, engine: Any, what: str, requests: Sequence[bytes], seconds: float
) -> None:
    batches = [_encode_batch(requests[start : start + _BATCH]) for start in range(0, _REQUESTS, _BATCH)]
    bar = at_least(300_000) if what.startswith("1000 rules") else None
    single = [_rate(engine.evaluate, requests, 1, seconds) for _ in range(RUNS)]
    batch = [_rate(engine.evaluate_batch, batches, _BATCH, seconds) for _ in range(RUNS)]
    report.add(SUITE, f"Python, one by one, {what}", "decisions/s", single)
    report.add(SUITE, f"Python, batches of {_BATCH}, {what}", "decisions/s", batch, bar)


def _encode_batch(requests: Sequence[bytes]) -> bytes:
    """Return a serialized `cordum.v1.BatchRequest`."""
    encoded: bytes = BatchRequest(requests=requests).SerializeToString()
    return encoded


def _rate(
    call: Callable[[bytes], bytes], arguments: Sequence[bytes], decisions: int, seconds: float
) -> float:
    """Return decisions per second of ``call``, which makes ``decisions`` of them, over about ``seconds``."""
    calls, started_s = 0, monotonic_s()
    while (elapsed_s := monotonic_s() - started_s) < seconds or not calls:
        for argument in arguments:
            call(argument)
        calls += len(arguments)
    return calls * decisions / elapsed_s


def _add_rust_rows(report: Report) -> None:
    target = Path(os.environ.get("CARGO_TARGET_DIR", _ROOT / "target"))
    command = ["cargo", "bench", "-p", "cordum-policy", "--quiet"]
    try:
        subprocess.run(command, cwd=_ROOT, check=True, capture_output=True, timeout=_CARGO_LIMIT_S)
    except FileNotFoundError:
        report.skip("engine in Rust alone", "cargo is not installed")
        return
    times: dict[str, dict[int, float]] = {}
    for hits in ("uniform", "last"):
        for kind in ("decoded", "bytes", "batch256"):
            for rules in SIZES:
                rate, per_decision_ns = _estimate(target / "criterion" / hits / kind / str(rules) / "new")
                times.setdefault(f"{kind}, {hits} hits", {})[rules] = per_decision_ns
                bar: Bar | None = at_least(1_000_000) if rules == 1_000 and kind != "batch256" else None
                name = f"Rust, {kind}, {rules} rules, {hits} hits"
                report.add(SUITE, name, "decisions/s", [rate], bar, "criterion median")
    for name, by_size in times.items():
        ratio = by_size[10_000] / by_size[10]
        report.add(SUITE, f"Rust, cost of 10 000 rules against 10, {name}", "times", [ratio], at_most(3))


def _estimate(folder: Path) -> tuple[float, float]:
    """Return decisions per second and nanoseconds per decision of one criterion result."""
    median_ns = json.loads((folder / "estimates.json").read_text(encoding="utf-8"))["median"][
        "point_estimate"
    ]
    throughput = json.loads((folder / "benchmark.json").read_text(encoding="utf-8"))["throughput"]
    per_decision_ns = median_ns / throughput["Elements"]
    return 1e9 / per_decision_ns, per_decision_ns
