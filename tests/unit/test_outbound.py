"""What outbound requests may reach (security spec §15)."""

import ipaddress

import pytest

from cordum.domain.errors import Forbidden, InvalidInput
from cordum.security.outbound import OutboundRules, is_blocked

BLOCKED = (
    *("0.0.0.0", "10.1.2.3", "100.64.0.1", "127.0.0.1", "169.254.169.254", "172.16.0.1", "172.31.255.255"),
    *("192.0.0.8", "192.168.1.1", "198.19.0.1", "224.0.0.1", "255.255.255.255", "::", "::1", "fd00::1"),
    *("fe80::1", "ff02::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::a00:1", "2002:a00:1::"),
)


@pytest.mark.parametrize("text", BLOCKED)
def test_an_address_of_the_own_network_is_blocked_in_every_form(text: str) -> None:
    assert is_blocked(ipaddress.ip_address(text))


@pytest.mark.parametrize(
    "text", ["8.8.8.8", "172.32.0.1", "100.128.0.1", "2606:4700::1111", "::ffff:8.8.8.8"]
)
def test_a_public_address_is_not_blocked(text: str) -> None:
    assert not is_blocked(ipaddress.ip_address(text))


def test_the_metadata_service_stays_blocked_where_private_addresses_are_allowed() -> None:
    rules = OutboundRules(allow_private=True)
    assert rules.permits("policies.internal", ipaddress.ip_address("10.0.0.1"))
    assert not rules.permits("policies.internal", ipaddress.ip_address("169.254.169.254"))
    assert not rules.permits("metadata.google.internal", ipaddress.ip_address("8.8.8.8"))


def test_names_of_this_machine_are_private_whatever_they_resolve_to() -> None:
    assert not OutboundRules().permits("a.LOCALHOST.", ipaddress.ip_address("8.8.8.8"))


@pytest.mark.parametrize(
    ("url", "error"),
    [
        ("ftp://example.com/x", InvalidInput),
        ("https:///x", InvalidInput),
        ("https://user:word@example.com/", InvalidInput),
        ("https://example.com:99999/", InvalidInput),
        ("http://example.com/", Forbidden),
        ("https://evil-example.com/", Forbidden),
        ("https://example.com.evil.test/", Forbidden),
    ],
)
def test_a_url_that_may_not_be_asked_is_refused(url: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        OutboundRules(hosts=("example.com",)).check(url)


@pytest.mark.parametrize("host", ["example.com", "a.example.com", "EXAMPLE.com."])
def test_a_listed_host_and_the_hosts_below_it_may_be_asked(host: str) -> None:
    assert OutboundRules(hosts=(".example.com",)).check(f"https://{host}/p").hostname == host.lower()
