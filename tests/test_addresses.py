"""app/alerts/addresses.py: no inner address, however it is written or wrapped, unless its host is allowed."""

import pytest

from app.alerts.addresses import Forbidden, hosts, is_public, reachable, resolve

INNER = [
    "127.0.0.1", "127.8.8.8", "0.0.0.0", "10.1.2.3", "172.16.0.1", "172.31.255.255", "192.168.1.1", "169.254.169.254", "100.64.0.1",
    "192.0.0.8", "198.18.0.1", "224.0.0.1", "239.255.255.250", "240.0.0.1", "255.255.255.255", "192.0.2.1", "203.0.113.9",
    "::", "::1", "fe80::1", "fe80::1%eth0", "fc00::1", "fd00:ec2::254", "fec0::1", "ff02::1", "2001:db8::1",
    "::ffff:127.0.0.1", "::ffff:169.254.169.254", "::ffff:10.0.0.1", "::127.0.0.1", "::7f00:1", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe",
    "2002:7f00:1::1", "2002:a9fe:a9fe::", "2001:0:7f00:1::", "not an address", "",
]  # fmt: skip
PUBLIC = [
    "8.8.8.8",
    "172.32.0.1",
    "192.169.0.1",
    "2606:4700:4700::1111",
    "::ffff:8.8.8.8",
    "64:ff9b::808:808",
    "2002:808:808::1",
]


@pytest.mark.parametrize("address", INNER)
def test_inner_addresses_are_refused(address):
    assert not is_public(address)
    with pytest.raises(Forbidden, match="an inner address"):
        reachable("evil.example", 443, frozenset(), lambda host, port: [address])


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_are_not(address):
    assert is_public(address)
    assert reachable("good.example", 443, frozenset(), lambda host, port: [address]) == [address]


def test_one_inner_address_among_public_ones_is_enough_to_refuse():
    with pytest.raises(Forbidden):
        reachable("evil.example", 443, frozenset(), lambda host, port: ["8.8.8.8", "127.0.0.1"])


@pytest.mark.parametrize("host", ["2130706433", "0x7f.1", "127.1", "017700000001", "localhost", "LOCALHOST"])
def test_other_spellings_of_this_machine_are_resolved_before_they_are_looked_at(host):
    with pytest.raises(Forbidden):
        reachable(host, 80, frozenset(), resolve)


def test_a_host_is_allowed_by_its_name_alone():
    allowed = hosts(" Hooks.Test , 192.168.1.5,[::1]")
    assert allowed == {"hooks.test", "192.168.1.5", "::1"}
    assert reachable("HOOKS.test.", 80, allowed, lambda host, port: ["10.0.0.1"]) == ["10.0.0.1"]
    with pytest.raises(Forbidden):
        reachable("sub.hooks.test", 80, allowed, lambda host, port: ["10.0.0.1"])
