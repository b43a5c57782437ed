"""What plans do, recording by recording, held to the truth: how much, to whom, and what becomes of all that is the attacker's.

Innocent is what an action is for and the truth neither lists as touched or exposed nor has in a call of the attacker's; of a node, for what cuts it off or ends it, what was not
held. Bindings, mappings, workloads and secrets within reach stand in no truth and are not counted. What is the attacker's is in an action, or has ended,
or the plan says why it is left and until when.

    python -m tests.plan_table [RECORDING...]
"""

from __future__ import annotations

import gzip
import json
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tests import cases
from tests.command import SAMPLE, kit, kit_json
from tests.test_host_access import held
from tests.truth import recordings

ON_HELD_NODES = {"cordon_node", "evict_pods", "capture_node", "quarantine_node", "terminate_node"}
_LISTS = {
    "pod": "pods",
    "node": "nodes",
    "service_account": "service_accounts",
    "iam_role": "iam_roles",
    "secret": "secrets_read",
    "created": "objects_created",
    "deleted": "objects_deleted",
    "changed": "objects_changed",
    "token": "tokens_minted",
    "image": "images",
}
_DATE = re.compile(r"\b20\d\d-\d\d-\d\d\b")


@dataclass
class Row:
    """A recording's plan in numbers. innocent, unanswered: names; ended, dated: how much of the attacker's has ended, or dies by itself."""

    recording: str
    actions: int = 0
    by_kit: int = 0
    now: int = 0
    lines: int = 0
    innocent: list[str] = field(default_factory=list)
    in_action: int = 0
    ended: int = 0
    dated: int = 0
    unanswered: list[str] = field(default_factory=list)


def row_of(recording: Path, case: Path) -> Row:
    """The row of a recording. case: made of it, to write the plan to."""
    truth = json.loads((recording / "ground_truth.json").read_text())
    plan, brief = kit_json("plan", case), kit_json("brief", case)
    actions = plan["actions"]
    made = Row("long_incident" if recording == SAMPLE else recording.name, len(actions))
    made.by_kit = sum(one["by"] == "kit" for one in actions)
    made.now = sum(bool(one["now"]) for one in actions)
    made.lines = len(kit("plan", case).stdout.splitlines())
    known, own, called = _known(truth), held(recording), Called(recording, truth)
    for one in actions:
        kind, _, key = one["target"].partition(":")
        is_known = (
            key in own if one["action"] in ON_HELD_NODES else key in known.get(kind, {key}) or called.has(kind, key)
        )
        made.innocent += [] if is_known else [f"{one['action']} {one['target']}"]
    entries = [one for incident in brief["incidents"] for one in incident["open"]]
    for kind, key in sorted(_of_the_attacker(truth) | {("access_key", key) for key in called.keys}):
        _count(made, kind, key, actions, entries, plan["left_open"])
    return made


class Called:
    """What the attacker's own calls name, read from the evidence itself."""

    def __init__(self, recording: Path, truth: dict[str, Any]) -> None:
        log = gzip.decompress((recording / "audit.jsonl.gz").read_bytes()).splitlines()
        calls = (event for event in map(json.loads, log) if event["auditID"] in {*truth["attacker_calls"]})
        self.of = [event.get("objectRef") or {} for event in calls]
        trail = gzip.decompress((recording / "cloudtrail.json.gz").read_bytes())
        own = {*truth["cloudtrail_attacker_events"]}
        events = [event for event in json.loads(trail)["Records"] if event["eventID"] in own]
        self.in_aws = json.dumps(events)
        self.keys = {
            str(event["userIdentity"]["accessKeyId"]) for event in events if event["userIdentity"].get("accessKeyId")
        }

    def has(self, kind: str, key: str) -> bool:
        """Whether a call is about a thing: an object by its path or by a list of its namespace, a role by its name."""
        if kind == "iam_role":
            return (
                f'{key}"' in self.in_aws
                or f":{key.rpartition(':')[2].replace('role/', 'assumed-role/')}/" in self.in_aws
            )
        path = f"secrets/{key}" if kind == "secret" else key
        resource, _, rest = path.partition("/")
        namespace, _, name = rest.rpartition("/")
        named = (one for one in self.of if one.get("resource") == resource)
        return any(one.get("name", name) == name and one.get("namespace", namespace) == namespace for one in named)


def _known(truth: dict[str, Any]) -> dict[str, set[str]]:
    """Kind of target → what the truth lists as touched or exposed."""
    known = {
        kind: {_key(one) for finding in _findings(truth) for one in finding.get(listed) or []}
        for kind, listed in _LISTS.items()
    }
    for pod in truth["attacker_touched_pods"]:
        known["pod"].add(pod["uid"])
        known["node"].add(pod["node"])
        known["image"].update(pod["images"])
        known["service_account"].add(f"{pod['namespace']}/{pod['service_account']}")
        known["iam_role"].add(
            str((truth.get("pod_identity_associations") or {}).get(f"{pod['namespace']}/{pod['service_account']}"))
        )
    known["pod"].update(truth.get("injected_pods", []))
    known["identity"] = {str(one["username"]) for one in truth["attacker"]["identities"]}
    known["iam_role"] |= {str(one.get("role_or_user_arn")) for one in truth["attacker"]["identities"]}
    known["introduced"] = known["image"]
    return known


def _findings(truth: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield from {**truth["findings"], **truth.get("more_findings", {})}.values()


def _key(value: Any) -> str:
    return str(value["uid"] if isinstance(value, dict) else value)


def _of_the_attacker(truth: dict[str, Any]) -> set[tuple[str, str]]:
    """What the attacker has: credentials and objects, by the kinds of open entries."""
    found = {
        (kind, _key(one))
        for finding in _findings(truth)
        for kind in ("created", "secret", "token")
        for one in finding.get(_LISTS[kind]) or []
    }
    # A Secret of the attacker's own making is removed as an object: there is no value of yours to replace.
    found -= {("secret", key.removeprefix("secrets/")) for kind, key in found if kind == "created"}
    for one in truth["attacker"]["identities"]:
        if one.get("access_key_id"):
            found.add(("access_key", one["access_key_id"]))
        elif one.get("bound_pod"):
            found.add(("token", one["username"].removeprefix("system:serviceaccount:").replace(":", "/")))
    return found


def _count(
    made: Row,
    kind: str,
    key: str,
    actions: list[dict[str, Any]],
    entries: list[dict[str, Any]],
    left: list[dict[str, Any]],
) -> None:
    """What becomes of one thing of the attacker's: each of its open entries is asked, and an action on it where it has none."""
    own = [one for one in entries if (one["kind"], one["key"]) == (kind, key)]
    ids, at_end = {one["id"] for one in own}, {one["id"]: one for one in left}
    in_action = any(one["target"] == f"{kind}:{key}" and one["action"] != "keep_objects" for one in actions)
    open_ = [one for one in own if one["state"] != "ended"]
    acted = in_action or (bool(open_) and all(any(one["id"] in each["ends"] for each in actions) for one in open_))
    says = " ".join(f"{at_end[id_]['says']} {at_end[id_]['until'] or ''}" for id_ in sorted(ids & at_end.keys()))
    if acted:
        made.in_action += 1
    elif own and not open_:
        made.ended += 1
    elif _DATE.search(says):
        made.dated += 1
    else:
        made.unanswered.append(f"{kind} {key}")


def table(rows: Iterable[Row]) -> Iterator[str]:
    """The rows as text."""
    names = ("actions", "kit", "person", "now", "lines", "innocent", "in action", "ended", "dated", "unanswered")
    yield f"{'recording':22}" + "".join(f"{name:>11}" for name in names)
    for one in rows:
        numbers = (one.actions, one.by_kit, one.actions - one.by_kit, one.now, one.lines, len(one.innocent))
        more = (one.in_action, one.ended, one.dated, len(one.unanswered))
        yield f"{one.recording:22}" + "".join(f"{number:11}" for number in (*numbers, *more))
        yield from (f"  ! innocent: {name}" for name in one.innocent)
        yield from (f"  ! unanswered: {name}" for name in one.unanswered)


def main(arguments: Iterable[str]) -> int:
    """Print the table; 0 when nothing innocent is acted on and everything of the attackers' is answered."""
    rows = list[Row]()
    for path in [Path(one) for one in arguments] or recordings():
        with TemporaryDirectory() as folder:
            rows.append(row_of(path, cases.copied(Path(folder) / "case", path)))
    print(*table(rows), sep="\n")
    return 1 if any(one.innocent or one.unanswered for one in rows) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
