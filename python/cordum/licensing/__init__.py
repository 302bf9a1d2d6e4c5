"""Licence tiers and their limits (security spec §20)."""

from cordum.licensing.tiers import TIERS, UNLIMITED, UPGRADE_URL, Entitlements, Tier

__all__ = ["TIERS", "UNLIMITED", "UPGRADE_URL", "Entitlements", "Tier"]
