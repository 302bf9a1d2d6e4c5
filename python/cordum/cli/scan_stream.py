"""Long inputs in windows: what stands across two windows is found once, memory stays bounded."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO, Final

from cordum._core import Finding, redact_output, scan_output
from cordum.output import scan

__all__ = ["Place", "Window", "places", "redacted", "windows"]

WINDOW_BYTES: Final = 8 * 1024 * 1024
# The longest findings (key blocks, manifests) fit into it.
OVERLAP_BYTES: Final = 64 * 1024
# Text before a window that its findings may need for context.
MARGIN_BYTES: Final = 4_096
_MARKS: Final = (b"\xff\xfe", b"\xfe\xff")
_MARKER: Final = b"[REDACTED]"


@dataclass(frozen=True, slots=True)
class Window:
    """A part of an input: ``data`` begins at ``base``; it answers for what begins in ``start``..``end``."""

    data: bytes
    base: int
    start: int
    end: int
    # Byte order mark that stands before ``data`` and is not part of it.
    mark: bytes = b""


@dataclass(frozen=True, slots=True)
class Place:
    """A finding of a long input."""

    finding: Finding
    offset: int
    line: int
    column: int


def windows(stream: BinaryIO, size_bytes: int = WINDOW_BYTES) -> Iterator[Window]:
    """Yield the windows of a stream; every byte is the answer of one of them."""
    buffer, base, start, mark = b"", 0, 0, b""
    coming = stream.read(size_bytes)
    while coming:
        buffer += coming
        if base == 0 and not mark and buffer[:2] in _MARKS:
            mark = buffer[:2]
        coming = stream.read(size_bytes)
        end = len(buffer) if not coming else _cut(buffer, bool(mark))
        yield Window(buffer, base, start, base + end, mark if base else b"")
        start = base + end
        # Windows of UTF-16 begin between two characters.
        keep = max(0, end - MARGIN_BYTES) & ~1
        buffer, base = buffer[keep:], base + keep


def _cut(buffer: bytes, is_wide: bool) -> int:
    limit = max(0, len(buffer) - OVERLAP_BYTES)
    if is_wide:
        return limit & ~1
    line = buffer.rfind(b"\n", max(0, limit - OVERLAP_BYTES), limit)
    return line + 1 if line >= 0 else limit


def _findings(
    window: Window, scanners: Sequence[str] | None, min_confidence: float | None
) -> Iterator[tuple[int, Finding]]:
    names = None if scanners is None else list(scanners)
    data = window.mark + window.data
    for finding in scan_output(data, scanners=names, min_confidence=min_confidence, is_distinct=False):
        offset = window.base + finding.offset - len(window.mark)
        if window.start <= offset < window.end:
            yield offset, finding


def places(
    stream: BinaryIO, scanners: Sequence[str] | None, min_confidence: float | None, advance: "Advance"
) -> Iterator[Place]:
    """Yield every finding of a stream with its line and column (in bytes), both from 1."""
    line, line_start, counted = 1, 0, 0
    for window in windows(stream):
        for offset, finding in _findings(window, scanners, min_confidence):
            passed = window.data[counted - window.base : offset - window.base]
            if (breaks := passed.count(b"\n")) > 0:
                line += breaks
                line_start = counted + passed.rfind(b"\n") + 1
            counted = offset
            yield Place(finding, offset, line, offset - line_start + 1)
        passed = window.data[counted - window.base : window.end - window.base]
        if (breaks := passed.count(b"\n")) > 0:
            line += breaks
            line_start = counted + passed.rfind(b"\n") + 1
        counted = window.end
        advance(window.end - window.start)


class Advance:
    """Told how many bytes were done."""

    def __call__(self, size_bytes: int) -> None:
        """Take note of ``size_bytes`` more."""


def redacted(
    stream: BinaryIO, scanners: Sequence[str] | None, min_confidence: float | None, advance: Advance
) -> Iterator[bytes]:
    """Yield the stream with its findings masked. JSON documents of one window, and JSON lines, stay JSON."""
    done = 0
    for window in windows(stream):
        spans = [
            (offset, offset + finding.length)
            for offset, finding in _findings(window, scanners, min_confidence)
            if offset + finding.length > done
        ]
        if window.base == 0 and window.end == len(window.data):
            whole = [(start, end - start) for start, end in spans]
            yield _masked(window.data, whole) if whole else window.data
        else:
            done = max(done, window.start)
            pieces, done = _pieces(window, spans, done)
            yield from pieces
        advance(window.end - window.start)


def _masked(text: bytes, spans: list[tuple[int, int]]) -> bytes:
    copy = redact_output(text, spans)
    return _MARKER if copy is None else copy


def _pieces(window: Window, spans: list[tuple[int, int]], done: int) -> tuple[list[bytes], int]:
    """Return the window's part from ``done`` on, masked line by line, and where it ends."""
    data, base = window.data, window.base
    pieces: list[bytes] = []
    group: list[tuple[int, int]] = []
    first = last = done
    for start, end in spans:
        line_start = max(done, base + data.rfind(b"\n", 0, start - base) + 1)
        stop = data.find(b"\n", end - base)
        line_end = base + (len(data) if stop < 0 else stop)
        if group and line_start < last:
            group.append((start, end))
            last = max(last, line_end)
            continue
        if group:
            pieces.append(_masked(data[first - base : last - base], [(s - first, e - s) for s, e in group]))
            done = last
        line_start = max(line_start, done)
        pieces.append(data[done - base : line_start - base])
        group, first, last = [(max(start, line_start), end)], line_start, line_end
    if group:
        pieces.append(_masked(data[first - base : last - base], [(s - first, e - s) for s, e in group]))
        done = last
    pieces.append(data[done - base : window.end - base] if done < window.end else b"")
    return pieces, max(done, window.end)


def record_findings(text: str, scanners: Sequence[str] | None, min_confidence: float | None) -> list[Finding]:
    """Return the findings of one record."""
    return scan(text, scanners=scanners, min_confidence=min_confidence)
