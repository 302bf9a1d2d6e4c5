"""Identifiers: records and service instances."""

import os
import secrets
import socket

__all__ = ["host_name", "instance_id", "new_id"]


_VARIANTS = {digit: "89ab"[int(digit, 16) & 3] for digit in "0123456789abcdef"}


_POOL_IDS = 256
_pool: list[str] = []


def _forget_pool() -> None:
    """A forked child must not hand out its parent's ids."""
    _pool.clear()


os.register_at_fork(after_in_child=_forget_pool)


def _random_hex() -> str:
    """Return 32 random hex digits; the system is asked for many at once, each call of it costs microseconds."""
    try:
        return _pool.pop()
    except IndexError:
        text = secrets.token_hex(16 * _POOL_IDS)
        _pool.extend(text[start : start + 32] for start in range(0, len(text), 32))
        return _pool.pop()


def new_id() -> str:
    """Return a random UUID (version 4) as text."""
    # By hand: a UUID object costs several times the text it is wanted for.
    text = _random_hex()
    variant = _VARIANTS[text[16]]
    return f"{text[:8]}-{text[8:12]}-4{text[13:16]}-{variant}{text[17:20]}-{text[20:]}"


def host_name() -> str:
    """Return the host name, or `unknown` when the system has none."""
    return socket.gethostname() or "unknown"


def instance_id(service: str) -> str:
    """Return `<hostname>-<8 hex>`, unique per start of ``service`` (scheduler spec §1)."""
    if not service:
        raise ValueError("an instance belongs to a service")
    return f"{host_name()}-{secrets.token_hex(4)}"
