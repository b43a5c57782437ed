"""Pods that the attacker's calls led to: made, entered, made by workloads that the attacker made or changed, changed by a webhook."""

from __future__ import annotations

from kit.inventory.inventory import Inventory
from kit.lenient import dict_of, dicts_of, json_of
from kit.model.kinds import Certainty
from kit.model.kubernetes import WORKLOADS
from kit.model.why import Rule, Why
from kit.scope.pods import FoundPod
from kit.scope.subject import FindingScope
from kit.words import few


def touched_pods(scope: FindingScope, inventory: Inventory) -> list[FoundPod]:
    """The pods that the caller itself made, or whose workload it made, and those that it ran commands in; possible where that call
    is only possibly the attacker's."""
    found = list[FoundPod]()
    for subject in scope.all_of("created", "exec"):
        if subject.through:
            continue
        why, thing, known = next(iter(subject.why)), subject.thing, subject.certainty == "affected"
        who = "the attacker" if known else "perhaps the attacker"
        resource, _, rest = subject.key.partition("/")
        if thing is not None and resource in WORKLOADS.values():
            owned = inventory.pods_of_workload(resource, thing.namespace, thing.name, thing.uid)
            says = f"it belonged to {subject.key}, which {who} made"
            found += [FoundPod(pod, Why(why.ref, says, Rule.ATTACKER), sure and known) for pod, sure in owned]
        elif resource == "pods":
            namespace, _, name = rest.partition("/")
            # One of that name from another time may be somebody else's.
            named = list(subject.had_name.values()) or inventory.named("pods", namespace, name)
            says = f"{who} made it" if subject.kind == "created" else f"{who} ran commands in it"
            sure = bool(subject.had_name) and known
            found += [FoundPod(pod, Why(why.ref, says, Rule.ATTACKER), sure) for pod in named]
    return found


def changed_pods(scope: FindingScope, inventory: Inventory) -> list[FoundPod]:
    """The pods that a workload made after the caller had changed what they are made from: affected where they run an image that the change
    named and that earlier pods of the workload did not run; otherwise possible, as the change may have been another or none of theirs."""
    found = list[FoundPod]()
    for subject in scope.all_of("changed"):
        at, (resource, _, rest) = subject.for_pods_at, subject.key.partition("/")
        if at is None or subject.through:
            continue
        namespace, _, name = rest.partition("/")
        refs = {why.ref for why in subject.why}
        brought = {one.key for one in scope.all_of("introduced") if refs & {why.ref for why in one.why}}
        uids = list(subject.had_name) if len(subject.had_name) == 1 else []
        owned = inventory.pods_of_workload(resource, namespace, name, uids[0] if uids else None)
        second = at.replace(microsecond=0)  # creationTimestamp has whole seconds
        earlier = {image for pod, _ in owned if pod.created_at and pod.created_at < second for image in pod.images}
        who = "the attacker" if subject.certainty == "affected" else "perhaps the attacker"
        for pod, sure in owned:
            if pod.created_at is None or pod.created_at < second:
                continue
            new = sorted(brought.intersection(pod.images) - earlier) if earlier else []
            runs = f" and runs {few(new, 2)}, which the change brought in" if new else ""
            says = f"{subject.key}, which {who} changed before, made it{runs}"
            known = sure and bool(uids and new) and subject.certainty == "affected"
            found.append(FoundPod(pod, Why(next(iter(subject.why)).ref, says, Rule.ATTACKER), known))
    return found


def injected_pods(scope: FindingScope, inventory: Inventory) -> list[FoundPod]:
    """The pods that a mutating webhook of the caller's changed as they were made, by the annotations of the API server: possible where
    the webhook stood before and the caller only changed it. The images that it put in are added at once.

    Source: Kubernetes "Dynamic Admission Control", audit annotations (mutation.webhook…, patch.webhook…).
    """
    found = list[FoundPod]()
    hooks = [one for one in scope.all_of("created", "changed") if one.key.startswith("mutatingwebhookconfigurations/")]
    for hook in sorted(hooks, key=lambda one: one.kind):
        name, made = hook.key.partition("/")[2], hook.kind == "created" and hook.certainty == "affected"
        certainty: Certainty = "affected" if made else "possible"
        for row in inventory.store.rows(
            "SELECT audit_id, file, item, uid, annotations FROM audit WHERE resource = 'pods' AND verb = 'create'"
            " AND subresource IS NULL AND response_code BETWEEN 200 AND 299 AND NOT dry_run"
            " AND annotations LIKE '%mutation.webhook.admission.k8s.io/%' AND strpos(annotations, $name) > 0"
            " ORDER BY received_at, file, item",
            name=name,
        ):
            told = [dict_of(json_of(text)) for text in dict_of(json_of(row["annotations"])).values()]
            of_hook = [one for one in told if one.get("configuration") == name]
            pod = inventory.things.get(row["uid"] or "")
            if pod is None or not any(one.get("mutated") is True for one in of_hook):
                continue
            says = f"mutatingwebhookconfigurations/{name}, which the attacker {'made' if made else 'changed'}, changed it as it was made"
            why = Why(inventory.store.event_ref(row), says, Rule.INJECTED)
            found.append(FoundPod(pod, why, made))
            patches = [dict_of(one.get("value")) for hooked in of_hook for one in dicts_of(hooked.get("patch"))]
            for image in (str(one["image"]) for one in patches if one.get("image")):
                scope.add("introduced", image, why, certainty=certainty)
    return found
