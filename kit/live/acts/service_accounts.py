"""The end of a service account's tokens: those in Secrets with the Secret; all of them when the account is made anew.

Secrets are found by their metadata alone. Sources: Kubernetes "Managing Service Accounts" (tokens in Secrets; a token is good only while
the account, and the object it is bound to, stand with the same uid) and its code (pkg/serviceaccount/claims.go: a pod-bound token ends 60 s
after its pod's deletion); EKS User Guide "IAM roles for service accounts" (what STS issued for a token outlives it).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from kit.live.acts.act import DOES_NOT_HOLD, HOLDS, Check, act
from kit.live.acts.cluster import found, is_own_account, meant, title
from kit.live.changes.change import Change, State
from kit.live.changes.objects import METADATA_LIST, CreateObject, DeleteObject, url_path
from kit.live.connection import Connection
from kit.live.errors import Conflict, Refused
from kit.plan.plan import PlannedAction
from kit.questions.verdict import CANNOT_TELL
from kit.words import utc

CACHED = timedelta(seconds=10)
"""How long an API server goes on with a token that it has just let in. Source: kubernetes/apiserver, authenticator, TokenSuccessCacheTTL."""
_NAME, _UID = "kubernetes.io/service-account.name", "kubernetes.io/service-account.uid"


@dataclass(frozen=True)
class RemakeAccount(CreateObject):
    """The account made again after its deletion. uid: of the old one. `default` is made by its controller at once: then it is edited."""

    @property
    def says(self) -> str:
        return f"make {self._what} again, which ends all tokens of the old one"

    def refuses(self, state: State) -> str:
        return ""

    def holds(self, state: State) -> bool:
        return state is not None and state["uid"] != self.uid and super().holds(state)

    def is_as_before(self, before: State, now: State) -> bool:
        return True  # whatever stands there, doing it again leads to the same

    def dry_run(self, live: Connection, state: State) -> str:
        return "can be tried only once the old one is deleted"

    def do(self, live: Connection, state: State) -> str:
        if state is None:
            return super().do(live, state)
        if state["uid"] == self.uid:
            raise Conflict(f"{self._what} is still being deleted")
        body = self.body | {"metadata": self.body["metadata"] | {"uid": state["uid"]}}
        live.kubernetes("PATCH", self._path, body, content_type="application/merge-patch+json")
        return ""

    @property
    def cannot_undo(self) -> str:  # type: ignore[override]
        """The old account's uid does not come back, nor do its tokens."""
        return "an ended token is not valid again; pods get new ones when they restart"


def _is_own(live: Connection, planned: PlannedAction) -> str:
    namespace, name = planned.parameters["namespace"], planned.parameters["name"]
    try:
        if is_own_account(live, namespace, name):
            return f"the kit itself runs as service account {namespace}/{name}: end its tokens with another user"
    except Refused as error:
        return error.says
    return ""


def _end(live: Connection, planned: PlannedAction) -> list[Change]:
    if found(live, "serviceaccounts", planned.parameters["namespace"], planned.parameters["name"]) is None:
        return []  # its tokens have ended with it
    account = meant(live, planned, "serviceaccounts")
    metadata, secrets = account["metadata"], _secrets(live, account["metadata"])
    names = {one["metadata"]["name"] for one in secrets}
    changes: list[Change] = [
        DeleteObject("secrets", metadata["namespace"], one["metadata"]["name"], one["metadata"]["uid"])
        for one in secrets
    ]
    if planned.parameters.get("recreate"):
        kept = {one: metadata[one] for one in ("name", "namespace", "labels", "annotations") if metadata.get(one)}
        body = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": kept}
        for part in ("imagePullSecrets", "automountServiceAccountToken"):
            if account.get(part) is not None:
                body[part] = account[part]
        mounted = [one for one in account.get("secrets") or [] if one.get("name") not in names]
        body |= {"secrets": mounted} if mounted else {}
        place = ("serviceaccounts", metadata["namespace"], metadata["name"], metadata["uid"])
        changes += [DeleteObject(*place), RemakeAccount(*place, body)]
    return changes


def _secrets(live: Connection, metadata: dict[str, Any]) -> list[dict[str, Any]]:
    """The token Secrets of an account, metadata only."""
    query = {"fieldSelector": "type=kubernetes.io/service-account-token"}
    listed = live.listed(url_path("secrets", metadata["namespace"]), query=query, accept=METADATA_LIST)
    return [one for one in listed if (one["metadata"].get("annotations") or {}).get(_NAME) == metadata["name"]]


def _ended(live: Connection, planned: PlannedAction) -> Check:
    space, name, uid = (planned.parameters[one] for one in ("namespace", "name", "uid"))
    what = f"service account {space}/{name}"
    account = found(live, "serviceaccounts", space, name)
    if account is None:
        return Check(HOLDS, f"{what} is gone, and no token of it is valid")
    left = [one for one in _secrets(live, account["metadata"]) if not one["metadata"].get("deletionTimestamp")]
    old = [one for one in left if (one["metadata"].get("annotations") or {}).get(_UID) in (uid, None)]
    if old:
        return Check(DOES_NOT_HOLD, f"{what} still has tokens in Secrets: {', '.join(title(one) for one in old)}")
    selector = {"fieldSelector": f"spec.serviceAccountName={name}"}
    pods = ", ".join(title(one) for one in live.listed(url_path("pods", space), query=selector)[:20])
    sts = "sessions that AWS issued for them live on until they are revoked"
    if not planned.parameters.get("recreate"):
        bound = (
            f"tokens of these pods end about a minute after each is deleted: {pods}" if pods else "no pod runs as it"
        )
        return Check(
            HOLDS, f"no Secret holds a token of {what}; {bound}; a token without a pod would need the account made anew"
        )
    if not uid:
        made = account["metadata"].get("creationTimestamp")
        return Check(CANNOT_TELL, f"{what} was made at {made}; the evidence has no uid to tell it from the old one by")
    if account["metadata"]["uid"] == uid:
        return Check(DOES_NOT_HOLD, f"{what} still has its old uid: its tokens are valid")
    made_at = datetime.fromisoformat(account["metadata"]["creationTimestamp"])
    if datetime.now(UTC) < made_at + CACHED:
        return Check(
            CANNOT_TELL,
            f"{what} was made anew at {utc(made_at)}; API servers know its old tokens for {CACHED.seconds} s more: look again",
        )
    restart = f"; these pods have dead tokens until they restart: {pods}" if pods else ""
    return Check(HOLDS, f"{what} was made anew, all its old tokens have ended; {sts}{restart}")


act("end_service_account_tokens", refuses=_is_own, changes=_end, check=_ended)
