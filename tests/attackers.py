"""Attackers of our own: recordings changed into what no recording has, with log, findings, CloudTrail, dump and truth changed by one piece of code.

python -m tests.attackers [NAME...]      the table: right, wrong and missed of each, over its recordings

What a case showed is kept below out/attackers and used again, here and by `python -m tests.accuracy`, as long as neither the kit nor the
attacker changes: a run that was ended goes on where it was.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import inspect
import json
import re
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from copy import deepcopy
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import orjson
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from kit.case.case import Case
from kit.evidence.intake import load_new_case
from kit.whole_file import write_whole
from tests import cases
from tests.truth import compared, missed_in_silence, recordings

Event = dict[str, Any]
SKIPPED = ("ground_truth.json", "findings*.json", "cloudtrail.json.gz", "audit.jsonl.gz")
KEPT = Path(__file__).parents[1] / "out" / "attackers"
ELSEWHERE = "198.51.100.240"  # of no recording
OFFICE = "192.0.2.250"
ANOTHER = "curl/8.9.1"
KEY, TOKEN = "accessKeyId", "authentication.kubernetes.io/credential-id"
ISSUED = "authentication.kubernetes.io/issued-credential-id"
_TIME = re.compile(rb'(?<=")(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)((?:\.\d+)?(?:Z|\+00:00))(?=")')
SECOND, HOUR = timedelta(seconds=1), timedelta(hours=1)


def at(text: str) -> datetime:
    """A time of the evidence."""
    return datetime.fromisoformat(text)


def stamp(moment: datetime) -> str:
    """A time as the audit log writes it."""
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def address_of(event: Event) -> str:
    """Where a call came from."""
    return str(event["sourceIPs"][-1])


def about(event: Event) -> Event:
    """The object that a call is about."""
    return cast("Event", event.get("objectRef") or {})


class Told:
    """A recording, as it is changed: log, findings by file, CloudTrail, dump by resource, and truth."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = [
            orjson.loads(line) for line in gzip.decompress((self.folder / "audit.jsonl.gz").read_bytes()).splitlines()
        ]
        self.files = {
            path.name: orjson.loads(path.read_bytes())["Findings"]
            for path in sorted(self.folder.glob("findings*.json"))
        }
        self.trail: list[Event] = orjson.loads(gzip.decompress((self.folder / "cloudtrail.json.gz").read_bytes()))[
            "Records"
        ]
        self.dump = {
            path.stem: orjson.loads(path.read_bytes()) for path in sorted((self.folder / "cluster").glob("*.json"))
        }
        self.truth: dict[str, Any] = orjson.loads((self.folder / "ground_truth.json").read_bytes())
        self._made = 0

    # ── who is who ─────────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def findings(self) -> list[Event]:
        """All findings of it."""
        return [one for listed in self.files.values() for one in listed]

    @property
    def hostile(self) -> list[Event]:
        """The attacker's calls, oldest first."""
        known = set(self.truth["attacker_calls"])
        return sorted((one for one in self.log if one["auditID"] in known), key=_moment)

    @property
    def unreported(self) -> list[Event]:
        """The attacker's calls whose request no finding has, so that they may change without the findings."""
        reported = {(str(one.get("Verb")), one.get("RequestUri")) for one in map(api_call, self.findings)}
        return [one for one in self.hostile if (one["verb"], one["requestURI"]) not in reported]

    def by_owner(self, user: str) -> list[Event]:
        """The calls of an identity that are not the attacker's, oldest first."""
        known = set(self.truth["attacker_calls"])
        own = (one for one in self.log if one["user"]["username"] == user and one["auditID"] not in known)
        return sorted(own, key=_moment)

    def told_of(self, user: str) -> list[dict[str, Any]]:
        """What the truth has of the findings whose caller is this identity, and of the sequences that they are part of."""
        named = {one["Id"] for one in self.findings if caller(one) == user}
        sequences = [one for one in self.findings if one["Type"].startswith("AttackSequence:")]
        named |= {one["Id"] for one in sequences if any(part.encode() in orjson.dumps(one) for part in named)}
        told = {**self.truth["findings"], **self.truth.get("more_findings", {})}
        return [one for finding_id, one in told.items() if finding_id in named]

    # ── changes ────────────────────────────────────────────────────────────────────────────────────────────────────

    def add(self, like: Event, *, hostile: bool = False, after: timedelta = SECOND, **changes: Any) -> Event:
        """Another call like one of the log, so long after it."""
        self._made += 1
        made = deepcopy(like) | {"auditID": f"00000000-0000-4000-9000-{self._made:012}"}
        for name in ("requestReceivedTimestamp", "stageTimestamp"):
            made[name] = stamp(at(like[name]) + after)
        made |= changes
        if ISSUED in made.get("annotations", {}):  # no two calls give out one credential
            made["annotations"][ISSUED] = f"JTI={made['auditID']}"
        self.log.append(made)
        if hostile:
            self.truth["attacker_calls"].append(made["auditID"])
        return made

    def rewrite(self, change: Callable[[bytes], bytes]) -> None:
        """The same change of all its text."""
        for name in ("log", "files", "trail", "dump", "truth"):
            setattr(self, name, orjson.loads(change(orjson.dumps(getattr(self, name)))))

    def rename(self, old: str, new: str) -> None:
        """Another name everywhere."""
        pattern = re.compile(rb"(?<![\w.-])" + re.escape(old.encode()) + rb"(?![\w-])")
        self.rewrite(lambda text: pattern.sub(new.encode(), text))

    def save(self, folder: Path) -> Path:
        """The changed recording, below `folder`."""
        made = folder / "recording" / self.folder.name
        made.parent.mkdir(parents=True)
        shutil.copytree(self.folder, made, ignore=shutil.ignore_patterns(*SKIPPED, "cluster"))
        (made / "cluster").mkdir()
        for name, listed in self.dump.items():
            (made / "cluster" / f"{name}.json").write_bytes(orjson.dumps(listed))
        lines = b"".join(
            orjson.dumps(one) + b"\n" for one in sorted(self.log, key=lambda one: str(one["stageTimestamp"]))
        )
        (made / "audit.jsonl.gz").write_bytes(gzip.compress(lines, 1))
        for name, listed in self.files.items():
            (made / name).write_bytes(orjson.dumps({"Findings": listed}))
        (made / "cloudtrail.json.gz").write_bytes(gzip.compress(orjson.dumps({"Records": self.trail}), 1))
        (made / "ground_truth.json").write_bytes(orjson.dumps(self.truth))
        return made


def _moment(event: Event) -> str:
    return str(event["requestReceivedTimestamp"])


def api_call(finding: Event) -> Event:
    """The call that a finding is about; empty for findings about something else."""
    return cast("Event", finding["Service"].get("Action", {}).get("KubernetesApiCallAction") or {})


def caller(finding: Event) -> str | None:
    """The identity that made the call of a finding."""
    user = finding["Resource"].get("KubernetesDetails", {}).get("KubernetesUserDetails") or {}
    return cast("str | None", user.get("Username"))


def with_credential(user: Event, value: str) -> Event:
    """The same identity with another credential: access key and session, or token, without a pod that it is bound to."""
    made = deepcopy(user)
    extra = made.setdefault("extra", {})
    if KEY in extra:
        extra[KEY] = [value]
        session = f"session-{value[-4:].lower()}"
        for name in ("arn", "sessionName"):
            if name in extra:
                extra[name] = [extra[name][0].rpartition("/")[0] + "/" + session if name == "arn" else session]
    else:
        extra[TOKEN] = [f"JTI={value}"]
        for name in [one for one in extra if one.startswith("authentication.kubernetes.io/") and one != TOKEN]:
            del extra[name]
    return made


def _is_nodes(event: Event) -> bool:
    """Whether a call was made as a node, behind which nobody sits who could come from elsewhere."""
    return str(event["user"]["username"]).startswith("system:node:")


def latter(events: list[Event]) -> list[Event]:
    """The second half."""
    return events[len(events) // 2 :]


# ── the attackers ──────────────────────────────────────────────────────────────────────────────────────────────────────


def another_holder(told: Told) -> None:
    for event in latter(told.unreported):
        event |= {"sourceIPs": [ELSEWHERE], "userAgent": ANOTHER}


def slow_and_low(told: Told) -> None:
    """Hours between the calls; kubelets go on renewing their leases, so that the log has no gap."""
    times = _fits(sorted({_moment(one)[:19] for one in told.hostile}))
    cuts = (
        [at(f"{one}Z") for one in (times[len(times) // 3], times[len(times) * 2 // 3])]
        if len(times) > 2
        else [at(f"{times[-1]}Z")]
    )
    first = [one for one in told.log if about(one).get("resource") == "leases" and one["verb"] in ("update", "patch")]
    kubelets = {one["user"]["username"]: one for one in first if one["user"]["username"].startswith("system:node:")}

    def moved(found: re.Match[bytes]) -> bytes:
        moment = at(f"{found[1].decode()}Z")
        later = moment + 2 * HOUR * sum(moment >= cut for cut in cuts)
        return later.strftime("%Y-%m-%dT%H:%M:%S").encode() + found[2]

    told.rewrite(lambda text: _TIME.sub(moved, text))
    known = set(told.truth["attacker_calls"])
    for number, cut in enumerate(cuts):
        start = cut + 2 * HOUR * number
        for renewal in list(kubelets.values())[:2]:
            if renewal["auditID"] not in known:
                begins = at(renewal["requestReceivedTimestamp"])
                for step in range(1, 2 * 3600 // 45):
                    told.add(renewal, after=start + timedelta(seconds=45 * step) - begins)


def _owner_in_the_same_second(told: Told, *, nat: bool) -> None:
    reported = [one for one in told.hostile if one not in told.unreported]
    # Where the log names no credential, or a node's, nobody could tell two behind one address apart: there is no such truth.
    for event in (one for one in reported if not nat or (one["user"].get("extra") and not _is_nodes(one))):
        own = told.by_owner(event["user"]["username"])
        user = own[0]["user"] if own and not nat else with_credential(event["user"], "ASIAOWNERSOWNKEY0001")
        place = address_of(event) if nat else address_of(own[0]) if own else OFFICE
        told.add(event, after=timedelta(milliseconds=20), user=user, sourceIPs=[place])


def same_second(told: Told) -> None:
    _owner_in_the_same_second(told, nat=False)


def same_second_behind_one_nat(told: Told) -> None:
    _owner_in_the_same_second(told, nat=True)


def same_second_and_a_terse_finding(told: Told) -> None:
    _owner_in_the_same_second(told, nat=False)
    for call in map(api_call, told.findings):
        for name in ("SourceIps", "UserAgent", "RemoteIpDetails"):
            call.pop(name, None)


def _skewed(minutes: float, trail: float) -> Callable[[Told], None]:
    def change(told: Told) -> None:
        def moved(by: timedelta, listed: Any) -> Any:
            def later(found: re.Match[bytes]) -> bytes:
                moment = at(f"{found[1].decode()}Z") + by
                return moment.strftime("%Y-%m-%dT%H:%M:%S").encode() + found[2]

            return orjson.loads(_TIME.sub(later, orjson.dumps(listed)))

        for listed in told.files.values():
            for one in listed:
                one["Service"] = moved(timedelta(minutes=minutes), one["Service"])
        for record in told.trail:
            record["eventTime"] = moved(timedelta(minutes=trail), record["eventTime"])

    return change


def imitates_controllers(told: Told) -> None:
    """A bare pod of the attacker's has the name and labels of a ReplicaSet's, and the calls the client of a controller."""
    sets = [one["metadata"] for one in told.dump["replicasets"]["items"]]
    made = [
        one
        for one in told.hostile
        if about(one).get("resource") == "pods" and one["verb"] == "create" and not about(one).get("subresource")
    ]
    for number, event in enumerate(one for one in made if one["responseStatus"]["code"] == 201):
        near = [one for one in sets if one["namespace"] == about(event)["namespace"]]
        if near:
            name = (event.get("responseObject") or event.get("requestObject") or {}).get("metadata", {}).get(
                "name"
            ) or about(event).get("name")
            for body in _bodies_of(told, str(name)):
                body["metadata"].setdefault("labels", {}).update(near[0]["labels"])
            told.rename(str(name), f"{near[0]['name']}-bcd{number}f")
    for number, event in enumerate(told.unreported):
        who = ("deployment-controller", "generic-garbage-collector")[number % 2]
        event["userAgent"] = (
            f"kube-controller-manager/v1.36.0 (linux/amd64) kubernetes/abc1234/system:serviceaccount:kube-system:{who}"
        )


def _bodies_of(told: Told, name: str) -> Iterator[Event]:
    items = [
        body
        for one in told.log
        for body in (one.get("requestObject"), one.get("responseObject"))
        if isinstance(body, dict)
    ]
    items += told.dump["pods"]["items"]
    for body in items:
        if (body.get("metadata") or {}).get("name") == name and "spec" in body:
            yield body


def forges(told: Told) -> None:
    """The Audit-ID of each call is that of somebody's deletion, and no two calls have one client."""
    ours = set(told.truth["attacker_calls"])
    others = [one for one in told.log if one["verb"] == "delete" and one["auditID"] not in ours]
    clients = ("curl/8.5.0", "Go-http-client/2.0", "", "kubectl/v1.30.1 (linux/amd64) kubernetes/6911225")
    reported = {one["auditID"] for one in told.hostile} - {one["auditID"] for one in told.unreported}
    forged = dict(
        zip(
            sorted({one["auditID"] for one in told.hostile} - reported),
            (one["auditID"] for one in others),
            strict=False,
        )
    )
    for number, event in enumerate(told.hostile):
        if event["auditID"] in forged:
            event |= {"auditID": forged[event["auditID"]], "userAgent": clients[number % len(clients)]}
    told.truth["attacker_calls"] = [forged.get(one, one) for one in told.truth["attacker_calls"]]


def deletes_traces(told: Told) -> None:
    """What the attacker deleted by name goes with others of its kind, by a selector."""
    named = [
        one
        for one in told.unreported
        if one["verb"] == "delete" and about(one).get("name") and about(one).get("namespace")
    ]
    _fits(named)
    for event in named:
        place = about(event)
        path, _, name = event["requestURI"].partition("?")[0].rpartition("/")
        item = {"metadata": {"name": name, "namespace": place["namespace"]}}
        event |= {
            "verb": "deletecollection",
            "requestURI": f"{path}?fieldSelector=metadata.name%3D{name}",
            "objectRef": {key: value for key, value in place.items() if key not in ("name", "uid")},
            "responseObject": {"kind": "List", "apiVersion": "v1", "items": [item]},
        }


def impersonates(told: Told) -> None:
    """The attacker works as kubernetes-admin and as a controller, who themselves do other things."""
    events = _fits(told.unreported)
    names = ("kubernetes-admin", "system:serviceaccount:kube-system:deployment-controller")
    for number, event in enumerate(latter(events)):
        event["impersonatedUser"] = {
            "username": names[number % 2],
            "groups": ["system:masters", "system:authenticated"],
        }
    like = next(one for one in told.hostile if one["verb"] in ("list", "get"))
    admin = {
        "username": "kubernetes-admin",
        "uid": "aws-iam-authenticator:1:AROA",
        "groups": ["system:masters"],
        "extra": {KEY: ["ASIAADMINSOWNKEY0001"]},
    }
    told.add(like, user=admin, sourceIPs=[OFFICE])


def break_glass(told: Told) -> None:
    """The responders have another session of the attacker's role, come from the same address with the same client, and clean up."""
    iam = _fits([one for one in told.hostile if KEY in one["user"].get("extra", {}) and not _is_nodes(one)])
    looked = [one for one in iam if one["verb"] in ("get", "list") and one["responseStatus"]["code"] < 400]
    for number, event in enumerate(looked):
        told.add(
            event, after=timedelta(seconds=20 + number), user=with_credential(event["user"], "ASIARESPONDERSKEY001")
        )
    made = {
        about(one)["name"]: one
        for one in iam
        if one["verb"] == "create" and about(one).get("name") and not about(one).get("subresource")
    }
    deleted = {about(one).get("name") for one in iam if one["verb"] == "delete"}
    for name, event in made.items():
        if name not in deleted:
            told.add(
                event,
                after=timedelta(seconds=40),
                user=with_credential(event["user"], "ASIARESPONDERSKEY001"),
                verb="delete",
                requestURI=f"{event['requestURI'].partition('?')[0]}/{name}",
                requestObject=None,
                responseObject=None,
                responseStatus={"code": 200},
            )


def false_alarms(told: Told) -> None:
    """Nothing but policy findings about an administrator, and sample findings."""
    policy = {one["Id"] for one in told.findings if one["Type"].startswith("Policy:")}
    _fits(policy)
    reported = {
        (one.get("Verb"), one.get("RequestUri"))
        for one in map(api_call, (f for f in told.findings if f["Id"] in policy))
    }
    hostile = {one["auditID"] for one in told.hostile if (one["verb"], one["requestURI"]) not in reported}
    told.log = [one for one in told.log if one["auditID"] not in hostile]
    taken = set(told.truth.get("cloudtrail_attacker_events") or [])
    told.trail = [one for one in told.trail if one["eventID"] not in taken]
    for listed in told.files.values():
        for one in listed:
            if one["Id"] not in policy:
                one["Service"]["AdditionalInfo"] = {"Value": '{"sample":true}', "Type": "default"}
    told.truth |= {
        "attacker_calls": [],
        "cloudtrail_attacker_events": [],
        "attacker_touched_pods": [],
        "more_findings": {},
    }
    told.truth["attacker"]["identities"] = []
    told.truth["findings"] = {key: one for key, one in told.truth["findings"].items() if key in policy}
    for one in told.truth["findings"].values():
        for name in (
            "secrets_read",
            "objects_deleted",
            "objects_changed",
            "exec_into",
            "tokens_minted",
        ):
            one[name] = []


# ── others ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _fits(found: Any) -> Any:
    """What a change needs of a recording."""
    if not found:
        raise Unfit
    return found


class Unfit(Exception):
    """A recording has nothing that a change could begin with."""


def _strong(told: Told) -> Event:
    """The last call of the attacker that was let through, by whom the first finding with a caller names."""
    named = {user for user in map(caller, told.findings) if user}
    return cast(
        "Event",
        _fits(
            [one for one in told.hostile if one["user"]["username"] in named and one["responseStatus"]["code"] < 300]
        )[-1],
    )


def _bare(event: Event, **more: Any) -> Event:
    """The changes that make a call of another one with another object."""
    return {"requestObject": None, "responseObject": None, "responseStatus": {"code": 200}, **more}


def _victims(told: Told) -> list[Event]:
    """Pods of the dump that no finding and no call of the attacker names."""
    named = orjson.dumps(
        [told.files, told.truth["findings"], told.truth.get("attacker_touched_pods"), told.hostile]
    ).decode()
    return [
        one
        for one in told.dump["pods"]["items"]
        if one["metadata"]["name"] not in named and one["spec"].get("nodeName")
    ]


def through_kubelet(told: Told) -> None:
    last, pod = _strong(told), _fits(_victims(told))[0]
    node, where, name = pod["spec"]["nodeName"], pod["metadata"]["namespace"], pod["metadata"]["name"]
    reference = {"resource": "nodes", "name": node, "subresource": "proxy", "apiVersion": "v1"}
    base = f"/api/v1/nodes/{node}/proxy"
    told.add(last, hostile=True, **_bare(last, verb="get", requestURI=f"{base}/runningpods/", objectRef=reference))
    run = f"{base}/run/{where}/{name}/{pod['spec']['containers'][0]['name']}?cmd=id"
    told.add(last, hostile=True, after=2 * SECOND, **_bare(last, verb="create", requestURI=run, objectRef=reference))
    _ran_in(told, last, pod)


def _ran_in(told: Told, event: Event, pod: Event, *also: str) -> None:
    """The truth of a command in a pod, by the caller of a call; also: what else it did to the pod."""
    path = f"pods/{pod['metadata']['namespace']}/{pod['metadata']['name']}"
    for one in told.told_of(event["user"]["username"]):
        for listed in ("exec_into", *also):
            one[listed] = [*one[listed], path]
    _touched(told, pod)


def _touched(told: Told, pod: Event) -> None:
    where, spec = pod["metadata"], pod["spec"]
    images = [one["image"] for one in (*spec["containers"], *spec.get("initContainers", []))]
    told.truth.setdefault("attacker_touched_pods", []).append(
        {
            "uid": where["uid"],
            "namespace": where["namespace"],
            "node": spec["nodeName"],
            "service_account": spec.get("serviceAccountName", "default"),
            "images": images,
        }
    )


def debugs(told: Told) -> None:
    """An ephemeral container in somebody's pod."""
    last, pod = _strong(told), _fits(_victims(told))[0]
    where, name = pod["metadata"]["namespace"], pod["metadata"]["name"]
    reference = {
        "resource": "pods",
        "namespace": where,
        "name": name,
        "subresource": "ephemeralcontainers",
        "apiVersion": "v1",
    }
    body = {"spec": {"ephemeralContainers": [{"name": "debugger-x", "image": "docker.io/library/busybox:1.36"}]}}
    uri = f"/api/v1/namespaces/{where}/pods/{name}/ephemeralcontainers?fieldManager=kubectl-debug"
    told.add(
        last,
        hostile=True,
        **_bare(last, verb="patch", requestURI=uri, objectRef=reference, requestObject=body, responseObject=pod),
    )
    _ran_in(told, last, pod, "objects_changed")


def refused(told: Told) -> None:
    """Calls of the attacker that were refused, failed or were dry runs did nothing."""
    last, pod = _strong(told), _fits(_victims(told))[0]
    where, name = pod["metadata"]["namespace"], pod["metadata"]["name"]
    reference = {"resource": "pods", "namespace": where, "name": name, "apiVersion": "v1"}
    uri = f"/api/v1/namespaces/{where}/pods/{name}"
    for number, (verb, code, query) in enumerate(
        (("delete", 403, ""), ("delete", 404, ""), ("delete", 200, "?dryRun=All"), ("patch", 422, ""))
    ):
        asked: Any = _bare(last, verb=verb, requestURI=uri + query, objectRef=reference, responseStatus={"code": code})
        told.add(last, hostile=True, after=(number + 1) * SECOND, **asked)
    secret = {"resource": "secrets", "namespace": where, "name": "not-given", "apiVersion": "v1"}
    uri = f"/api/v1/namespaces/{where}/secrets/not-given"
    told.add(
        last, hostile=True, **_bare(last, verb="get", requestURI=uri, objectRef=secret, responseStatus={"code": 403})
    )


def stranger_on_the_exit(told: Told) -> None:
    """Somebody else comes from the attacker's address afterwards, with the attacker's client."""
    users = {one["user"]["username"] for one in told.hostile}
    last = _strong(told)
    others = [one for one in told.log if KEY in one["user"].get("extra", {}) and one["user"]["username"] not in users]
    stranger = next((one for one in others if not one["user"]["username"].startswith("system:")), None)
    for number, event in enumerate(told.hostile[:5]):
        told.add(event, after=timedelta(seconds=60 + number), user=_fits(stranger)["user"], sourceIPs=last["sourceIPs"])


def owner_on_the_exit(told: Told) -> None:
    """The identity's owner comes from the attacker's address afterwards, with a credential of their own."""
    named = [one for one in told.hostile if one["user"].get("extra") and not _is_nodes(one)]
    for number, event in enumerate(_fits(named)[:5]):
        told.add(
            event, after=timedelta(seconds=60 + number), user=with_credential(event["user"], "ASIAOWNERSOWNKEY0001")
        )


def owner_moves(told: Told) -> None:
    """The owner goes home while the attack goes on: the same credential from another address."""
    users = {one["user"]["username"] for one in told.hostile if not one["user"]["username"].startswith("system:")}
    own = [one for user in users for one in told.by_owner(user)]
    for event in latter(_fits(own)):
        event["sourceIPs"] = [OFFICE]


def one_load_balancer(told: Told) -> None:
    """All calls from outside come through one load balancer, whose address is all that log and findings have."""
    inside = re.compile(r"^(10\.|172\.|127\.|::1)")
    for event in told.log:
        if not inside.match(address_of(event)):
            event["sourceIPs"] = [OFFICE]
    for call in map(api_call, told.findings):
        if call.get("SourceIps"):
            call["SourceIps"] = [OFFICE]
            call.get("RemoteIpDetails", {})["IpAddressV4"] = OFFICE


def one_client(told: Told) -> None:
    """Everybody outside has the attacker's client."""
    hostile = {address_of(one) for one in told.hostile}
    agent = told.hostile[0]["userAgent"] if hostile else _fits("")
    inside = re.compile(r"^(10\.|172\.|127\.|::1)")
    for event in told.log:
        if not inside.match(address_of(event)):
            event["userAgent"] = agent
    for call in map(api_call, told.findings):
        if call.get("UserAgent"):
            call["UserAgent"] = agent


def one_load_balancer_and_client(told: Told) -> None:
    one_client(told)
    one_load_balancer(told)


def no_keys(told: Told) -> None:
    """An older authenticator, which logs sessions and no access keys."""
    _fits([one["user"]["extra"].pop(KEY) for one in told.log if KEY in one["user"].get("extra", {})])


def forwarded_for(told: Told) -> None:
    """The attacker says to have come from the owner's address; the connection's own is the last."""
    for event in told.unreported:
        event["sourceIPs"] = [OFFICE, *event["sourceIPs"]]
    for event in told.by_owner(_fits(told.hostile)[0]["user"]["username"]):
        event["sourceIPs"] = [address_of(told.hostile[0]), *event["sourceIPs"]]


def recreated_secret(told: Told) -> None:
    """The administrator deletes the attacker's Secret, and makes one of the same name, which a client in the office uses."""
    name = "authentication.k8s.io/legacy-token-manual-secret"
    used = [one for one in told.hostile if name in one.get("annotations", {})]
    made = (
        next(one for one in told.hostile if about(one).get("resource") == "secrets" and one["verb"] == "create")
        if _fits(used)
        else None
    )
    assert made
    admin = {"username": "kubernetes-admin", "groups": ["system:masters"], "extra": {KEY: ["ASIAADMINSOWNKEY0001"]}}
    own: Any = {"user": admin, "sourceIPs": [OFFICE]}
    path = f"{made['requestURI'].partition('?')[0]}/{about(made)['name']}"
    told.add(made, after=30 * SECOND, **own, verb="delete", requestURI=path, responseStatus={"code": 200})
    told.add(made, after=40 * SECOND, **own)
    for number in range(3):
        told.add(used[0], after=timedelta(seconds=50 + number), sourceIPs=[OFFICE], userAgent="prometheus/2.53")


def let_in_again(told: Told) -> None:
    """The administrator ends the access entry that the attacker made, and later gives the principal another, for work of its own."""
    made = [one for one in told.trail if one["eventName"] == "CreateAccessEntry"]
    entry = _fits([one for one in made if one["eventID"] in set(told.truth["cloudtrail_attacker_events"])])[0]
    arn = entry["requestParameters"]["principalArn"]
    used = _fits([one for one in told.hostile if one["user"].get("extra", {}).get("arn") == [arn]])
    last = at(_moment(used[-1]))
    identity = deepcopy(entry["userIdentity"]) | {"accessKeyId": "ASIAADMINSOWNKEY0001"}
    for number, name in enumerate(("DeleteAccessEntry", "CreateAccessEntry")):
        when = (last + timedelta(seconds=60 * (number + 1))).strftime("%Y-%m-%dT%H:%M:%SZ")
        told.trail.append(
            entry
            | {
                "eventName": name,
                "eventTime": when,
                "eventID": f"00000000-0000-4000-a000-{number:012}",
                "sourceIPAddress": OFFICE,
                "userIdentity": identity,
            }
        )
    for number, event in enumerate(used[:3]):
        user = with_credential(event["user"], "AKIAOWNERSOWNKEY0001")
        user["extra"] |= {
            name: event["user"]["extra"][name] for name in ("arn", "sessionName") if name in event["user"]["extra"]
        }
        told.add(event, after=timedelta(seconds=200 + number), user=user, sourceIPs=[OFFICE], userAgent="velero/1.14")


def binds_a_quiet_account(told: Told) -> None:
    """The attacker gives rights to a service account whose pods had been quiet so far, and go on with their work."""
    last = _strong(told)
    hostile = {one["user"]["username"] for one in told.hostile}
    counts = Counter(one["user"]["username"] for one in told.log)
    bound = told.truth["attacker_touched_pods"] + [
        pod for one in told.truth["findings"].values() for pod in one["pods"]
    ]
    avoided = hostile | {f"system:serviceaccount:{one['namespace']}:{one['service_account']}" for one in bound}
    apps = [
        name
        for name in counts
        if name.startswith("system:serviceaccount:") and ":kube-system:" not in name and name not in avoided
    ]
    user = _fits([name for name in apps if counts[name] >= 5])[0]
    _, _, where, account = user.split(":")
    when = at(_moment(last)) + SECOND
    told.log = [one for one in told.log if one["user"]["username"] != user or at(_moment(one)) > when]
    _fits(told.by_owner(user))
    reference = {
        "resource": "rolebindings",
        "namespace": where,
        "name": "ops-access",
        "apiGroup": "rbac.authorization.k8s.io",
        "apiVersion": "v1",
    }
    body = {
        "kind": "RoleBinding",
        "metadata": {"name": "ops-access", "namespace": where},
        "subjects": [{"kind": "ServiceAccount", "name": account, "namespace": where}],
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
    }
    uri = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{where}/rolebindings"
    told.add(
        last,
        hostile=True,
        **_bare(
            last,
            verb="create",
            requestURI=uri,
            objectRef=reference,
            requestObject=body,
            responseObject=body,
            responseStatus={"code": 201},
        ),
    )
    for one in told.told_of(last["user"]["username"]):
        one["objects_created"] = [*one["objects_created"], f"rolebindings/{where}/ops-access"]


def own_pods_call(told: Told) -> None:
    """Pods that the attacker made call the API server from inside, with their own tokens."""
    made = {
        about(one).get("name")
        for one in told.hostile
        if one["verb"] == "create"
        and about(one).get("resource") in ("deployments", "daemonsets", "pods")
        and not about(one).get("subresource")
    }
    pods = [
        pod
        for pod in told.truth.get("attacker_touched_pods", [])
        if pod["name"] in made or pod["owner"]["name"] in made
    ]
    like = _strong(told)
    for number, pod in enumerate(_fits(pods)[:3]):
        user = {
            "username": f"system:serviceaccount:{pod['namespace']}:{pod['service_account']}",
            "groups": ["system:serviceaccounts"],
            "extra": {
                TOKEN: [f"JTI=22222222-0000-4000-8000-{number:012}"],
                "authentication.kubernetes.io/pod-name": [pod["name"]],
                "authentication.kubernetes.io/pod-uid": [pod["uid"]],
            },
        }
        reference = {"resource": "nodes", "apiVersion": "v1"}
        moment = at(pod["created"]) + 3 * SECOND - at(_moment(like))
        told.add(
            like,
            hostile=True,
            after=moment,
            **_bare(
                like,
                verb="list",
                requestURI="/api/v1/nodes",
                objectRef=reference,
                user=user,
                sourceIPs=["10.0.3.77"],
                userAgent=ANOTHER,
            ),
        )


def signs_in_with_the_token(told: Told) -> None:
    """The stolen token of a service account buys an AWS session from the attacker's address, which is used from elsewhere."""
    token = _fits(
        [
            one
            for one in told.hostile
            if one["user"]["username"].startswith("system:serviceaccount:") and not address_of(one).startswith("10.")
        ]
    )[-1]
    when = at(_moment(token)) + 5 * SECOND
    user, role = token["user"]["username"], f"arn:aws:iam::{told.truth['account']}:role/app-data"
    like = deepcopy(told.trail[0])
    signed = like | {
        "eventName": "AssumeRoleWithWebIdentity", "eventSource": "sts.amazonaws.com", "eventID": "00000000-0000-4000-b000-000000000001",
        "eventTime": when.strftime("%Y-%m-%dT%H:%M:%SZ"), "sourceIPAddress": address_of(token), "userIdentity": {"type": "WebIdentityUser", "userName": user},
        "requestParameters": {"roleArn": role, "roleSessionName": "s"},
        "responseElements": {"credentials": {"accessKeyId": "ASIATAKENSESSION0001"}, "assumedRoleUser": {"arn": role.replace(":iam:", ":sts:").replace("role/", "assumed-role/") + "/s"}},
    }  # fmt: skip
    session = {
        "type": "AssumedRole",
        "arn": signed["responseElements"]["assumedRoleUser"]["arn"],
        "accessKeyId": "ASIATAKENSESSION0001",
    }
    used = like | {
        "eventName": "GetObject", "eventSource": "s3.amazonaws.com", "eventID": "00000000-0000-4000-b000-000000000002", "eventTime": (when + SECOND).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "sourceIPAddress": ELSEWHERE, "userIdentity": session, "requestParameters": {"bucketName": "data", "key": "all.csv"}, "responseElements": None,
    }  # fmt: skip
    told.trail += [signed, used]
    account = user.removeprefix("system:serviceaccount:").replace(":", "/")
    for one in (*told.truth["findings"].values(), *told.truth.get("more_findings", {}).values()):
        if account in one["service_accounts"]:
            one["iam_roles"] = [*one["iam_roles"], role]
    told.truth["cloudtrail_attacker_events"] = [
        *told.truth.get("cloudtrail_attacker_events", []),
        signed["eventID"],
        used["eventID"],
    ]


def _in_aws(told: Told, event: Event, source: str, name: str, asked: Event, answered: Event | None = None) -> Event:
    """Another call in AWS by the attacker, with the key, from the address and a second after a call in the cluster."""
    extra = event["user"]["extra"]
    made = deepcopy(told.trail[0]) | {
        "eventName": name, "eventSource": source, "eventID": f"00000000-0000-4000-c000-{len(told.trail):012}",
        "eventTime": (at(_moment(event)) + SECOND).strftime("%Y-%m-%dT%H:%M:%SZ"), "sourceIPAddress": address_of(event),
        "userIdentity": {"type": "AssumedRole", "arn": extra["arn"][0], "accountId": told.truth["account"], "accessKeyId": extra[KEY][0]},
        "requestParameters": asked, "responseElements": answered, "readOnly": False,
    }  # fmt: skip
    told.trail.append(made)
    known = told.truth.get("cloudtrail_attacker_events") or []
    told.truth["cloudtrail_attacker_events"] = [*known, made["eventID"]]
    return made


def _signed_in(told: Told) -> Event:
    """The last call of the attacker that was let through with an access key, by whom a finding names."""
    keyed = [one for one in told.hostile if KEY in one["user"].get("extra", {}) and one["responseStatus"]["code"] < 300]
    named = {user for user in map(caller, told.findings) if user}
    return cast("Event", _fits([one for one in keyed if one["user"]["username"] in named])[-1])


def session_on_a_node(told: Told) -> None:
    """The attacker opens an SSM session on a node and lists secrets with its kubelet's credential, from the node's own address."""
    last = _signed_in(told)
    node = _fits(told.dump["nodes"]["items"])[0]
    name, instance = node["metadata"]["name"], node["spec"]["providerID"].rpartition("/")[2]
    _in_aws(told, last, "ssm.amazonaws.com", "StartSession", {"target": instance})
    for one in told.told_of(last["user"]["username"]):
        one["nodes"] = sorted({*one["nodes"], name})
    own = _fits(told.by_owner(f"system:node:{name}"))[-1]
    when = at(_moment(last)) + 20 * SECOND - at(_moment(own))
    listed: Any = _bare(
        own, verb="list", requestURI="/api/v1/nodes", objectRef={"resource": "nodes", "apiVersion": "v1"}, userAgent=ANOTHER
    )  # fmt: skip
    told.add(own, hostile=True, after=when, **listed)


def static_pod(told: Told) -> None:
    """From that session the attacker writes a static pod, whose mirror the kubelet creates: the pod is the attacker's, the call the kubelet's."""
    session_on_a_node(told)
    node = told.dump["nodes"]["items"][0]["metadata"]["name"]
    own = told.by_owner(f"system:node:{node}")[-1]
    body = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": f"node-tools-{node}", "namespace": "kube-system", "uid": "33333333-0000-4000-8000-000000000001",
            "annotations": {"kubernetes.io/config.mirror": "abc", "kubernetes.io/config.source": "file"},
            "ownerReferences": [{"apiVersion": "v1", "kind": "Node", "name": node, "uid": "1", "controller": True}],
        },
        "spec": {"nodeName": node, "hostPID": True, "containers": [{"name": "tools", "image": "docker.io/library/busybox:1.36"}]},
    }  # fmt: skip
    reference = {"resource": "pods", "namespace": "kube-system", "name": f"node-tools-{node}", "apiVersion": "v1"}
    when = at(_moment(_signed_in(told))) + 30 * SECOND - at(_moment(own))
    created: Any = _bare(
        own, verb="create", requestURI="/api/v1/namespaces/kube-system/pods", objectRef=reference,
        requestObject=body, responseObject=body, responseStatus={"code": 201},
    )  # fmt: skip
    told.add(own, after=when, **created)
    _touched(told, body)


def uses_a_certificate(told: Told) -> None:
    """The attacker asks for a certificate in the name of somebody who works here, approves it, and uses it from elsewhere."""
    last, known = _strong(told), {one["user"]["username"] for one in told.hostile}
    others = (one["user"]["username"] for one in told.log if KEY in one["user"].get("extra", {}))
    user = _fits([one for one in others if one not in known])[0]
    request, certificate, credential = certificate_of(user)
    named = {"resource": "certificatesigningrequests", "name": "renewal", "apiGroup": "certificates.k8s.io", "apiVersion": "v1"}  # fmt: skip
    uri = "/apis/certificates.k8s.io/v1/certificatesigningrequests"
    body: Event = {"metadata": {"name": "renewal"}, "spec": {"request": request}}
    issued = body | {"status": {"certificate": certificate, "conditions": [{"type": "Approved"}]}}
    asked: Any = _bare(last, objectRef=named, requestObject=body, responseObject=body)
    told.add(last, hostile=True, **asked | {"verb": "create", "requestURI": uri, "responseStatus": {"code": 201}})
    approved = asked | {"verb": "update", "requestURI": f"{uri}/renewal/approval", "objectRef": named | {"subresource": "approval"}}  # fmt: skip
    told.add(last, hostile=True, after=2 * SECOND, **approved)
    signer = {"username": "system:serviceaccount:kube-system:certificate-controller", "groups": ["system:authenticated"]}  # fmt: skip
    status = asked | {"verb": "update", "requestURI": f"{uri}/renewal/status", "objectRef": named | {"subresource": "status"}}  # fmt: skip
    told.add(last, after=3 * SECOND, **status | {"responseObject": issued, "user": signer, "sourceIPs": ["10.0.9.9"]})
    signed_in = {"username": user, "groups": ["system:authenticated"], "extra": {TOKEN: [credential]}}
    used = _bare(last, verb="list", requestURI="/api/v1/nodes", objectRef={"resource": "nodes", "apiVersion": "v1"})
    told.add(last, hostile=True, after=9 * SECOND, **used | {"user": signed_in, "sourceIPs": [ELSEWHERE]})
    for one in told.told_of(last["user"]["username"]):
        one["objects_created"] = [*one["objects_created"], "certificatesigningrequests/renewal"]
        one["objects_changed"] = [*one["objects_changed"], "certificatesigningrequests/renewal"]


def certificate_of(user: str) -> tuple[str, str, str]:
    """A request for a certificate and the certificate as the API has them, and the certificate's credential id."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name(
        [x509.NameAttribute(NameOID.ORGANIZATION_NAME, "ops"), x509.NameAttribute(NameOID.COMMON_NAME, user)]
    )
    request = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, hashes.SHA256())
    start, end = datetime(2026, 11, 1, tzinfo=UTC), datetime(2027, 11, 1, tzinfo=UTC)
    certificate = (
        x509.CertificateBuilder().subject_name(name).issuer_name(x509.Name([])).public_key(key.public_key())
        .serial_number(1).not_valid_before(start).not_valid_after(end).sign(key, hashes.SHA256())
    )  # fmt: skip
    texts = [base64.b64encode(one.public_bytes(Encoding.PEM)).decode() for one in (request, certificate)]
    return texts[0], texts[1], f"X509SHA256={certificate.fingerprint(hashes.SHA256()).hex()}"


def pod_identity(told: Told) -> None:
    """The attacker gives a service account of the cluster a role by EKS Pod Identity; its pods, which ask for it, do their own work."""
    last = _signed_in(told)
    pod = _fits(_victims(told))[0]
    account = pod["spec"].get("serviceAccountName", "default")
    role = f"arn:aws:iam::{told.truth['account']}:role/data-export"
    asked = {"clusterName": told.truth["cluster"], "namespace": pod["metadata"]["namespace"], "serviceAccount": account, "roleArn": role}  # fmt: skip
    _in_aws(told, last, "eks.amazonaws.com", "CreatePodIdentityAssociation", asked, {"association": asked})


def _made_by_controller(told: Told, controller: str, resource: str, body: Event, moment: datetime) -> None:
    """The call with which a controller makes an object, like another one of its in the log."""
    who = f"system:serviceaccount:kube-system:{controller}"
    makes = [one for one in told.by_owner(who) if one["verb"] == "create" and about(one).get("resource") == resource]
    like = _fits([one for one in makes if not about(one).get("subresource") and one["level"] == "RequestResponse"])[0]
    where = body["metadata"]["namespace"]
    place = {key: value for key, value in about(like).items() if key != "name"} | {"namespace": where}
    uri = like["requestURI"].replace(f"/namespaces/{about(like)['namespace']}/", f"/namespaces/{where}/")
    asked: Any = _bare(
        like, requestURI=uri, objectRef=place, requestObject=body, responseObject=body, responseStatus={"code": 201}
    )
    told.add(like, after=moment - at(_moment(like)), **asked)


def _deployment_of_yours(told: Told) -> tuple[Event, Event, Event]:
    """A pod of yours with its ReplicaSet and its Deployment, as the dump has them."""
    sets = {one["metadata"]["uid"]: one for one in told.dump["replicasets"]["items"]}
    owned = [(one, (one["metadata"].get("ownerReferences") or [{}])[0].get("uid")) for one in _victims(told)]
    pod, owner = _fits([(one, sets[uid]) for one, uid in owned if uid in sets])[0]
    name, where = owner["metadata"]["ownerReferences"][0]["name"], owner["metadata"]["namespace"]
    (stood,) = [
        one
        for one in told.dump["deployments"]["items"]
        if (one["metadata"]["name"], one["metadata"]["namespace"]) == (name, where)
    ]
    return pod, owner, stood


def _changes(told: Told, *, template: bool) -> None:
    """The attacker changes a Deployment of yours, and its controllers make a pod after that."""
    last = _strong(told)
    pod, owner, stood = _deployment_of_yours(told)
    name, where = stood["metadata"]["name"], stood["metadata"]["namespace"]
    when, image = at(_moment(last)), "docker.io/library/tools:1" if template else pod["spec"]["containers"][0]["image"]
    container = pod["spec"]["containers"][0]["name"]
    ask = {
        "spec": {"template": {"spec": {"containers": [{"name": container, "image": image}]}}}
        if template
        else {"replicas": 9}
    }
    after = deepcopy(stood)
    after["spec"] |= {} if template else {"replicas": 9}
    after["spec"]["template"]["spec"]["containers"][0] |= {"image": image}
    place = {
        "resource": "deployments",
        "namespace": where,
        "name": name,
        "uid": stood["metadata"]["uid"],
        "apiGroup": "apps",
        "apiVersion": "v1",
    }
    uri = f"/apis/apps/v1/namespaces/{where}/deployments/{name}"
    asked: Any = _bare(
        last,
        verb="patch",
        requestURI=uri,
        objectRef=place,
        requestObject=ask,
        responseObject=after,
        level="RequestResponse",
    )
    told.add(last, hostile=True, **asked)
    for one in told.dump["deployments"]["items"]:
        if one is stood:
            one["spec"] = after["spec"]
    made, above = deepcopy(pod), deepcopy(owner)
    if template:
        above["metadata"] |= {
            "name": f"{name}-6d4cf56db6",
            "uid": "44444444-0000-4000-8000-000000000001",
            "creationTimestamp": _second(when + 2 * SECOND),
        }
        above["spec"]["template"]["spec"] = after["spec"]["template"]["spec"]
        told.dump["replicasets"]["items"].append(above)
        _made_by_controller(told, "deployment-controller", "replicasets", above, when + 2 * SECOND)
    made["metadata"] |= {
        "name": f"{above['metadata']['name']}-zz9zz", "uid": "44444444-0000-4000-8000-000000000002", "creationTimestamp": _second(when + 3 * SECOND),
    }  # fmt: skip
    made["metadata"]["ownerReferences"][0] |= {"name": above["metadata"]["name"], "uid": above["metadata"]["uid"]}
    made["spec"]["containers"][0] |= {"image": image}
    told.dump["pods"]["items"].append(made)
    unscheduled = made | {
        "spec": {key: value for key, value in made["spec"].items() if key != "nodeName"},
        "status": {},
    }
    _made_by_controller(told, "replicaset-controller", "pods", unscheduled, when + 3 * SECOND)
    if template:
        _touched(told, made)
    for one in told.told_of(last["user"]["username"]):
        one["objects_changed"] = [*one["objects_changed"], f"deployments/{where}/{name}"]
        if template:
            one["pods"] = [*one["pods"], told.truth["attacker_touched_pods"][-1] | {"deleted": None}]
            one["images"] = [*one["images"], image]


def _second(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def changes_a_workload(told: Told) -> None:
    """The attacker puts another image into a Deployment of yours, whose new pod runs it."""
    _changes(told, template=True)


def scales_a_workload(told: Told) -> None:
    """The attacker scales a Deployment of yours: the new pod runs what the others run, and is not the attacker's."""
    _changes(told, template=False)


def inside_the_vpc(told: Told) -> None:
    """The attacker sits on another machine of the VPC, at an address of no node and no pod."""
    public = sorted(
        {address_of(one) for one in told.hostile if not re.match(r"^(10\.|172\.|127\.|::1)", address_of(one))}
    )
    for number, address in enumerate(_fits(public)):
        told.rename(address, f"10.0.200.{77 + number}")


def recreates_a_workload(told: Told) -> None:
    """The attacker deletes a Deployment of yours and makes one of its name; its owner ends that and makes the first one again."""
    last = _strong(told)
    pod, owner, stood = _deployment_of_yours(told)
    name, where = stood["metadata"]["name"], stood["metadata"]["namespace"]
    uri, place = (
        f"/apis/apps/v1/namespaces/{where}/deployments",
        {"resource": "deployments", "namespace": where, "name": name, "apiGroup": "apps", "apiVersion": "v1"},
    )
    theirs = deepcopy(stood)
    theirs["metadata"] |= {
        "uid": "55555555-0000-4000-8000-000000000001",
        "creationTimestamp": _second(at(_moment(last)) + 2 * SECOND),
    }
    theirs["spec"]["template"]["spec"]["containers"][0] |= {"image": "docker.io/library/tools:1"}
    again = deepcopy(stood)
    again["metadata"] |= {
        "uid": "55555555-0000-4000-8000-000000000002",
        "creationTimestamp": _second(at(_moment(last)) + 9 * SECOND),
    }
    admin = {"username": "kubernetes-admin", "groups": ["system:masters"], "extra": {KEY: ["ASIAADMINSOWNKEY0001"]}}
    own: Any = {"user": admin, "sourceIPs": [OFFICE]}
    gone: Any = _bare(last, verb="delete", requestURI=f"{uri}/{name}", objectRef=place, level="RequestResponse")
    made: Any = gone | {"verb": "create", "requestURI": uri, "responseStatus": {"code": 201}}
    told.add(
        last,
        hostile=True,
        **gone
        | {
            "responseObject": {
                "kind": "Status",
                "status": "Success",
                "details": {"name": name, "uid": stood["metadata"]["uid"]},
            }
        },
    )
    told.add(last, hostile=True, after=2 * SECOND, **made | {"requestObject": theirs, "responseObject": theirs})
    told.add(
        last,
        after=8 * SECOND,
        **own,
        **gone
        | {
            "responseObject": {
                "kind": "Status",
                "status": "Success",
                "details": {"name": name, "uid": theirs["metadata"]["uid"]},
            }
        },
    )
    told.add(last, after=9 * SECOND, **own, **made | {"requestObject": again, "responseObject": again})
    above, late = deepcopy(owner), deepcopy(pod)
    above["metadata"] |= {
        "uid": "55555555-0000-4000-8000-000000000003",
        "creationTimestamp": _second(at(_moment(last)) + 10 * SECOND),
    }
    above["metadata"]["ownerReferences"][0] |= {"uid": again["metadata"]["uid"]}
    late["metadata"] |= {
        "name": f"{above['metadata']['name']}-zz9zz",
        "uid": "55555555-0000-4000-8000-000000000004",
        "creationTimestamp": _second(at(_moment(last)) + 10 * SECOND),
    }
    late["metadata"]["ownerReferences"][0] |= {"uid": above["metadata"]["uid"]}
    told.dump["deployments"]["items"] = [again if one is stood else one for one in told.dump["deployments"]["items"]]
    told.dump["replicasets"]["items"].append(above)
    told.dump["pods"]["items"].append(late)
    for one in told.told_of(last["user"]["username"]):
        one["objects_deleted"] = [*one["objects_deleted"], f"deployments/{where}/{name}"]
        one["objects_created"] = [*one["objects_created"], f"deployments/{where}/{name}"]


@dataclass(frozen=True)
class Foe:
    """One kind of attacker. undecidable: the evidence does not tell all that the truth knows, so that some may be possible only."""

    name: str
    what: str
    change: Callable[[Told], None]
    undecidable: bool = False


FOES = (
    Foe(
        "another holder",
        "half of the way the credential is used from another address with another client",
        another_holder,
        True,
    ),
    Foe("slow and low", "hours lie between the calls", slow_and_low),
    Foe(
        "same second", "the owner makes the finding's own call in the same second, from the usual address", same_second
    ),
    Foe(
        "same second, one NAT",
        "and from the attacker's address, with the attacker's client",
        same_second_behind_one_nat,
        True,
    ),
    Foe(
        "same second, terse finding",
        "and the finding has neither address nor client",
        same_second_and_a_terse_finding,
        True,
    ),
    Foe("findings 3 minutes late", "the clocks of findings and CloudTrail differ from the log's", _skewed(3, 1)),
    Foe("findings 4 minutes early", "and the other way round", _skewed(-4, -2)),
    Foe("findings 8 minutes late", "by more than is looked at first", _skewed(8, 0)),
    Foe(
        "imitates controllers",
        "a pod named and labelled like a ReplicaSet's, the client of a controller",
        imitates_controllers,
        True,
    ),
    Foe("forges", "Audit-IDs of others' deletions, and a client for each call", forges, True),
    Foe("deletes traces", "deletecollection with a selector instead of delete", deletes_traces),
    Foe("impersonates", "calls as kubernetes-admin and as a controller, who have work of their own", impersonates),
    Foe("break-glass", "responders use the attacker's role, address and client", break_glass),
    Foe("false alarms", "policy findings about an administrator, and samples", false_alarms),
    Foe("through the kubelet", "nodes/proxy: pods listed, a command run", through_kubelet),
    Foe("debugs", "an ephemeral container in somebody's pod", debugs),
    Foe("refused", "calls that were refused, failed or were dry runs", refused),
    Foe(
        "stranger on the exit", "somebody else comes from the attacker's address afterwards", stranger_on_the_exit, True
    ),
    Foe("owner on the exit", "the owner does, with a credential of their own", owner_on_the_exit, True),
    Foe("owner moves", "the owner's own credential comes from a new address during the attack", owner_moves),
    Foe("one load balancer", "all calls from outside have one address", one_load_balancer, True),
    Foe("one client", "everybody has the attacker's client", one_client),
    Foe("one load balancer, one client", "both", one_load_balancer_and_client, True),
    Foe("no keys", "the log has sessions and no access keys", no_keys, True),
    Foe("forwarded for", "forged elements in sourceIPs", forwarded_for),
    Foe("recreated secret", "the Secret of the attacker's token is made again by its owner", recreated_secret),
    Foe("let in again", "whom the attacker let in is let in again, by an administrator", let_in_again),
    Foe("binds a quiet account", "rights for an account whose pods had not called yet", binds_a_quiet_account),
    Foe("own pods call", "the attacker's pods call from inside", own_pods_call),
    Foe("signs in with the token", "a stolen token buys a session, used from elsewhere", signs_in_with_the_token),
    Foe(
        "session on a node",
        "SSM onto a node, and its kubelet's credential from its own address",
        session_on_a_node,
        True,
    ),
    Foe("static pod", "and a static pod, whose mirror the kubelet creates", static_pod, True),
    Foe(
        "uses a certificate",
        "a certificate in somebody's name, asked for, approved and used elsewhere",
        uses_a_certificate,
    ),
    Foe("Pod Identity", "a role for somebody's service account by EKS Pod Identity", pod_identity),
    Foe("changes a workload", "another image in somebody's Deployment, whose new pod runs it", changes_a_workload),
    Foe("scales a workload", "more pods of somebody's Deployment, which run what the others run", scales_a_workload),
    Foe(
        "recreates a workload",
        "a Deployment of the name of one that was deleted, and the owner's again",
        recreates_a_workload,
    ),
    Foe("inside the VPC", "from a machine of the VPC that is neither node nor pod", inside_the_vpc, True),
)


AS_IT_IS = Foe("as it is", "nothing is changed", lambda _: None)


@dataclass
class Result:
    """What the kit made of one attacker in one recording.

    possible: of the missed calls those that are possible. silent: what was missed and is neither possible nor named by a limit.
    rules: how often each rule of attribution fired for a call, also where the gate left that call undecided, and how often rightly.
    """

    recording: str
    right: int
    wrong: list[str]
    missed: list[str]
    calls_missed: int
    possible: int
    silent: list[str]
    rules: dict[str, tuple[int, int]]


def tried(foe: Foe, recording: Path, folder: Path) -> Result | None:
    """The scope of a recording changed so, against its changed truth; None where the change does not fit."""
    told = Told(recording)
    try:
        foe.change(told)
    except Unfit:
        return None
    made = told.save(folder)
    evidence = folder / "evidence"
    shutil.copytree(made, evidence, ignore=shutil.ignore_patterns("ground_truth.json"))
    load_new_case(folder / "case", [str(evidence)])
    case = Case(folder / "case")
    scope = cast("dict[str, Any]", case.scope)
    score = compared(made, scope)
    called = {call for one in scope["findings"] for call in one["calls"]}
    perhaps = {call for one in scope["findings"] for call in one["possible_calls"]}
    hostile = set(told.truth["attacker_calls"])
    return Result(
        "long_incident" if recording.name == "case" else recording.name,
        sum(one.right for one in score.counts.values()),
        [one for one in score.offenders if one.endswith("should not be")],
        [one for one in score.offenders if not one.endswith("should not be")],
        score.counts["calls"].missed,
        len((hostile - called) & perhaps),
        list(missed_in_silence(made, scope, told.log)),
        _fired(case, hostile),
    )


def _fired(case: Case, hostile: set[str]) -> dict[str, tuple[int, int]]:
    attacker = case._scope.attacker
    pairs = {
        (str(ground), call.event["audit_id"])
        for call in {**attacker.possible, **attacker.calls}.values()
        for ground in call.rules.values()
        if ground is not None
    }
    fired = Counter(ground for ground, _ in pairs)
    right = Counter(ground for ground, audit_id in pairs if audit_id in hostile)
    return {ground: (number, right[ground]) for ground, number in sorted(fired.items())}


def remembered(foe: Foe, recording: Path) -> Result | None:
    """The same, from an earlier run of the same kit with the same attacker where there was one."""
    change = hashlib.sha256(inspect.getsource(foe.change).encode()).hexdigest()[:8]
    kept = KEPT / cases.code() / f"{foe.name}, {change}" / f"{recording.name}.json"
    if kept.exists():
        told = json.loads(kept.read_text())
        return Result(**told) if told else None
    with tempfile.TemporaryDirectory() as folder:
        result = tried(foe, recording, Path(folder))
    write_whole(kept, json.dumps(asdict(result) if result else None))
    return result


def main(arguments: Iterable[str]) -> int:
    """Print the table, and what is wrong; 0 when nothing is. Arguments: names of attackers and of recordings, all of them otherwise."""
    given = set(arguments)
    foes = [one for one in FOES if one.name in given] or list(FOES)
    paths = [one for one in recordings() if one.name in given] or recordings()
    wrong = 0
    print(f"{'attacker':30} recordings  right wrong missed  calls missed, of these possible")
    for foe in foes:
        results = [one for one in (remembered(foe, recording) for recording in paths) if one]
        right, missed = sum(one.right for one in results), sum(len(one.missed) for one in results)
        named = sum(len(one.wrong) for one in results)
        calls, possible = sum(one.calls_missed for one in results), sum(one.possible for one in results)
        wrong += named
        print(
            f"{foe.name:30} {len(results):10} {right:6} {named:5} {missed:6}  {calls:12}, {possible:3}",
            flush=True,
        )
        for one in results:
            lines = [*one.wrong, *(one.missed if given or not foe.undecidable else [])]
            for line in [*lines[:6], *one.silent[:6]]:
                print(f"    {line}", flush=True)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
