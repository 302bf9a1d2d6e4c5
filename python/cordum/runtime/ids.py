"""Identifiers: records and service instances."""

import secrets
import socket
import uuid

__all__ = ["host_name", "instance_id", "new_id"]


def new_id() -> str:
    """Return a random UUID (version 4) as text."""
    return str(uuid.UUID(bytes=secrets.token_bytes(16), version=4))


def host_name() -> str:
    """Return the host name, or `unknown` when the system has none."""
    return socket.gethostname() or "unknown"


def instance_id(service: str) -> str:
    """Return `<hostname>-<8 hex>`, unique per start of ``service`` (scheduler spec §1)."""
    if not service:
        raise ValueError("an instance belongs to a service")
    return f"{host_name()}-{secrets.token_hex(4)}"
