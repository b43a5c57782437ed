"""What is done to images: refused at admission, kept by their digest, taken out of the registry."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace

from kit.actions.action import DRY, READS, SIMULATED, Action, Held, Keeps, Wait, Where
from kit.actions.effect import Effect
from kit.actions.image_policy import image_policy, image_policy_binding
from kit.actions.target import ImageParameters, Target
from kit.model.command_line import Command, Printed, aws

KEEP = "kit-keep-"
MEDIA_TYPES = [
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.docker.distribution.manifest.v2+json",
]
"""Without an index among them ECR answers with a manifest of one platform, which has another digest."""


def _file(target: Target) -> str:
    return f"image-{hashlib.sha256(target.key.encode()).hexdigest()[:10]}.tar"


def _by_digest(target: Target) -> list[str]:
    """The image by each digest that ran, as its tag may name another one by now; by its name where no digest is known."""
    known = target.known(ImageParameters)
    name, at, _ = target.key.partition("@")
    last = name.rpartition("/")[2]
    bare = name[: len(name) - len(last)] + last.partition(":")[0]
    return [target.key] if at or not known.digests else [f"{bare}@{one}" for one in known.digests]


def _in_registry(target: Target) -> dict[str, str | None]:
    known = target.known(ImageParameters)
    return {"registry_id": known.registry_account, "region": known.region, "repository_name": known.repository}


def keep_tag(digest: str) -> str:
    """The tag by which the kit keeps an image from lifecycle rules."""
    return f"{KEEP}{digest.partition(':')[2][:10]}"


def _kept_in_registry(target: Target) -> list[Command]:
    """One more tag for each digest that ran, put with its own manifest: as the kit does, and it shows that the registry has it."""
    place, commands = _in_registry(target), list[Command]()
    for digest in target.known(ImageParameters).digests:
        media = ["--accepted-media-types", *MEDIA_TYPES]
        found = {"image_ids": [f"imageDigest={digest}"], "output": "text"}
        got = aws("ecr", "batch-get-image", **place, **found).with_words(*media)
        manifest, kind = (
            Printed(got.with_words("--query", f"images[0].{one}"))
            for one in ("imageManifest", "imageManifestMediaType")
        )
        given = {"image_manifest": manifest, "image_manifest_media_type": kind, "image_digest": digest}
        there = aws(
            "ecr", "describe-images", **place, **found, query=f'imageDetails[].imageTags[?@==`"{keep_tag(digest)}"`][]'
        )
        commands.append(replace(aws("ecr", "put-image", **place, **given, image_tag=keep_tag(digest)), unless=there))
    return commands


def _keep_image(target: Target, held: Held) -> list[Command]:
    """Of a digest alone: by a tag another image may come."""
    names = [one for one in _by_digest(target) if "@" in one]
    saved = Command(("docker", "save", "-o", _file(target), "--", *names))
    copied = [*(Command(("docker", "pull", "--", name)) for name in names), *([saved] if names else [])]
    return [*(_kept_in_registry(target) if target.known(ImageParameters).repository else []), *copied]


def _scan_image(target: Target, held: Held) -> list[Command]:
    limits = ("--recursive", "--infected", "--max-filesize=2000M", "--max-scansize=4000M")
    known, place = target.known(ImageParameters), _in_registry(target)
    scans = [
        aws("ecr", "start-image-scan", **place, image_id=f"imageDigest={digest}")
        for digest in known.digests
        if known.repository
    ]
    return [Command(("clamscan", *limits, _file(target))), *scans]


def _remove_image(target: Target, held: Held) -> list[Command]:
    known = target.known(ImageParameters)
    names, ids = _by_digest(target), [f"imageDigest={digest}" for digest in known.digests]
    looked = Command(("docker", "image", "inspect", "--format", "{{json .RepoDigests}}", "--", *names))
    return [
        Command(("docker", "load", "-i", _file(target)), then=looked),
        aws("ecr", "batch-delete-image", **_in_registry(target), image_ids=ids),
    ]


def _has_digest_of_yours(target: Target, held: Held) -> bool:
    known = target.known(ImageParameters)
    return bool(known.repository and known.digests)


def _block_image(target: Target, held: Held) -> list[Command]:
    """First the tag that keeps it: with its last tag ECR deletes an image. Then all others, which only the registry knows."""
    known, place = target.known(ImageParameters), _in_registry(target)
    if not known.repository or not known.digests:
        return []
    commands = _kept_in_registry(target)
    for digest in known.digests:
        others = f'imageDetails[].imageTags[?!starts_with(@, `"{KEEP}"`)][].join(`""`, [`"imageTag="`, @])'
        tags = aws("ecr", "describe-images", **place, image_ids=[f"imageDigest={digest}"], query=others, output="text")
        commands.append(replace(aws("ecr", "batch-delete-image", **place).with_words("--image-ids"), each=tags))
    return commands


def _deny_image(target: Target, held: Held) -> list[Command]:
    known = target.known(ImageParameters)
    made = (image_policy(known.image, known.digests), image_policy_binding(known.image))
    return [Command(("kubectl", "apply", "-f", "-"), fed=json.dumps(one)) for one in made]


def _has_tag_of_yours(target: Target, held: Held) -> bool:
    """Whether pods get it by a tag in a registry of yours: by a digest they get it all the same, elsewhere no tag is yours to take away."""
    known = target.known(ImageParameters)
    return bool(known.repository and known.tag and "@" not in known.image)


def _only_by_policy(target: Target, held: Held) -> bool:
    return not _has_tag_of_yours(target, held)


def _is_yours(target: Target, held: Held) -> str:
    if target.key not in held.own_images:
        return ""
    return "a workload of yours ran it before the first hostile call: it is kept, not blocked"


def _person(target: Target) -> str:
    if target.known(ImageParameters).repository:
        return ""
    if not any("@" in name for name in _by_digest(target)):
        return "it is in no ECR registry, and no evidence has the digest that ran: save it from a node that has it, as by its tag another image may come"
    return "it is in no ECR registry: pull it by the digest that ran and save it, as the commands do"


ACTIONS = (
    Action("deny_image", "contain", "Refuse each new pod, and each new template of pods, that asks for the image, by an admission policy. What runs goes on", "whoever starts a pod of that image", undo="delete the policy and its binding", kinds=("image", "introduced"),
           effects=(Effect.BLOCKS_IMAGE,),
           commands=_deny_image, precondition="the cluster is 1.30 or newer, and nothing of yours has to start from it",
           permissions=("kubernetes:admissionregistration.k8s.io/validatingadmissionpolicies:list", *(f"kubernetes:admissionregistration.k8s.io/{kind}:{verb}" for kind in ("validatingadmissionpolicies", "validatingadmissionpolicybindings") for verb in ("get:{policy}", "create", "delete@undo:{policy}"))),
           preview=DRY, check="policy and binding stand as they were made",
           applies=_only_by_policy, impossible=_is_yours),
    Action("keep_image", "capture", "Keep each affected image by its digest where nobody pulls it from", "nothing", stops_nothing=True, undo="take the extra tag off the digest", kinds=("image", "introduced"),
           effects=(Effect.NONE,),
           commands=_keep_image,
           precondition="the registry still has the digest that ran",
           permissions=("aws:ecr:DescribeImages", "aws:ecr:BatchGetImage", "aws:ecr:PutImage", "aws:ecr:BatchDeleteImage@undo"),
           preview=SIMULATED, check="the manifest is in the case, the digest has the tag; its layers are not copied: the commands do that",
           keeps=Keeps.TARGET, person=_person),
    Action("scan_image", "capture", "Scan the copy of each image that the attacker brought in for malware, and the image in your registry by its digest", "nothing", stops_nothing=True, undo=READS, reads_only=True, kinds=("introduced",),
           commands=_scan_image, precondition="the copy is saved; it is opened on a machine that holds nothing else",
           preview="none: a person does it", check="a person confirms it (`kit apply --by-hand ID`)", by_person="GuardDuty scans volumes, not images in a registry: which scanner looks at the copy you decide",
           applies=lambda target, held: target.key not in held.own_images, waits=(Wait("keep_image", Where.SAME),)),
    Action("block_image", "eradicate", "Take the image's tags away in your registry, so that nobody pulls it by them. The image stays under kit-keep-…: who pulls by digest still gets it, and nodes keep cached copies", "every workload that uses it", undo="put the tags back", kinds=("image", "introduced"),
           effects=(Effect.BLOCKS_IMAGE,),
           precondition="nothing asks for it any more, and its manifest is kept", destroys=True, commands=_block_image,
           permissions=("kubernetes:pods:list", *(f"kubernetes:apps/{one}:list" for one in ("daemonsets", "deployments", "replicasets", "statefulsets")), "kubernetes:batch/cronjobs:list", "kubernetes:batch/jobs:list",
                        "aws:ecr:DescribeImages", "aws:ecr:BatchGetImage", "aws:ecr:BatchDeleteImage", "aws:ecr:PutImage"),
           preview=SIMULATED, check="no tag but kit-keep-… names it",
           applies=_has_tag_of_yours, impossible=_is_yours, waits=(Wait("delete_workload", Where.ANY), Wait("delete_pod", Where.ANY))),
    Action("remove_image", "eradicate", "Delete the image from your registry by its digest, once its copy was checked", "whoever still pulls it by its digest", cannot_undo="what a registry deletes is gone: push the copy", kinds=("image", "introduced"),
           effects=(Effect.BLOCKS_IMAGE,),
           commands=_remove_image, destroys=True, precondition="the saved copy loads, and has the digest that ran; nothing asks for the image",
           preview="none: a person does it", check="a person confirms it (`kit apply --by-hand ID`)", by_person="the registry's copy is evidence: whether yours is good a person looks first",
           applies=_has_digest_of_yours, impossible=_is_yours, waits=(Wait("block_image", Where.SAME), Wait("delete_workload", Where.ANY), Wait("delete_pod", Where.ANY))),
)  # fmt: skip
