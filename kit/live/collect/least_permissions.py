"""The least that a collection needs: an IAM policy and a ClusterRole, from the table of its requests.

Sources: IAM User Guide, policy grammar; Service Authorization Reference (which actions take a resource); Kubernetes "Using RBAC
Authorization" and "RBAC Good Practices" (`list` of Secrets gives their values too).
"""

from __future__ import annotations

from string import Template
from typing import Any

from kit.live.collect.bucket_logs import bucket_folder
from kit.live.collect.requests import EVERY, LISTED_KINDS, LOG_FILE, LOG_FILES, NETWORK, SECRETS

_NAME = "kit-collect"
_OF_SECRETS = "RBAC lets whoever may list secrets read their values too. The kit asks for names, types and ages alone."


def collect_permissions(cluster: str = "", *, secrets: bool = False, network: bool = False, logs_from: str = "") -> dict[str, Any]:  # fmt: skip
    """The IAM policy and the ClusterRole, as their APIs take them. Raises CallError.

    cluster: "" for any. secrets: whether their names are collected too. network: whether the
    logs of the nodes' traffic are. logs_from: s3://BUCKET/PREFIX of the control plane's logs.
    """
    filled = {"partition": "*", "region": "*", "account": "*", "cluster": cluster or "*"}
    folder = bucket_folder(logs_from) if logs_from else {}
    filled |= {f"logs_{name}": value for name, value in folder.items()}
    actions = dict[str, set[str]]()
    for request in (*EVERY, *(NETWORK if network else ()), *((LOG_FILES, LOG_FILE) if folder else ())):
        if request.service != "kubernetes":
            where = Template(request.resource).substitute(filled)
            actions.setdefault(where, set()).add(request.iam_action)
    statements = [
        {"Effect": "Allow", "Action": sorted(names), "Resource": where} for where, names in sorted(actions.items())
    ]
    resources = dict[str, list[str]]()
    for request in (*EVERY, *([SECRETS] if secrets else [])):
        if request.service == "kubernetes":
            resources.setdefault(LISTED_KINDS[request.operation].group, []).append(request.operation)
    rules = [{"apiGroups": [group], "resources": sorted(names), "verbs": ["list"]} for group, names in sorted(resources.items())]  # fmt: skip
    rules.append({"apiGroups": [""], "resources": ["pods/log"], "verbs": ["get"]})
    noted = {"annotations": {"kit/secrets": _OF_SECRETS}} if secrets else {}
    role = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": _NAME} | noted, "rules": rules}  # fmt: skip
    return {"iam_policy": {"Version": "2012-10-17", "Statement": statements}, "cluster_role": role}
