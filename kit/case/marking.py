"""Marks of findings and answers, and marks of whose calls are whose, are checked before they are written down."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_address
from typing import TYPE_CHECKING

from kit.errors import CallError
from kit.model.address import canonical
from kit.model.finding import Finding
from kit.model.refs import Ref
from kit.store.marks import Mark, add_caller_mark, add_mark

if TYPE_CHECKING:
    from kit.case.evidence import CaseEvidence

_CALLS = ("audit", "line", "trail")
_SEEN = {
    "identity": "SELECT 1 FROM audit WHERE user_name = $key UNION ALL SELECT 1 FROM trail WHERE user_name = $key LIMIT 1",
    "source_ip": "SELECT 1 FROM audit WHERE source_address = $key UNION ALL SELECT 1 FROM trail WHERE source_address = $key LIMIT 1",
    "credential": (
        "SELECT 1 FROM audit WHERE $key IN (access_key_id, credential_id, claimed_pod_uid) OR contains(annotations, $secret)"
        " UNION ALL SELECT 1 FROM trail WHERE access_key_id = $key LIMIT 1"
    ),
}
"""Kind of Ref → whether a log has what is marked, in SQL."""


def marked(
    case: CaseEvidence,
    finding: str,
    question: str,
    word: str,
    note: str,
    call: str,
    identity: str,
    address: str,
    credential: str,
    known: Callable[[str], Finding],
) -> Mark:
    """A mark, written down: of a finding or of its answer, or of whose a call, identity, address or credential is. known: the
    finding of an Id, which raises for an unknown one. Raises CallError."""
    about = {"call": call, "identity": identity, "address": address, "credential": credential}
    given = [name for name, value in {"finding": finding, **about}.items() if value]
    if len(given) != 1:
        said = f"{' and '.join(given)} cannot be marked together" if given else "nothing is named to be marked"
        raise CallError(said, where=", ".join(given), next=f"give one of finding, {', '.join(about)}")
    if finding:
        _check_asked(known(finding).type, question)
        return add_mark(case.path, finding, question, word, note)
    if question:
        raise CallError(
            "only a finding's answer has a question", where="question", next=f"leave it out with {given[0]}"
        )
    return add_caller_mark(case.path, _ref_of(case, call, identity, address, credential), word, note)


def _check_asked(finding_type: str, question: str) -> None:
    from kit.playbooks.playbook import playbook_of

    known = [one.name for one in playbook_of(finding_type).questions]
    if question and question not in known:
        says = f"{question!r} is not asked of this finding"
        raise CallError(says, where="question", next=f"it is one of {', '.join(known)}")


def _ref_of(case: CaseEvidence, call: str, identity: str, address: str, credential: str) -> str:
    """The Ref of what is marked. Raises CallError for what no log of the case has."""
    if call:
        ref = Ref.parse(call)
        if ref.kind not in _CALLS:
            raise CallError(
                f"{call!r} is no call", where="call", next="name an event as audit:ID, trail:ID or line:SHA256:N"
            )
        case.place(call)  # raises for what is not in this case
        return str(ref)
    kind, key = (
        ("identity", identity) if identity else ("source_ip", address) if address else ("credential", credential)
    )
    if kind == "source_ip":
        try:
            ip_address(key)
        except ValueError:
            raise CallError(
                f"{key!r} is no address", where="address", next="give one as 192.0.2.1 or 2001:db8::1"
            ) from None
        key = canonical(key)
    values = {"key": key} | (
        {"secret": f':"{key.partition("/")[2]}"' if "/" in key else "\0"} if kind == "credential" else {}
    )
    if not case.store.rows(_SEEN[kind], **values):
        noun = {"source_ip": "address"}.get(kind, kind)
        raise CallError(
            f"no call in this case has {noun} {key!r}",
            where=noun,
            next="`kit scope CASE --json` and `case.calls` name them",
        )
    return str(Ref.of(kind, key))
