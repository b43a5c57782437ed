"""The EKS authenticator's log: which IAM principal signed in, and as which user name with which groups. One line of logfmt or JSON a message.

It is the only place that ties an ARN to a user name where an audit event has no `extra`. Oddities: it logs several lines a sign-in:
"STS response" has the role session and the access key, "access granted" the role, user name and groups; the client's address is that
of the API server that asked, not the caller's; a group with a space in its name cannot be told from two. Names of pairs differ from
version to version, so all are kept. Source: kubernetes-sigs/aws-iam-authenticator, pkg/server; sirupsen/logrus, TextFormatter.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from kit.errors import EvidenceError
from kit.evidence.formats.json_text import hash_of, json_text
from kit.evidence.record import Record
from kit.lenient import utc_time
from kit.store import tables

TABLE = tables.SIGN_INS.name
TAKEN_AS = tables.SIGN_INS.title
TAKES = ("the log streams `authenticator-…` of an EKS log group, in any form that audit logs come in",)
LISTS = ()

GRANTED, DENIED = "access granted", "access denied"
_PAIR = re.compile(r'([\w.@-]+)=("(?:[^"\\]|\\.)*"|[^\s"]*)(?: |$)')
_ESCAPE = re.compile(r"\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|(.))")
_ESCAPED = {"n": "\n", "t": "\t", "r": "\r", "a": "\a", "b": "\b", "f": "\f", "v": "\v"}
_BEGINS = re.compile(r'time="?\d{4}-\d\d-\d\dT')


def takes(record: Record) -> bool:
    """Whether a record is a line of the authenticator, as text or as JSON."""
    value = record.value
    if isinstance(value, dict):
        return value.keys() >= {"level", "msg", "time"}
    return isinstance(value, str) and _BEGINS.match(value) is not None and " msg=" in value


def rows(record: Record) -> Iterator[dict[str, Any]]:
    """A row. `granted` is empty for a line that is no answer."""
    said = record.value if isinstance(record.value, dict) else pairs(record.value)
    message, error = _text(said, "msg"), _text(said, "error", "err")
    at = utc_time(said.get("time"))
    if at is None:
        raise EvidenceError("is not a time", where="time")
    denied = message is not None and message.startswith(DENIED)
    text = json_text(said)
    yield {
        "cluster": None,
        "account": None,
        "signed_in_at": at,
        "message": f"{message}: {error}" if error else message,
        "granted": True if message == GRANTED else False if denied else None,
        "arn": _text(said, "arn"),
        "user_name": _text(said, "username"),
        "user_uid": _text(said, "uid"),
        "user_groups": _groups(said.get("groups")),
        "access_key_id": _text(said, "accesskeyid"),
        "session_name": _text(said, "session"),
        "source_address": _text(said, "client"),
        "attributes": text,
        "event_hash": hash_of(text),
    }


def pairs(line: str) -> dict[str, Any]:
    """The pairs of a line of logfmt. Raises EvidenceError where it stops being one.

    >>> pairs('time="2026-01-31T14:00:00Z" level=info msg="access granted" groups="[a b]"')["groups"]
    '[a b]'
    """
    found, at, line = dict[str, Any](), 0, line.strip()
    while at < len(line):
        pair = _PAIR.match(line, at)
        if pair is None:
            raise EvidenceError(f"is no name=value at letter {at + 1}: the line is cut or broken")
        name, value = pair[1], pair[2]
        found[name] = _ESCAPE.sub(_unescaped, value[1:-1]) if value[:1] == '"' else value
        at = pair.end()
    return found


def _unescaped(found: re.Match[str]) -> str:
    digits = found[1] or found[2] or found[3]
    if digits:
        return chr(int(digits, 16)) if int(digits, 16) < 0x110000 else found[0]
    return _ESCAPED.get(found[4], found[4])


def _groups(value: Any) -> list[str] | None:
    """Groups as Go prints a list, [a b], or as JSON has one. A group's name has no space in it."""
    if isinstance(value, list):
        return [str(each) for each in value]
    return str(value).removeprefix("[").removesuffix("]").split() if value else None


def _text(said: dict[str, Any], *names: str) -> str | None:
    return next((str(said[name]) for name in names if said.get(name)), None)
