"""Evidence that lacks something: what is named stays right, and what is missed is possible or a limit that names its kind.

Each recording is varied: parts of the log, bodies, resources, a namespace, a pod's life, the dump or some of it, `aws/`, CloudTrail and
members of the findings are taken away, lines are shuffled and doubled. A subject may then become `possible` or be missing, never be wrong, and never be missing in silence.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import random
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from kit.case.case import Case
from kit.evidence.intake import load_new_case
from kit.model.kinds import PODS
from tests.command import RECORDINGS, SAMPLE
from tests.truth import compared, missed_in_silence, recordings, score
from tests.variation import said, scope_of, varied

Event = dict[str, Any]
Change = Callable[[list[Event]], list[Event]]
BODIES = ("requestObject", "responseObject")
SPANS = (
    (0, 0.25),
    (0, 0.4),
    (0.1, 0.3),
    (0.1, 0.9),
    (0.2, 0.4),
    (0.4, 0.6),
    (0.45, 0.55),
    (0.6, 0.8),
    (0.6, 1),
    (0.8, 1),
)


def kept(keep: Callable[[Event], bool]) -> Change:
    return lambda events: [event for event in events if keep(event)]


def gap(first: str, last: str) -> Change:
    """Without a span of the log. What comes before happens ten minutes earlier: holes of seconds are not seen."""

    def change(events: list[Event]) -> list[Event]:
        left = [event for event in events if not first <= event["stageTimestamp"] <= last]
        return [earlier(event) if event["stageTimestamp"] < first else event for event in left]

    return change


def part(start: float, end: float) -> Change:
    """Without a span of the log, as parts of its events."""

    def change(events: list[Event]) -> list[Event]:
        times = sorted(event["stageTimestamp"] for event in events)
        return gap(times[int(start * (len(times) - 1))], times[int(end * (len(times) - 1))])(events)

    return change


def earlier(event: Event) -> Event:
    names = ("requestReceivedTimestamp", "stageTimestamp")
    times = {name: datetime.fromisoformat(event[name]) - timedelta(minutes=10) for name in names}
    return event | {name: stamp(at) for name, at in times.items()}


def stamp(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def without(*names: str) -> Change:
    return lambda events: [{name: value for name, value in event.items() if name not in names} for event in events]


def without_bodies_of_pods(events: list[Event]) -> list[Event]:
    bare = without(*BODIES)
    return [bare([event])[0] if resource(event) == "pods" else event for event in events]


def resource(event: Event) -> str:
    return str((event.get("objectRef") or {}).get("resource"))


def namespace(event: Event) -> str:
    return str((event.get("objectRef") or {}).get("namespace"))


def caller(event: Event) -> str:
    return str(event["user"].get("username", ""))


def server(event: Event) -> int:
    """Which of two API servers a client talks to: a connection stays with one."""
    client = f"{event['user'].get('username')} {event.get('userAgent')} {(event.get('sourceIPs') or [''])[-1]}"
    return hashlib.sha256(client.encode()).digest()[0] % 2


def shuffled(events: list[Event]) -> list[Event]:
    return random.Random(5).sample(events, len(events))


def lacking(*paths: str) -> Change:
    """Findings without some of their members."""

    def change(findings: list[Event]) -> list[Event]:
        for finding in findings:
            for path in paths:
                *above, name = path.split(".")
                place: Any = finding
                for each in above:
                    place = (place or {}).get(each)
                (place or {}).pop(name, None)
        return findings

    return change


def dumped(keep: Callable[[str, str], bool]) -> Callable[[str, list[Event]], list[Event]]:
    """A dump with some of its objects: of a resource and namespace."""
    return lambda resource, items: [one for one in items if keep(resource, one["metadata"].get("namespace", ""))]


@dataclass(frozen=True)
class Variation:
    """What is left out of a recording, and what is done to events, findings and dump: as the arguments of `varied`."""

    without: tuple[str, ...] = ()
    events: Change | None = None
    findings: Change | None = None
    dump: Callable[[str, list[Event]], list[Event]] | None = None


LOG, DUMP, TRAIL = "audit.jsonl.gz", "cluster", "cloudtrail.json.gz"
WORKLOAD = "Resource.KubernetesDetails.KubernetesWorkloadDetails"
USER = "Resource.KubernetesDetails.KubernetesUserDetails"
WORKLOADS = ("pods", "replicasets", "deployments", "daemonsets", "statefulsets", "jobs", "cronjobs")
NO_DUMP = {"": (), " and the dump": (DUMP,)}
ANY: dict[str, Variation] = {
    "whole": Variation(),
    "without the dump": Variation((DUMP,)),
    "without aws": Variation(("aws",)),
    "without CloudTrail": Variation((TRAIL,)),
    "the log alone": Variation((DUMP, "aws", TRAIL)),
    "the findings alone": Variation((LOG, DUMP, "aws", TRAIL)),
    "shuffled": Variation(events=shuffled),
    "doubled": Variation(events=lambda events: [*events, *events]),
    "without responses": Variation(events=without("responseObject")),
    "one API server of two": Variation(events=kept(lambda event: server(event) == 0)),
    "the other API server": Variation(events=kept(lambda event: server(event) == 1)),
    "without secrets": Variation(events=kept(lambda event: resource(event) != "secrets")),
    "without deletes": Variation(events=kept(lambda event: not event["verb"].startswith("delete"))),
    "without the log": Variation((LOG,)),
    "without the log, CloudTrail and aws": Variation((LOG, "aws", TRAIL)),
    "a dump without pods": Variation(dump=dumped(lambda resource, _: resource != "pods")),
    "a dump without pods, and no log": Variation((LOG,), dump=dumped(lambda resource, _: resource != "pods")),
    "a dump without pods and service accounts, and no log": Variation(
        (LOG,), dump=dumped(lambda resource, _: resource not in ("pods", "serviceaccounts"))
    ),
    "a dump without pods, and no pods in the log": Variation(
        events=kept(lambda event: resource(event) != "pods"), dump=dumped(lambda resource, _: resource != "pods")
    ),
    "a dump without pods, and no bodies of pods": Variation(
        events=without_bodies_of_pods, dump=dumped(lambda resource, _: resource != "pods")
    ),
    "an empty dump": Variation(dump=dumped(lambda *_: False)),
    "an empty dump, and no log": Variation((LOG,), dump=dumped(lambda *_: False)),
}  # fmt: skip
for what, gone in {
    "bodies": without(*BODIES),
    "bodies of pods": without_bodies_of_pods,
    "creates": kept(lambda event: event["verb"] != "create"),
    "pods": kept(lambda event: resource(event) != "pods"),
    "pods and workloads": kept(lambda event: resource(event) not in WORKLOADS),
    "the nodes' calls": kept(lambda event: not caller(event).startswith("system:node:")),
    "the calls of nodes and controllers": kept(lambda event: not caller(event).startswith("system:")),
}.items():
    ANY |= {f"without {what}{and_}": Variation(left_out, gone) for and_, left_out in NO_DUMP.items()}
for start, end in SPANS:
    ANY |= {
        f"without {start:.0%} to {end:.0%}{and_}": Variation(left_out, part(start, end))
        for and_, left_out in {**NO_DUMP, ", the dump and aws": (DUMP, "aws")}.items()
    }
for what, members in {
    "workload": (WORKLOAD,),
    "uid and containers": (f"{WORKLOAD}.Uid", f"{WORKLOAD}.Containers", f"{WORKLOAD}.ServiceAccountName"),
    "type and uid": (f"{WORKLOAD}.Uid", f"{WORKLOAD}.Type"),
    "caller": (USER,),
    "action": ("Service.Action",),
}.items():
    ANY |= {
        f"findings without {what}{and_}": Variation(left_out, findings=lacking(*members))
        for and_, left_out in {**NO_DUMP, " and the log": (LOG,)}.items()
    }


def of_truth(recording: Path) -> dict[str, Variation]:
    """Variations that need to know what a recording is about: a pod's life in a gap, a namespace that nobody exported."""
    told = json.loads((recording / "ground_truth.json").read_text())
    pods = [pod for one in (*told["findings"].values(), *told.get("more_findings", {}).values()) for pod in one["pods"]]
    ended = sorted((pod for pod in pods if pod["deleted"]), key=_lifetime)
    found = dict[str, Variation]()
    for which, pod in {"shortest": ended[:1], "middle": ended[len(ended) // 2 :][:1], "longest": ended[-1:]}.items():
        for one in pod:
            change = gap(one["created"], stamp(datetime.fromisoformat(one["deleted"]) + timedelta(seconds=1)))
            found |= {f"the {which} life{and_}": Variation(left_out, change) for and_, left_out in NO_DUMP.items()}
    for where, _ in Counter(pod["namespace"] for pod in pods).most_common(1):
        found |= without_namespace(where)
    return found


def without_namespace(where: str) -> dict[str, Variation]:
    gone, dump = kept(lambda event: namespace(event) != where), dumped(lambda _, one: one != where)
    return {
        **{f"without the namespace{and_}": Variation(left_out, gone) for and_, left_out in NO_DUMP.items()},
        "without the namespace, in the dump neither": Variation(events=gone, dump=dump),
        "without the namespace in the dump": Variation(dump=dump),
        "the namespace alone in the dump": Variation(dump=dumped(lambda _, one: one == where)),
    }


def _lifetime(pod: dict[str, Any]) -> timedelta:
    return datetime.fromisoformat(pod["deleted"]) - datetime.fromisoformat(pod["created"])


def scope_and_log(recording: Path, variation: Variation, folder: Path) -> tuple[dict[str, Any], list[Event]]:
    """The scope of a recording that was varied, and what its log has left."""
    evidence = varied(recording, folder, **vars(variation))
    log = evidence / LOG
    left = [json.loads(line) for line in gzip.decompress(log.read_bytes()).splitlines()] if log.exists() else []
    load_new_case(folder / "case", [str(evidence)])
    return dict(Case(folder / "case").scope), left


def check(recording: Path, name: str, folder: Path) -> None:
    variation = ANY.get(name) or of_truth(recording)[name]
    scope, left = scope_and_log(recording, variation, folder)
    wrong = [one for one in compared(recording, scope).offenders if one.endswith("should not be")]
    assert not wrong, wrong
    silent = list(missed_in_silence(recording, scope, left))
    assert not silent, silent
    limits = [limit for finding in scope["findings"] for limit in finding["limits"]]
    half = {limit["says"] for limit in limits if "pod" in limit["about"] and not set(PODS) <= set(limit["about"])}
    assert not half, half


FOUND_BY_THE_CROSS = [
    ("stolen_sa_token", "the findings alone"),
    ("stolen_sa_token", "findings without type and uid"),
    ("stolen_sa_token", "findings without workload"),
    ("stolen_sa_token", "findings without caller"),
    ("stolen_sa_token", "findings without action"),
    ("default_sa_admin", "a dump without pods, and no log"),
    ("stolen_sa_token", "without the namespace in the dump"),
    ("default_sa_admin", "without the namespace"),
    ("default_sa_admin", "without the namespace and the dump"),
    ("anonymous_access", "findings without workload and the dump"),
    ("exec_kube_system", "findings without workload and the log"),
    ("cluster_creator", "without CloudTrail"),
    ("shared_nat", "without 10% to 90%"),
    ("webhook_backdoor", "without secrets"),
    ("two_incidents", "without the namespace"),
    ("two_incidents", "without 0% to 40%"),
    ("default_sa_admin", "without bodies"),
    ("default_sa_admin", "without creates"),
    ("oidc_user_impact", "without 0% to 25%"),
]


@pytest.mark.parametrize(("recording", "name"), FOUND_BY_THE_CROSS)
def test_what_was_missed_in_silence_once_is_not_any_more(recording: str, name: str, tmp_path: Path) -> None:
    check(RECORDINGS / recording, name, tmp_path)


@pytest.mark.parametrize("ended", [False, True])
def test_a_namespace_that_the_dump_leaves_out_is_a_limit_and_one_that_ended_is_not(ended: bool, tmp_path: Path) -> None:
    """The dump lists a namespace of which it has nothing, or neither."""

    def without_it(resource: str, items: list[Event]) -> list[Event]:
        gone = [one for one in items if ended and resource == "namespaces" and one["metadata"]["name"] == "checkout"]
        return [one for one in items if one["metadata"].get("namespace") != "checkout" and one not in gone]

    told = [said(one) for one in scope_of(varied("default_sa_admin", tmp_path, dump=without_it)).values()]
    assert all(("The cluster dump has no pods of checkout" in text) is not ended for text in told)


CROSS = [(one, name) for one in recordings() for name in (*ANY, *of_truth(one))]


@pytest.mark.full
@pytest.mark.parametrize(
    ("recording", "name"), CROSS, ids=lambda one: "sample" if one == SAMPLE else getattr(one, "name", one)
)
def test_what_is_named_stays_right_and_nothing_is_missed_in_silence(recording: Path, name: str, tmp_path: Path) -> None:
    check(recording, name, tmp_path)


def renamed(recording: Path, folder: Path) -> Path:
    """A recording in which namespaces, people, accounts and addresses have other names, in all its files and its truth."""
    truth = json.loads((recording / "ground_truth.json").read_text())
    namespaces = {pod["namespace"] for pod in truth["all_pods"]} - {"default", "kube-system"}
    others = {name: f"x{number}-{name[::-1]}" for number, name in enumerate(sorted(namespaces))}
    others |= {truth["account"]: "123456789012", truth["cluster"]: "another-cluster"}
    others |= {
        str(one["username"]): f"someone.else{number}@corp.example"
        for number, one in enumerate(truth["attacker"]["identities"])
        if ":" not in str(one["username"])
    }
    others |= {address: f"198.18.{number}.7" for number, address in enumerate(truth["attacker"]["source_ips"])}
    pattern = re.compile(
        r"(?<![\w.-])(?:" + "|".join(map(re.escape, sorted(others, key=len, reverse=True))) + r")(?![\w-])"
    )
    for path in sorted(path for path in recording.rglob("*") if path.is_file()):
        packed = path.suffix == ".gz"
        text = (gzip.decompress(path.read_bytes()) if packed else path.read_bytes()).decode()
        made = folder / path.relative_to(recording)
        made.parent.mkdir(parents=True, exist_ok=True)
        data = pattern.sub(lambda found: others[found[0]], text).encode()
        made.write_bytes(gzip.compress(data, 1) if packed else data)
    return folder


@pytest.mark.full
@pytest.mark.parametrize("recording", recordings(), ids=lambda path: "sample" if path == SAMPLE else path.name)
def test_names_do_not_matter(recording: Path, tmp_path: Path) -> None:
    made = score(renamed(recording, tmp_path / recording.name))
    assert made.perfect, [*made.offenders, *made.baseless]
