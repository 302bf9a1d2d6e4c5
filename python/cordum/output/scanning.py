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
    return scan_output(data, scanners=names, min_confidence=min_confidence, custom=custom)


def redact(data: bytes | str, findings: Sequence[Finding]) -> bytes:
    """Return the data with the values of the findings masked as ``[REDACTED]``, wherever they occur. JSON stays JSON.

    Without findings the data is returned as it is. Raises ValueError when no such copy can be made.
    """
    if not findings:
        return data.encode() if isinstance(data, str) else bytes(data)
    copy = redact_values_in(data, [(finding.offset, finding.length) for finding in findings])
    if copy is None:
        raise ValueError("the masked copy would not be JSON as the original is")
    return copy
