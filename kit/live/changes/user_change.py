"""The sessions of an IAM user's keys denied: an inline policy of the kit's own on the user, as on a role.

Source: IAM User Guide "Disabling permissions for temporary security credentials" (a user's sessions have the user's permissions); IAM API
reference, PutUserPolicy.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, ClassVar

from kit.live.changes.aws_change import AwsCall, AwsChange, send
from kit.live.changes.change import State
from kit.live.changes.principal_change import held, is_deny_all
from kit.live.connection import Connection
from kit.live.errors import Missing


def user_described(live: Connection, name: str) -> dict[str, Any] | None:
    """An IAM user by its name; None when there is none."""
    try:
        return dict(live.read("iam", "get_user", UserName=name)["User"])
    except Missing:
        return None


@dataclass(frozen=True)
class DenyUserSessions(AwsChange):
    """A deny statement put into an inline policy of the kit's own of a user, beside those of other cases. what: it denies, for the person."""

    service: ClassVar[str] = "iam"

    user: str
    name: str
    statement: dict[str, Any]
    what: str

    @property
    def says(self) -> str:
        return f"give IAM user {self.user} the inline policy {self.name}: {self.what}"

    @property
    def _place(self) -> dict[str, Any]:
        return {"UserName": self.user, "PolicyName": self.name}

    def look(self, live: Connection) -> State:
        if user_described(live, self.user) is None:
            return None
        try:
            return {"document": live.read("iam", "get_user_policy", **self._place)["PolicyDocument"]}
        except Missing:
            return {"document": None}

    def refuses(self, state: State) -> str:
        if state is None:
            return f"there is no IAM user {self.user} any more"
        if not all(is_deny_all(one) for one in held(state)):
            return (
                f"IAM user {self.user} has a policy {self.name} that the kit did not write: look at it and take it away"
            )
        return ""

    def holds(self, state: State) -> bool:
        return state is not None and self.statement in held(state)

    def is_restored(self, before: State, now: State) -> bool:
        return now is None or self.statement not in held(now)

    def _write(self, statements: list[dict[str, Any]]) -> AwsCall:
        document = json.dumps({"Version": "2012-10-17", "Statement": statements}, separators=(",", ":"))
        return "put_user_policy", self._place | {"PolicyDocument": document}

    def call(self, state: State) -> AwsCall:
        return self._write([*(one for one in held(state) if one != self.statement), self.statement])

    def undo(self, live: Connection, before: State, after: State) -> str:
        """What another case denies stays denied."""
        left = [one for one in held(self.look(live)) if one != self.statement]
        return send(live, "iam", self._write(left) if left else ("delete_user_policy", self._place))
