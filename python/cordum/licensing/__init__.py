"""Licence tiers and their limits (security spec §20)."""

from cordum.licensing.tiers import TIERS, UNLIMITED, Entitlements, Tier

__all__ = ["TIERS", "UNLIMITED", "Entitlements", "Tier"]
