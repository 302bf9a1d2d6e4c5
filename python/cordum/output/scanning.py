"""The detectors of the output policy on bytes or text (output policy spec §16.7)."""

from collections.abc import Sequence

from cordum._core import Finding, Scanners, redact_values_in, scan_output

__all__ = ["Finding", "Scanners", "redact", "scan"]


def scan(
    data: bytes | str,
    *,
    scanners: Sequence[str] | None = None,
    min_confidence: float | None = None,
    custom: Scanners | None = None,
) -> list[Finding]:
    """Return what the detectors find, by offset; a value that occurs again is reported once.

    Offsets and lengths are in bytes; text counts as its UTF-8. ``scanners`` names groups (``secret``, ``pii``,
    ``injection``, ``prompt_injection``) or single detectors; None stands for all four groups. Findings below
    ``min_confidence`` (0.5) are left out. ``custom`` adds the patterns of a scanner file, whose names ``scanners`` may
    hold too. Findings never hold what they found.

    Raises ValueError for an unknown scanner name, RuntimeError for data made to exhaust the scanner.
    """
    names = None if scanners is None else list(scanners)
    return scan_output(_encoded(data), scanners=names, min_confidence=min_confidence, custom=custom)


def redact(data: bytes | str, findings: Sequence[Finding]) -> bytes:
    """Return the data with the values of the findings masked as ``[REDACTED]``, wherever they occur. JSON stays JSON.

    Without findings the data is returned as it is. Raises ValueError when no such copy can be made.
    """
    given = _encoded(data)
    if not findings:
        return given.encode() if isinstance(given, str) else bytes(given)
    copy = redact_values_in(given, [(finding.offset, finding.length) for finding in findings])
    if copy is None:
        raise ValueError("the masked copy would not be JSON as the original is")
    return copy


def _encoded(data: bytes | str) -> bytes | str:
    """Return text as its UTF-8: half of a pair of surrogates, as JSON may hold, is kept as three bytes."""
    if isinstance(data, str) and not data.isascii():
        return data.encode("utf-8", "surrogatepass")
    return data
