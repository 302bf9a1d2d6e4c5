"""Types of settings values and their parsers (configuration spec §1.2).

Every parser also accepts a value that is already parsed, so defaults can be written either way. A parser's
error text is the *expectation* only: it must never contain the value, because it may be a secret.
"""

import re
from typing import Annotated, Any, NamedTuple

from pydantic import BeforeValidator, SecretStr
from pydantic_settings import NoDecode

__all__ = [
    "Address",
    "Bool",
    "ByteSize",
    "Duration",
    "ListenAddress",
    "Secret",
    "StrList",
    "Word",
    "parse_address",
    "parse_bool",
    "parse_bytes",
    "parse_duration",
    "parse_list",
]

_TRUE = frozenset({"1", "t", "true", "y", "yes", "on"})
_FALSE = frozenset({"0", "f", "false", "n", "no", "off"})
_UNIT_S = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION_PART = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h|d)")
_BYTES = re.compile(r"(\d+)\s*(KiB|MiB|GiB)?", re.IGNORECASE)
_BYTE_UNIT = {"": 1, "kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30}


class Address(NamedTuple):
    """A TCP address; an empty ``host`` means all interfaces (listening) or loopback (dialling)."""

    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    @property
    def bind_host(self) -> str:
        """Return the host to listen on; without a host that is every IPv4 interface."""
        return self.host or "0.0.0.0"

    @property
    def dial(self) -> str:
        """Return `host:port` to connect to; without a host that is this machine."""
        return str(self if self.host else Address("localhost", self.port))

    @property
    def is_loopback(self) -> bool:
        """Tell whether the host is this machine only."""
        return self.host in {"localhost", "::1"} or self.host.startswith("127.")


def parse_bool(value: Any) -> Any:
    """Read `1 t true y yes on` and `0 f false n no off`; raise ValueError for any other text."""
    if not isinstance(value, str):
        return value
    word = value.strip().lower()
    if word in _TRUE:
        return True
    if word in _FALSE:
        return False
    raise ValueError("expected `true` or `false` (also 1, 0, yes, no, on, off)")


def parse_duration(value: Any) -> Any:
    """Read `500ms`, `90s`, `1h30m`, `7d` as seconds; raise ValueError for any other text."""
    if not isinstance(value, str):
        return value
    text = value.strip()
    sign, body = (-1.0, text[1:]) if text.startswith("-") else (1.0, text)
    if body == "0":
        return 0.0
    parts = _DURATION_PART.findall(body)
    if not parts or "".join(number + unit for number, unit in parts) != body:
        raise ValueError("expected a duration such as `500ms`, `90s` or `1h30m`")
    return sign * sum(float(number) * _UNIT_S[unit] for number, unit in parts)


def parse_bytes(value: Any) -> Any:
    """Read `1048576` or `1MiB` as bytes; raise ValueError for any other text."""
    if not isinstance(value, str):
        return value
    match = _BYTES.fullmatch(value.strip())
    if match is None:
        raise ValueError("expected a number of bytes such as `1048576` or `1MiB`")
    return int(match[1]) * _BYTE_UNIT[(match[2] or "").lower()]


def parse_list(value: Any) -> Any:
    """Read a comma separated list; items are trimmed, empty ones skipped."""
    if not isinstance(value, str):
        return value
    return tuple(item.strip() for item in value.split(",") if item.strip())


def parse_address(value: Any) -> Any:
    """Read `host:port`, `:port` or `[v6]:port`; raise ValueError for any other text."""
    if isinstance(value, Address) or not isinstance(value, str):
        return value
    host, separator, port = value.strip().rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        separator = ""
    if not separator or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise ValueError("expected an address such as `host:8081`, `:8081` or `[::1]:8081`")
    return Address(host, int(port))


def _lower(value: Any) -> Any:
    return value.strip().lower() if isinstance(value, str) else value


Bool = Annotated[bool, BeforeValidator(parse_bool)]
"""A switch."""
Duration = Annotated[float, BeforeValidator(parse_duration)]
"""A length of time in seconds."""
ByteSize = Annotated[int, BeforeValidator(parse_bytes)]
"""A size in bytes."""
StrList = Annotated[tuple[str, ...], NoDecode, BeforeValidator(parse_list)]
"""A comma separated list of words."""
ListenAddress = Annotated[Address, NoDecode, BeforeValidator(parse_address)]
"""An address to listen on or to dial. A bad one is always a start error (configuration spec §1.2)."""
Word = BeforeValidator(_lower)
"""Metadata for enumerations: `Annotated[Literal["json", "text"], Word]` reads them case-insensitively."""
Secret = SecretStr
"""Text that never prints; `<NAME>_FILE` may name a file that holds it."""
