"""What people marked as the attacker's or as not the attacker's: it counts before every rule.

A mark of a call counts before those of an identity, an address or a credential; of these the latest counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from kit.attribution.calls import LEGACY, AwsEvent, Event, credentials_of, token_secret_of
from kit.attribution.ground import Ground
from kit.attribution.rules import AttackerRule
from kit.model.refs import Ref
from kit.store.marks import ATTACKER, Mark
from kit.store.store import Store

_CREDENTIAL_COLUMNS = ("access_key_id", "credential_id", "claimed_pod_uid", LEGACY)


class Marked:
    """The marks of a case that are about whose calls are whose, the last one of each thing."""

    def __init__(self, store: Store, marks: Iterable[Mark]) -> None:
        self.store = store
        every = [one for one in marks if one.about]
        self.marks = list({one.about: one for one in every}.values())
        self._of = {one.about: (number, one.word == ATTACKER) for number, one in enumerate(every)}

    def is_attackers(self, event: Event) -> bool | None:
        """What people say of an audit event: that it is the attacker's, that it is not, or nothing (None)."""
        if not self._of:
            return None
        credentials = {*credentials_of(event), token_secret_of(event) or ""} - {""}
        named = [("identity", event["user_name"]), ("source_ip", event["source_address"])]
        return self._said(str(self.store.event_ref(event)), named, credentials)

    def is_attackers_in_aws(self, row: AwsEvent) -> bool | None:
        """The same of a CloudTrail event."""
        if not self._of:
            return None
        named = [("identity", row["user_name"]), ("source_ip", row["source_address"])]
        return self._said(str(Ref.of("trail", row["event_id"])), named, {row["access_key_id"] or ""} - {""})

    def _said(self, ref: str, named: list[tuple[str, str | None]], credentials: set[str]) -> bool | None:
        if ref in self._of:
            return self._of[ref][1]
        places = [*named, *(("credential", one) for one in credentials)]
        said = [self._of[about] for kind, key in places if key and (about := str(Ref.of(kind, key))) in self._of]
        return max(said)[1] if said else None

    def rules(self) -> Iterator[AttackerRule]:
        """What makes audit events the attacker's because people say so."""
        for mark in self.marks:
            kind, _, key = mark.about.partition(":")
            says = f"a person marked {mark.thing} as the attacker's{f': {mark.note}' if mark.note else ''}"
            if mark.word == ATTACKER:
                for column, value in self._columns(kind, key):
                    yield AttackerRule(column, {value}, self._holds, says, Ground.MARKED)

    def _holds(self, event: Event) -> bool:
        return bool(self.is_attackers(event))

    def _columns(self, kind: str, key: str) -> Iterator[tuple[str, str]]:
        """The columns, in SQL, in which what is marked stands."""
        if kind == "audit":
            yield "audit_id", key
        elif kind == "line":
            digest, _, item = key.rpartition(":")
            files = [str(entry["path"]) for entry in self.store.ledger if entry["sha256"] == digest]
            yield from (("concat_ws(':', file, item)", f"{file}:{item}") for file in files)
        elif kind == "credential":
            yield from ((column, key.partition("/")[2] if column == LEGACY else key) for column in _CREDENTIAL_COLUMNS)
        elif kind in ("identity", "source_ip"):
            yield ("user_name" if kind == "identity" else "source_address"), key

    def in_aws(self) -> dict[str, list[str]]:
        """Kind of Ref → what people marked of it as the attacker's, as far as CloudTrail has it."""
        found: dict[str, list[str]] = {"trail": [], "source_ip": [], "credential": []}
        for mark in self.marks:
            kind, _, key = mark.about.partition(":")
            if mark.word == ATTACKER and kind in found:
                found[kind].append(key)
        return found
