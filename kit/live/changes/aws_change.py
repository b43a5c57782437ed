"""A change that is one call of an AWS service: tried by EC2's DryRun or by policy simulation, done, and undone by another call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from kit.live.changes.change import Change, State
from kit.live.connection import Connection
from kit.live.errors import Conflict, Failed
from kit.live.permission import simulated

_BUSY = {"ConcurrentModification", "ConcurrentModificationException", "EntityTemporarilyUnmodifiable"}
"""What IAM says while another change of the same thing is under way: worth another look. Source: IAM API reference, errors of PutRolePolicy."""
AwsCall = tuple[str, dict[str, Any]]
"""An operation by boto3's name, and its parameters."""


def send(live: Connection, service: str, call: AwsCall) -> str:
    """Send a changing call: its request id. Raises Conflict when it met another change."""
    try:
        return live.write(service, call[0], **call[1])[1]
    except Failed as error:
        if error.code in _BUSY or error.code.removesuffix("Exception") in _BUSY:
            raise Conflict(error.says, error.code) from None
        raise


class AwsChange(Change):
    """A change by one call of `service`. What cannot be said by one call overrides do or undo."""

    service: ClassVar[str]

    def call(self, state: State) -> AwsCall:
        """The call that makes the change to what was looked at. Raises LiveError when it cannot be made."""
        raise NotImplementedError

    def back(self, before: State, after: State) -> AwsCall:
        """The call that takes it back."""
        raise NotImplementedError

    def dry_run(self, live: Connection, state: State) -> str:
        operation, parameters = self.call(state)
        if self.service == "ec2":
            return live.dry_run(operation, **parameters)
        return simulated(live, [f"{self.service}:{operation.title().replace('_', '')}"])

    def do(self, live: Connection, state: State) -> str:
        return send(live, self.service, self.call(state))

    def undo(self, live: Connection, before: State, after: State) -> str:
        return send(live, self.service, self.back(before, after))


class EksUpdate(AwsChange):
    """A change by an update of EKS, of which one thing takes one at a time (EKS API reference, ResourceInUseException)."""

    service: ClassVar[str] = "eks"

    @property
    def updated(self) -> str:
        """What is updated, for the person."""
        raise NotImplementedError

    def do(self, live: Connection, state: State) -> str:
        return self._unless_busy(lambda: super(EksUpdate, self).do(live, state))

    def undo(self, live: Connection, before: State, after: State) -> str:
        return self._unless_busy(lambda: super(EksUpdate, self).undo(live, before, after))

    def _unless_busy(self, sent: Callable[[], str]) -> str:
        try:
            return sent()
        except Failed as error:
            if error.code != "ResourceInUseException":
                raise
            says = f"{self.updated} is being updated: run the same command again when it is ACTIVE"
            raise Failed(says, error.code) from None
