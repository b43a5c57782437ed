"""Questions about a lab's case: what is affected, which calls are the attacker's, what can be told. The answers are its ground truth's."""

from __future__ import annotations

import re
from string import ascii_lowercase
from typing import Any

from kit.training.calls import as_row, once, with_namespace
from kit.training.kinds import NONE_RIGHT, NOTHING_TOLD, FiveSentences, LabQuestion, Matched, Picked
from kit.training.material import Material

_CALLS = 14
_OBSERVED, _NOT_OBSERVED = "observed", "not observed"
_DEEDS = {
    "secrets_read": ("The attacker read a secret.", ("secrets",), ("get", "list", "watch")),
    "objects_created": ("The attacker made an object in the cluster.", (), ("create",)),
    "objects_deleted": ("The attacker deleted an object of the cluster.", (), ("delete", "deletecollection")),
    "objects_changed": ("The attacker changed an object that was there before.", (), ("patch", "update")),
    "exec_into": ("The attacker ran a command in a pod by exec.", ("pods",), ("create", "get")),
    "tokens_minted": (
        "The attacker got a token for a service account from the API server.",
        ("serviceaccounts",),
        ("create",),
    ),
}
"""Member of the ground truth → the statement, and which calls are of that kind: resources (any without), verbs."""
_IN_AWS = "The attacker called an AWS API that CloudTrail records."
_AUDIT, _TRAIL = "audit.jsonl.gz", "cloudtrail.json.gz"
_SOURCES = {
    "audit": "The Kubernetes audit log, from the log group of the EKS control plane",
    "trail": "CloudTrail events of the account and Region, from its delivery bucket or with lookup-events",
    "dump": "A dump of the cluster, with kubectl get -A -o json",
    "flow": "VPC flow logs of the nodes' subnets",
    "findings": "The other GuardDuty findings of the detector",
}


def real_or_not(material: Material) -> LabQuestion:
    """Whether the finding is a sample of AWS, of one's own people, or of an attacker."""
    choices = {
        "a": "The finding is a sample that AWS generated. Nothing of it happened.",
        "b": "The call was made by somebody of your own. Ask that person before you act.",
        "c": "The attacker did it, or it happened where the attacker was. Work on it now.",
    }
    return Picked(
        name="real_or_not",
        kit_tells=True,
        text="What is behind this finding?",
        goal="Tell a sample and an act of your own people from an attack",
        choices=choices,
        among=frozenset(choices),
        right=frozenset({_behind(material)}),
        proof={_behind(material): _caller(material)},
        hints=(
            "Look for the mark of a sample under Service, AdditionalInfo.",
            "Compare caller and address with other calls of the same identity in the audit log.",
        ),
    )


def affected_pods(material: Material) -> LabQuestion:
    """Which pods are affected by the finding."""
    pods = {pod["uid"]: pod for pod in material.about["pods"]}
    touched = [pod for pod in material.truth["attacker_touched_pods"] if pod["uid"] not in pods]
    every = {pod["uid"]: with_namespace(pod) for pod in material.truth["all_pods"]} | {
        uid: with_namespace(pod) for uid, pod in pods.items()
    }
    return _affected(
        material,
        "affected_pods",
        "Which pods are affected by this finding? Name those too that are gone.",
        "Name the affected pods, gone ones too, and no others",
        {with_namespace(pod): _pod_proof(pod) for pod in pods.values()},
        set(every.values()),
        {with_namespace(pod) for pod in touched},
        "A workload, a service account or a node in the finding stands for all of its pods at any time of the window.",
        other_names=every,
    )


def affected_nodes(material: Material) -> LabQuestion:
    """Which nodes are affected by the finding."""
    on = {
        node: [with_namespace(pod) for pod in material.about["pods"] if pod["node"] == node]
        for node in material.about["nodes"]
    }
    return _affected(
        material,
        "affected_nodes",
        "Which nodes are affected by this finding?",
        "Name the nodes on which affected pods ran",
        {node: f"ran {', '.join(pods)}" if pods else "the finding names it" for node, pods in on.items()},
        {item["metadata"]["name"] for item in material.objects("nodes")},
        {pod["node"] for pod in material.truth["attacker_touched_pods"]},
        "The node of a pod stands in its binding in the audit log, and in the dump while the pod stands.",
    )


def affected_service_accounts(material: Material) -> LabQuestion:
    """Which service accounts are affected by the finding."""
    touched = material.truth["attacker_touched_pods"]
    return _affected(
        material,
        "affected_service_accounts",
        "Which service accounts are affected by this finding?",
        "Name the accounts whose tokens the attacker had in reach",
        dict.fromkeys(
            material.about["service_accounts"], "the caller, bound by the finding, or the account of an affected pod"
        ),
        {with_namespace(item["metadata"]) for item in material.objects("serviceaccounts")},
        {f"{pod['namespace']}/{pod['service_account']}" for pod in touched},
        "Each pod has one account; spec.serviceAccountName says which.",
    )


def secrets_the_caller_read(material: Material) -> LabQuestion:
    """Which secrets the finding's caller read."""
    read = material.about["secrets_read"]
    return _affected(
        material,
        "secrets_the_caller_read",
        "Which secrets did the caller of this finding read, in the whole window?",
        "Name the secrets that were read, those of lists too",
        {key: _shown_by(material, ("secrets",), ("get", "list", "watch"), key) for key in read},
        {with_namespace(item["metadata"]) for item in material.objects("secrets")},
        set(),
        "A list returns every secret of its namespace; a refused call returns none.",
    )


def attackers_calls(material: Material) -> LabQuestion:
    """Which calls of a table are the attacker's."""
    chance = material.chance("attackers_calls")
    hostile, by = (
        set(material.truth["attacker_calls"]),
        {one["username"] for one in material.truth["attacker"]["identities"]},
    )
    own = list(once(material.hostile_events))
    # The most alike of the others: calls of the same identities, then those of people and pipelines.
    others = list(once(event for event in material.events if event["auditID"] not in hostile))
    alike = [event for event in others if event["user"]["username"] in by]
    people = [
        event
        for event in others
        if event not in alike and not event["user"]["username"].startswith(("system:", "eks:"))
    ]
    taken = chance.sample(own, min(len(own), _CALLS // 2))
    decoys = chance.sample(alike, min(len(alike), 4))
    decoys += chance.sample(people, min(len(people), _CALLS - len(taken) - len(decoys)))
    rows = sorted((*taken, *decoys), key=lambda event: (event["requestReceivedTimestamp"], event["auditID"]))
    letters = dict(zip(ascii_lowercase, rows, strict=False))
    right = frozenset(letter for letter, event in letters.items() if event["auditID"] in hostile)
    return Picked(
        name="attackers_calls",
        kit_tells=True,
        text="Which of these calls are the attacker's?",
        goal="Tell the attacker's calls from those of the same identity and of others",
        choices={letter: as_row(event) for letter, event in letters.items()},
        among=frozenset(letters),
        right=right,
        proof={letter: f"audit:{letters[letter]['auditID']}" for letter in right},
        hints=(
            "One identity can have two users: compare address, client and credential of its calls.",
            f"{len(right)} of these calls are the attacker's.",
        ),
    )


def observed_or_not(material: Material) -> LabQuestion:
    """What the evidence shows of the attacker's deeds, what it would show, and what cannot be told from it."""
    gone = set(material.lab.case.without)
    right, items, proof = dict[str, str](), dict[str, str](), dict[str, str]()
    for number, (member, (says, resources, verbs)) in enumerate(_DEEDS.items(), 1):
        done = sorted({key for one in material.told.values() for key in one[member]})
        items[str(number)] = says
        right[str(number)] = NOTHING_TOLD if _AUDIT in gone else _OBSERVED if done else _NOT_OBSERVED
        shown = (
            f"{done[0]}: {_shown_by(material, resources, verbs, done[0])}"
            if done
            else "no call of the attacker's did it"
        )
        proof[str(number)] = "the audit log would show it, and is not here" if _AUDIT in gone else shown
    calls = material.truth["cloudtrail_attacker_events"]
    last = str(len(items) + 1)
    items[last] = _IN_AWS
    right[last] = NOTHING_TOLD if _TRAIL in gone else _OBSERVED if calls else _NOT_OBSERVED
    shown = f"trail:{calls[0]}" if calls else "no CloudTrail event is the attacker's"
    proof[last] = "CloudTrail would show it, and is not here" if _TRAIL in gone else shown
    return Matched(
        name="observed_or_not",
        kit_tells=True,
        text="What does the evidence say of each statement?",
        goal="Say cannot tell where the evidence would not show it",
        items=items,
        options={_OBSERVED: "", _NOT_OBSERVED: "", NOTHING_TOLD: ""},
        right=right,
        guess_costs=NOTHING_TOLD,
        proof=proof,
        hints=(
            "Not observed is said only where a source recorded the time and would have shown the deed.",
            "First look which sources the case has at all.",
        ),
    )


def what_to_collect(material: Material) -> LabQuestion:
    """Which source is missing to tell what cannot be told."""
    chance = material.chance("what_to_collect")
    missing = {
        name
        for name, file in (("audit", _AUDIT), ("trail", _TRAIL), ("dump", "cluster"))
        if file in material.lab.case.without
    }
    shown = chance.sample(sorted(_SOURCES), len(_SOURCES))
    letters = dict(zip(ascii_lowercase, shown, strict=False))
    right = frozenset(letter for letter, name in letters.items() if name in missing)
    return Picked(
        name="what_to_collect",
        kit_tells=True,
        text="Which evidence do you collect first, to tell what this case cannot tell of the attacker's calls?",
        goal="Know which source would show what is not known",
        choices={letter: f"{_SOURCES[name]}." for letter, name in letters.items()},
        among=frozenset(letters),
        right=right,
        proof=dict.fromkeys(right, "no file of that source is in the evidence"),
        hints=("List the files of the evidence, and what each of them records.",),
    )


def brief_in_five_sentences(material: Material) -> LabQuestion:
    """Who, from where, what and when, in a text that a colleague can take over from."""
    attacker = material.truth["attacker"]
    calls = sorted(material.hostile_events, key=lambda one: str(one["requestReceivedTimestamp"]))
    users = {str(event["user"]["username"]) for event in calls}
    done = sorted({key for one in material.told.values() for member in _DEEDS for key in one[member]})
    facts = {
        "who: the identity that the attacker used": frozenset(word for user in users for word in _spoken(user)),
        "from where: the attacker's address": frozenset(attacker["source_ips"]),
        "when: the minute of the first hostile call, as HH:MM": frozenset(
            {calls[0]["requestReceivedTimestamp"][11:16]}
        ),
        "what: one object that was read, made, changed, deleted or entered": frozenset(
            word.lower() for key in done for word in (key, key.rpartition("/")[2])
        ),
    }
    told = {word for accepted in facts.values() for word in accepted}
    others = {
        address
        for event in material.events
        for address in event.get("sourceIPs") or []
        if address not in attacker["source_ips"]
    }
    others |= {word for event in material.events for word in _spoken(str(event["user"]["username"]))}
    return FiveSentences(
        name="brief_in_five_sentences",
        kit_tells=True,
        text="Write the brief for whoever takes over: who, from where, what and when (UTC), in five sentences.",
        goal="Hand over an incident in five sentences",
        facts=facts,
        others=frozenset(others - told - {"127.0.0.1", "::1"}),
        proof={
            name: f"{', '.join(sorted(accepted)[:3])}; first call audit:{calls[0]['auditID']}"
            for name, accepted in facts.items()
        },
        hints=("Name only what is of this incident: other identities and addresses count against the text.",),
    )


def _behind(material: Material) -> str:
    if material.lab.case.sample:
        return "a"
    user = _user(material)
    attackers = {one["username"] for one in material.truth["attacker"]["identities"]}
    return "b" if user is not None and (user not in attackers or not _addresses(material)) else "c"


def _user(material: Material) -> str | None:
    details = material.finding["Resource"].get("KubernetesDetails", {}).get("KubernetesUserDetails") or {}
    return details.get("Username")


def _addresses(material: Material) -> set[str]:
    call = (material.finding["Service"].get("Action") or {}).get("KubernetesApiCallAction") or {}
    return {*(call.get("SourceIps") or []), (call.get("RemoteIpDetails") or {}).get("IpAddressV4")} & {
        *material.truth["attacker"]["source_ips"]
    }


def _caller(material: Material) -> str:
    if material.lab.case.sample:
        return "Service.AdditionalInfo of the finding says sample: true"
    user = _user(material)
    return f"finding:{material.finding_id}: {user or 'a pod or node where the attacker was'}, {', '.join(sorted(_addresses(material))) or 'no address of the attacker'}"


def _affected(
    material: Material,
    name: str,
    text: str,
    goal: str,
    right: dict[str, str],
    every: set[str],
    spare: set[str],
    hint: str,
    other_names: dict[str, str] | None = None,
) -> LabQuestion:
    form = "NAMESPACE/NAME" if name != "affected_nodes" else "NAME"
    return Picked(
        name=name,
        kit_tells=True,
        text=f"{text} Each as {form}; [] where there is none.",
        goal=goal,
        among=frozenset(every) | frozenset(right),
        right=frozenset(right),
        spare=frozenset(spare) - frozenset(right),
        proof={key: f"{key}: {says}" for key, says in right.items()} or {NONE_RIGHT: f"none: {material.about['why']}"},
        other_names=other_names or {},
        hints=(hint, f"{len(right)} are affected."),
    )


def _pod_proof(pod: dict[str, Any]) -> str:
    ended = f"deleted {pod['deleted']}" if pod["deleted"] else "stands in the dump"
    return f"{', '.join(pod['reasons'])}; made {pod['created']}, {ended}, uid {pod['uid']}"


def _shown_by(material: Material, resources: tuple[str, ...], verbs: tuple[str, ...], key: str) -> str:
    """The attacker's call that shows a deed: the one about the object itself before one about its namespace."""
    hostile, parts = set(material.truth["attacker_calls"]), key.split("/")
    best, found = -1, "no call of its own in the audit log"
    for event in material.events:
        of = event.get("objectRef") or {}
        if (
            event["auditID"] not in hostile
            or event["verb"] not in verbs
            or (resources and of.get("resource") not in resources)
        ):
            continue
        code = (event.get("responseStatus") or {}).get("code") or 0
        fit = 2 * (of.get("name") == parts[-1]) + (of.get("namespace") in parts) if code < 400 else -1
        if fit > best:
            best, found = fit, f"audit:{event['auditID']}"
    return found


def _spoken(user: str) -> set[str]:
    """How a text may name a user: whole, without its prefix, or by its last part."""
    lower = user.lower()
    short = re.sub(r"^system:(serviceaccount:)?", "", lower)
    return {lower, short, short.replace(":", "/")}
