"""`cordumctl output`: secrets, personal data and injected instructions in files and streams. Needs no gateway."""

import contextlib
import enum
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, BinaryIO, Final

import orjson
import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from cordum._core import PolicyError
from cordum.cli.exits import CommandExit
from cordum.cli.output import note
from cordum.cli.sarif import sarif
from cordum.cli.scan_stream import Advance, Place, Search, places, redacted
from cordum.output import Finding, Scanners

__all__ = ["app"]

app = typer.Typer(
    no_args_is_help=True, help="Find and mask secrets, personal data and injected instructions."
)

_SEVERITIES: Final = ("info", "low", "medium", "high", "critical")
# A shorter input is done before a bar would be seen.
_PROGRESS_FROM_BYTES: Final = 16 * 1024 * 1024
_MAX_RECORD_BYTES: Final = 64 * 1024 * 1024
_FOUND_EXIT: Final = 2


class Format(enum.StrEnum):
    """What findings are printed as."""

    JSON = "json"
    SARIF = "sarif"
    TEXT = "text"


class FailOn(enum.StrEnum):
    """Least severity that makes the exit code 2."""

    NEVER = "never"
    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    CRITICAL = "critical"


ScannerNames = Annotated[
    list[str] | None,
    typer.Option(
        "--scanners", help="Names of scanners or detectors, separated by commas; default all groups."
    ),
]
Least = Annotated[float | None, typer.Option("--min-confidence", help="0 to 1; 0.5 by default.")]
FileOfScanners = Annotated[
    Path | None, typer.Option("--scanner-file", help="Your own patterns, as in config/output_scanners.yaml.")
]


@app.command("scan")
def scan_command(
    context: typer.Context,
    paths: Annotated[list[str] | None, typer.Argument(help="Files or folders; `-` or none: stdin.")] = None,
    jsonl: Annotated[
        str, typer.Option(help='File of records {"id": any, "text": string}, one per line; `-`: stdin.')
    ] = "",
    scanners: ScannerNames = None,
    min_confidence: Least = None,
    scanner_file: FileOfScanners = None,
    format_: Annotated[Format, typer.Option("--format", help="json, sarif or text.")] = Format.JSON,
    fail_on: Annotated[
        FailOn, typer.Option(help="Exit 2 when a finding is at least so severe.")
    ] = FailOn.NEVER,
) -> None:
    """Print what is found: a JSON array per input, an object per record of a JSONL file, or SARIF.

    Example: cordumctl output scan --format sarif --fail-on high build.log > findings.sarif
    """
    search = _search(scanners, min_confidence, scanner_file)
    with _errors():
        if jsonl:
            if paths:
                raise ValueError("--jsonl: expected no other files beside it")
            worst = _scan_records(jsonl, search)
        else:
            worst = _scan_files(paths or ["-"], search, format_)
    if fail_on is not FailOn.NEVER and worst >= _SEVERITIES.index(fail_on.value):
        raise CommandExit(_FOUND_EXIT)


@app.command("redact")
def redact_command(
    path: Annotated[str, typer.Argument(help="File; `-`: stdin.")] = "-",
    output: Annotated[str, typer.Option("--out", help="Where to write; `-`: stdout.")] = "-",
    scanners: ScannerNames = None,
    min_confidence: Least = None,
    scanner_file: FileOfScanners = None,
) -> None:
    """Copy a file with everything that is found masked as [REDACTED]. JSON and JSON lines stay JSON.

    Example: cordumctl output redact worker.log --scanners secret,pii --out clean.log
    """
    search = _search(scanners, min_confidence, scanner_file)
    with (
        _errors(),
        _opened(path) as (stream, size),
        _progress(path, size) as advance,
        _target(output) as target,
    ):
        for piece in redacted(stream, search, advance):
            target.write(piece)
        target.flush()


def _search(scanners: list[str] | None, min_confidence: float | None, scanner_file: Path | None) -> Search:
    """Return what to look for; unknown names and broken files end the program before any input is read."""
    given = [name.strip() for text in scanners or [] for name in text.split(",") if name.strip()]
    with _errors():
        custom = None if scanner_file is None else _scanners(scanner_file)
        Search(given, min_confidence, custom).run(b"", is_distinct=True)
    return Search(given or None, min_confidence, custom)


def _scanners(path: Path) -> Scanners:
    try:
        return Scanners(path.read_bytes())
    except PolicyError as error:
        for place, message, _ in error.errors:
            note(f"{path}: {place}: {message}" if place else f"{path}: {message}")
        raise ValueError(f"{path}: the scanner file has faults") from None


@contextlib.contextmanager
def _errors() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        # Who reads our output has seen enough.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(1) from None
    except (OSError, ValueError, RuntimeError) as error:
        note(f"error: {error}")
        raise typer.Exit(1) from None


@contextlib.contextmanager
def _opened(path: str) -> Iterator[tuple[BinaryIO, int | None]]:
    if path == "-":
        yield sys.stdin.buffer, None
        return
    with Path(path).open("rb") as stream:
        yield stream, os.fstat(stream.fileno()).st_size


@contextlib.contextmanager
def _target(path: str) -> Iterator[BinaryIO]:
    if path == "-":
        yield sys.stdout.buffer
        return
    with Path(path).open("wb") as stream:
        yield stream


@contextlib.contextmanager
def _progress(path: str, size: int | None) -> Iterator[Advance]:
    """A bar on stderr, for people and long inputs only."""
    if not sys.stderr.isatty() or (size is not None and size < _PROGRESS_FROM_BYTES):
        yield Advance()
        return
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        yield _Bar(progress, progress.add_task(path, total=size))


class _Bar(Advance):
    def __init__(self, progress: Progress, task: Any) -> None:
        self._progress, self._task = progress, task

    def __call__(self, size_bytes: int) -> None:
        self._progress.update(self._task, advance=size_bytes)


def _rank(finding: Finding) -> int:
    return _SEVERITIES.index(finding.severity)


def _told(finding: Finding, offset: int) -> dict[str, Any]:
    return {
        "detector": finding.detector,
        "type": finding.type,
        "severity": finding.severity,
        "confidence": finding.confidence,
        "offset": offset,
        "length": finding.length,
        "detail": finding.detail,
    }


def _scan_records(path: str, search: Search) -> int:
    worst = -1
    with _opened(path) as (stream, size), _progress(path, size) as advance:
        number = 0
        while line := stream.readline(_MAX_RECORD_BYTES + 1):
            number += 1
            if len(line) > _MAX_RECORD_BYTES:
                raise ValueError(f"line {number}: expected at most {_MAX_RECORD_BYTES} bytes")
            advance(len(line))
            if not line.strip():
                continue
            record = _record(line, number)
            # JSON may hold half of a pair of surrogates.
            text = record["text"].encode("utf-8", "surrogatepass")
            findings = search.run(text, is_distinct=True)
            worst = max(worst, *map(_rank, findings), -1)
            told = [_told(finding, finding.offset) for finding in findings]
            # The id comes back as it is: any number, any text.
            name = json.dumps(record.get("id"), separators=(",", ":")).encode()
            sys.stdout.buffer.write(b'{"id":%b,"findings":%b}\n' % (name, orjson.dumps(told)))
        sys.stdout.buffer.flush()
    return worst


def _no_constant(name: str) -> None:
    raise ValueError(name)


def _record(line: bytes, number: int) -> dict[str, Any]:
    try:
        record = json.loads(line, parse_constant=_no_constant)
    except ValueError:
        raise ValueError(f"line {number}: expected a JSON object") from None
    if not isinstance(record, dict) or not isinstance(record.get("text"), str):
        raise ValueError(f'line {number}: expected an object with a string "text"')
    return record


def _files(paths: list[str]) -> Iterator[str]:
    for path in paths:
        if path != "-" and Path(path).is_dir():
            inside = (entry for entry in sorted(Path(path).rglob("*")) if ".git" not in entry.parts)
            yield from (str(entry) for entry in inside if entry.is_file() and not entry.is_symlink())
        else:
            yield path


def _scan_files(paths: list[str], search: Search, format_: Format) -> int:
    """Print what is found in files as it is found: nothing of it is kept, however much there is."""
    worst = _Worst()
    is_single = len(paths) == 1 and (paths[0] == "-" or not Path(paths[0]).is_dir())
    if format_ is Format.SARIF:
        named = (
            ("stdin" if path == "-" else Path(path).as_posix(), place)
            for path in _files(paths)
            for place in _places(path, search, worst)
        )
        sys.stdout.writelines(sarif(named))
        return worst.rank
    for path in _files(paths):
        if format_ is Format.TEXT:
            sys.stdout.writelines(_line(path, place) for place in _places(path, search, worst))
            continue
        # One array for one input; with several, each says whose it is.
        head, tail = ("[", "]\n") if is_single else (f'{{"path": {json.dumps(path)}, "findings": [', "]}\n")
        sys.stdout.write(head)
        separator = ""
        for place in _places(path, search, worst):
            sys.stdout.write(separator + json.dumps(_told(place.finding, place.offset)))
            separator = ", "
        sys.stdout.write(tail)
    return worst.rank


class _Worst:
    """The gravest severity seen, -1 for none."""

    rank = -1


def _places(path: str, search: Search, worst: _Worst) -> Iterator[Place]:
    with _opened(path) as (stream, size), _progress(path, size) as advance:
        for place in places(stream, search, advance):
            worst.rank = max(worst.rank, _rank(place.finding))
            yield place


def _line(path: str, place: Place) -> str:
    finding = place.finding
    return (
        f"{path}:{place.line}:{place.column}: {finding.severity}: {finding.detail}"
        f" [{finding.detector}, {finding.confidence:.2f}]\n"
    )
