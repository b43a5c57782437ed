"""What an emulated Kubernetes API says of itself: its version, the groups that it serves and their resources."""

from __future__ import annotations

from kit.training.emulators.kubernetes_kinds import REVIEWS, Kind, Object

_VERBS = ("create", "delete", "get", "list", "patch", "update")
_SUBRESOURCES = {
    "pods": (("log", "Pod", "get"), ("eviction", "Eviction", "create")),
    "nodes": (("proxy", "NodeProxyOptions", "create"),),
}


def discovery(version: str, kinds: list[Kind], path: str) -> Object | None:
    """What stands at a path that is no resource; None for one that there is not."""
    if path == "/version":
        major, minor = version.removeprefix("v").split(".")[:2]
        minor += "+" if "-" in version else ""  # hack/lib/version.sh
        told = {"major": major, "minor": minor, "gitVersion": version, "platform": "linux/amd64"}
        built = {"gitCommit": "1a2b3c4", "gitTreeState": "clean", "buildDate": "2026-01-01T00:00:00Z"}
        return told | built | {"goVersion": "go1.24.2", "compiler": "gc"}
    versions = list(dict.fromkeys(kind.api_version for kind in kinds))
    if path == "/api":
        return {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []}
    if path == "/apis":
        groups = [_api_group(version) for version in versions if version != "v1"]
        return {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}
    asked = path.removeprefix("/apis/").removeprefix("/api/")
    if asked in versions:
        listed: list[Object] = []
        for kind in dict.fromkeys(kinds):
            if kind.api_version == asked:
                verbs = ["create"] if kind.resource in REVIEWS else [*_VERBS]
                one = {"namespaced": kind.namespaced, "singularName": kind.kind.lower()}
                listed.append({"name": kind.plural, "kind": kind.kind, "verbs": verbs} | one)
                for sub, sub_kind, verb in _SUBRESOURCES.get(kind.resource, ()):
                    of = (
                        {"group": "policy", "version": "v1"} if sub == "eviction" else {}
                    )  # by which kubectl drain finds it
                    listed.append({"name": f"{kind.plural}/{sub}", "kind": sub_kind, "verbs": [verb]} | one | of)
        return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": asked, "resources": listed}
    return next(({"apiVersion": "v1"} | g for v in versions if (g := _api_group(v))["name"] == asked != "v1"), None)


def _api_group(api_version: str) -> Object:
    group, _, version = api_version.rpartition("/")
    served = {"groupVersion": api_version, "version": version}
    return {"kind": "APIGroup", "name": group, "versions": [served], "preferredVersion": served}
