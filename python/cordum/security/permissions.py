"""Built-in roles and their permissions (security spec §8)."""

from collections.abc import Mapping
from functools import cache
from typing import Final

__all__ = ["PERMISSIONS", "ROLES", "is_allowed"]

ADMIN: Final = "admin.*"

PERMISSIONS: Final[frozenset[str]] = frozenset(
    {
        ADMIN,
        *("jobs.read", "jobs.write", "jobs.approve"),
        *("workflows.read", "workflows.write"),
        *("agents.read", "agents.write", "agents.delegate", "delegation.read", "delegation.impersonate"),
        *(
            "workers.read",
            "workers.write",
            "workerCredentials.read",
            "workerCredentials.write",
            "pools.write",
        ),
        *("topics.read", "topics.write", "schemas.read", "schemas.write"),
        *("policy.read", "policy.write", "policy.evaluate", "governance.read"),
        *("packs.read", "packs.install", "packs.uninstall", "packs.verify"),
        *("dlq.read", "dlq.write", "memory.read", "locks.read", "config.read", "config.write"),
        *("audit.read", "audit.export", "audit.verify", "legalHold.read", "legalHold.write"),
        *("users.read", "users.write", "roles.read", "roles.write", "apiKeys.read", "apiKeys.write"),
        *("license.read", "telemetry.read", "telemetry.write", "telemetry.export"),
        *("mcp.read", "mcp.verify"),
        *("evals.datasets.read", "evals.datasets.write", "evals.datasets.delete"),
        *("evals.runs.execute", "evals.runs.read", "evals.runs.delete"),
        *("edge.runtime.ingest", "shadow.exception.high_risk"),
    }
)
"""Every permission a route may ask for."""

_VIEWER: Final[frozenset[str]] = frozenset(
    {
        *("jobs.read", "workflows.read", "workers.read", "locks.read", "topics.read", "config.read"),
        *("audit.read", "schemas.read", "policy.read", "policy.evaluate", "governance.read"),
        *("delegation.read", "dlq.read", "packs.read", "license.read", "telemetry.read"),
        *("evals.datasets.read", "evals.runs.read"),
    }
)
_OPERATOR: Final[frozenset[str]] = _VIEWER | {
    *("jobs.write", "jobs.approve", "workflows.write", "schemas.write", "packs.install"),
    *("packs.uninstall", "dlq.write", "memory.read", "packs.verify"),
}

ROLES: Final[Mapping[str, frozenset[str]]] = {
    "admin": frozenset({ADMIN}),
    "secops": frozenset({ADMIN}),
    "operator": _OPERATOR,
    "viewer": _VIEWER,
    "user": frozenset({"jobs.read", "jobs.write", "workflows.read", "governance.read"}),
    "runtime_collector": frozenset({"edge.runtime.ingest"}),
    "anonymous": _VIEWER | {"jobs.write"},
}
"""Permissions of each built-in role, by lower-case name. Any other role has none."""


@cache
def is_allowed(role: str, permission: str) -> bool:
    """Tell whether a role holds ``permission``, its namespace's `<namespace>.*` or `admin.*`."""
    granted = ROLES.get(role.lower(), frozenset())
    return ADMIN in granted or permission in granted or f"{permission.split('.', 1)[0]}.*" in granted
