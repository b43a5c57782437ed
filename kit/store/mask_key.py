"""CASE/mask.key: the key by which values of this case are masked, so that equal values look equal in all that is shown of it."""

from __future__ import annotations

import os
import re
import secrets
from pathlib import Path

from kit.errors import CaseError
from kit.model.masking import MASK, secrets_are_shown
from kit.whole_file import write_whole

MASK_KEY = "mask.key"
_KEY = re.compile(rb"[0-9a-f]{64}\n?")


def make_mask_key(case: Path) -> None:
    """Give a case a key of its own, if it has none."""
    if not (case / MASK_KEY).exists():
        write_whole(case / MASK_KEY, f"{secrets.token_hex(32)}\n")


def mask_by_key_of(case: Path) -> None:
    """From now on everything shown is masked by the key of a case. One that has none and cannot be written to: by a key of this process.

    Raises CaseError for a key that is none, and when secrets are to be shown to somebody who does not own the case.
    """
    if secrets_are_shown() and os.getuid() not in (0, case.stat().st_uid):
        raise CaseError(
            "secrets are shown to the owner of a case alone", where=str(case), next="ask for it without --show-secrets"
        )
    try:
        make_mask_key(case)
    except OSError:
        return
    try:
        key = (case / MASK_KEY).read_bytes()
    except OSError as error:
        raise CaseError(
            f"cannot be read: {error.strerror}", where=str(case / MASK_KEY), next="make it readable for yourself"
        ) from None
    if not _KEY.fullmatch(key):
        raise CaseError(
            "is no key of this kit",
            where=str(case / MASK_KEY),
            next="delete it: another is made, and digests of masked values are others from then on",
        )
    MASK.key = bytes.fromhex(key.decode())
