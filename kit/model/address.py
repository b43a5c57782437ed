"""Addresses of machines in one form each, so that two spellings of one are equal: IPv6 has many, and can wrap an IPv4 address.

Source: RFC 5952 (the recommended form); RFC 4291, 2.5.5.2 (IPv4-mapped addresses).
"""

from __future__ import annotations

from ipaddress import IPv6Address, ip_address

ODD = "contains({0}, ':') AND regexp_matches({0}, '[A-F.]|(^|:)0')"
"""SQL that holds of every text which may have another form than `canonical` gives it; with the name of a column."""


def canonical(address: str) -> str:
    """An address in its one form; any other text as it stands.

    >>> [canonical(one) for one in ("::ffff:198.51.100.7", "2001:0DB8:0:0::1", "198.51.100.7", "AWS Internal")]
    ['198.51.100.7', '2001:db8::1', '198.51.100.7', 'AWS Internal']
    """
    try:
        parsed = ip_address(address)
    except ValueError:
        return address
    mapped = parsed.ipv4_mapped if isinstance(parsed, IPv6Address) else None
    return str(mapped or parsed)
