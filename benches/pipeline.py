"""Suite `pipeline`: complete jobs per second, CPU per complete job, and latency of an idle system."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from statistics import quantiles

from benches.jobs import PAYLOAD_BYTES, TENANT
from benches.processes import BenchError, Helper, wait_for
from benches.results import Report, at_most
from benches.stack import API_KEY, Stack, missing_part
from cordum.runtime.clock import monotonic_s

__all__ = ["Sample", "run", "start_workers", "submit_through_driver"]

SUITE = "pipeline"
RUNS = 3
_WARM_UP_JOBS = 1_024
_COUNT_INTERVAL_S = 0.5
_ROUND_TRIPS = "cordum_redis_round_trips_total"
_SETTLE_S = 2.0
_OTHERS_CORES = 0.5
_LATENCY_REQUESTS = 200
_LATENCY_NOTE = f"{_LATENCY_REQUESTS} submits one after another per run"
_ORDER = ("scheduler", "redis", "nats", "kernel", "gateway", "workers")
_BARS = {"scheduler": at_most(100), "redis": at_most(60)}
Sample = dict[str, float]
"""One run: `jobs`, `seconds` and CPU microseconds per complete job by process name."""


def run(report: Report, folder: Path, *, quick: bool) -> None:
    """Run the suite and add its rows; parts whose services are missing are skipped by name."""
    jobs = 4_000 if quick else 20_000
    reason = missing_part(("kernel", "scheduler"))
    if reason:
        report.skip(SUITE, reason)
        return
    with _running(folder / "bus", ("kernel", "scheduler")) as stack:
        direct = [submit_through_driver(stack, jobs) for _ in range(RUNS)]
        _add_throughput(report, "published on the bus", direct)
        trips = [sample["round trips"] for sample in direct]
        note = "all calls of the scheduler, those of its background tasks too"
        report.add(SUITE, "round trips to Redis per complete job", "", trips, at_most(0.05), note)
        _add_bus_latency(report, stack)
    reason = missing_part(("gateway",))
    if reason:
        report.skip("pipeline over HTTP, and latency", reason)
        return
    with _running(folder / "http", ("kernel", "scheduler", "gateway")) as stack:
        _add_latency(report, stack)
        _add_throughput(report, "submitted over HTTP", _submit_over_http(stack, jobs // 2))


@contextmanager
def _running(folder: Path, services: Sequence[str]) -> Iterator[Stack]:
    """Give a warm stack with workers."""
    folder.mkdir()
    with Stack(folder, services) as stack:
        start_workers(stack)
        submit_through_driver(stack, _WARM_UP_JOBS)
        yield stack


def start_workers(stack: Stack, number: int = 200) -> Helper:
    """Start the simulated workers, in one process, and wait until they have announced themselves."""
    arguments = ["--nats-port", str(stack.nats_port), "--workers", str(number)]
    workers = Helper("benches.workers", arguments, stack.root)
    stack.start(workers)
    workers.read()
    return workers


def submit_through_driver(stack: Stack, jobs: int, inline_bytes: int = PAYLOAD_BYTES) -> Sample:
    """Run ``jobs`` jobs whose records exist before the first one is published; return the sample.

    `redis` is the sum of `redis create` (the records) and `redis run` (everything after).
    """
    arguments = ["--redis-url", stack.redis_url, "--nats-url", f"nats://127.0.0.1:{stack.nats_port}"]
    arguments += ["--jobs", str(jobs), "--inline-bytes", str(inline_bytes)]
    done_before, _ = stack.job_counts("SUCCEEDED")
    usage = stack.usage()
    with Helper("benches.driver", arguments, stack.root) as driver:
        driver.read()
        driver.read()
        trips = stack.metric("scheduler", _ROUND_TRIPS)
        created = usage.since()
        usage, started_s = stack.usage(), monotonic_s()
        driver.go()
        seconds = wait_complete(stack, done_before + jobs) - started_s
        submitted = driver.read()
    used = usage.since()
    sample = _sample(jobs, seconds, used)
    sample["round trips"] = (stack.metric("scheduler", _ROUND_TRIPS) - trips) / jobs
    sample["driver"] = submitted["cpu_s"] * 1e6 / jobs
    sample["redis run"] = sample["redis"]
    sample["redis create"] = created["redis"] / jobs
    sample["redis"] = sample["redis run"] + sample["redis create"]
    return sample


def _submit_over_http(stack: Stack, jobs: int) -> list[Sample]:
    arguments = ["--port", str(stack.gateway_port), "--path", "/api/v1/jobs", "--api-key", API_KEY]
    arguments += ["--requests", str(jobs), "--rounds", str(RUNS)]
    samples = []
    with Helper("benches.load", arguments, stack.root) as load:
        load.read()
        for _ in range(RUNS):
            done_before, _ = stack.job_counts("SUCCEEDED")
            usage, started_s = stack.usage(), monotonic_s()
            load.go()
            seconds = wait_complete(stack, done_before + jobs) - started_s
            sample = _sample(jobs, seconds, usage.since())
            sample["driver"] = load.read()["cpu_s"] * 1e6 / jobs
            samples.append(sample)
    return samples


def wait_complete(stack: Stack, expected: int) -> float:
    """Wait until ``expected`` jobs have succeeded in all; return when that was.

    Then give the writes that follow a commit a moment, so that they are counted too. Raises BenchError.
    """
    counted_s = 0.0

    def all_succeeded() -> bool:
        nonlocal counted_s
        for child in stack.children.values():
            child.check_alive()
        # The exact count costs Redis as much as some jobs do, so it follows the cheap one.
        if stack.open_jobs(TENANT) and monotonic_s() - counted_s < _COUNT_INTERVAL_S:
            return False
        counted_s = monotonic_s()
        return stack.job_counts("SUCCEEDED")[0] >= expected

    try:
        wait_for(all_succeeded, f"{expected} jobs complete", 120)
    except BenchError as error:
        raise BenchError(f"{error}; {stack.trouble()}") from error
    finished_s = monotonic_s()
    with suppress(BenchError):
        wait_for(lambda: stack.job_counts("SUCCEEDED")[1] == 0, "duties done", _SETTLE_S, 0.1)
    return finished_s


def _sample(jobs: int, seconds: float, used: dict[str, int]) -> Sample:
    sample = {name: cpu_us / jobs for name, cpu_us in used.items()}
    return {**sample, "jobs": float(jobs), "seconds": seconds}


def _add_throughput(report: Report, how: str, samples: Sequence[Sample]) -> None:
    report.add(
        SUITE,
        f"complete jobs/s, {how}",
        "jobs/s",
        [s["jobs"] / s["seconds"] for s in samples],
        note=_limit(samples),
    )
    for name in _ORDER:
        if name in samples[0]:
            bar = _BARS.get(name) if "redis create" in samples[0] else None
            runs = [sample[name] for sample in samples]
            report.add(
                SUITE, f"CPU of {name} per complete job, {how}", "µs", runs, bar, _share(name, samples)
            )


def _share(name: str, samples: Sequence[Sample]) -> str:
    middle = sorted(samples, key=lambda sample: sample[name])[len(samples) // 2]
    if name == "redis" and "redis create" in middle:
        return f"create {middle['redis create']:.0f} + run {middle['redis run']:.0f}"
    return ""


def _limit(samples: Sequence[Sample]) -> str:
    """Name the part that limits the rate, from the cores each process kept busy in the median run."""
    middle = sorted(samples, key=lambda sample: sample["seconds"])[len(samples) // 2]
    per_core = middle["jobs"] / middle["seconds"] / 1e6
    cores = {name: middle[name] * per_core for name in (*_ORDER, "driver") if name in middle}
    if "redis run" in middle:  # the records were created before the clock started
        cores["redis"] = middle["redis run"] * per_core
    busy, disk = middle["machine"] * per_core, middle["disk"] * per_core
    busiest = max(cores, key=lambda name: cores[name])
    others = max(0.0, busy - sum(cores.values()))
    if others > _OTHERS_CORES:
        limit = "other programs were busy, do not compare"
    elif busy > 0.9 * len(os.sched_getaffinity(0)):
        limit = f"all cores are busy, {busiest} most"
    elif cores[busiest] > 0.9:
        limit = f"{busiest} fills a core"
    else:
        limit = f"waiting for disk and network; {busiest} is busiest"
    parts = ", ".join(f"{name} {cores[name]:.2f}" for name in sorted(cores, key=lambda name: -cores[name]))
    return f"limit: {limit}. Cores used: {parts}; other programs {others:.2f}; idle for the disk {disk:.2f}"


def _latencies(stack: Stack, arguments: Sequence[str]) -> list[dict[str, list[float]]]:
    """Return the milliseconds of every round but the first, which warms up."""
    arguments = [*arguments, "--nats-port", str(stack.nats_port), "--requests", str(_LATENCY_REQUESTS)]
    with Helper("benches.latency", [*arguments, "--rounds", str(RUNS + 1)], stack.root) as probe:
        probe.read()
        rounds = []
        for _ in range(RUNS + 1):
            probe.go()
            rounds.append(probe.read())
    return rounds[1:]


def _add_bus_latency(report: Report, stack: Stack) -> None:
    bars = (at_most(3), at_most(15))
    recorded, bare = ("--redis-url", stack.redis_url), ()
    for whose, arguments, limits in (("", recorded, bars), (" without a record", bare, (None, None))):
        centiles = [quantiles(one["received_ms"], n=100) for one in _latencies(stack, arguments)]
        for bar, percent in zip(limits, (50, 99), strict=True):
            values = [cut[percent - 1] for cut in centiles]
            name = f"idle: submit message{whose} → dispatch message, p{percent}"
            report.add(SUITE, name, "ms", values, bar, _LATENCY_NOTE)


def _add_latency(report: Report, stack: Stack) -> None:
    measured = _latencies(stack, ("--port", str(stack.gateway_port), "--api-key", API_KEY))
    note = _LATENCY_NOTE
    for name, key in (("worker receives", "received_ms"), ("HTTP answer", "answered_ms")):
        centiles = [quantiles(one[key], n=100) for one in measured]
        bars = (at_most(6), at_most(20)) if key == "received_ms" else (None, None)
        for bar, percent in zip(bars, (50, 99), strict=True):
            values = [cut[percent - 1] for cut in centiles]
            report.add(SUITE, f"idle: HTTP submit → {name}, p{percent}", "ms", values, bar, note)
