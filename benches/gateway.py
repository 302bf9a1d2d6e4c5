"""Suite `gateway`: submit requests against a FastAPI route that does nothing, interleaved in one run."""

import sys
from dataclasses import dataclass
from pathlib import Path

from benches.processes import BenchError, Child, Helper
from benches.results import Report, at_most
from benches.stack import API_KEY, Stack, missing_part
from cordum.embedded.probes import free_port, is_free

__all__ = ["run"]

SUITE = "gateway"
RUNS = 3
_CONNECTIONS = 64
_PATH = "/api/v1/jobs"


@dataclass(frozen=True, slots=True)
class Round:
    """One round of requests against one server."""

    requests_per_s: float
    cpu_us: dict[str, float]
    """CPU microseconds per request by process name."""


def run(report: Report, folder: Path, *, quick: bool) -> None:
    """Run the suite and add its rows; skipped when the gateway is missing. No scheduler runs beside it."""
    requests = 4_000 if quick else 20_000
    reason = missing_part(("kernel", "gateway"))
    if reason:
        report.skip(SUITE, reason)
        return
    with Stack(folder, ("kernel", "gateway")) as stack:
        port = free_port(set())
        bare = Child("bare", [sys.executable, "-m", "benches.bare_app", "--port", str(port)], stack.root)
        stack.start(bare).wait_ready(lambda: not is_free(port))
        measured = _interleave(stack, {"bare": port, "gateway": stack.gateway_port}, requests)
    _add_rows(report, measured)


def _interleave(stack: Stack, ports: dict[str, int], requests: int) -> dict[str, list[Round]]:
    """Return the measured rounds of each server; the first round of each only warms up."""
    measured: dict[str, list[Round]] = {name: [] for name in ports}
    for index in range(RUNS + 1):
        for name, port in ports.items():
            one = _round(stack, port, requests)
            if index:
                measured[name].append(one)
    return measured


def _round(stack: Stack, port: int, requests: int) -> Round:
    arguments = ["--port", str(port), "--path", _PATH, "--api-key", API_KEY, "--rounds", "1"]
    arguments += ["--requests", str(requests), "--connections", str(_CONNECTIONS)]
    with Helper("benches.load", arguments, stack.root) as load:
        load.read()
        usage = stack.usage()
        load.go()
        answer = load.read()
        used = usage.since()
    refused = {status: count for status, count in answer["statuses"].items() if not status.startswith("2")}
    if refused:
        raise BenchError(f"submits were not accepted, by status: {refused}")
    used["load"] = int(answer["cpu_s"] * 1e6)
    return Round(requests / answer["seconds"], {name: cpu / requests for name, cpu in used.items()})


def _add_rows(report: Report, measured: dict[str, list[Round]]) -> None:
    for name, label in (("bare", "bare FastAPI no-op POST"), ("gateway", "gateway submit")):
        rounds = measured[name]
        note = f"{_CONNECTIONS} connections; load generator {rounds[0].cpu_us['load']:.0f} µs per request"
        report.add(SUITE, f"{label}, requests/s", "1/s", [one.requests_per_s for one in rounds], note=note)
        report.add(SUITE, f"{label}, CPU per request", "µs", [one.cpu_us[name] for one in rounds])
    pairs = list(zip(measured["gateway"], measured["bare"], strict=True))
    ratios = [ours.cpu_us["gateway"] / bare.cpu_us["bare"] for ours, bare in pairs]
    report.add(
        SUITE, "gateway CPU against the bare route", "times", ratios, at_most(2), "each run next to its pair"
    )
    for name in ("redis", "nats", "kernel"):
        runs = [one.cpu_us[name] for one in measured["gateway"]]
        report.add(SUITE, f"CPU of {name} per gateway submit", "µs", runs)
