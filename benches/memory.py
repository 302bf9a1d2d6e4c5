"""Suite `memory`: bytes Redis needs per job, pending and terminal."""

from pathlib import Path

from benches.jobs import PAYLOAD_BYTES
from benches.pipeline import start_workers, submit_through_driver, wait_complete
from benches.processes import Helper
from benches.results import Report
from benches.stack import Stack, missing_part

__all__ = ["run"]

SUITE = "memory"
RUNS = 3
_WARM_UP_JOBS = 256
Sizes = dict[str, float]


def run(report: Report, folder: Path, *, quick: bool) -> None:
    """Run the suite and add its rows; without kernel or scheduler only pending jobs are measured."""
    jobs = 5_000
    reason = missing_part(("kernel", "scheduler"))
    with Stack(folder, () if reason else ("kernel", "scheduler")) as stack:
        if not reason:
            start_workers(stack)
            submit_through_driver(stack, _WARM_UP_JOBS, inline_bytes=0)
        samples = [_measure(stack, jobs, to_the_end=not reason) for _ in range(RUNS)]
    notes = {
        "pending": "record, request, event, indexes, tenant and trace sets",
        "pending with payload": f"and a context document of {PAYLOAD_BYTES} bytes",
        "terminal": "and decision, dispatch, result and three more events",
        "terminal with payload": "",
    }
    for name, note in notes.items():
        if name in samples[0]:
            report.add(SUITE, f"one job, {name}", "bytes", [sample[name] for sample in samples], note=note)
    if reason:
        report.skip("memory of terminal jobs", reason)


def _measure(stack: Stack, jobs: int, *, to_the_end: bool) -> Sizes:
    arguments = ["--redis-url", stack.redis_url, "--jobs", str(jobs), "--context-bytes", str(PAYLOAD_BYTES)]
    if to_the_end:
        arguments += ["--nats-url", f"nats://127.0.0.1:{stack.nats_port}"]
    done_before = stack.job_counts("SUCCEEDED")[0]
    before = stack.used_memory()
    sizes: Sizes = {}
    with Helper("benches.driver", arguments, stack.root) as driver:
        driver.read()
        sizes["pending"] = (stack.used_memory() - before) / jobs
        driver.go()
        driver.read()
        sizes["pending with payload"] = (stack.used_memory() - before) / jobs
        if to_the_end:
            driver.read()
            driver.go()
            wait_complete(stack, done_before + jobs)
            driver.read()
            sizes["terminal with payload"] = (stack.used_memory() - before) / jobs
            payload = sizes["pending with payload"] - sizes["pending"]
            sizes["terminal"] = sizes["terminal with payload"] - payload
    return sizes
