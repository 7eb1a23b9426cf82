"""Which addresses may be called for people who are not the operator."""

from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.addresses import Reach, literal

PUBLIC = ["8.8.8.8", "1.1.1.1", "172.32.0.1", "2606:4700::1111", "64:ff9b::808:808", "2002:808:808::1"]
SPECIAL = [
    *("0.0.0.0", "0.1.2.3", "10.0.0.1", "100.64.0.1", "100.100.100.200", "127.0.0.1", "127.255.255.254"),
    *("169.254.169.254", "172.16.0.1", "172.31.255.255", "192.0.0.192", "192.0.2.1", "192.88.99.1", "192.168.0.1"),
    *("198.18.0.1", "198.51.100.1", "203.0.113.1", "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255"),
    "168.63.129.16",
    *("::", "::1", "::127.0.0.1", "::ffff:127.0.0.1", "::ffff:0:127.0.0.1", "64:ff9b::7f00:1", "64:ff9b:1::808:808"),
    *("100::1", "2001::1", "2001:0:808:808::1", "2001:db8::1", "2002:7f00:1::1", "2002:a9fe:a9fe::1", "3fff::1"),
    *("2600::5efe:a9fe:a9fe", "2600::200:5efe:7f00:1", "5f00::1", "fc00::1", "fd00:ec2::254", "fe80::1", "fec0::1"),
    "ff02::1",
]


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_may_be_called(address: str) -> None:
    assert Reach().admits(ip_address(address))


@pytest.mark.parametrize("address", SPECIAL)
def test_special_addresses_may_not(address: str) -> None:
    assert not Reach().admits(ip_address(address))


@pytest.mark.parametrize("address", SPECIAL)
def test_what_is_allowed_may_be_called_whatever_it_is(address: str) -> None:
    everything = (ip_network("0.0.0.0/0"), ip_network("::/0"))
    assert Reach(allowed=everything).admits(ip_address(address))


def test_what_is_allowed_is_no_more_than_was_said() -> None:
    reach = Reach(allowed=(ip_network("10.1.0.0/16"),))
    found = {address: reach.admits(ip_address(address)) for address in ("10.1.2.3", "10.2.0.1", "::ffff:10.1.2.3")}
    assert found == {"10.1.2.3": True, "10.2.0.1": False, "::ffff:10.1.2.3": True}


@pytest.mark.parametrize("address", ["8.8.8.8", "::ffff:8.8.8.8", "64:ff9b::808:808", "2002:808:808::1"])
def test_what_is_denied_may_not_be_called_though_it_is_public_or_allowed(address: str) -> None:
    reach = Reach(allowed=(ip_network("8.0.0.0/8"), ip_network("::/0")), denied=(ip_network("8.8.8.0/24"),))
    assert not reach.admits(ip_address(address))


@given(st.ip_addresses(v=4))
def test_no_clothes_make_an_ipv4_address_more_than_it_is(address: object) -> None:
    number = int(address)  # type: ignore[call-overload]
    clothed = [
        ip_address((0xFFFF << 32) | number),
        ip_address((0x64FF9B << 96) | number),
        ip_address((0x2002 << 112) | (number << 80) | 1),
        ip_address((0x2600 << 112) | (0x5EFE << 32) | number),
    ]
    plain = Reach().admits(ip_address(number) if number > 0xFFFFFFFF else ip_address(number.to_bytes(4)))
    assert [Reach().admits(each) for each in clothed] == [plain] * len(clothed)


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1", "127.1", "127.0.1", "0", "0.0.0.0", "0x7f.1", "0x7f000001", "2130706433", "017700000001"),
        *("0177.0.0.1", "localhost", "LOCALHOST", "localhost.", "a.localhost", "127.0.0.1."),
        *("１２７.0.0.1", "127。0。0。1", "①②⑦.0.0.1"),
        *("[::1]", "::1", "[::]", "::ffff:7f00:1", "[fe80::1%eth0]", "169.254.169.254", "0xa9fea9fe", "2852039166"),
    ],
)  # fmt: skip
def test_a_hopeless_host_is_known_as_it_is_written(host: str) -> None:
    assert Reach().is_hopeless(host)


@pytest.mark.parametrize(
    "host", ["example.org", "8.8.8.8", "[2606:4700::1111]", "localhost.example.org", "127.0.0.1.nip.io", ""]
)
def test_of_others_nothing_can_be_told(host: str) -> None:
    assert not Reach().is_hopeless(host)


def test_an_allowed_one_is_not_hopeless() -> None:
    reach = Reach(allowed=(ip_network("127.0.0.0/8"),))
    assert [reach.is_hopeless(host) for host in ("localhost", "127.1", "::1")] == [False, False, True]


@pytest.mark.parametrize("text", ["", "name", "1.2.3.4.5", "256.256.256.256", "127.0.0.1 x", "-1", "ä"])
def test_what_is_no_address_is_none(text: str) -> None:
    assert literal(text) is None
