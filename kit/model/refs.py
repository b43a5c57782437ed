"""Ref: one string for one thing, `kind:key`, the same in tables, scope, figures and report anchors."""

from __future__ import annotations

from kit.errors import CallError
from kit.model.kinds import SUBJECT_KINDS

# An auditID is a label that the client may choose; rows are told apart by file and item.
LEADS_TO = {
    "finding": ("ID#PATH", "a member of a finding, in GuardDuty's wire names"),
    "audit": ("AUDIT ID", "an event of the audit log"),
    "object": ("UID", "an object of the cluster dump, or one that the audit log shows"),
    "trail": ("EVENT ID", "a CloudTrail event"),
    "aws": ("ARN", "a thing that `aws …` described"),
    "line": ("SHA256:N", "record N of the evidence file with that hash; in a file of lines, line N"),
}
"""Kind of Ref that leads to evidence → what its key is, and what it leads to (docs/json.md)."""
REF_KINDS = (*SUBJECT_KINDS, "access_key", *LEADS_TO)
"""All kinds: of subjects, a session or a long-term key of AWS by its access key id, and of evidence."""


class Ref(str):
    """`kind:key` as a string; the key may hold any character, colons included.

    >>> Ref.of("pod", "53020ce2").key
    '53020ce2'
    """

    __slots__ = ()

    @classmethod
    def of(cls, kind: str, key: str) -> Ref:
        """The Ref of a thing. Raises CallError for a kind that is not in KINDS or an empty key."""
        if kind not in REF_KINDS:
            raise CallError(f"{kind!r} is not a kind of ref", next=f"the kinds are {', '.join(REF_KINDS)}")
        if not key:
            raise CallError(f"a ref of kind {kind!r} needs a key")
        return cls(f"{kind}:{key}")

    @classmethod
    def parse(cls, text: str) -> Ref:
        """The Ref in a text. Raises CallError when the text is not one."""
        kind, colon, key = str(text).partition(":")
        if not colon:
            raise CallError(f"{text!r} is not a ref", next="a ref is kind:key, such as pod:53020ce2")
        return cls.of(kind, key)

    @property
    def kind(self) -> str:
        """What is named: one of KINDS."""
        return self.partition(":")[0]

    @property
    def key(self) -> str:
        """Which one: all after the first colon."""
        return self.partition(":")[2]
