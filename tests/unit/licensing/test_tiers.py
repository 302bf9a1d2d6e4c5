"""The tiers have the numbers of decision 35, in one table."""

from cordum.licensing import TIERS, UNLIMITED


def test_numbers_of_the_tiers() -> None:
    rows = {
        tier: (
            limits.max_workers,
            limits.max_concurrent_jobs,
            limits.requests_per_second,
            limits.audit_retention_days,
        )
        for tier, limits in TIERS.items()
    }
    assert rows == {
        "community": (50, 1_000, 500, 7),
        "team": (500, 25_000, 5_000, 90),
        "enterprise": (-1, -1, -1, -1),
    }
    assert TIERS["enterprise"] == UNLIMITED
