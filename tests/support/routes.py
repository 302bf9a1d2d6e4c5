"""Routes of the gateway that its OpenAPI document does not list."""

from typing import Final

__all__ = ["PROBES", "SOCKETS"]

PROBES: Final = frozenset({"/health", "/livez", "/healthz", "/readyz", "/openapi.json"})
SOCKETS: Final = frozenset({"/api/v1/stream", "/api/v1/jobs/{job_id}/stream"})
"""WebSocket routes; the same paths are HTTP routes too."""
