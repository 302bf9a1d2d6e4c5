"""What approvers read and write, without secrets (gateway spec §15.1, §15.2)."""

from typing import Any, Final

from cordum.gateway.views import document
from cordum.output import redact, scan
from cordum.runtime.masking import REDACTED, mask_text, mask_value

__all__ = ["INPUT_BYTES", "NOTE_BYTES", "masked_input", "masked_note"]

INPUT_BYTES: Final = 256 * 1024
"""Larger payloads are not shown: a list holds up to 500."""
NOTE_BYTES: Final = 512
_SECRETS: Final = ("secret",)


def masked_input(head: tuple[bytes, int] | None) -> Any:
    """Return a payload as an approver sees it; None when there is none, it is too large or can't be masked.

    ``head`` is what `BlobStore.heads` found: the first bytes and the full length.
    """
    if head is None or head[1] > len(head[0]):
        return None
    try:
        masked = redact(head[0], scan(head[0], scanners=_SECRETS))
    except (ValueError, RuntimeError):
        # Nobody looked through it, or its copy can't be made: nothing of it is shown.
        return None
    return mask_value(document(masked))


def masked_note(text: str) -> str:
    """Mask secrets in what an approver wrote, then keep 512 bytes."""
    text = text.strip()
    try:
        masked = redact(text, scan(text, scanners=_SECRETS)).decode("utf-8", "ignore")
    except (ValueError, RuntimeError):
        masked = REDACTED
    return mask_text(masked).encode()[:NOTE_BYTES].decode("utf-8", "ignore")
