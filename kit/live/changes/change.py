"""One change: a call that changes one thing, what is looked at before it, and how it is taken back.

A change is data (its class and arguments go into the journal), so that a run that was cut off, and an undo months later, go on from the
journal alone. Whatever `look` returns is JSON-ready, holds no secret value, and says enough to undo.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from kit.live.connection import Connection
from kit.live.errors import Refused

# What the API server fills in within elements of lists. Source: Kubernetes, defaults.go of pkg/apis/core/v1, rbac/v1, networking/v1, admissionregistration/v1.
_FILLED_IN: dict[str, tuple[Any, ...]] = {
    "apiGroup": ("rbac.authorization.k8s.io",),
    "protocol": ("TCP",),
    "failurePolicy": ("Fail",),
    "matchPolicy": ("Equivalent",),
    "reinvocationPolicy": ("Never",),
    "scope": ("*",),
    "port": (443,),
    "timeoutSeconds": (1, 10),
    "periodSeconds": (10,),
    "successThreshold": (1,),
    "failureThreshold": (3,),
    "terminationMessagePath": ("/dev/termination-log",),
    "terminationMessagePolicy": ("File",),
    "imagePullPolicy": ("Always", "IfNotPresent"),
    "defaultMode": (0o644,),
}
State = dict[str, Any] | None
"""What a look found; None when the thing is not there."""


@dataclass(frozen=True)
class Change:
    """One call. Subclasses are frozen dataclasses of JSON values.

    cannot_undo: why it cannot be taken back, "" when it can. by_answer: whether what `do` answers is all that shows that it was done.
    """

    cannot_undo: ClassVar[str] = ""
    by_answer: ClassVar[bool] = False
    kinds: ClassVar[dict[str, type[Change]]] = {}

    def __init_subclass__(cls) -> None:
        """Every subclass can be read back from the journal by its name."""
        Change.kinds[cls.__name__] = cls

    @property
    def says(self) -> str:
        """The change as a clause: `label pod shop/web with kit-quarantine=true`."""
        raise NotImplementedError

    def look(self, live: Connection) -> State:
        """What is there now. Raises LiveError."""
        raise NotImplementedError

    def refuses(self, state: State) -> str:
        """Why it must not be done to what is there, "" when it may."""
        return "it is not there any more" if state is None else ""

    def holds(self, state: State) -> bool:
        """Whether what is there is already as the change would make it."""
        raise NotImplementedError

    def is_as_before(self, before: State, now: State) -> bool:
        """Whether nothing that matters happened between two looks."""
        return before == now

    def is_restored(self, before: State, now: State) -> bool:
        """Whether what was there before is there again."""
        return self.is_as_before(before, now)

    def is_gone(self, before: State, now: State) -> bool:
        """Whether what was changed is there no more, so that there is nothing to put back."""
        return before is not None and now is None

    def is_partly_restored(self, before: State, now: State) -> bool:
        """Whether an undo that takes several calls was cut off on its way to what was there before, and may go on."""
        return False

    def dry_run(self, live: Connection, state: State) -> str:
        """Let the service try it without doing it, and say what it said; or say why it cannot. Raises Failed when it would be refused."""
        raise NotImplementedError

    def do(self, live: Connection, state: State) -> str:
        """Do it to what was looked at: the request id, "" where the service gives none. Raises Failed, Conflict, Unknown."""
        raise NotImplementedError

    def undo(self, live: Connection, before: State, after: State) -> str:
        """Put back what was there before: the request id. after: what was there when it was done. Raises LiveError."""
        raise NotImplementedError


def journaled(change: Change) -> dict[str, Any]:
    """A change as the journal has it."""
    return {"kind": type(change).__name__, "arguments": asdict(change)}


def read_back(record: dict[str, Any]) -> Change:
    """The change that a journal's record is of. Raises Refused for one that this kit does not know."""
    try:
        return Change.kinds[record["kind"]](**record["arguments"])
    except (KeyError, TypeError):
        raise Refused(
            f"another kit made a change that this one does not know ({record.get('kind')}): look at it and undo it by hand"
        ) from None


def contains(whole: Any, part: Any) -> bool:
    """Whether an object has all that another says: members of objects, lists as a whole; null means that it has no such member.

    An empty list is as none: the API server leaves empty members out.
    """
    if isinstance(part, dict):
        return all(
            contains(whole.get(name) if isinstance(whole, dict) else None, value) for name, value in part.items()
        )
    return equals(whole, part) or (part == [] and whole is None)


def equals(whole: Any, part: Any) -> bool:
    """Whether what stands is just what was sent, but for what the API server fills in; what is empty is as what is not there."""
    if isinstance(whole, dict) and isinstance(part, dict):
        more = {name: one for name, one in whole.items() if one and not part.get(name)}
        filled = all(
            one in _FILLED_IN.get(name, ()) or (name, one) == ("targetPort", whole.get("port"))
            for name, one in more.items()
        )
        return filled and all(equals(whole.get(name), one) for name, one in part.items() if one)
    if isinstance(whole, list) and isinstance(part, list):
        return len(whole) == len(part) and all(map(equals, whole, part))
    return bool(whole == part)


def projected(whole: Any, part: Any) -> Any:
    """What an object has at the places that another names; null where it has nothing."""
    if isinstance(part, dict):
        return {
            name: projected(whole.get(name) if isinstance(whole, dict) else None, value) for name, value in part.items()
        }
    return whole
