"""What is done to images: kept by their digest, taken out of the registry."""

from __future__ import annotations

import hashlib
import shlex

from kit.actions.action import SIMULATED, Action, Held, Keeps
from kit.actions.effect import Effect
from kit.actions.target import ImageParameters, Target


def _keep_image(target: Target) -> list[str]:
    name = shlex.quote(target.key)
    return [
        f"docker pull -- {name}",
        f"docker save -o image-{hashlib.sha256(target.key.encode()).hexdigest()[:10]}.tar -- {name}",
    ]


def _block_image(target: Target) -> list[str]:
    known = target.known(ImageParameters)
    if not known.repository or not known.tag:
        return []
    return [
        f"aws ecr batch-delete-image --registry-id {known.registry_account} --region {known.region} --repository-name {shlex.quote(known.repository)} --image-ids imageTag={shlex.quote(known.tag)}"
    ]


def _elsewhere(target: Target, held: Held) -> str:
    if target.known(ImageParameters).repository:
        return ""
    return "it is in no registry of yours: deny it by an admission rule (docs/actions.md) and at your registry's proxy"


def _person(target: Target) -> str:
    if target.known(ImageParameters).repository:
        return ""
    return "it is in no ECR registry: pull it by the digest that ran and save it, as the commands do"


ACTIONS = (
    Action("keep_image", "capture", "Keep each affected image by its digest where nobody pulls it from", "nothing", stops_nothing=True, undo="take the extra tag off the digest", kinds=("image", "introduced"),
           effects=(Effect.NONE,),
           commands=_keep_image,
           precondition="the registry still has the digest that ran",
           permissions=("aws:ecr:DescribeImages", "aws:ecr:BatchGetImage", "aws:ecr:PutImage", "aws:ecr:BatchDeleteImage"),
           preview=SIMULATED, check="the manifest is in the case, the digest has the tag; its layers are not copied: the commands do that",
           keeps=Keeps.TARGET, person=_person),
    Action("block_image", "eradicate", "Take the image's tags away in your registry, so that nobody pulls it by them. The image stays under kit-keep-…: who pulls by digest still gets it, and nodes keep cached copies", "every workload that uses it", undo="put the tags back", kinds=("image", "introduced"),
           effects=(Effect.BLOCKS_IMAGE,),
           precondition="nothing of yours runs it any more, and its manifest is kept", destroys=True, commands=_block_image,
           permissions=("aws:ecr:DescribeImages", "aws:ecr:BatchGetImage", "aws:ecr:BatchDeleteImage", "aws:ecr:PutImage"),
           preview=SIMULATED, check="no tag but kit-keep-… names it",
           impossible=_elsewhere),
)  # fmt: skip
