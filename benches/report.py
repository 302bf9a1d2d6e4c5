"""The one command: run the benchmark suites on real processes and write Markdown and JSON."""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benches import engine, gateway, kernel, memory, outputs, peers, pipeline, scale
from benches.machine import describe
from benches.results import Report
from cordum.runtime.clock import monotonic_s

SUITES = {
    "engine": engine.run,
    "kernel": kernel.run,
    "output": outputs.run,
    "pipeline": pipeline.run,
    "gateway": gateway.run,
    "memory": memory.run,
    "peers": peers.run,
    "scale": scale.run,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the chosen suites; return 1 when one could not be measured, whatever the bars say."""
    parser = argparse.ArgumentParser(prog="python -m benches.report", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="smaller runs, at most 90 seconds in all")
    parser.add_argument("--only", help=f"comma separated: {','.join(SUITES)}; a quick run leaves out scale")
    parser.add_argument("--out", type=Path, default=Path("report"), help="folder (default: %(default)s)")
    options = parser.parse_args(arguments)
    chosen = options.only or ",".join(name for name in SUITES if not (options.quick and name == "scale"))
    names = [name.strip() for name in chosen.split(",") if name.strip()]
    unknown = sorted(set(names) - set(SUITES))
    if unknown:
        parser.error(f"unknown suite `{unknown[0]}`: expected some of {', '.join(SUITES)}")
    report = Report(describe(), options.quick)
    failed = [name for name in names if not _run_suite(name, report, quick=options.quick)]
    report.write(options.out)
    print(report.as_markdown())
    print(f"written: {options.out / 'benchmarks.md'}, {options.out / 'benchmarks.json'}")
    return 1 if failed else 0


def _run_suite(name: str, report: Report, *, quick: bool) -> bool:
    """Run one suite in a folder of its own; a failing suite is reported and leaves the others alone."""
    print(f"running {name} …", file=sys.stderr, flush=True)
    started_s = monotonic_s()
    with tempfile.TemporaryDirectory(prefix=f"cordum-bench-{name}-") as folder:
        try:
            SUITES[name](report, Path(folder), quick=quick)
        except Exception as error:  # any failure of one suite must not lose the numbers of the others
            report.skip(name, f"failed: {type(error).__name__}: {error}")
            return False
    report.notes.append(f"{name} took {monotonic_s() - started_s:.0f} s")
    return True


if __name__ == "__main__":
    sys.exit(main())
