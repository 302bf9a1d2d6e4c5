"""The caller of one request: tenant, principal, role and the fingerprint of the credential (security spec §6)."""

from dataclasses import dataclass, replace
from typing import Final, Literal, Self

__all__ = ["ANONYMOUS", "AuthSource", "Caller"]

AuthSource = Literal["api_key", "jwt", "oidc", "session", "anonymous"]


@dataclass(frozen=True, slots=True)
class Caller:
    """An authenticated caller. ``principal`` is the bound one and may be empty; use `effective_principal`."""

    tenant: str
    role: str
    principal: str = ""
    key_id: str = ""
    fingerprint: str = ""
    """First 16 hex digits of the key's SHA-256; empty without a key."""
    cross_tenant: bool = False
    source: AuthSource = "api_key"
    header_principal: str = ""
    """Principal named by a header, where that is allowed and none is bound."""
    names_itself: bool = False
    """Whether a request body may name the principal: header principals are on, nothing is bound or named."""

    @property
    def effective_principal(self) -> str:
        """Return the bound principal, else the header's, else `apikey:<16 hex>`."""
        return self.principal or self.header_principal or f"apikey:{self.fingerprint}"

    @property
    def identity(self) -> str:
        """Return what separation of duty compares: `apikey:<16 hex>|principal:<id>`."""
        return f"apikey:{self.fingerprint}|principal:{self.effective_principal}"

    def is_same_person(self, identity: str) -> bool:
        """Tell whether an identity shares the key or the principal with this caller."""
        key, _, principal = identity.partition("|")
        return (
            key == f"apikey:{self.fingerprint}" and bool(self.fingerprint)
        ) or principal == f"principal:{self.effective_principal}"

    def acting_for(self, tenant: str, header_principal: str, *, may_name_itself: bool) -> Self:
        """Return the caller as one request sees it: tenant resolved, header principal applied where allowed."""
        named = header_principal if may_name_itself and not self.principal else ""
        names_itself = may_name_itself and not self.principal and not named
        if (tenant, named, names_itself) == (self.tenant, self.header_principal, self.names_itself):
            return self
        return replace(self, tenant=tenant, header_principal=named, names_itself=names_itself)


ANONYMOUS: Final = Caller(tenant="", role="anonymous", principal="anonymous", source="anonymous")
"""A caller without credential where `CORDUM_ALLOW_INSECURE_NO_AUTH` admits one."""
