"""Questions about pods, workloads, images and nodes.

Sources: Kubernetes "Pod Security Standards" (privileged, host namespaces, hostPath, capabilities); OCI distribution (a reference
without a registry is docker.io's).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kit.inventory.node_kind import HELD_NODE, node_kind_of
from kit.inventory.thing import Thing, in_window
from kit.model.kubernetes import WORKLOADS
from kit.model.pod_spec import dangers, images, pod_spec, power_over_node
from kit.model.why import DUMP, Limit, Rule, Standing
from kit.questions.question import Asked, Found, question, row, stands, whys
from kit.questions.verdict import SHOWN_BY
from kit.words import counted, few

_MADE = ("pods", *WORKLOADS.values())


@question(
    "Which pods and workloads were created or changed, and how dangerous are they?",
    *SHOWN_BY["introduced"],
    about=("created", "changed"),
)
def workloads_written(asked: Asked) -> Found:
    """Pods and workloads that the attacker's calls wrote; those that reach their node first."""
    rows = []
    for one in asked.subjects("created", "changed"):
        if one.key.partition("/")[0] not in _MADE:
            continue
        spec = pod_spec(one.thing.spec) if one.thing else {}
        specs = [spec, *(pod.spec for pod in _pods_of(asked, one.thing))]
        rows.append(
            row([why.ref for why in one.why], one.certainty, Object=one.key, Was=one.kind, What=whys(list(one.why)[:1]), Dangers=_each(dangers, specs),
                Images=_each(images, specs), Known="" if any(specs) else "no body of it is in the evidence",
                Stands=stands(one.thing))
        )  # fmt: skip
    rows.sort(key=lambda one: -len(one["Dangers"]))
    worst = list(dict.fromkeys(str(one["Object"]) for one in rows if one["Dangers"]))
    made = len({one["Object"] for one in rows if one["certainty"] == "affected"})  # made, and changed later, is one
    says = f"{counted(made, 'workload')} {'was' if made == 1 else 'were'} written; {few(worst, 3) + (' reach' if len(worst) > 1 else ' reaches') + ' beyond the container' if worst else 'none is known to reach beyond its container'}."
    return Found(rows, says, "The attacker wrote no pod and no workload.")


@question("Which images or registries are new?", *SHOWN_BY["introduced"], about=("introduced",))
def images_brought_in(asked: Asked) -> Found:
    """Images that the attacker's calls brought in, and whether anything used their registry before."""
    first = asked.first_hostile_at
    before = [pod for pod in asked.inventory.pods if first and (pod.created_at is None or pod.created_at < first)]
    known = {image for pod in before for image in pod.images}
    registries = {registry_of(image) for image in known}
    rows = [
        row([why.ref for why in one.why], one.certainty, Image=one.key, What=whys(list(one.why)[:1]),
            Image_is="known" if one.key in known else "new", Registry=registry_of(one.key),
            Registry_is="known" if registry_of(one.key) in registries else "new")
        for one in asked.subjects("introduced")
    ]  # fmt: skip
    sure = [one for one in rows if one["certainty"] == "affected"] or rows
    new = [str(one["Image"]) for one in sure if one["Image is"] == "new"]
    maybe = [str(one["Image"]) for one in rows if one not in sure and one["Image is"] == "new"]
    says = f"{counted(sum(one['certainty'] == 'affected' for one in rows), 'image was', 'images were')} brought in{f', new here: {few(new, 3)}' if new else ', all of them known here'}."
    says += f" New here too, by a change: {few(maybe, 3)}." if maybe else ""
    return Found(rows, says, "The attacker brought in no image.")


@question("Which other pods run the affected images?", *SHOWN_BY["image"], about=("image",))
def image_used_elsewhere(asked: Asked) -> Found:
    """Pods of the window that ran an image that the attacker brought in or that a finding names, and that are not affected themselves."""
    affected = {one.key for one in asked.subjects("pod") if one.certainty == "affected"}
    # What merely ran on an affected node, or under an affected account, says nothing against its image.
    bad = {one.key for one in asked.subjects("introduced") if one.certainty == "affected"}
    for part in (one for one in asked.parts if not one.finding.user.get("Username")):
        named = (pod for pod in part.affected("pod") if any(why.rule is Rule.FINDING for why in pod.why))
        bad |= {image for pod in named if pod.thing for image in pod.thing.images}
    start, end = (asked.window.start, asked.window.end) if asked.window else (None, None)
    rows = [
        row(
            [(pod.why[0].ref if pod.why else f"object:{pod.uid}")],
            Pod=f"{pod.namespace}/{pod.name}",
            Image=image,
            Node=pod.node,
            Stands=stands(pod),
        )
        for pod in in_window(asked.inventory.pods, start, end)
        for image in pod.images
        if image in bad and pod.uid not in affected
    ]
    standing = len({one["Pod"] for one in rows if one["Stands"] is Standing.STANDS})
    limits = []
    if not bad:
        says = "Which image to look for cannot be told: the attacker brought none in, and no finding names a pod"
        limits.append(Limit(("image",), says, DUMP))
    return Found(
        rows,
        f"{counted(len({one['Pod'] for one in rows}), 'other pod')} ran an affected image, {standing} known to stand (compared by name; a digest would be sure).",
        "No other pod ran an affected image.",
        limits=tuple(limits),
    )


@question("Which nodes could be taken over from an affected pod?", *SHOWN_BY["node"], about=("node", "pod"))
def node_reached(asked: Asked) -> Found:
    """Nodes with an affected pod that has power over its node by its spec, or whose own credential was used.

    What reaches credentials or files of the node, and what cannot be graded, is possible.
    """
    rows, limits = [], []
    made = {one.key for one in asked.subjects("created") if one.certainty == "affected"}
    for pod in asked.things("pod"):
        reaching = [one for one in pod.host_access if one.reaches]
        if not pod.node or not reaching:
            continue
        others = sum(one.node == pod.node for one in asked.inventory.pods) - 1
        how, gravest = [one.says for one in reaching], reaching[0].grade
        taken = bool(power_over_node(pod.spec, asked.inventory.is_among(pod, made)))
        if not taken:
            says = f"Whether node {pod.node} was taken over cannot be told: pod {pod.namespace}/{pod.name} {', '.join(how)} ({gravest.value})"
            what = "CloudTrail of the node's role, and the Runtime Monitoring findings of that node"
            limits.append(Limit(("node",), says, what))
        rows.append(
            row([(pod.why[0].ref if pod.why else f"object:{pod.uid}")], "affected" if taken else "possible", Node=pod.node,
                Through=f"pod {pod.namespace}/{pod.name}", How=how, Reach=gravest.value, Other_pods_on_it=others, When_held=_when_held(asked, pod.node))
        )  # fmt: skip
    bodiless = [pod.path for pod in asked.things("pod") if not pod.spec]
    if bodiless:
        says = f"Whether {few(bodiless, 3)} reached the node cannot be told: no body of it is in the evidence"
        limits.append(Limit(("node",), says, DUMP))
    for profile in asked.profiles:
        node = profile.identity.node
        if node:
            rows.append(
                row(
                    [profile.why.ref],
                    Node=node,
                    Through="its own credential",
                    How="used by the attacker",
                    Reach="its own credential used",
                    Other_pods_on_it=sum(one.node == node for one in asked.inventory.pods),
                    When_held=_when_held(asked, node),
                )
            )
    if any(one.resource_type == "Instance" and not one.workload for one in asked.findings):
        for one in asked.subjects("node"):
            rows.append(
                row(
                    [why.ref for why in one.why],
                    one.certainty,
                    Node=one.key,
                    Through="the finding names it",
                    How="",
                    Reach="cannot tell",
                    Other_pods_on_it=sum(each.node == one.key for each in asked.inventory.pods),
                    When_held=_when_held(asked, one.key),
                )
            )
    nodes = sorted({str(one["Node"]) for one in rows if one["certainty"] == "affected"})
    return Found(
        rows,
        f"{few(nodes, 3)}: an affected pod has power over the node, or the node's own credential was used.",
        "No affected pod reaches its node.",
        limits=tuple(limits),
    )


def _when_held(asked: Asked, node: str) -> str:
    """What is done with a node that the attacker holds, by its kind."""
    known = asked.inventory.named("nodes", None, node)
    return HELD_NODE[node_kind_of(node, known[-1] if known else None)]


def _pods_of(asked: Asked, thing: Thing | None) -> list[Thing]:
    if thing is None or thing.resource == "pods":
        return []
    owned = asked.inventory.pods_of_workload(thing.resource, thing.namespace, thing.name, thing.uid)
    return [pod for pod, sure in owned if sure]


def _each(of: Callable[[dict[str, Any]], list[str]], specs: list[dict[str, Any]]) -> list[str]:
    return list(dict.fromkeys(found for spec in specs for found in of(spec)))


def registry_of(image: str) -> str:
    """The registry that an image comes from.

    >>> registry_of("nginx:1.27"), registry_of("registry.example.com:5000/a/b@sha256:00")
    ('docker.io', 'registry.example.com:5000')
    """
    first, slash, _ = image.partition("/")
    return first if slash and ("." in first or ":" in first or first == "localhost") else "docker.io"
