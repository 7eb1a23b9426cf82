"""Which network addresses may be called for people who are not the operator.

Whoever may name a URL could else have the controller, from where it stands, call what they cannot reach themselves:
services of this machine, of the networks behind it, and the metadata service that gives a cloud's credentials away.
"""

from __future__ import annotations

import socket
import unicodedata
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Final

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_SPECIAL: Final = tuple(
    map(
        ip_network,
        (
            # IANA's registry of special-purpose IPv4 addresses, but for those that are reachable by all the world
            *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12"),
            *("192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15"),
            *("198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4"),
            "168.63.129.16/32",  # Azure's own services, at a public address, in every virtual machine of theirs
            # the same for IPv6, as far as it is within what is given out at all
            *("2001::/23", "2001:db8::/32", "3fff::/20"),
        ),
    )
)
_GIVEN_OUT: Final = IPv6Network("2000::/3")
"""All that IANA has given out for the world; link-local, unique-local, multicast and loopback are outside of it."""
_NAT64: Final = IPv6Network("64:ff9b::/96")
_6TO4: Final = IPv6Network("2002::/16")
_ISATAP: Final = 0x5EFE
_LOW: Final = 0xFFFF_FFFF
_DOTS: Final = str.maketrans("\u3002\uff61", "..")
"""What else counts as a dot in a name; the fullwidth one is made plain with the digits."""


@dataclass(frozen=True, slots=True)
class Reach:
    """Where calls for people who are not the operator may go.

    Attributes:
        allowed: networks that may be called, whatever they are.
        denied: networks that may not be called, though they are allowed or public.
    """

    allowed: tuple[Network, ...] = ()
    denied: tuple[Network, ...] = ()

    def admits(self, address: Address) -> bool:
        """Whether ``address`` may be called: a public one, or one that is allowed, and none that is denied.

        An IPv4 address in another's clothes (mapped, NAT64, 6to4, ISATAP) is judged as what it is, too.
        """
        plain = unwrapped(address)
        forms = (plain, *_within(plain))
        if any(form in network for form in forms for network in self.denied):
            return False
        if any(plain in network for network in self.allowed):
            return True
        return all(map(_is_public, forms))

    def is_hopeless(self, host: str) -> bool:
        """Whether ``host`` as it is written can be told to be no address that may be called.

        Of a name that is not this machine's own nothing can be told: it may lead elsewhere by the time of the call.
        """
        name = unicodedata.normalize("NFKC", host.translate(_DOTS)).lower().rstrip(".")
        if name == "localhost" or name.endswith(".localhost"):
            return not (self.admits(IPv4Address("127.0.0.1")) or self.admits(IPv6Address("::1")))
        address = literal(name)
        return address is not None and not self.admits(address)


def unwrapped(address: Address) -> Address:
    """The IPv4 address that a socket is really connected to where a mapped one is given."""
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


def literal(host: str) -> Address | None:
    """The address that ``host`` is written as, in any of the ways in which a resolver reads one; None for a name."""
    try:
        return unwrapped(ip_address(host.strip("[]").partition("%")[0]))
    except ValueError:
        pass
    try:
        # also 127.1, 0x7f000001, 017700000001 and 2130706433; what stands behind a space is not looked at
        return IPv4Address(socket.inet_aton(host)) if host and " " not in host else None
    except (OSError, UnicodeError):
        return None


def _within(address: Address) -> Iterator[IPv4Address]:
    """The IPv4 addresses that what is sent to ``address`` may come out at."""
    if isinstance(address, IPv4Address):
        return
    number = int(address)
    if address in _NAT64 or (number >> 32) & _LOW & ~0x0200_0000 == _ISATAP:
        yield IPv4Address(number & _LOW)
    if address in _6TO4:
        yield IPv4Address((number >> 80) & _LOW)


def _is_public(address: Address) -> bool:
    if isinstance(address, IPv6Address) and address not in _GIVEN_OUT and address not in _NAT64:
        return False
    return not any(address in network for network in _SPECIAL)
