"""One object of the cluster with its lifetime."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from kit.lenient import dict_of, dicts_of, list_of
from kit.model import pod_spec
from kit.model.address import canonical
from kit.model.pod_spec import HostAccess
from kit.model.why import Why


@dataclass(frozen=True)
class Thing:
    """An object of the cluster over its life.

    created_at and deleted_at are UTC, None where the evidence does not tell. standing: True when the dump has it, False when
    it is gone, None when that cannot be told. body: as last seen, {} when no body was logged. node: of a pod, as told by
    its spec, its binding or its kubelet. why: the evidence that shows it. partial: known only from what it did or from what a
    finding says of it. earlier: what was different before: bodies with labels, selector or subjects alone.
    """

    resource: str
    namespace: str | None
    name: str | None
    uid: str
    created_at: datetime | None = None
    deleted_at: datetime | None = None
    standing: bool | None = None
    body: dict[str, Any] = field(default_factory=dict, repr=False, hash=False, compare=False)
    node: str | None = None
    why: tuple[Why, ...] = ()
    partial: bool = False
    earlier: tuple[dict[str, Any], ...] = field(default=(), repr=False, hash=False, compare=False)

    @property
    def spec(self) -> dict[str, Any]:
        """The spec as last seen; {} without a body."""
        return dict_of(self.body.get("spec"))

    @property
    def labels(self) -> dict[str, str]:
        """Its labels as last seen."""
        return dict_of(dict_of(self.body.get("metadata")).get("labels"))

    @property
    def annotations(self) -> dict[str, str]:
        """Its annotations as last seen."""
        return dict_of(dict_of(self.body.get("metadata")).get("annotations"))

    @property
    def path(self) -> str:
        """resource/namespace/name, without the namespace where there is none."""
        return "/".join(part for part in (self.resource, self.namespace, self.name) if part)

    @property
    def service_account(self) -> str | None:
        """namespace/name of the service account that a pod runs under; None when no body tells."""
        if self.resource != "pods" or not self.spec:
            return None
        name = self.spec.get("serviceAccountName") or (None if self.partial else "default")
        return f"{self.namespace}/{name}" if name else None

    @property
    def addresses(self) -> list[str]:
        """The addresses of a pod or a node, as its status last had them."""
        status = dict_of(self.body.get("status"))
        listed = [dict_of(one).get("ip") for one in (*list_of(status.get("podIPs")), *list_of(status.get("hostIPs")))]
        named = [
            dict_of(one).get("address")
            for one in list_of(status.get("addresses"))
            if str(dict_of(one).get("type")).endswith("IP")
        ]
        every = [status.get("podIP"), status.get("hostIP"), *listed, *named]
        return list(dict.fromkeys(canonical(one) for one in every if isinstance(one, str) and one))

    @property
    def ever(self) -> tuple[dict[str, Any], ...]:
        """Its bodies over its life: the last one whole, of those before what was different."""
        return (self.body, *self.earlier)

    @property
    def labels_ever(self) -> list[dict[str, str]]:
        """The labels that it had at any time of its life."""
        return [dict_of(dict_of(body.get("metadata")).get("labels")) for body in self.ever]

    @property
    def containers(self) -> list[dict[str, Any]]:
        """All containers of a pod: init and ephemeral ones too."""
        return pod_spec.containers(self.spec)

    @property
    def images(self) -> list[str]:
        """The images of a pod as its spec has them, each once."""
        return pod_spec.images(self.spec)

    @property
    def statuses(self) -> list[dict[str, Any]]:
        """The statuses of all containers of a pod: which image each ran, and by which digest."""
        return [one for sort in pod_spec.STATUSES for one in dicts_of(dict_of(self.body.get("status")).get(sort))]

    @property
    def host_access(self) -> list[HostAccess]:
        """What a pod may do to its node, the gravest first; [] when nothing, or when no body tells."""
        return pod_spec.host_access(self.spec)

    def existed(self, start: datetime | None, end: datetime | None) -> bool:
        """Whether it existed at any moment of a window; an unknown end of its life counts as inside."""
        born_late = self.created_at is not None and end is not None and self.created_at >= end
        gone_early = self.deleted_at is not None and start is not None and self.deleted_at < start
        return not born_late and not gone_early

    def existed_at(self, at: datetime) -> bool:
        """Whether it existed in the second of a moment: times of objects and of findings have no smaller parts."""
        return self.existed(at, at + timedelta(seconds=1))


_KEPT_OF_CONTAINER = ("name", "image", "securityContext", "volumeMounts", "envFrom", "restartPolicy")
_KEPT_OF_STATUS = ("podIP", "podIPs", "hostIP", "hostIPs", "addresses")
_KEPT_OF_RUN = ("name", "image", "imageID")
_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


def essence(body: dict[str, Any]) -> dict[str, Any]:
    """An object's body without what no rule reads and what takes the room: managed fields, probes, most of the status and of the variables."""
    metadata, spec = dict(dict_of(body.get("metadata"))), dict(dict_of(body.get("spec")))
    metadata.pop("managedFields", None)
    annotations = dict_of(metadata.get("annotations"))
    metadata["annotations"] = {name: value for name, value in annotations.items() if name != _LAST_APPLIED}
    spec = _essence_of_spec(spec)
    whole = dict_of(body.get("status"))
    status = {name: value for name, value in whole.items() if name in _KEPT_OF_STATUS}
    for name in pod_spec.STATUSES:  # which digest of an image ran
        if name in whole:
            status[name] = [{key: one.get(key) for key in _KEPT_OF_RUN} for one in dicts_of(whole[name])]
    kept: dict[str, Any] = {"metadata": metadata, "spec": spec, "status": status}
    return kept | {name: body[name] for name in ("subjects", "roleRef", "rules", "type") if name in body}


def _essence_of_spec(spec: dict[str, Any]) -> dict[str, Any]:
    for kind in ("initContainers", "containers", "ephemeralContainers"):
        if kind in spec:
            spec = spec | {kind: [_essence_of_container(dict_of(one)) for one in list_of(spec[kind])]}
    for inner in ("template", "jobTemplate"):
        if inner in spec:
            spec = spec | {inner: {"spec": _essence_of_spec(dict_of(dict_of(spec[inner]).get("spec")))}}
    return spec


def _essence_of_container(container: dict[str, Any]) -> dict[str, Any]:
    variables = [
        one
        for one in map(dict_of, list_of(container.get("env")))
        if one.get("name") == "AWS_ROLE_ARN" or "secretKeyRef" in dict_of(one.get("valueFrom"))
    ]
    return {name: container[name] for name in _KEPT_OF_CONTAINER if name in container} | {"env": variables}


def in_window(things: Iterable[Thing], start: datetime | None, end: datetime | None) -> list[Thing]:
    """Those that existed at any moment of a window."""
    return [thing for thing in things if thing.existed(start, end)]
