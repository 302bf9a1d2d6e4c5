"""Licence limits. Filled by the licensing milestone."""
