"""Printing: data on stdout, everything else on stderr (CLI spec §4)."""

import json
import sys
from collections.abc import Sequence
from typing import Any

__all__ = ["note", "print_json", "print_table"]


def print_json(value: Any) -> None:
    """Print the API's JSON with two-space indent."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def print_table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Print columns separated by two blanks; an empty cell is `-`."""
    cells = [[_cell(value) for value in row] for row in rows]
    widths = [max(len(row[i]) for row in [list(header), *cells]) for i in range(len(header))]
    for row in [list(header), *cells]:
        line = "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True))
        sys.stdout.write(line.rstrip() + "\n")


def note(text: str) -> None:
    """Say something to the person at the terminal."""
    sys.stderr.write(text + "\n")


def _cell(value: Any) -> str:
    if value is None or value == "":
        return "-"
    if isinstance(value, list):
        return ",".join(str(item) for item in value) or "-"
    # Control characters in stored text must not drive the terminal.
    return "".join(c if c.isprintable() else "?" for c in str(value))
