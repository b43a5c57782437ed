"""Changes of who may do what: access entries, aws-auth, access keys, trust, sessions and Pod Identity associations.

Sources: EKS API reference and User Guide ("Access entries", "Pod Identity"); IAM API reference; IAM User Guide "Revoking IAM role temporary
security credentials". IAM has no version that a write could be made conditional on: it is read again right before.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, ClassVar

from kit.identities.aws_auth_text import NotEditable, difference, missing, names_again, with_again
from kit.live.changes.aws_change import AwsCall, AwsChange, send
from kit.live.changes.change import State
from kit.live.changes.deny_policy import policy_text, role_described, statements_of
from kit.live.changes.objects import EditObject
from kit.live.connection import Connection
from kit.live.errors import Conflict, Failed, Missing
from kit.model.arn import Arn, name_in, partition_of, principal_of


@dataclass(frozen=True)
class EditAwsAuth(EditObject):
    """Elements taken out of aws-auth. patch, expected: the text of the members that change, new and old. EKS and people write into it all
    the time, so it holds as long as nobody named in those elements is there, whatever else is."""

    @property
    def says(self) -> str:
        return f"{self.doing}:\n{difference(self.expected['data'], self.patch['data'])}"

    @property
    def _texts(self) -> tuple[dict[str, str], dict[str, str]]:
        """The members' old and new text."""
        return self.expected["data"], self.patch["data"]

    def refuses(self, state: State) -> str:
        if state is not None and state["expected"] != self.expected and not self.holds(state):
            return "somebody changed aws-auth meanwhile; run the same command again"
        return "ConfigMap kube-system/aws-auth is not there any more" if state is None else ""

    def holds(self, state: State) -> bool:
        try:
            return (
                state is not None
                and (not self.uid or state["uid"] == self.uid)
                and not names_again(*self._texts, _data(state))
            )
        except NotEditable:
            return False

    def is_restored(self, before: State, now: State) -> bool:
        try:
            same = before is not None and now is not None and before["uid"] == now["uid"]
            return same and not missing(*self._texts, _data(now))
        except NotEditable:
            return False

    def undo(self, live: Connection, before: State, after: State) -> str:
        """The old text; where somebody wrote into it since, the old lines at the end of what is there now."""
        now = self.look(live)
        if now is not None and before is not None and now["uid"] == before["uid"] and _data(now) != self._texts[1]:
            if not self.holds(now):
                raise Failed("somebody mapped the same principal again in aws-auth; it is left as it is")
            try:
                self._patch(live, {"data": with_again(*self._texts, _data(now))}, now, {})
            except NotEditable as error:
                raise Failed(str(error)) from None
            return ""
        return super().undo(live, before, after)


def _data(state: State) -> dict[str, str]:
    """The members' text as it was looked at."""
    return {name: text or "" for name, text in ((state or {})["fields"]["data"] or {}).items()}


def access_entry(live: Connection, cluster: str, arn: str) -> dict[str, Any] | None:
    """An access entry and its policies, as far as they can be made again; None when there is none."""
    place = {"clusterName": cluster, "principalArn": arn}
    try:
        entry = live.read("eks", "describe_access_entry", **place)["accessEntry"]
        policies = list(live.pages("eks", "list_associated_access_policies", "associatedAccessPolicies", **place))
    except Missing:
        return None
    return {
        "entry": {name: entry[name] for name in ("username", "type", "kubernetesGroups", "tags") if entry.get(name)},
        "policies": [
            {"policyArn": one["policyArn"], "accessScope": {name: value for name, value in one["accessScope"].items() if value}}
            for one in sorted(policies, key=lambda one: str(one["policyArn"]))
        ],
    }  # fmt: skip


@dataclass(frozen=True)
class DeleteAccessEntry(AwsChange):
    """The end of an access entry, with the policies that hang on it."""

    service: ClassVar[str] = "eks"

    cluster: str
    arn: str

    @property
    def says(self) -> str:
        return f"delete the access entry of {self.arn} in cluster {self.cluster}"

    @property
    def _place(self) -> dict[str, Any]:
        return {"clusterName": self.cluster, "principalArn": self.arn}

    def look(self, live: Connection) -> State:
        return access_entry(live, self.cluster, self.arn)

    def refuses(self, state: State) -> str:
        return ""

    def holds(self, state: State) -> bool:
        return state is None

    def is_partly_restored(self, before: State, now: State) -> bool:
        return before is not None and now is not None and all(one in before["policies"] for one in now["policies"])

    def call(self, state: State) -> AwsCall:
        return "delete_access_entry", self._place

    def undo(self, live: Connection, before: State, after: State) -> str:
        """What is missing is made, so that an undo that was cut off goes on. EKS's own user name is left to EKS: it takes no other one
        that begins with arn."""
        assert before is not None
        now, request = self.look(live), ""
        if now is None:
            entry = {name: value for name, value in before["entry"].items() if value != self._own_user_name}
            request = send(live, "eks", ("create_access_entry", self._place | entry))
        for one in before["policies"]:
            if now is None or one not in now["policies"]:
                request = self._associate(live, one)
        return request

    def _associate(self, live: Connection, policy: dict[str, Any]) -> str:
        """A new entry may not be seen everywhere at once."""
        for pause in (0.2, 0.5, 1, 2):
            try:
                return send(live, "eks", ("associate_access_policy", self._place | policy))
            except Missing:
                time.sleep(pause)
        return send(live, "eks", ("associate_access_policy", self._place | policy))

    @property
    def _own_user_name(self) -> str:
        """The user name that EKS gives when none is asked for (EKS User Guide, "Create access entries")."""
        account, kind, _ = principal_of(self.arn) or ("", "", "")
        name = name_in(self.arn)
        session = str(Arn(partition_of(self.arn), "sts", "", account, f"assumed-role/{name}/{{{{SessionName}}}}"))
        return session if kind == "role" else self.arn


@dataclass(frozen=True)
class DeactivateKey(AwsChange):
    """An access key of an IAM user set inactive."""

    service: ClassVar[str] = "iam"

    user: str
    key: str

    @property
    def says(self) -> str:
        return f"set access key {self.key} of IAM user {self.user} inactive"

    def look(self, live: Connection) -> State:
        try:
            found = list(live.pages("iam", "list_access_keys", "AccessKeyMetadata", UserName=self.user))
        except Missing:
            return None
        return next(({"status": one["Status"]} for one in found if one["AccessKeyId"] == self.key), None)

    def refuses(self, state: State) -> str:
        return f"IAM user {self.user} has no access key {self.key} any more" if state is None else ""

    def holds(self, state: State) -> bool:
        return state is not None and state["status"] == "Inactive"

    def call(self, state: State) -> AwsCall:
        return "update_access_key", {"UserName": self.user, "AccessKeyId": self.key, "Status": "Inactive"}

    def back(self, before: State, after: State) -> AwsCall:
        assert before is not None
        return "update_access_key", {"UserName": self.user, "AccessKeyId": self.key, "Status": before["status"]}


@dataclass(frozen=True)
class DenyTrust(AwsChange):
    """A Deny statement added to a role's trust policy. whom: whom it denies, for the person."""

    service: ClassVar[str] = "iam"

    role: str
    statement: dict[str, Any]
    whom: str

    @property
    def says(self) -> str:
        return f"deny {self.whom} new sessions of role {self.role}, in its trust policy ({self.statement['Sid']})"

    def look(self, live: Connection) -> State:
        role = role_described(live, self.role)
        return None if role is None else {"policy": role["AssumeRolePolicyDocument"]}

    def holds(self, state: State) -> bool:
        return state is not None and self.statement in statements_of(state["policy"])

    def _with(self, policy: dict[str, Any]) -> dict[str, Any]:
        return policy | {"Statement": [*statements_of(policy), self.statement]}

    def _write(self, policy: dict[str, Any]) -> AwsCall:
        return "update_assume_role_policy", {"RoleName": self.role, "PolicyDocument": policy_text(policy)}

    def call(self, state: State) -> AwsCall:
        assert state is not None
        return self._write(self._with(state["policy"]))

    def do(self, live: Connection, state: State) -> str:
        if self.look(live) != state:
            raise Conflict(f"somebody changed the trust policy of role {self.role} meanwhile")
        return super().do(live, state)

    def undo(self, live: Connection, before: State, after: State) -> str:
        """The old policy; where somebody wrote another one since, that one without this statement."""
        now = self.look(live)
        assert before is not None
        if now is None:
            raise Missing(f"role {self.role} is not there any more")
        left = [one for one in statements_of(now["policy"]) if one != self.statement]
        ours = now["policy"] == self._with(before["policy"])
        return send(live, "iam", self._write(before["policy"] if ours else now["policy"] | {"Statement": left}))


def associations(live: Connection, cluster: str, namespace: str, service_account: str) -> list[dict[str, Any]]:
    """The Pod Identity associations of a service account, described."""
    place = {"clusterName": cluster, "namespace": namespace, "serviceAccount": service_account}
    ids = [one["associationId"] for one in live.pages("eks", "list_pod_identity_associations", "associations", **place)]
    described = (
        live.read("eks", "describe_pod_identity_association", clusterName=cluster, associationId=id_) for id_ in ids
    )
    return [dict(one["association"]) for one in described]


@dataclass(frozen=True)
class DeletePodIdentity(AwsChange):
    """The end of a Pod Identity association; made again it has another id. external_id: the one that EKS gave it for its target role,
    which nobody can ask for (EKS API reference, CreatePodIdentityAssociation). target: that role."""

    service: ClassVar[str] = "eks"

    cluster: str
    namespace: str
    service_account: str
    id: str
    external_id: str = ""
    target: str = ""

    @property
    def says(self) -> str:
        trust = f", which the trust policy of {self.target} may ask for" if self.target else ""
        anew = f"; made again it has another external id than {self.external_id}{trust}" if self.external_id else ""
        return f"delete Pod Identity association {self.id} of service account {self.namespace}/{self.service_account}{anew}"

    def look(self, live: Connection) -> State:
        found = associations(live, self.cluster, self.namespace, self.service_account)
        if not found:
            return None
        one = next((each for each in found if each["associationId"] == self.id), found[0])
        kept = ("roleArn", "tags", "disableSessionTags", "targetRoleArn", "policy")
        of_it = {name: one[name] for name in kept if one.get(name)}
        return {"id": one["associationId"], "owner": one.get("ownerArn"), "association": of_it}

    def refuses(self, state: State) -> str:
        if state is not None and state["id"] == self.id and state["owner"]:
            return f"association {self.id} belongs to {state['owner']}, which makes it anew: take it off there"
        return ""

    def holds(self, state: State) -> bool:
        return state is None or state["id"] != self.id

    def is_restored(self, before: State, now: State) -> bool:
        return before is not None and now is not None and before["association"] == now["association"]

    def call(self, state: State) -> AwsCall:
        return "delete_pod_identity_association", {"clusterName": self.cluster, "associationId": self.id}

    def undo(self, live: Connection, before: State, after: State) -> str:
        if self.look(live) is not None:
            raise Failed(f"service account {self.namespace}/{self.service_account} has another association now")
        return super().undo(live, before, after)

    def back(self, before: State, after: State) -> AwsCall:
        assert before is not None
        place = {"clusterName": self.cluster, "namespace": self.namespace, "serviceAccount": self.service_account}
        named = {"clientRequestToken": f"kit-undo-{self.id}"}
        return "create_pod_identity_association", place | named | before["association"]
