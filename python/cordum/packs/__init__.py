"""Packs. Filled by the packs milestone."""
