"""Who is calling and what they may do: API keys, callers, permissions (security spec §3, §6–§8)."""

from cordum.security.keys import KeyRing, parse_keys
from cordum.security.permissions import is_allowed
from cordum.security.principal import ANONYMOUS, Caller

__all__ = ["ANONYMOUS", "Caller", "KeyRing", "is_allowed", "parse_keys"]
