"""Header blocks of NATS messages (NATS client protocol, `HMSG`), read when somebody asks."""

from typing import Final

__all__ = ["headers_of", "status_of"]

_VERSION: Final = b"NATS/1.0"
_BREAK: Final = b"\r\n"


def status_of(block: bytes | None) -> tuple[str, str]:
    """Return status and description of a server's answer, `("503", "")` for example; two empty texts without one."""
    if not block or not block.startswith(_VERSION + b" "):
        return "", ""
    status, _, description = block[len(_VERSION) + 1 : block.find(_BREAK)].partition(b" ")
    if not status.isdigit():
        return "", ""
    return status.decode(), description.strip().decode("utf-8", "replace")


def headers_of(block: bytes | None) -> dict[str, str]:
    """Return the headers of a block by name, as they are spelled; what is no header is left out."""
    found: dict[str, str] = {}
    for line in (block or b"").split(_BREAK)[1:]:
        name, colon, value = line.partition(b":")
        if colon and name.isascii() and not any(map(str.isspace, name.decode())):
            found[name.decode()] = value.strip().decode("utf-8", "replace")
    return found
