"""The tiers and their numbers, in one table (security spec §20.3, decision 35 of the specification)."""

from dataclasses import dataclass
from typing import Final, Literal

__all__ = ["TIERS", "UNLIMITED", "UPGRADE_URL", "Entitlements", "Tier"]

UPGRADE_URL: Final = "https://cordum.io/pricing"

Tier = Literal["community", "team", "enterprise"]


@dataclass(frozen=True, slots=True)
class Entitlements:
    """What a licence allows; -1 means no limit, as in every JSON we show."""

    max_workers: int = -1
    """Workers known at once."""
    max_concurrent_jobs: int = -1
    """Active jobs (SCHEDULED, DISPATCHED, RUNNING) per tenant."""
    requests_per_second: int = -1
    """API requests per tenant."""
    audit_retention_days: int = -1


TIERS: Final[dict[Tier, Entitlements]] = {
    "community": Entitlements(
        max_workers=50, max_concurrent_jobs=1_000, requests_per_second=500, audit_retention_days=7
    ),
    "team": Entitlements(
        max_workers=500, max_concurrent_jobs=25_000, requests_per_second=5_000, audit_retention_days=90
    ),
    "enterprise": Entitlements(),
}

UNLIMITED: Final = TIERS["enterprise"]
