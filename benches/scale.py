"""Suite `scale`: what many parked jobs and a large fleet cost the scheduler."""

from collections.abc import Sequence
from pathlib import Path
from statistics import median

from benches.pipeline import Sample, start_workers, submit_through_driver
from benches.processes import Helper
from benches.results import Report, at_least, at_most
from benches.stack import Stack, missing_part

__all__ = ["run"]

SUITE = "scale"
RUNS = 3
FLEET = 10_000
_WARM_UP_JOBS = 1_024
_MIB = 1 << 20


def run(report: Report, folder: Path, *, quick: bool) -> None:
    """Run the suite and add its rows; the runs follow each other on one system that only grows."""
    jobs, parked = (4_000, 50_000) if quick else (20_000, 1_000_000)
    reason = missing_part(("kernel", "scheduler"))
    if reason:
        report.skip(SUITE, reason)
        return
    limit = {"SCHEDULER_MAX_PARKED": str(2 * parked)}
    with Stack(folder, ("kernel", "scheduler"), environment=limit) as stack:
        workers = start_workers(stack)
        submit_through_driver(stack, _WARM_UP_JOBS)
        empty = _samples(stack, jobs)
        _park(stack, parked)
        full = _samples(stack, jobs)
        workers.stop()
        start_workers(stack, FLEET)
        submit_through_driver(stack, _WARM_UP_JOBS)
        fleet = _samples(stack, jobs)
        resident = stack.children["scheduler"].resident_bytes() / _MIB
    _add_ratio(report, f"jobs/s with {parked:,} parked jobs, to none", full, empty, "rate")
    _add_ratio(
        report, f"scheduler CPU per job with {parked:,} parked jobs, to none", full, empty, "scheduler"
    )
    _add_ratio(report, f"scheduler CPU per job with {FLEET:,} workers, to 200", fleet, full, "scheduler")
    note = f"{FLEET:,} workers and {parked:,} parked jobs"
    report.add(SUITE, "resident memory of the scheduler", "MiB", [resident], at_most(250), note)


def _samples(stack: Stack, jobs: int) -> list[Sample]:
    samples = [submit_through_driver(stack, jobs) for _ in range(RUNS)]
    return [{**sample, "rate": sample["jobs"] / sample["seconds"]} for sample in samples]


def _park(stack: Stack, number: int) -> None:
    arguments = ["--redis-url", stack.redis_url, "--jobs", str(number), "--parked"]
    with Helper("benches.driver", arguments, stack.root) as driver:
        driver.read()


def _add_ratio(
    report: Report, name: str, samples: Sequence[Sample], base: Sequence[Sample], key: str
) -> None:
    """Add the runs of ``samples`` divided by the median of ``base``."""
    middle = median(sample[key] for sample in base)
    bar = at_least(0.8) if key == "rate" else at_most(1.5)
    unit = "µs" if key == "scheduler" else "jobs/s"
    note = f"{median(sample[key] for sample in samples):.0f} to {middle:.0f} {unit}"
    report.add(SUITE, name, "", [sample[key] / middle for sample in samples], bar, note)
