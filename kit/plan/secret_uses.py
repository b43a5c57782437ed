"""What uses a Secret, by the evidence: what has to restart after its value changed, what takes the new value by itself, and what would overwrite it.

Sources: Kubernetes "Secrets" (variables are set when a container starts; mounted files are renewed by the kubelet, those mounted by subPath are
not; image pull secrets), "Ingress" and Gateway API (certificates by name); External Secrets Operator, Sealed Secrets and cert-manager (the
Secret that each makes, with the maker as its owner); Secrets Store CSI Driver (secretObjects); Helm (meta.helm.sh/release-name).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import Any

from kit.inventory.inventory import Inventory
from kit.lenient import dict_of, dicts_of, json_of
from kit.model.kubernetes import WORKLOADS
from kit.model.pod_spec import containers, pod_spec
from kit.store.store import Store
from kit.words import counted, few

_MOST = 4  # names that are written out
_READ = ("secrets", "serviceaccounts", "ingresses", "gateways", "externalsecrets", "sealedsecrets", "certificates", "secretproviderclasses")  # fmt: skip
_IN_VOLUMES = ("secretRef", "nodePublishSecretRef", "nodeStageSecretRef", "controllerPublishSecretRef", "secretName")


class How(StrEnum):
    """How a pod has a Secret, and what follows for it."""

    VARIABLES = "has it in variables: restart it after the change"
    SUBPATH = "mounts a file of it by subPath, which is not renewed: restart it after the change"
    FILES = "mounts it: the files follow in about a minute, and a program that reads them once has to restart"
    DRIVER = "gives it to a storage driver: mount the volume anew after the change"
    PULLS = "pulls its images with it: no restart, the next pull needs the new value"

    @property
    def restarts(self) -> bool:
        """Whether a pod has the old value until it restarts, or may have."""
        return self is not How.PULLS


@dataclass
class SecretUses:
    """What the evidence shows of one Secret. keys: names alone, None where no evidence has them. restart: resource/namespace/name."""

    says: list[str] = field(default_factory=list)
    keys: list[str] | None = None
    restart: list[str] = field(default_factory=list)


class SecretUsers:
    """The users of the Secrets of one case."""

    def __init__(self, store: Store, inventory: Inventory) -> None:
        self.store, self.inventory = store, inventory

    def of(self, key: str) -> SecretUses:
        """The users of a Secret (namespace/name)."""
        namespace, _, name = key.partition("/")
        found = SecretUses()
        for how, users in sorted(self._workloads(namespace, name).items(), key=lambda one: list(How).index(one[0])):
            listed = [f"{path} ({counted(count, 'pod')})" if count else f"{path} (no pod now)" for path, count in users]
            found.says.append(f"{few(listed, _MOST)} {how.value}")
            found.restart += [
                path for path, _ in users if how.restarts and not path.startswith(("pods/", "jobs/", "cronjobs/"))
            ]
        found.restart = list(dict.fromkeys(found.restart))
        found.says += self._objects(namespace, name)
        secret = self._dumped["secrets"].get((namespace, name))
        found.says += _makers(secret or {})
        if secret is not None and isinstance(secret.get("data"), dict):
            found.keys = sorted(map(str, secret["data"]))
        if not found.says and self.inventory.is_dumped("pods", namespace):
            found.says.append(
                "nothing in the evidence uses it: look for programs that read it by the API, or outside of the cluster"
            )
        if found.keys:
            found.says.append(f"its keys: {few(found.keys, 2 * _MOST)}")
        return found

    def _workloads(self, namespace: str, name: str) -> dict[How, list[tuple[str, int]]]:
        """How it is had → the workloads and pods of nobody that have it so, each with the number of its standing pods."""
        counts = defaultdict[tuple[How, str], int](int)
        for pod in self.inventory.pods:
            if pod.namespace == namespace and pod.standing is not False:
                owners = self.inventory.owners(pod)
                path = f"{owners[-1].resource}/{namespace}/{owners[-1].name}" if owners else pod.path
                for how in uses(pod.spec, name):
                    counts[how, path] += 1
        known = {path for _, path in counts}
        for workload in self.inventory.of(*WORKLOADS.values()):
            is_below = bool(self.inventory.owners(workload))
            if (
                workload.namespace == namespace
                and workload.standing is not False
                and not is_below
                and workload.path not in known
            ):
                for how in uses(pod_spec(workload.spec), name):
                    counts[how, workload.path] = 0
        found = defaultdict[How, list[tuple[str, int]]](list)
        for (how, path), count in sorted(counts.items(), key=lambda one: one[0][1]):
            found[how].append((path, count))
        return found

    @cached_property
    def _dumped(self) -> dict[str, dict[tuple[str, str], dict[str, Any]]]:
        """Resource → namespace and name → the object, of what may name or make a Secret."""
        found = defaultdict[str, dict[tuple[str, str], dict[str, Any]]](dict)
        for row in self.store.rows(
            "SELECT resource, namespace, name, object FROM objects WHERE list_contains($resources, resource) ORDER BY file, item",
            resources=list(_READ),
        ):
            found[row["resource"]][(row["namespace"] or "", row["name"])] = dict_of(json_of(row["object"]))
        return found

    def _objects(self, namespace: str, name: str) -> Iterator[str]:
        """Objects beside pods that name it, or that make it."""
        for (space, own), one in self._in("serviceaccounts", namespace):
            if any(each.get("name") == name for each in dicts_of(one.get("imagePullSecrets"))):
                yield f"service account {space}/{own} gives it to its pods to pull images with"
            if any(each.get("name") == name for each in dicts_of(one.get("secrets"))):
                yield f"service account {space}/{own} lists it as its own"
        for (space, own), one in self._in("ingresses", namespace):
            if any(each.get("secretName") == name for each in dicts_of(dict_of(one.get("spec")).get("tls"))):
                yield f"ingress {space}/{own} serves its certificate: have a new one issued, and revoke the old one"
        for (space, own), one in self._in("gateways", namespace):
            listeners = [dict_of(each.get("tls")) for each in dicts_of(dict_of(one.get("spec")).get("listeners"))]
            if any(ref.get("name") == name for each in listeners for ref in dicts_of(each.get("certificateRefs"))):
                yield f"gateway {space}/{own} serves its certificate: have a new one issued, and revoke the old one"
        for resource, kind, maker in (
            ("externalsecrets", "ExternalSecret", "change the value in the store that it takes it from"),
            ("sealedsecrets", "SealedSecret", "seal the new value and replace that"),
            ("certificates", "Certificate", "have it issued anew with another key"),
            ("secretproviderclasses", "SecretProviderClass", "change the value in the store that it takes it from"),
        ):
            for (space, own), one in self._in(resource, namespace):
                if name in _made_by(resource, own, dict_of(one.get("spec"))):
                    yield f"{kind} {space}/{own} makes it: {maker}, else the new value is overwritten"

    def _in(self, resource: str, namespace: str) -> Iterator[tuple[tuple[str, str], dict[str, Any]]]:
        yield from ((place, one) for place, one in self._dumped[resource].items() if place[0] == namespace)


def uses(spec: dict[str, Any], name: str) -> list[How]:
    """How the pods of a spec have a Secret; [] when they do not."""
    found = dict[How, None]()
    inside = containers(spec)
    for container in inside:
        variables = [dict_of(one.get("valueFrom")) for one in dicts_of(container.get("env"))]
        named = [dict_of(one.get("secretKeyRef")).get("name") for one in variables]
        named += [dict_of(one.get("secretRef")).get("name") for one in dicts_of(container.get("envFrom"))]
        if name in named:
            found[How.VARIABLES] = None
    for volume in dicts_of(spec.get("volumes")):
        sources = dicts_of(dict_of(volume.get("projected")).get("sources"))
        files = [
            dict_of(volume.get("secret")).get("secretName"),
            *(dict_of(one.get("secret")).get("name") for one in sources),
        ]
        if name in files:
            mounts = [
                one
                for each in inside
                for one in dicts_of(each.get("volumeMounts"))
                if one.get("name") == volume.get("name")
            ]
            by_subpath = [one for one in mounts if one.get("subPath") or one.get("subPathExpr")]
            found |= {How.SUBPATH: None} if by_subpath else {}
            found |= {How.FILES: None} if len(by_subpath) < len(mounts) or not mounts else {}
        elif any(name in _refs(source) for kind, source in volume.items() if kind not in ("secret", "projected")):
            found[How.DRIVER] = None
    if any(one.get("name") == name for one in dicts_of(spec.get("imagePullSecrets"))):
        found[How.PULLS] = None
    return list(found)


def _refs(source: Any) -> list[str]:
    """The Secrets that the source of a volume names for its driver."""
    named = [dict_of(source).get(member) for member in _IN_VOLUMES]
    return [str(dict_of(one).get("name") or one) for one in named if one]


def _made_by(resource: str, own: str, spec: dict[str, Any]) -> list[str]:
    """The names of the Secrets that an object makes."""
    match resource:
        case "externalsecrets":
            return [str(dict_of(spec.get("target")).get("name") or own)]
        case "certificates":
            return [str(spec.get("secretName"))]
        case "secretproviderclasses":
            return [str(one.get("secretName")) for one in dicts_of(spec.get("secretObjects"))]
    return [str(dict_of(dict_of(spec.get("template")).get("metadata")).get("name") or own)]


def _makers(secret: dict[str, Any]) -> Iterator[str]:
    """Who makes a Secret anew when it changes, by what it says itself."""
    metadata = dict_of(secret.get("metadata"))
    for owner in dicts_of(metadata.get("ownerReferences")):
        yield f"{owner.get('kind')} {owner.get('name')} owns it: change the value there, else it is overwritten"
    release = dict_of(metadata.get("annotations")).get("meta.helm.sh/release-name")
    if release:
        yield f"Helm release {release} has it: change the value there too, else the next upgrade brings the old one back"
