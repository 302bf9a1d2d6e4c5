"""What the helper processes share: reporting to the parent and waiting for its word."""

import json
import resource
import sys

__all__ = ["cpu_s", "report", "wait_for_go"]


def report(**values: object) -> None:
    """Send one report to the parent."""
    sys.stdout.write(json.dumps(values) + "\n")
    sys.stdout.flush()


def wait_for_go() -> None:
    """Block until the parent says go; end quietly when it is gone."""
    if not sys.stdin.readline():
        sys.exit(0)


def cpu_s() -> float:
    """Return the CPU seconds this process has used so far."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime
