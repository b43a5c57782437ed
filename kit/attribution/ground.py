"""By which rule a call is the attacker's, and which of these rules were right too seldom to be trusted alone.

docs/accuracy.md has how often each fired and how often it was right; tests/test_accuracy.py holds FEW to it.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum


class Ground(StrEnum):
    """A rule by which a call is the attacker's."""

    OWN_CALL = "own call"
    CALLER = "caller"
    APPLIED = "applied"
    GIVEN_RIGHTS = "given rights"
    MINTED = "minted"
    MADE_POD = "made pod"
    MADE_ACCOUNT = "made account"
    MADE_LEGACY = "made token"
    ALONE = "alone"
    BEFORE = "before"
    PRETENDING = "pretending"
    ISSUED_KEY = "issued key"
    LET_IN = "let in"
    STOLEN_SESSION = "stolen session"
    ENTERED_POD = "entered pod"
    READ_LEGACY = "read token"
    USED_OUTSIDE = "used outside"
    ANOTHER_CLIENT = "another client"
    CERTIFICATE = "certificate"
    CERTIFICATE_NAME = "certificate's name"
    MARKED = "marked"


SAYS = {
    Ground.OWN_CALL: "it is the call that a finding is about",
    Ground.CALLER: "same identity, credential, address and client as a finding's call",
    Ground.APPLIED: "a controller applied it, in the change that a finding's call is part of",
    Ground.GIVEN_RIGHTS: "a finding's caller inside the cluster, to whom the attacker gave rights before its first call",
    Ground.MINTED: "the attacker's call minted its credential",
    Ground.MADE_POD: "its token is bound to a pod that the attacker created",
    Ground.MADE_ACCOUNT: "the attacker created its service account",
    Ground.MADE_LEGACY: "its token is that of a Secret that the attacker created",
    Ground.ALONE: "it comes from an address that nobody but the attacker used",
    Ground.BEFORE: "its caller minted the credential, or made the pod, that the attacker used from the same address",
    Ground.PRETENDING: "it has the name of a part of the control plane, from where the control plane is not",
    Ground.ISSUED_KEY: "the attacker's call in AWS issued its access key",
    Ground.LET_IN: "the attacker let its principal in, which had no way in before",
    Ground.STOLEN_SESSION: "a session of a pod or node that the attacker holds, used outside",
    Ground.ENTERED_POD: "the token of a pod that the attacker had entered, used outside",
    Ground.READ_LEGACY: "the token of a Secret that the attacker had read, used outside",
    Ground.USED_OUTSIDE: "a credential with its place in the cluster, used from another place outside after the attacker",
    Ground.ANOTHER_CLIENT: "the attacker's credential and address with another client",
    Ground.CERTIFICATE: "a certificate that the attacker asked for, by its fingerprint",
    Ground.CERTIFICATE_NAME: "a name that nobody had used before the attacker asked for a certificate with it",
    Ground.MARKED: "a person marked it",
}
"""What each rule says."""

DEFINITIONS = {
    Ground.OWN_CALL: "the finding names this call; whether the finding is right is another question",
    Ground.APPLIED: "one run of writes from one source is one change, and a finding names a call of it",
    Ground.GIVEN_RIGHTS: "two rules in one: a finding names this caller, and the attacker gave the rights that it calls with",
    Ground.MINTED: "the log names the credential that the call gave out, and nobody else was given it",
    Ground.MADE_POD: "the pod has no other owner",
    Ground.MADE_ACCOUNT: "the account has no other owner while it stands",
    Ground.MADE_LEGACY: "the Secret has no other owner while it stands",
    Ground.BEFORE: "the log names the token or pod that this caller made and the attacker used, from this caller's own address",
    Ground.ISSUED_KEY: "AWS gave the key to the attacker, and nobody used it in the cluster before the attacker",
    Ground.LET_IN: "without the attacker's call the principal could not have called",
    Ground.CERTIFICATE: "whoever asked for the certificate has its key",
    Ground.MARKED: "a person decides",
}
"""Rules that hold by what their evidence is, each with why: no number decides whether they count."""

FEW = frozenset(
    {
        Ground.PRETENDING,
        Ground.STOLEN_SESSION,
        Ground.ENTERED_POD,
        Ground.READ_LEGACY,
        Ground.CERTIFICATE_NAME,
    }
)
"""Rules that fired under thirty times or in fewer than four recordings: each needs another one beside it."""


def decides(grounds: Iterable[Ground | None]) -> bool:
    """Whether some rules are enough for a call to be the attacker's: one that is not few, or two of them."""
    held = {one for one in grounds if one is not None}
    return bool(held - FEW) or len(held) > 1
