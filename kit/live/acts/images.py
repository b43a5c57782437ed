"""What is done to images in the account's own ECR registry: kept from lifecycle rules, and their tags taken off so that nobody pulls them.

An image is evidence, so none is deleted: to block it, its tags go and one of the kit's own stays, which holds manifest and layers. A
repository's policy could deny the pull by digest too, but only that of every image in the repository. Sources: ECR API reference:
BatchDeleteImage by digest deletes an image with all its tags, by its last tag too; PutImage of a manifest that is there adds a tag. ECR
User Guide "Lifecycle policies", "Repository policies".
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

from kit.actions.image_policy import image_policy, image_policy_binding, policy_name
from kit.actions.images import KEEP, MEDIA_TYPES, keep_tag
from kit.live.acts.act import DOES_NOT_HOLD, HOLDS, Check, act, all_hold
from kit.live.acts.cluster import title
from kit.live.changes.aws_change import AwsCall, AwsChange, send
from kit.live.changes.change import Change, State
from kit.live.changes.objects import CreateObject, url_path
from kit.live.connection import Connection
from kit.live.errors import Failed, Missing
from kit.model.kubernetes import WORKLOADS
from kit.model.pod_spec import STATUSES, containers, pod_spec
from kit.plan.plan import PlannedAction
from kit.words import few

_MOST_USERS = 8  # that are named


@dataclass(frozen=True)
class _OfImage(AwsChange):
    service: ClassVar[str] = "ecr"

    registry: str
    repository: str
    digest: str

    @property
    def _what(self) -> str:
        return f"{self.repository}@{self.digest}"

    @property
    def _place(self) -> dict[str, Any]:
        return {"registryId": self.registry, "repositoryName": self.repository}

    def look(self, live: Connection) -> State:
        return image(live, self.registry, self.repository, {"imageDigest": self.digest})

    def _put(self, state: State, tag: str | None) -> AwsCall:
        assert state is not None
        media = {"imageManifest": state["manifest"], "imageManifestMediaType": state["media_type"]}
        named = {"imageDigest": self.digest} | ({"imageTag": tag} if tag else {})
        return "put_image", self._place | media | named

    def _untag(self, live: Connection, tags: list[str]) -> str:
        ids = [{"imageTag": one} for one in tags]
        answer, request = live.write("ecr", "batch_delete_image", **self._place, imageIds=ids)
        left = [one for one in answer.get("failures") or [] if one["failureCode"] != "ImageNotFound"]
        if left:
            says = f"ECR did not take {left[0].get('imageId', {}).get('imageTag')} off {self._what}"
            raise Failed(f"{says}: {left[0].get('failureReason')}", left[0]["failureCode"])
        return request


def image(live: Connection, registry: str, repository: str, id_: dict[str, str]) -> dict[str, Any] | None:
    """An image of a registry with its manifest and tags; None when it is not there."""
    place = {"registryId": registry, "repositoryName": repository}
    try:
        found = live.read("ecr", "batch_get_image", **place, imageIds=[id_], acceptedMediaTypes=MEDIA_TYPES)["images"]
        if not found:
            return None
        digest = found[0]["imageId"]["imageDigest"]
        details = live.read("ecr", "describe_images", **place, imageIds=[{"imageDigest": digest}])["imageDetails"]
    except Missing:
        return None
    return {
        "digest": digest,
        "tags": sorted(details[0].get("imageTags") or []),
        "manifest": found[0]["imageManifest"],
        "media_type": found[0].get("imageManifestMediaType") or details[0].get("imageManifestMediaType"),
    }


@dataclass(frozen=True)
class TagImage(_OfImage):
    """One more tag on an image."""

    tag: str

    @property
    def says(self) -> str:
        return f"give image {self._what} the tag {self.tag}"

    def holds(self, state: State) -> bool:
        return state is not None and self.tag in state["tags"]

    def call(self, state: State) -> AwsCall:
        return self._put(state, self.tag)

    def undo(self, live: Connection, before: State, after: State) -> str:
        now = self.look(live)
        if now is not None and now["tags"] == [self.tag]:
            raise Failed(f"{self.tag} is the only tag of {self._what}: without it ECR deletes the image")
        return self._untag(live, [self.tag])


@dataclass(frozen=True)
class UntagImage(_OfImage):
    """The tags of an image taken off, but for those by which the kit keeps it."""

    @property
    def says(self) -> str:
        return f"take all tags but {KEEP}… off image {self._what}; whoever names its digest still gets it, and nodes keep the copies that they have pulled"

    def refuses(self, state: State) -> str:
        return f"image {self._what} is not in the registry any more" if state is None else ""

    def holds(self, state: State) -> bool:
        return state is not None and not _others(state)

    def is_restored(self, before: State, now: State) -> bool:
        return before is not None and now is not None and set(_others(before)) <= set(now["tags"])

    def is_partly_restored(self, before: State, now: State) -> bool:
        return before is not None and now is not None and set(_others(now)) < set(_others(before))

    def call(self, state: State) -> AwsCall:
        return "batch_delete_image", self._place | {"imageIds": [{"imageTag": one} for one in _others(state)]}

    def do(self, live: Connection, state: State) -> str:
        if len(_others(state)) == len((state or {})["tags"]):
            raise Failed(f"image {self._what} has no tag of the kit's: with its last tag ECR would delete it")
        return self._untag(live, _others(state))

    def undo(self, live: Connection, before: State, after: State) -> str:
        """A tag that another image has by now stays with that."""
        now = self.look(live)
        if now is None:
            raise Missing(f"image {self._what} is not in the registry any more")
        place, request = (self.registry, self.repository), ""
        left = [tag for tag in _others(before) if tag not in now["tags"]]
        free = [tag for tag in left if image(live, *place, {"imageTag": tag}) is None]
        for tag in free:
            request = send(live, "ecr", self._put(now, tag))
        if len(free) < len(left):
            taken = ", ".join(sorted(set(left) - set(free)))
            raise Failed(f"another image of {self.repository} has {taken} by now; it stays there")
        return request


def _others(state: State) -> list[str]:
    """The tags of an image that are not the kit's."""
    return [one for one in (state or {})["tags"] if not one.startswith(KEEP)]


def _refused(live: Connection, planned: PlannedAction) -> str:
    told = planned.parameters
    name, account = told.get("image") or planned.name, told.get("registry_account")
    if not account or not told.get("repository"):
        return f"{name} is in no ECR registry: only an image of the account's own registry can be kept or deleted here"
    if account != live.account:
        return (
            f"{name} is in the registry of account {account}, these credentials are for {live.account}: ask its owner"
        )
    if told.get("region") and told["region"] != live.region:
        return f"{name} is in {told['region']}, this is {live.region}: do it there"
    return ""


def _cannot_keep(live: Connection, planned: PlannedAction) -> str:
    refused = _refused(live, planned)
    if refused:
        return refused
    if not _ids(planned):
        return "the evidence tells neither digest nor tag of the image"
    gone = [
        id_ for id_ in _ids(planned) if image(live, str(live.account), planned.parameters["repository"], id_) is None
    ]
    return f"the registry has {', '.join(str(*one.values()) for one in gone)} no more" if gone else ""


def _cannot_block(live: Connection, planned: PlannedAction) -> str:
    refused = _refused(live, planned)
    if not refused and "@" in str(planned.parameters.get("image")):
        return "pods name it by its digest, which taking its tags off does not stop: deny it by an admission rule"
    if refused or planned.parameters.get("digests"):
        return refused
    return "the evidence does not tell the digest that ran, and the tag may name another image by now"


def _users(live: Connection, planned: PlannedAction) -> str:
    """Who still asks for the image, "" when nobody does: pods that have not ended, and templates that would make new ones."""
    names, digests = {str(planned.parameters.get("image"))}, planned.parameters.get("digests") or []
    told = planned.parameters
    names.add(f"{told['registry_account']}.dkr.ecr.{told['region']}.amazonaws.com/{told['repository']}:{told['tag']}")

    def is_it(one: dict[str, Any]) -> bool:
        image = str(one.get("image") or "")
        return image in names or any(str(one.get(key) or "").endswith(f"@{digest}") for key in ("image", "imageID") for digest in digests)  # fmt: skip

    found = list[str]()
    for resource in ("pods", *WORKLOADS.values()):
        if resource == "replicationcontrollers":
            continue
        for thing in live.listed(url_path(resource, None)):
            spec, status = thing.get("spec") or {}, thing.get("status") or {}
            ended = status.get("phase") in ("Succeeded", "Failed") or bool(status.get("completionTime"))
            idle = resource == "replicasets" and not spec.get("replicas")
            ran = [one for sort in STATUSES for one in status.get(sort) or []] if resource == "pods" else []
            if not (ended or idle) and any(map(is_it, [*containers(pod_spec(spec)), *ran])):
                found.append(f"{resource}/{title(thing)}")
    return f"these still use it: {few(sorted(found), _MOST_USERS)}" if found else ""


def _ids(planned: PlannedAction) -> list[dict[str, str]]:
    told = planned.parameters
    tagged = [{"imageTag": told["tag"]}] if told.get("tag") else []
    return [{"imageDigest": one} for one in told.get("digests") or []] or tagged


def _found(live: Connection, planned: PlannedAction) -> Iterator[dict[str, Any]]:
    """The images that are still there."""
    for id_ in _ids(planned):
        one = image(live, str(live.account), planned.parameters["repository"], id_)
        if one:
            yield one


def _kept(live: Connection, planned: PlannedAction) -> Iterator[tuple[str, bytes]]:
    for one in _found(live, planned):
        yield f"{one['digest']}.manifest.json", one["manifest"].encode()


def _keep_tag(live: Connection, planned: PlannedAction, digest: str) -> TagImage:
    return TagImage(str(live.account), planned.parameters["repository"], digest, keep_tag(digest))


def _keeping(live: Connection, planned: PlannedAction) -> list[Change]:
    return [_keep_tag(live, planned, one["digest"]) for one in _found(live, planned)]


def _untagging(live: Connection, planned: PlannedAction) -> list[UntagImage]:
    repository = planned.parameters["repository"]
    return [UntagImage(str(live.account), repository, one["digest"]) for one in _found(live, planned)]


def _blocking(live: Connection, planned: PlannedAction) -> list[Change]:
    """First the tag that holds the image, whether keep_image is part of the plan or not."""
    return [*_keeping(live, planned), *_untagging(live, planned)]


def _is_kept(live: Connection, planned: PlannedAction) -> Check:
    changes = _keeping(live, planned)
    if not changes:
        return Check(DOES_NOT_HOLD, "the registry has the image no more")
    says = (
        "manifest kept, and the image has a tag of its own; a lifecycle rule for images with any tag may still take it"
    )
    if not planned.parameters.get("digests"):
        says += f"; the evidence does not tell the digest that ran: what tag {planned.parameters.get('tag')} named may be another image"
    return all_hold(live, changes, says)


def _is_blocked(live: Connection, planned: PlannedAction) -> Check:
    left = _untagging(live, planned)
    if not left:
        return Check(HOLDS, "the registry has it no more; nodes keep cached copies")
    says = f"no tag names it but the kit's {KEEP}…, which holds it as evidence; whoever names it by digest still gets it, and nodes keep cached copies"
    return all_hold(live, left, says)


act("keep_image", changes=_keeping, keeps=_kept, refuses=_cannot_keep, check=_is_kept)
act("block_image", changes=_blocking, refuses=_cannot_block, check=_is_blocked, stands_against=_users)


# deny_image


def _denying(live: Connection, planned: PlannedAction) -> list[Change]:
    """First the policy, which does nothing without its binding."""
    image, digests = str(planned.parameters["image"]), list(planned.parameters.get("digests") or [])
    name = policy_name(image)
    policy, binding = image_policy(image, digests), image_policy_binding(image)
    return [
        CreateObject("validatingadmissionpolicies", None, name, None, policy),
        CreateObject("validatingadmissionpolicybindings", None, name, None, binding),
    ]


def _cannot_deny(live: Connection, planned: PlannedAction) -> str:
    try:
        live.listed(url_path("validatingadmissionpolicies", None))
    except Missing:
        return "this cluster has no admission policies of version v1, which came with Kubernetes 1.30: deny the image by your own admission webhook"
    except Failed:
        return ""  # it may be made and not listed
    return ""


def _is_denied(live: Connection, planned: PlannedAction) -> Check:
    says = f"policy and binding stand, for {planned.parameters['image']}; what runs goes on. Try it: `kubectl run kit-try --image=IMAGE --dry-run=server` has to be refused"
    return all_hold(live, _denying(live, planned), says)


act("deny_image", changes=_denying, refuses=_cannot_deny, check=_is_denied)
