"""Addresses of machines in one form each, so that two spellings of one are equal: IPv6 has many, and can wrap an IPv4 address.

Source: RFC 5952 (the recommended form); RFC 4291, 2.5.5.2 (IPv4-mapped addresses).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address

ODD = "regexp_matches({0}, '^\\s|\\s$|^\\[|%') OR (contains({0}, ':') AND regexp_matches({0}, '[A-F.]|(^|:)0'))"
"""SQL that holds of every text which may have another form than `canonical` gives it; with the name of a column."""


_WITH_PORT = re.compile(r"(\d+\.\d+\.\d+\.\d+):\d{1,5}|\[([0-9A-Fa-f:.]+)\](?::\d{1,5})?")


def canonical(address: str) -> str:
    """An address in its one form, without the port that a proxy writes behind it; any other text as it stands.

    >>> [canonical(one) for one in ("::ffff:198.51.100.7", "2001:0DB8:0:0::1", "198.51.100.7", "AWS Internal")]
    ['198.51.100.7', '2001:db8::1', '198.51.100.7', 'AWS Internal']
    >>> [canonical(one) for one in ("198.51.100.7:51312", "[2001:DB8::1]:443", "fe80::1%eth0", " 198.51.100.7")]
    ['198.51.100.7', '2001:db8::1', 'fe80::1', '198.51.100.7']
    """
    with_port = _WITH_PORT.fullmatch(address.strip())
    try:
        parsed = ip_address(next(filter(None, with_port.groups())) if with_port else address.strip().partition("%")[0])
    except ValueError:
        return address
    mapped = parsed.ipv4_mapped if isinstance(parsed, IPv6Address) else None
    return str(mapped or parsed)


def is_address(text: str) -> bool:
    """Whether a text is an address; the name of a service of AWS is none.

    >>> [is_address(one) for one in ("198.51.100.7", "2001:db8::1", "eks.amazonaws.com")]
    [True, True, False]
    """
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def is_in(address: str, networks: Iterable[IPv4Network | IPv6Network]) -> bool:
    """Whether an address lies in any of some networks; no other text does.

    >>> from ipaddress import ip_network
    >>> [is_in(one, [ip_network("198.51.100.0/24")]) for one in ("198.51.100.7", "203.0.113.7", "AWS Internal")]
    [True, False, False]
    """
    return is_address(address) and any(ip_address(address) in network for network in networks)
