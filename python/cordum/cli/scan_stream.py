"""Long inputs in windows: what stands across two windows is found once, memory stays bounded."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO, Final

from cordum._core import Finding, Scanners, redact_output, scan_output

__all__ = ["Place", "Search", "Window", "places", "redacted", "windows"]

WINDOW_BYTES: Final = 8 * 1024 * 1024
# The longest findings (key blocks, manifests) fit into it.
OVERLAP_BYTES: Final = 64 * 1024
# Text before a window that its findings may need for context.
MARGIN_BYTES: Final = 4_096
_MARKS: Final = (b"\xff\xfe", b"\xfe\xff")
_MARKER: Final = b"[REDACTED]"
_CONTINUATION: Final = bytes(range(0x80, 0xC0))
_FOUR_BYTES: Final = bytes(range(0xF0, 0x100))


@dataclass(frozen=True, slots=True)
class Search:
    """What is looked for."""

    scanners: Sequence[str] | None = None
    min_confidence: float | None = None
    custom: Scanners | None = None

    def run(self, data: bytes | str, *, is_distinct: bool) -> list[Finding]:
        """Return the findings; ``is_distinct``: a value that occurs again is reported once."""
        names = None if self.scanners is None else list(self.scanners)
        return scan_output(
            data,
            scanners=names,
            min_confidence=self.min_confidence,
            is_distinct=is_distinct,
            custom=self.custom,
        )


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
    """A finding of a long input. Lines and columns count from 1, columns in UTF-16 units as editors do."""

    finding: Finding
    offset: int
    line: int
    column: int
    end_line: int
    end_column: int


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


def _findings(window: Window, search: Search) -> Iterator[tuple[int, Finding]]:
    for finding in search.run(window.mark + window.data, is_distinct=False):
        offset = window.base + finding.offset - len(window.mark)
        if window.start <= offset < window.end:
            yield offset, finding


class _Cursor:
    """Line and column of a place that only moves on."""

    def __init__(self, line: int = 1, units: int = 0, *, is_wide: bool = False) -> None:
        self.line, self._units, self.is_wide = line, units, is_wide

    @property
    def column(self) -> int:
        return (self._units // 2 if self.is_wide else self._units) + 1

    def moved(self, passed: bytes) -> "_Cursor":
        breaks = passed.count(b"\n")
        rest = passed[passed.rfind(b"\n") + 1 :] if breaks else passed
        units = len(rest)
        if not self.is_wide:
            # A character is one unit, one of four bytes two.
            units += -len(rest) + len(rest.translate(None, _CONTINUATION))
            units += len(rest) - len(rest.translate(None, _FOUR_BYTES))
        return _Cursor(self.line + breaks, units + (0 if breaks else self._units), is_wide=self.is_wide)


def places(stream: BinaryIO, search: Search, advance: "Advance") -> Iterator[Place]:
    """Yield every finding of a stream with where it stands."""
    cursor, counted = _Cursor(), 0
    for window in windows(stream):
        if window.base == 0 and window.data[:2] in _MARKS:
            # The mark is no character of the first line.
            cursor, counted = _Cursor(is_wide=True), 2
        for offset, finding in _findings(window, search):
            at = offset - window.base
            cursor = cursor.moved(window.data[counted - window.base : at])
            counted = max(counted, offset)
            end = cursor.moved(window.data[at : at + finding.length])
            yield Place(finding, offset, cursor.line, cursor.column, end.line, end.column)
        cursor = cursor.moved(window.data[counted - window.base : window.end - window.base])
        counted = max(counted, window.end)
        advance(window.end - window.start)


class Advance:
    """Told how many bytes were done."""

    def __call__(self, size_bytes: int) -> None:
        """Take note of ``size_bytes`` more."""


def redacted(stream: BinaryIO, search: Search, advance: Advance) -> Iterator[bytes]:
    """Yield the stream with its findings masked. JSON documents of one window, and JSON lines, stay JSON."""
    done = 0
    for window in windows(stream):
        spans = [
            (offset, offset + finding.length)
            for offset, finding in _findings(window, search)
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
