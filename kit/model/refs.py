"""Ref: one string for one thing, `kind:key`, the same in tables, scope, figures and report anchors."""

from __future__ import annotations

from kit.errors import CallError
from kit.model.kinds import SUBJECT_KINDS

KINDS = (
    *SUBJECT_KINDS,
    "access_key",  # a session or a long-term key of AWS, by access key id
    "audit",  # an audit event, by auditID (a label that the client may choose; rows are told apart by file and item)
    "aws",  # something in AWS, by ARN
    "finding",  # a GuardDuty finding by Id; `#` and a JSON path may follow
    "line",  # a record of evidence: <sha256 of the file>:<item>, which is the line in a file of lines
    "object",  # a stored object, by uid
    "trail",  # a CloudTrail event, by eventID
)


class Ref(str):
    """`kind:key` as a string; the key may hold any character, colons included.

    >>> Ref.of("pod", "53020ce2").key
    '53020ce2'
    """

    __slots__ = ()

    @classmethod
    def of(cls, kind: str, key: str) -> Ref:
        """The Ref of a thing. Raises CallError for a kind that is not in KINDS or an empty key."""
        if kind not in KINDS:
            raise CallError(f"{kind!r} is not a kind of ref", next=f"the kinds are {', '.join(KINDS)}")
        if not key:
            raise CallError(f"a ref of kind {kind!r} needs a key")
        return cls(f"{kind}:{key}")

    @classmethod
    def parse(cls, text: str) -> Ref:
        """The Ref in a text. Raises CallError when the text is not one."""
        kind, colon, key = text.partition(":")
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
