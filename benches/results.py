"""What a benchmark run reports: rows with their bars, skipped parts, and both written forms."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

__all__ = ["Bar", "Report", "Row", "at_least", "at_most"]


@dataclass(frozen=True, slots=True)
class Bar:
    """The limit a median must keep."""

    limit: float
    is_maximum: bool

    def is_kept_by(self, value: float) -> bool:
        """Tell whether ``value`` keeps the bar."""
        return value <= self.limit if self.is_maximum else value >= self.limit

    def __str__(self) -> str:
        return f"{'≤' if self.is_maximum else '≥'} {_number(self.limit)}"


def at_most(limit: float) -> Bar:
    """Return a bar that larger medians miss."""
    return Bar(limit, is_maximum=True)


def at_least(limit: float) -> Bar:
    """Return a bar that smaller medians miss."""
    return Bar(limit, is_maximum=False)


@dataclass(frozen=True, slots=True)
class Row:
    """One measured quantity: the value of every run; the reported one is their median."""

    suite: str
    name: str
    unit: str
    runs: Sequence[float]
    bar: Bar | None = None
    note: str = ""

    @property
    def value(self) -> float:
        """Return the median of the runs."""
        return median(self.runs)

    @property
    def verdict(self) -> str:
        """Return `pass`, `miss`, or nothing without a bar."""
        if self.bar is None:
            return ""
        return "pass" if self.bar.is_kept_by(self.value) else "miss"

    def as_json(self) -> dict[str, Any]:
        """Return the row for the JSON report."""
        return {
            "suite": self.suite,
            "name": self.name,
            "unit": self.unit,
            "median": self.value,
            "runs": list(self.runs),
            "bar": None if self.bar is None else {"limit": self.bar.limit, "is_maximum": self.bar.is_maximum},
            "verdict": self.verdict or None,
            "note": self.note,
        }


@dataclass(slots=True)
class Report:
    """Everything one call of the command found out."""

    machine: Mapping[str, str]
    quick: bool
    rows: list[Row] = field(default_factory=list)
    skipped: list[tuple[str, str]] = field(default_factory=list)
    """Names of parts that did not run, with the reason."""
    notes: list[str] = field(default_factory=list)

    def add(
        self, suite: str, name: str, unit: str, runs: Sequence[float], bar: Bar | None = None, note: str = ""
    ) -> Row:
        """Add one row and return it."""
        row = Row(suite, name, unit, tuple(runs), bar, note)
        self.rows.append(row)
        return row

    def skip(self, name: str, reason: str) -> None:
        """Record that a part did not run."""
        self.skipped.append((name, reason))

    def write(self, folder: Path) -> None:
        """Write `benchmarks.md` and `benchmarks.json` into ``folder``."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "benchmarks.md").write_text(self.as_markdown(), encoding="utf-8")
        document = {
            "machine": dict(self.machine),
            "quick": self.quick,
            "rows": [row.as_json() for row in self.rows],
            "skipped": [{"name": name, "reason": reason} for name, reason in self.skipped],
            "notes": self.notes,
        }
        (folder / "benchmarks.json").write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")

    def as_markdown(self) -> str:
        """Return the report for people."""
        lines = ["# Benchmarks", "", "Medians; how to read them: docs/benchmarks.md.", ""]
        if self.quick:
            lines += ["Quick run: smaller numbers of jobs and requests, for a first impression only.", ""]
        lines += ["| Machine | |", "|---|---|"]
        lines += [f"| {name} | {value} |" for name, value in self.machine.items()]
        for suite in dict.fromkeys(row.suite for row in self.rows):
            lines += [
                "",
                f"## {suite}",
                "",
                "| What | Median | Runs | Bar | | Note |",
                "|---|---:|---|---|---|---|",
            ]
            lines += [_line(row) for row in self.rows if row.suite == suite]
        if self.skipped:
            lines += ["", "## Not run", ""]
            lines += [f"- {name}: {reason}" for name, reason in self.skipped]
        if self.notes:
            lines += ["", "## Notes", "", *(f"- {note}" for note in self.notes)]
        return "\n".join(lines) + "\n"


def _line(row: Row) -> str:
    runs = ", ".join(_number(value) for value in row.runs)
    bar = str(row.bar or "")
    return f"| {row.name} | {_number(row.value)} {row.unit} | {runs} | {bar} | {row.verdict} | {row.note} |"


def _number(value: float) -> str:
    if abs(value) >= 1_000:
        return f"{value:,.0f}".replace(",", " ")
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"
