"""What stands in a request for a certificate and in the certificate: whom it names, when it ends, and its fingerprint.

Sources: RFC 2986 (requests), RFC 5280 (certificates); Kubernetes "Authenticating" (common name is the user, organisations are groups;
the credential id of a certificate is `X509SHA256=` with its fingerprint).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from datetime import UTC, datetime
from typing import Any

_PEM = re.compile(r"-----BEGIN [A-Z ]+-----(.+?)-----END", re.DOTALL)
_COMMON_NAME, _ORGANISATION = b"\x06\x03\x55\x04\x03", b"\x06\x03\x55\x04\x0a"  # X.520 attribute types
_TIME = re.compile(rb"\x17\x0d(\d{12})Z|\x18\x0f(\d{14})Z")  # UTCTime and GeneralizedTime of DER


def der_of(text: Any) -> bytes:
    """The first request or certificate of a member that holds PEM in Base64, as `spec.request` does; b"" for what is none."""
    try:
        found = _PEM.search(base64.b64decode(str(text or ""), validate=True).decode("ascii"))
        return base64.b64decode("".join(found.group(1).split()), validate=True) if found else b""
    except (ValueError, binascii.Error):
        return b""


def named_in(request: bytes) -> tuple[str, list[str]]:
    """User name and groups of whoever a request is for; "" where it names none."""
    names = list(_texts(request, _COMMON_NAME))
    return names[0] if names else "", list(_texts(request, _ORGANISATION))


def _texts(der: bytes, attribute: bytes) -> list[str]:
    found, at = list[str](), der.find(attribute)
    while at >= 0:
        start = at + len(attribute) + 1  # after the type of the text
        length = der[start] if start < len(der) else 0
        start += 1
        if length == 0x81 and start < len(der):
            length, start = der[start], start + 1
        found.append(der[start : start + length].decode("utf-8", "replace"))
        at = der.find(attribute, start)
    return found


def credential_id_of(certificate: bytes) -> str:
    """What the audit log calls a certificate."""
    return f"X509SHA256={hashlib.sha256(certificate).hexdigest()}"


def end_of(certificate: bytes) -> datetime | None:
    """When a certificate ends: the second time in it; None where it has none."""
    times = _TIME.findall(certificate)
    if len(times) < 2:
        return None
    short, long = times[1]
    try:
        return datetime.strptime((long or b"20" + short).decode(), "%Y%m%d%H%M%S").replace(tzinfo=UTC)
    except ValueError:
        return None
