"""Variations of a recording: the same evidence with something left out, added or changed, as other cases would have it."""

from __future__ import annotations

import gzip
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import orjson

from kit.training.variation import enforcing as as_enforced
from tests.command import RECORDINGS, kit_json

Event = dict[str, Any]


def varied(
    recording: str | Path,
    folder: Path,
    *,
    without: Iterable[str] = (),
    events: Callable[[list[Event]], list[Event]] | None = None,
    findings: Callable[[list[dict[str, Any]]], list[dict[str, Any]]] | None = None,
    dump: Callable[[str, list[dict[str, Any]]], list[dict[str, Any]]] | None = None,
    trail: Callable[[list[dict[str, Any]]], list[dict[str, Any]]] | None = None,
    aws: Callable[[dict[str, Any]], list[dict[str, Any]]] | None = None,
) -> Path:
    """The evidence of a recording (a shipped one by name) below `folder`, changed.

    without: files or folders that are left out. events, findings: functions of all audit events, of each findings file's
    findings. dump: a function of resource and items, for each file of the cluster dump. trail: a function of CloudTrail's records. aws: a function of each answer of AWS, whose
    answers stand in its file one after the other.
    """
    evidence = folder / "evidence"
    shutil.copytree(RECORDINGS / recording, evidence, ignore=shutil.ignore_patterns("ground_truth.json", *without))
    log = evidence / "audit.jsonl.gz"
    if events and log.exists():
        changed = events([orjson.loads(line) for line in gzip.decompress(log.read_bytes()).splitlines()])
        log.write_bytes(gzip.compress(b"".join(orjson.dumps(event) + b"\n" for event in changed), 1))
    for path in sorted(evidence.glob("cloudtrail.json.gz")) if trail else ():
        assert trail
        records = trail(orjson.loads(gzip.decompress(path.read_bytes()))["Records"])
        path.write_bytes(gzip.compress(orjson.dumps({"Records": records}), 1))
    for path in sorted(evidence.glob("findings*.json")) if findings else ():
        assert findings
        path.write_bytes(orjson.dumps({"Findings": findings(orjson.loads(path.read_bytes())["Findings"])}))
    for path in sorted((evidence / "cluster").glob("*.json")) if dump else ():
        assert dump
        listed = orjson.loads(path.read_bytes())
        listed["items"] = dump(path.stem, listed["items"])
        path.write_bytes(orjson.dumps(listed))
    for path in sorted((evidence / "aws").glob("*.json")) if aws else ():
        assert aws
        path.write_bytes(b"\n".join(orjson.dumps(one) for one in aws(orjson.loads(path.read_bytes()))))
    return evidence


def enforcing(resource: str, items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A dump's objects as a cluster has them whose VPC CNI enforces network policies: those of the recordings do not."""
    text = as_enforced(f"cluster/{resource}.json", orjson.dumps({"items": items}).decode())
    return list(orjson.loads(text)["items"])


def entered(folder: Path, spec: dict[str, Any]) -> Path:
    """The recording in which a command was run in a pod of kube-system, with these rights of that pod and not its node's network."""

    def changed(body: Any) -> Any:
        named = str(((body or {}).get("metadata") or {}).get("name"))
        if not named.startswith("aws-node-") or "spec" not in body:
            return body
        kept = {name: value for name, value in body["spec"].items() if name != "hostNetwork"}
        inner = [container | spec.get("containers", [{}])[0] for container in kept.get("containers", [])]
        return body | {"spec": kept | spec | {"containers": inner}}

    return varied(
        "exec_kube_system",
        folder,
        events=lambda log: [event | {"responseObject": changed(event.get("responseObject"))} for event in log],
        dump=lambda resource, items: [changed(item) if resource == "pods" else item for item in items],
    )


def scope_of(evidence: Path, *options: str) -> dict[str, Any]:
    """The scope of evidence, by finding Id, through the command line."""
    case = evidence.parent / "case"
    if not case.exists():
        kit_json("new", case, evidence)
    return {finding["id"]: finding for finding in kit_json("scope", case, *options)["findings"]}


def keys(finding: dict[str, Any], kind: str, certainty: str = "affected") -> set[str]:
    """The keys of a finding's subjects of one kind, without those that go through another identity."""
    return {
        subject["key"]
        for subject in finding["subjects"]
        if subject["kind"] == kind and subject["certainty"] == certainty and not subject["through"]
    }


def said(finding: dict[str, Any]) -> str:
    """All that a finding's limits say."""
    return "\n".join(limit["says"] for limit in finding["limits"])


def from_own_registry(folder: Path, image: str, digest: str) -> Path:
    """Evidence in which the attacker's image came from a registry of the account's own, and a pod runs it by this digest."""

    told = b"sha256:12fac12bf3f369441a389d8947acc9c7a81bfd018e24aa8fedc0407845f59b87"

    def renamed(things: list[Event]) -> list[Event]:
        texts = [orjson.dumps(one).replace(b"docker.io/library/ubuntu:22.04", image.encode()) for one in things]
        return [orjson.loads(text.replace(told, digest.encode())) for text in texts]

    def with_a_pod(resource: str, items: list[Event]) -> list[Event]:
        if resource != "pods":
            return renamed(items)
        pod = orjson.loads(orjson.dumps(items[0]))
        pod["metadata"] |= {"name": "again", "uid": "0d4ad2a6-0000-4000-8000-00000000000b", "creationTimestamp": "2026-11-23T16:21:40Z"}  # fmt: skip
        pod["spec"]["containers"] = [{"name": "a", "image": image}]
        pod["status"]["containerStatuses"] = [{"name": "a", "image": image, "imageID": f"{image.partition(':')[0]}@{digest}"}]  # fmt: skip
        return [*renamed(items), pod]

    return varied("vanished_deployment", folder, events=renamed, dump=with_a_pod)
