"""The admission policy that refuses an image: printed for a person, and made by kit.live.

Sources: Kubernetes "Validating Admission Policy" (admissionregistration.k8s.io/v1, stable since 1.30) and its API reference; CEL in
Kubernetes; distribution, "reference" (an image without registry is docker.io's, one without tag has `latest`). An error in the policy lets a
request through (failurePolicy Ignore): a fault of ours must not stop every pod of the cluster.
"""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any

_VERSION = "admissionregistration.k8s.io/v1"
_KINDS = (
    ("", ("pods", "pods/ephemeralcontainers", "replicationcontrollers")),
    ("apps", ("daemonsets", "deployments", "replicasets", "statefulsets")),
    ("batch", ("cronjobs", "jobs")),
)
"""What runs containers, and what makes such: group → resources."""
_LISTS = ("containers", "initContainers", "ephemeralContainers")


def policy_name(image: str) -> str:
    """The name of an image's policy, and of its binding."""
    return f"kit-deny-image-{hashlib.sha256(image.encode('utf-8', 'surrogatepass')).hexdigest()[:10]}"


def spellings(image: str) -> list[str]:
    """All the names by which a pod can ask for the same image of a registry.

    >>> spellings("nginx")[:2], "docker.io/library/nginx:latest" in spellings("nginx")
    (['docker.io/library/nginx', 'docker.io/library/nginx:latest'], True)
    """
    name, at, digest = image.partition("@")
    last = name.rpartition("/")[2]
    tag = last.partition(":")[2]
    name = name[: len(name) - len(tag) - 1] if ":" in last else name
    host, slash, rest = name.partition("/")
    is_host = bool(slash) and bool(re.search(r"[.:]", host) or host == "localhost")
    path = rest if is_host else name
    names = [name]
    if not is_host or host in ("docker.io", "index.docker.io", "registry-1.docker.io"):
        short = path.removeprefix("library/")
        official = "/" not in short
        names = [f"{start}{short}" for start in ("", "docker.io/", "index.docker.io/")]
        if official:
            names += [f"{start}library/{short}" for start in ("", "docker.io/", "index.docker.io/")]
    tags = [f":{tag}"] if tag else ["", ":latest"] if not at else [""]
    if tag == "latest":
        tags.append("")
    return sorted({f"{one}{each}{at}{digest}" for one in names for each in tags})


def image_policy(image: str, digests: list[str]) -> dict[str, Any]:
    """The policy: nothing new may ask for the image, by any of its names or by a digest that ran. What asked for it before may still be
    changed, labelled and deleted, and goes on running."""
    of_digest = image.partition("@")[2]
    ends = sorted({f"@{one}" for one in [*digests, *([of_digest] if of_digest else [])]})
    is_denied = [f"one in {_texts(spellings(image))}", *(f"one.endsWith({_text(end)})" for end in ends)]
    return {
        "apiVersion": _VERSION,
        "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": policy_name(image)},
        "spec": {
            "failurePolicy": "Ignore",
            "matchConstraints": {
                "matchPolicy": "Equivalent",
                "resourceRules": [
                    {
                        "apiGroups": [group],
                        "apiVersions": ["v1"],
                        "operations": ["CREATE", "UPDATE"],
                        "resources": list(resources),
                        "scope": "*",
                    }
                    for group, resources in _KINDS
                ],
            },
            "variables": [
                {"name": "spec", "expression": _pod_spec("object")},
                {"name": "images", "expression": _images("variables.spec")},
                {"name": "earlier", "expression": f"oldObject == null ? {{}} : {_pod_spec('oldObject')}"},
                {"name": "before", "expression": _images("variables.earlier")},
            ],
            "validations": [
                {
                    "expression": f"!variables.images.exists(one, !(one in variables.before) && ({' || '.join(is_denied)}))",
                    "message": "this image was part of an attack: it is refused while the incident is handled",
                }
            ],
        },
    }


def image_policy_binding(image: str) -> dict[str, Any]:
    """What makes the policy count, in every namespace."""
    name = policy_name(image)
    return {
        "apiVersion": _VERSION,
        "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": name},
        "spec": {"policyName": name, "validationActions": ["Deny"]},
    }


def _pod_spec(thing: str) -> str:
    return f"(has({thing}.spec.jobTemplate) ? {thing}.spec.jobTemplate.spec.template.spec : has({thing}.spec.template) ? {thing}.spec.template.spec : {thing}.spec)"


def _images(spec: str) -> str:
    lists = " + ".join(f"(has({spec}.{one}) ? {spec}.{one} : [])" for one in _LISTS)
    return f"({lists}).filter(one, has(one.image)).map(one, one.image)"


def _text(text: str) -> str:
    """A text as CEL has it, which knows the escapes of JSON."""
    return json.dumps(text)


def _texts(texts: list[str]) -> str:
    return f"[{', '.join(map(_text, texts))}]"
