"""Printing: data on stdout, everything else on stderr (CLI spec §4)."""

import enum
import json
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["Form", "Printer", "note"]


class Form(enum.StrEnum):
    """What answers are printed as: `--output`."""

    TABLE = "table"
    JSON = "json"
    YAML = "yaml"
    ID = "id"


@dataclass(frozen=True, slots=True)
class Printer:
    """How a command prints what the API answered."""

    form: Form = Form.TABLE
    headers: bool = True

    @property
    def is_data(self) -> bool:
        """Whether the API's own members are asked for, not a text for people."""
        return self.form in {Form.JSON, Form.YAML}

    def data(self, value: Any) -> None:
        """Print members as the API names them: JSON with two-space indent, or YAML where that is asked for."""
        if self.form is Form.YAML:
            import yaml  # here, so that `--help` stays fast

            sys.stdout.write(yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=120))
        else:
            sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")

    def items(
        self,
        items: Sequence[Mapping[str, Any]],
        header: Sequence[str],
        rows: Sequence[Sequence[Any]],
        *,
        key: str = "id",
        empty: str = "",
    ) -> None:
        """Print a list: a table, the bare array, or the member ``key`` of each; ``empty`` is the text of no rows."""
        if self.is_data:
            self.data(items)
        elif self.form is Form.ID:
            sys.stdout.writelines(f"{_cell(item[key])}\n" for item in items)
        elif not rows and empty:
            sys.stdout.write(f"{empty}\n")
        else:
            self.table(header, rows)

    def table(self, header: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """Print columns separated by two blanks, cut to the width of a terminal; an empty cell is `-`."""
        cells = [[_cell(value) for value in row] for row in rows]
        shown = [list(header), *cells] if self.headers else cells
        widths = [max(len(row[i]) for row in [list(header), *cells]) for i in range(len(header))]
        limit = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
        for row in shown:
            line = "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True))
            sys.stdout.write(line.rstrip()[:limit] + "\n")


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
