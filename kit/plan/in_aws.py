"""What the attacker got and made in AWS: keys, entries, sessions of further roles, and what else was changed there, by CloudTrail.

Sources: IAM User Guide "CloudTrail for IAM and STS", "Roles terms and concepts" (role chaining: a session that another session asked for lives on
when that one is revoked); EKS API reference (CreateAccessEntry).
"""

from __future__ import annotations

from datetime import datetime
from functools import cached_property
from typing import Any, NamedTuple

from kit.actions.changed_in_aws import changed_by, undone_by
from kit.attribution.aws_secret import AwsSecret, read_by
from kit.lenient import dict_of, json_of
from kit.model.arn import Arn, compared, iam_arn, is_root, partition_of, role_of
from kit.model.refs import Ref
from kit.model.why import Why
from kit.plan.compromised import Compromised
from kit.scope.profile import principal_behind
from kit.words import utc


class MadeKey(NamedTuple):
    """A long-term access key that the attacker made of an IAM user."""

    user: str
    why: Why


class InAws:
    """What the hostile CloudTrail events of the chosen findings did that gives the attacker something."""

    def __init__(self, held: Compromised, region: str | None) -> None:
        """region: the case's own."""
        self.held, self.inventory, self._region = held, held.inventory, region

    @cached_property
    def _rows(self) -> list[dict[str, Any]]:
        rows = self.held.store.rows(
            "SELECT event_id, event_at, event_source, event_name, region, account, arn, access_key_id, source_address, request_parameters,"
            " response_elements FROM trail WHERE list_contains($ids, event_id) AND error_code IS NULL"
            " ORDER BY event_at, event_id",
            ids=sorted({event_id for scope in self.held.scopes for event_id in scope.aws_calls}),
        )
        for row in rows:
            row["asked"] = dict_of(json_of(row["request_parameters"]))
            row["answered"] = dict_of(json_of(row["response_elements"]))
        return rows

    @staticmethod
    def _why(row: dict[str, Any], says: str) -> Why:
        at: datetime = row["event_at"]
        return Why(Ref.of("trail", row["event_id"]), f"{says} {utc(at)} from {row['source_address']}")

    def _user(self, row: dict[str, Any]) -> str | None:
        """The IAM user that a call is about; who names none means its own."""
        name = row["asked"].get("userName")
        if name:
            return iam_arn(partition_of(row["arn"]), str(row["account"] or self.held.account or ""), "user", str(name))
        own = Arn.of(row["arn"])
        return str(row["arn"]) if own and own.kind == "user" else None

    @cached_property
    def entries(self) -> dict[str, tuple[Why, ...]]:
        """Principals that the attacker let into the cluster by an access entry that was not taken back, each with what shows it."""
        taken_out = {
            compared(arn)
            for scope in self.held.scopes
            for profile in self.held.hostile(scope)
            if ("identity", profile.identity.user_name) in self.held.affected and (arn := principal_behind(profile))
        }
        found = dict[str, tuple[Why, ...]]()
        made = {row["event_id"]: row for row in self._rows if row["event_name"] == "CreateAccessEntry"}
        for one in self.held.scope.attacker.let_in:
            stands = one.by == "access_entry" and one.event_id in made and one.ends_at is None
            if stands and compared(one.key) not in taken_out:
                found.setdefault(one.key, (one.why,))
        return found

    @cached_property
    def made_keys(self) -> dict[str, MadeKey]:
        """Access keys that the attacker made."""
        found = dict[str, MadeKey]()
        for row in self._rows:
            key = dict_of(row["answered"].get("accessKey"))
            user = self._user(row)
            if row["event_name"] == "CreateAccessKey" and key.get("accessKeyId") and user:
                says = f"the attacker made it with {row['access_key_id']}"
                found[str(key["accessKeyId"])] = MadeKey(user, self._why(row, says))
        return found

    @cached_property
    def secrets(self) -> dict[AwsSecret, tuple[str | None, tuple[Why, ...]]]:
        """Secrets of AWS that the attacker read, each with the region and what shows it."""
        found = dict[AwsSecret, tuple[str | None, tuple[Why, ...]]]()
        known = self.held.scope.attacker.trail
        for event_id in dict.fromkeys(one for scope in self.held.scopes for one in scope.aws_calls if one in known):
            event = known[event_id][0]
            for secret in read_by(event):
                says = f"read {utc(event['event_at'])} with {event['access_key_id']} from {event['source_address']}"
                whys = found.get(secret, (None, ()))[1]
                found[secret] = event["region"], (*whys, Why(Ref.of("trail", event_id), says))
        return dict(sorted(found.items()))

    @cached_property
    def users(self) -> dict[str, tuple[Why, ...]]:
        """IAM users that the attacker signed in as or gave a credential, each with what shows it."""
        found = dict[str, dict[Why, None]]()
        for scope in self.held.scopes:
            for profile in self.held.hostile(scope):
                arn = principal_behind(profile) if profile.identity.kind == "iam" else None
                named = Arn.of(arn)
                if arn and named and named.kind == "user" and not is_root(arn):
                    found.setdefault(arn, {})[self.held.first_call(profile)] = None
        for key, made in self.made_keys.items():
            says = f"access key {key} of it: {made.why.says}"
            found.setdefault(self._known(made.user, found), {})[Why(made.why.ref, says)] = None
        return {user: tuple(whys) for user, whys in sorted(found.items())}

    @staticmethod
    def _known(user: str, found: dict[str, dict[Why, None]]) -> str:
        """A user by the ARN that it is known by already: a call names it without its path."""
        return next((one for one in found if compared(one) == compared(user)), user)

    @cached_property
    def chained(self) -> dict[str, tuple[Why, ...]]:
        """Roles that the attacker took on with a session or key in hand, and that are not acted on anyway, each with what shows it."""
        found = dict[str, tuple[Why, ...]]()
        for row in self._rows:
            role = self.inventory.full_arn(row["asked"].get("roleArn"))
            issued = dict_of(row["answered"].get("credentials")).get("accessKeyId")
            is_session = str(row["event_source"]).startswith("sts.") and issued
            if role and is_session and ("iam_role", role) not in self.held.affected:
                says = f"{role_of(row['arn']) or row['arn'] or 'a token'} took it on as session {issued}, which lives on when that is revoked,"
                found[role] = (*found.get(role, ()), self._why(row, says))
        return dict(sorted(found.items()))

    @cached_property
    def changes(self) -> dict[str, tuple[tuple[Why, ...], list[str]]]:
        """What else the attacker changed in AWS: of whom or what → what shows it, and the commands that undo it."""
        found = dict[str, tuple[tuple[Why, ...], list[str]]]()
        taken_out = {compared(arn) for arn in (*self.entries, *self.held.hostile_principals)}
        for row in self._rows:
            name = str(row["event_name"])
            region = None if row["region"] in (None, self._region) else str(row["region"])
            commands = undone_by(name, row["asked"], row["answered"], region)
            goes = compared(str(row["asked"].get("principalArn"))) in taken_out  # with its entry, which is deleted
            if commands is None or goes:
                continue
            whys, lines = found.get(self._whose(row), ((), []))
            why = self._why(row, f"{name} by {row['arn'] or row['access_key_id']}")
            found[self._whose(row)] = ((*whys, why), list(dict.fromkeys([*lines, *commands])))
        return dict(sorted(found.items()))

    def _whose(self, row: dict[str, Any]) -> str:
        asked = row["asked"]
        if changed := changed_by(str(row["event_name"]), row["event_source"], asked, row["answered"]):
            return changed
        for member, kind in (("userName", "user"), ("roleName", "role"), ("groupName", "group")):
            if asked.get(member):
                place = partition_of(row["arn"]), str(row["account"] or self.held.account or "")
                return iam_arn(*place, kind, str(asked[member]))
        account = "/".join(str(asked[one]) for one in ("namespace", "serviceAccount") if asked.get(one))
        return str(asked.get("principalArn") or account or self._user(row) or row["event_name"])
