"""The sessions of an IAM role or user denied: an inline policy of the kit's own on it.

Sources: IAM User Guide "Revoking IAM role temporary security credentials", "Disabling permissions for temporary security credentials" (a
user's sessions have the user's permissions); IAM API reference, PutRolePolicy, PutUserPolicy.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, ClassVar

from kit.actions.iam import DENY_ALL
from kit.live.changes.aws_change import AwsCall, AwsChange, send
from kit.live.changes.change import State
from kit.live.connection import Connection
from kit.live.errors import Missing


def role_described(live: Connection, name: str) -> dict[str, Any] | None:
    """A role by its name; None when there is none."""
    try:
        return dict(live.read("iam", "get_role", RoleName=name)["Role"])
    except Missing:
        return None


def user_described(live: Connection, name: str) -> dict[str, Any] | None:
    """An IAM user by its name; None when there is none."""
    try:
        return dict(live.read("iam", "get_user", UserName=name)["User"])
    except Missing:
        return None


def statements_of(policy: dict[str, Any]) -> list[dict[str, Any]]:
    """The statements of a policy, which may have one alone."""
    found = policy.get("Statement") or []
    return found if isinstance(found, list) else [found]


def policy_text(policy: dict[str, Any]) -> str:
    """A policy as IAM takes it."""
    return json.dumps(policy, separators=(",", ":"))


class DenyPolicy(AwsChange):
    """Deny statements in an inline policy of the kit's own of a role or a user, beside those of other cases."""

    service: ClassVar[str] = "iam"
    principal: ClassVar[str]  # as IAM's operations have it: role or user

    name: str
    what: str

    @property
    def holder(self) -> str:
        """The name of the role or user."""
        raise NotImplementedError

    @property
    def whose(self) -> str:
        """The role or user, for the person."""
        raise NotImplementedError

    @property
    def denied(self) -> list[dict[str, Any]]:
        """The statements that are put in."""
        raise NotImplementedError

    def is_there(self, live: Connection) -> bool:
        """Whether the role or user is."""
        raise NotImplementedError

    @property
    def says(self) -> str:
        return f"give {self.whose} the inline policy {self.name}: {self.what}"

    @property
    def _place(self) -> dict[str, Any]:
        return {f"{self.principal.capitalize()}Name": self.holder, "PolicyName": self.name}

    def look(self, live: Connection) -> State:
        if not self.is_there(live):
            return None
        try:
            return {"document": live.read("iam", f"get_{self.principal}_policy", **self._place)["PolicyDocument"]}
        except Missing:
            return {"document": None}

    def refuses(self, state: State) -> str:
        if state is None:
            return f"there is no {self.whose} any more"
        if not all(is_deny_all(one) for one in held(state)):
            return f"{self.whose} has a policy {self.name} that the kit did not write: look at it and take it away"
        return ""

    def holds(self, state: State) -> bool:
        return state is not None and all(one in held(state) for one in self.denied)

    def is_restored(self, before: State, now: State) -> bool:
        return now is None or not any(one in held(now) for one in self.denied)

    def _write(self, statements: list[dict[str, Any]]) -> AwsCall:
        document = {"Version": "2012-10-17", "Statement": statements}
        return f"put_{self.principal}_policy", self._place | {"PolicyDocument": policy_text(document)}

    def call(self, state: State) -> AwsCall:
        return self._write([*self._others(state), *self.denied])

    def _others(self, state: State) -> list[dict[str, Any]]:
        return [one for one in held(state) if one not in self.denied]

    def undo(self, live: Connection, before: State, after: State) -> str:
        """What another case denies stays denied."""
        left = self._others(self.look(live))
        return send(live, "iam", self._write(left) if left else (f"delete_{self.principal}_policy", self._place))


@dataclass(frozen=True)
class DenySessions(DenyPolicy):
    """Deny statements put into an inline policy of a role. what: they deny, for the person."""

    principal: ClassVar[str] = "role"

    role: str
    name: str
    statements: list[dict[str, Any]]
    what: str

    @property
    def holder(self) -> str:
        return self.role

    @property
    def whose(self) -> str:
        return f"role {self.role}"

    @property
    def denied(self) -> list[dict[str, Any]]:
        return self.statements

    def is_there(self, live: Connection) -> bool:
        return role_described(live, self.role) is not None


def is_deny_all(statement: dict[str, Any]) -> bool:
    """Whether a statement denies everything, to whom its condition says: as all do that the kit writes."""
    return {name: value for name, value in statement.items() if name != "Condition"} == DENY_ALL


def held(state: State) -> list[dict[str, Any]]:
    """The statements of a policy that was looked at."""
    return statements_of((state or {}).get("document") or {})


@dataclass(frozen=True)
class DenyUserSessions(DenyPolicy):
    """A deny statement put into an inline policy of a user. what: it denies, for the person."""

    principal: ClassVar[str] = "user"

    user: str
    name: str
    statement: dict[str, Any]
    what: str

    @property
    def holder(self) -> str:
        return self.user

    @property
    def whose(self) -> str:
        return f"IAM user {self.user}"

    @property
    def denied(self) -> list[dict[str, Any]]:
        return [self.statement]

    def is_there(self, live: Connection) -> bool:
        return user_described(live, self.user) is not None
