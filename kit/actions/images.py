"""What is done to images: kept by their digest, taken out of the registry."""

from __future__ import annotations

import hashlib
import json
import shlex

from kit.actions.action import SIMULATED, Action, Target, action_id


def _keep_image(target: Target) -> list[str]:
    name = shlex.quote(target.key)
    return [
        f"docker pull -- {name}",
        f"docker save -o image-{hashlib.sha256(target.key.encode()).hexdigest()[:10]}.tar -- {name}",
    ]


def _deny_image(target: Target) -> list[str]:
    """Out of the registry where it is one of yours; elsewhere an admission rule keeps it out of the cluster."""
    known = target.parameters
    name = f"kit-deny-{action_id('', target)[1:]}"
    if known.get("repository"):
        repository = shlex.quote(known["repository"])
        return [
            f"aws ecr batch-delete-image --registry-id {known['registry_account']} --region {known['region']} --repository-name {repository} --image-ids imageTag={shlex.quote(str(known['tag']))}"
            for _ in [known["tag"]]
            if known["tag"]
        ]
    rule = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": name},
        "spec": {
            "matchConstraints": {"resourceRules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"], "resources": ["pods", "pods/ephemeralcontainers"]}]},
            "validations": [{"expression": f"!(object.spec.containers + object.spec.?initContainers.orValue([]) + object.spec.?ephemeralContainers.orValue([])).exists(one, one.image == {json.dumps(target.key)})", "message": "this image is part of an incident"}],
        },
    }  # fmt: skip
    bound = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": name},
        "spec": {"policyName": name, "validationActions": ["Deny"]},
    }
    return [f"echo {shlex.quote(json.dumps(one))} | kubectl apply -f -" for one in (rule, bound)]


ACTIONS = (
    Action("keep_image", "capture", "Keep each affected image by its digest where nobody pulls it from", "nothing", stops_nothing=True, undo="take the extra tag off the digest", kinds=("image", "introduced"),
           commands=_keep_image,
           precondition="the registry still has the digest that ran",
           permissions=("aws:ecr:DescribeImages", "aws:ecr:BatchGetImage", "aws:ecr:PutImage", "aws:ecr:BatchDeleteImage"),
           preview=SIMULATED, check="the manifest is in the case, the digest has the tag; its layers are not copied: the commands do that"),
    Action("block_image", "eradicate", "Take the image's tags away in your registry, so that nobody pulls it by them; it stays under kit-keep-…, who pulls by digest still gets it, and nodes keep cached copies", "every workload that uses it", undo="put the tags back", kinds=("image", "introduced"),
           precondition="nothing of yours runs it any more, and its manifest is kept", destroys=True, commands=_deny_image,
           permissions=("aws:ecr:DescribeImages", "aws:ecr:BatchGetImage", "aws:ecr:BatchDeleteImage", "aws:ecr:PutImage"),
           preview=SIMULATED, check="no tag but kit-keep-… names it"),
)  # fmt: skip
"""The actions of this topic, in their order within a stage."""
