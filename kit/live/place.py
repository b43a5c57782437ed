"""Whether credentials and kubeconfig are for the account and the cluster of a plan, and give a credential that the cluster takes.

Looked at before anything is done, in AWS too: half of a plan is no plan. Sources: Kubernetes API reference, SelfSubjectReview (whoever is signed
in may ask); `aws eks update-kubeconfig` (names a cluster by its ARN).
"""

from __future__ import annotations

from urllib.parse import urlsplit

from kit.errors import CallError
from kit.live.connection import Connection
from kit.live.errors import LiveError
from kit.model.arn import Arn


def place_checked(live: Connection, aws: bool, cluster: bool) -> list[str]:
    """Refuse unless the credentials are for the plan's account and the kubeconfig for its cluster. What it found, for a person.

    aws, cluster: what the plan's actions call. Raises CallError, naming both.
    """
    if not live.account or not live.cluster:
        raise CallError(
            f"the case does not tell which {'cluster' if live.account else 'account'} it is about, so what is called cannot be checked against it",
            next="add a finding, or make the case with --cluster",
        )
    if aws and not live.region:
        raise CallError("the case does not tell the region", next="add a finding or CloudTrail")
    says = []
    if aws:
        _check_account(live)
        says.append(f"AWS: {live.caller}")
    if cluster:
        _check_cluster(live)
        says.append(f"Kubernetes: {_check_user(live) or 'a user that the cluster does not tell'}")
    return says


def _check_account(live: Connection) -> None:
    account = str(live.identity["Account"])
    if account != live.account:
        raise CallError(
            f"these credentials are for account {account} ({live.caller}), the case is about {live.account}",
            where="AWS",
            next="name the profile of that account with --profile",
        )


def _check_cluster(live: Connection) -> None:
    """By the address that EKS tells; where EKS may not be asked, by the ARN that `aws eks update-kubeconfig` names a cluster with."""
    named = _named_cluster(live)
    ours = f":{live.region}:{live.account}:cluster/{live.cluster}"
    if named and not named.endswith(ours):
        raise CallError(
            f"this kubeconfig is for {named}, the case is about cluster {live.cluster} of account {live.account}",
            where="kubeconfig",
            next="name its context with --context",
        )
    try:
        _check_account(live)
        endpoint = str(live.described.get("endpoint", ""))
    except (LiveError, CallError) as error:
        if named:
            return
        raise CallError(
            f"which cluster this kubeconfig is for cannot be told: {error}",
            where="kubeconfig",
            next="use the one that `aws eks update-kubeconfig` writes, and credentials that may call eks:DescribeCluster",
        ) from None
    host = live.api.configuration.host
    if urlsplit(endpoint).netloc.lower() != urlsplit(host).netloc.lower():
        raise CallError(
            f"this kubeconfig is for {host}, cluster {live.cluster} of account {live.account} is at {endpoint or 'no address'}",
            where="kubeconfig",
            next="name its context with --context",
        )


def _named_cluster(live: Connection) -> str:
    """The ARN that the kubeconfig's context names its cluster with, "" where it has another name."""
    import kubernetes

    assert live.api is not None  # it says in a sentence what is wrong with the kubeconfig
    contexts, current = kubernetes.config.list_kube_config_contexts(live.kubeconfig)
    chosen = next((one for one in contexts if one["name"] == live.context), current)
    name = str(chosen["context"].get("cluster", ""))
    arn = Arn.of(name)
    return name if arn and arn.kind == "cluster" else ""


def _check_user(live: Connection) -> str:
    """Who the cluster takes the caller for, "" where it does not tell. Raises CallError without a credential that it takes."""
    try:
        name = str(live.reviewed().get("username") or "")
    except LiveError as error:
        if error.code in ("401", "403"):  # whoever signs in may ask this: refused is nobody
            name, why = "system:anonymous", error.says
        elif error.code in ("unreached", "cut", "tls"):
            raise CallError(
                error.says, where="kubeconfig", next="look whether the endpoint can be reached from here; actions of AWS alone go by `kit plan CASE --only NAME`"
            ) from None  # fmt: skip
        else:
            return ""  # a server older than this review, or one that fails at it
    else:
        why = ""
    if name == "system:anonymous":
        said = "; ".join(filter(None, [why, *live.logged.lines]))
        raise CallError(
            f"the kubeconfig gave no credential that the cluster takes, so that the calls would be anonymous{f': {said}' if said else ''}",
            where="kubeconfig",
            next="sign in, and look whether the command in its `exec` works",
        )
    return name
