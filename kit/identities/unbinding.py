"""Subjects taken out of a role binding by a command, which changes nothing when the binding is another one by then.

Sources: RFC 6902 (`test` before `replace`); Kubernetes pkg/apis/rbac/v1/defaults.go (the API group that a subject gets when it has none);
"Using RBAC Authorization", auto-reconciliation (the API server puts the subjects of its own bindings back at its start).
"""

from __future__ import annotations

import json
from typing import Any

from kit.model.command_line import Command, kubectl

_AUTO = "rbac.authorization.kubernetes.io/autoupdate"
_RBAC = "rbac.authorization.k8s.io"
BoundSubject = dict[str, Any]


def named_subject(subject: BoundSubject, namespace: str | None) -> tuple[str, str]:
    """Kind and name of a subject; of a service account namespace/name. namespace: of its binding."""
    kind, name = str(subject.get("kind")), str(subject.get("name"))
    return kind, f"{subject.get('namespace') or namespace}/{name}" if kind == "ServiceAccount" else name


def as_stored(subject: BoundSubject) -> BoundSubject:
    """A subject as the API server has it."""
    group = {} if subject.get("kind") == "ServiceAccount" else {"apiGroup": subject.get("apiGroup") or _RBAC}
    members = {"kind": subject.get("kind"), **group, "name": subject.get("name"), "namespace": subject.get("namespace")}
    return {name: value for name, value in members.items() if value}


def unbind(
    place: tuple[str, str | None, str],
    uid: str | None,
    subjects: list[BoundSubject],
    remove: list[BoundSubject],
    annotations: dict[str, str],
) -> Command:
    """The command. place: resource, namespace, name. subjects: all that are in it."""
    resource, namespace, name = place
    stored = [as_stored(one) for one in subjects]
    gone = [as_stored(one) for one in remove]
    steps = [{"op": "test", "path": "/metadata/uid", "value": uid}] if uid else []
    steps.append({"op": "test", "path": "/subjects", "value": stored})  # type: ignore[dict-item]
    steps.append({"op": "replace", "path": "/subjects", "value": [one for one in stored if one not in gone]})  # type: ignore[dict-item]
    if annotations.get(_AUTO) == "true":
        steps.append({"op": "replace", "path": f"/metadata/annotations/{_AUTO.replace('/', '~1')}", "value": "false"})
    patch = json.dumps(steps, separators=(",", ":"))
    return kubectl("patch", resource, name, namespace, "--type", "json", "-p", patch)
