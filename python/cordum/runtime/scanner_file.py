"""The scanner file: operator patterns beside the built-in detectors (output policy spec §5.4)."""

from pathlib import Path
from typing import Final

from cordum._core import PolicyError, Scanners
from cordum.domain.policy_problems import problem_text
from cordum.runtime.logs import get_logger

__all__ = ["ScannerFile"]

_MAX_BYTES: Final = 1024 * 1024
_SHOWN: Final = 5

_log = get_logger()


class ScannerFile:
    """A file that is read again on every look; the last content without faults counts. Blocking."""

    def __init__(self, path: str) -> None:
        self.path = Path(path)
        self.is_refused = False
        """Whether the last look found a file that cannot be used, so that something older counts."""
        self.rejected_patterns = 0
        """Patterns of refused files that no linear-time engine can run, as they were met."""
        self._content: bytes | None = None
        self._last: bytes | str | None = None
        """What the last look found: content, or why there is none."""

    def read(self) -> bytes | None:
        """Return the content that counts; None: only the built-in detectors.

        A file that is gone counts no more. One that cannot be read or has faults changes nothing, and is logged once.
        """
        try:
            with self.path.open("rb") as file:
                found: bytes | str = file.read(_MAX_BYTES + 1)
        except FileNotFoundError:
            if self._is_new("missing"):
                _log.warning("scanner file not found, built-in detectors only", path=str(self.path))
            self._content, self.is_refused = None, False
            return None
        except OSError as error:
            found = (error.strerror or type(error).__name__).lower()
        if not self._is_new(found):
            return self._content
        if isinstance(found, str):
            self._refuse(f"cannot be read: {found}")
            return self._content
        try:
            scanners = Scanners(found)
        except PolicyError as error:
            self.rejected_patterns += sum("invalid pattern" in message for _, message, _ in error.errors)
            self._refuse(_reasons(error))
            return self._content
        self._content, self.is_refused = found if scanners.names else None, False
        if scanners.slow:
            slow = ", ".join(scanners.slow[:_SHOWN])
            _log.warning("patterns without a literal read every content", path=str(self.path), patterns=slow)
        return self._content

    def _is_new(self, found: bytes | str) -> bool:
        before, self._last = self._last, found
        return found != before

    def _refuse(self, reason: str) -> None:
        self.is_refused = True
        kept = "built-in detectors only" if self._content is None else "the former content stays"
        _log.error(f"scanner file refused, {kept}", path=str(self.path), reason=reason)


def _reasons(error: PolicyError) -> str:
    reasons = [problem_text(problem) for problem in error.errors]
    more = len(reasons) - _SHOWN
    return "; ".join(reasons[:_SHOWN]) + (f"; and {more} more" if more > 0 else "")
