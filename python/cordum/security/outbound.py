"""Requests to addresses an operator or a document names: bounded, and never into the own network by accident.

The rules are those of the security spec §15 (outbound requests): every address of a name is checked and the connection
goes to a checked one, so a second lookup cannot answer differently.
"""

import ipaddress
import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import SplitResult, urljoin, urlsplit

import httpcore

from cordum.domain.errors import Forbidden, InvalidInput, TooLarge, Unavailable
from cordum.runtime.clock import monotonic_s

__all__ = ["Fetched", "OutboundRules", "fetch", "is_blocked"]

REDIRECTS_MAX: Final = 5
_CHUNK_CHECK_S: Final = 0.001
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_LINK_LOCAL: Final = tuple(map(ipaddress.ip_network, ("169.254.0.0/16", "fe80::/10")))
_BLOCKED: Final = tuple(
    map(
        ipaddress.ip_network,
        (
            *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12"),
            *("192.0.0.0/24", "192.168.0.0/16", "198.18.0.0/15", "224.0.0.0/4", "240.0.0.0/4"),
            *("::/128", "::1/128", "fc00::/7", "fe80::/10", "ff00::/8"),
        ),
    )
)
_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True, slots=True)
class OutboundRules:
    """What one feature may reach. ``hosts``: exact names or ``.suffix``; empty = every public host."""

    hosts: tuple[str, ...] = ()
    allow_private: bool = False
    allow_http: bool = False

    def check(self, url: str) -> SplitResult:
        """Return the parts of a URL that may be asked. Raises InvalidInput or Forbidden."""
        try:
            parts = urlsplit(url)
            host, _ = parts.hostname, parts.port
        except ValueError as error:
            raise InvalidInput(f"not a URL: {error}") from error
        if parts.scheme not in {"https", "http"} or not host:
            raise InvalidInput("expected an https URL")
        if parts.scheme == "http" and not self.allow_http:
            raise Forbidden("http is not allowed here: use https")
        if parts.username is not None or parts.password is not None:
            raise InvalidInput("user info in a URL is not allowed")
        if not self._lists(host):
            raise Forbidden(f"host `{host}` is not in the allow list")
        return parts

    def _lists(self, host: str) -> bool:
        name = host.lower().rstrip(".")
        if not self.hosts:
            return True
        for entry in (entry.strip().lower() for entry in self.hosts):
            if entry and (name == entry.lstrip(".") or name.endswith(f".{entry.lstrip('.')}")):
                return True
        return False

    def permits(self, host: str, address: Address) -> bool:
        """Tell whether a connection for ``host`` may go to ``address``."""
        name = host.lower().rstrip(".")
        if name == "metadata.google.internal" or is_blocked(address, _LINK_LOCAL):
            return False
        is_private = name == "localhost" or name.endswith(".localhost") or is_blocked(address)
        return self.allow_private or not is_private


def is_blocked(address: Address, networks: Iterable[Any] = _BLOCKED) -> bool:
    """Tell whether an address, or the IPv4 address it stands for, is in one of the networks."""
    forms: list[Address] = [address]
    if isinstance(address, ipaddress.IPv6Address):
        embedded = address.ipv4_mapped or address.sixtofour
        if embedded is not None:
            forms.append(embedded)
        if address in _NAT64:
            forms.append(ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF))
    return any(form in network for form in forms for network in networks if form.version == network.version)


@dataclass(frozen=True, slots=True)
class Fetched:
    """An answer: status, headers in lower case, body."""

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)


class _CheckedBackend(httpcore.SyncBackend):
    """Connects to addresses that were checked, by one lookup."""

    def __init__(self, rules: OutboundRules) -> None:
        self._rules = rules

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Any = None,
    ) -> httpcore.NetworkStream:
        addresses = _resolve(host, port)
        for address in addresses:
            if not self._rules.permits(host, ipaddress.ip_address(address)):
                raise Forbidden(f"host `{host}` has an address that may not be reached")
        return super().connect_tcp(addresses[0], port, timeout, local_address, socket_options)


def _resolve(host: str, port: int) -> list[str]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise Unavailable(f"host `{host}` was not found") from error
    # A scope id (fe80::1%eth0) is not part of the address.
    return list(dict.fromkeys(str(entry[4][0]).partition("%")[0] for entry in found))


def fetch(
    url: str,
    rules: OutboundRules,
    *,
    max_bytes: int,
    timeout_s: float,
    headers: Mapping[str, str] | None = None,
) -> Fetched:
    """GET a URL, following up to 5 redirects, every one of them checked. Blocks; ``timeout_s`` is for all of it.

    Raises InvalidInput or Forbidden for an address that may not be asked, TooLarge, Unavailable.
    """
    deadline = monotonic_s() + timeout_s
    parts = rules.check(url)
    for _ in range(REDIRECTS_MAX + 1):
        answer = _get(parts, rules, max_bytes, deadline, headers or {})
        target = answer.headers.get("location")
        if answer.status not in _REDIRECTS or not target:
            return answer
        following = rules.check(urljoin(parts.geturl(), target))
        if parts.scheme == "https" and following.scheme != "https":
            raise Forbidden("a redirect from https to http is not followed")
        parts = following
    raise Unavailable(f"more than {REDIRECTS_MAX} redirects")


def _get(
    parts: SplitResult, rules: OutboundRules, max_bytes: int, deadline: float, headers: Mapping[str, str]
) -> Fetched:
    left = max(deadline - monotonic_s(), _CHUNK_CHECK_S)
    limits = {"timeout": dict.fromkeys(("connect", "read", "write", "pool"), left)}
    sent = {"host": parts.netloc, "user-agent": "cordum", "accept-encoding": "identity", **headers}
    try:
        with (
            httpcore.ConnectionPool(network_backend=_CheckedBackend(rules)) as pool,
            pool.stream("GET", parts.geturl(), headers=list(sent.items()), extensions=limits) as response,
        ):
            received = {n.decode("latin-1").lower(): v.decode("latin-1") for n, v in response.headers}
            body = bytearray()
            for chunk in response.iter_stream():
                body += chunk
                if len(body) > max_bytes:
                    raise TooLarge(f"answer too large: expected at most {max_bytes} bytes")
                if monotonic_s() > deadline:
                    raise Unavailable("no complete answer in time")
            return Fetched(response.status, received, bytes(body))
    except (httpcore.TimeoutException, TimeoutError) as error:
        raise Unavailable("no answer in time") from error
    except (httpcore.NetworkError, httpcore.ProtocolError, OSError) as error:
        raise Unavailable(f"not reachable: {type(error).__name__}") from error
