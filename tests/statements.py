"""The judge of what is said: each brief held to ground truth, log and dump. It shares nothing with the kit but its command line.

Run: make statements, or python -m tests.statements [RECORDING...]
"""

from __future__ import annotations

import gzip
import json
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.cases import planned, printed, shared
from tests.truth import recordings

ASIDE = ("came_before", "followed")
DEEDS = {
    "secret": "secrets_read", "created": "objects_created", "deleted": "objects_deleted", "changed": "objects_changed",
    "exec": "exec_into", "token": "tokens_minted",
}  # fmt: skip
MOST_ROWS, MOST_NEXT = 9, 5
ANSWERED = {
    "secrets_read": "secrets_read", "objects_deleted": "objects_deleted", "commands_run": "exec_into", "tokens_minted": "tokens_minted",
}  # fmt: skip
NEVER_SAID = re.compile(
    r"older than the window|deployed the miner|rights were gained in between|not to be trusted|not a slip|nothing .{0,20}still stands"
    r"|they read nothing|read on\b(?!ly)|no other finding shares anything|Ask this person now|not yet used|stranger|a shell on the node"
    r"|that starts shells is broken|isolate kube-system|other hands|wrote no role and no binding|\bhe\b|\bhis\b|\\x0a|\n.*\n.*\n",
    re.IGNORECASE,
)
"""Kinds of sentences that were once said without a row: of intent, of another person's call, of what no evidence has."""


@dataclass
class Judged:
    """What was judged of a recording: per topic how much was right, and what was wrong or missed."""

    name: str
    right: dict[str, int] = field(default_factory=dict)
    wrong: list[tuple[str, str]] = field(default_factory=list)

    def hold(self, topic: str, is_right: Any, says: str) -> None:
        """Count one statement of a topic."""
        if is_right:
            self.right[topic] = self.right.get(topic, 0) + 1
        else:
            self.wrong.append((topic, says))


class Facts:
    """What the truth, the log and the dump of a recording say."""

    def __init__(self, recording: Path) -> None:
        self.truth = json.loads((recording / "ground_truth.json").read_text())
        self.told = [*self.truth["findings"].values(), *self.truth.get("more_findings", {}).values()]
        self.calls, self.trail = (
            set(self.truth["attacker_calls"]),
            set(self.truth.get("cloudtrail_attacker_events") or []),
        )
        self.events = dict[str, dict[str, Any]]()
        for line in gzip.decompress((recording / "audit.jsonl.gz").read_bytes()).splitlines():
            event = json.loads(line)
            if event["auditID"] in self.calls:
                known = self.events.setdefault(event["auditID"], event)
                known["responseStatus"] = event.get("responseStatus") or known.get("responseStatus")
        self.stands = set[str]()
        self.pods = set[str]()
        for path in (recording / "cluster").glob("*.json"):
            for one in json.loads(path.read_text())["items"]:
                about = one["metadata"]
                self.stands.add("/".join(part for part in (path.stem, about.get("namespace"), about["name"]) if part))
                self.pods |= {about["uid"]} if path.stem == "pods" else set()

    def code(self, audit_id: str) -> int:
        """The status of a call of the attacker."""
        return int((self.events[audit_id].get("responseStatus") or {}).get("code") or 0)

    def gave(self, resource: str, namespace: str, name: str) -> bool:
        """Whether a call of the attacker that was let through returned an object, by its name or in a list."""
        asked = [
            event["objectRef"]
            for event in self.events.values()
            if self.code(event["auditID"]) < 400 and "objectRef" in event
        ]
        return any(
            one.get("resource") == resource
            and one.get("namespace") in (None, namespace)
            and one.get("name") in (None, name)
            for one in asked
        )

    def wrote(self, path: str) -> bool:
        """Whether a call of the attacker that was let through wrote an object (resource/namespace/name), whose name the server may have chosen."""
        for event in self.events.values():
            one = event.get("objectRef") or {}
            place = "/".join(str(one[part]) for part in ("resource", "namespace", "name") if one.get(part))
            writes = event["verb"] in ("create", "update", "patch") and self.code(event["auditID"]) < 300
            if writes and place and path.startswith(place):
                return True
        return path in self.all_of("objects_created") | self.all_of("objects_changed")

    def all_of(self, listed: str) -> set[str]:
        """What the truth lists of one kind over all findings."""
        return {value for one in self.told for value in one.get(listed) or []}


def judge(recording: Path, brief: dict[str, Any], plan: dict[str, Any], answers: dict[str, Any]) -> Judged:
    """Hold a brief and the answers with their advice to a recording."""
    facts, made = Facts(recording), Judged(recording.name if recording.name != "case" else "sample")
    _judge_counts(made, facts, brief)
    _judge_incidents(made, facts, brief)
    for incident in brief["incidents"]:
        _judge_story(made, facts, incident)
        _judge_open(made, facts, incident)
        _judge_next(made, incident, {one["id"] for one in plan["actions"]})
    _judge_deeds(made, facts, brief)
    _judge_answers(made, facts, brief, answers["answers"])
    for says in _texts_of(brief, answers):
        made.hold("kinds", not NEVER_SAID.search(says), f"a kind of sentence that no row shows: {says[:90]}")
    if facts.calls and not facts.truth.get("false_alarms"):
        effects = [step["effect"] for incident in brief["incidents"] for step in incident["next"]]
        made.hold("next", "ends access" in effects, "no next step ends access")
    return made


def _judge_counts(made: Judged, facts: Facts, brief: dict[str, Any]) -> None:
    codes = [facts.code(one) for one in facts.calls]
    wanted = {
        "calls": len(codes),
        "refused": sum(code in (401, 403) for code in codes),
        "failed": sum(code >= 400 and code not in (401, 403) for code in codes),
        "aws_calls": len(facts.trail),
    }
    for name, number in wanted.items():
        got = sum(incident["counts"][name] or 0 for incident in brief["incidents"])
        made.hold("counts", got == number, f"{name}: {got}, the truth has {number}")


def _judge_incidents(made: Judged, facts: Facts, brief: dict[str, Any]) -> None:
    parts = dict[str, set[str]]()
    for finding, name in (facts.truth.get("incidents") or {}).items():
        parts.setdefault(name or "one", set()).add(finding)
    named = {finding for part in parts.values() for finding in part}
    got = [set(incident["findings"]) & named for incident in brief["incidents"]]
    if parts:
        same = sorted(map(sorted, parts.values())) == sorted(sorted(one) for one in got if one)
        made.hold("incidents", same, f"{len(got)} incidents, the truth has {len(parts)}")
    every = [finding for incident in brief["incidents"] for finding in incident["findings"]]
    every += [one["finding"] for one in brief["no_incident"]]
    made.hold("incidents", len(every) == len(set(every)), "a finding stands in two incidents")


def _judge_story(made: Judged, facts: Facts, incident: dict[str, Any]) -> None:
    rows = incident["story"]
    aside = [row for row in rows if row["did"] in ASIDE]
    made.hold("story", 0 < len(rows) <= MOST_ROWS, f"{len(rows)} rows")
    made.hold("story", len(aside) * 2 <= max(2, len(rows)), f"{len(aside)} of {len(rows)} rows aside")
    made.hold("story", len({row["says"] for row in rows}) == len(rows), "two rows say the same")
    for row in rows:
        for kind, key in (ref.split("#")[0].split(":", 1) for ref in row["refs"] if row["did"] not in ASIDE):
            wanted = {"audit": facts.calls, "trail": facts.trail}.get(kind)
            made.hold("story", wanted is None or key in wanted, f"cites another's call: {row['says'][:80]}")
        made.hold("story", row["says"] and row["refs"], f"a row without words or refs: {row['says'][:80]}")
        made.hold(
            "story",
            not row["at"] or not row["until"] or row["at"] <= row["until"],
            f"ends before it begins: {row['says'][:80]}",
        )
        _judge_words(made, facts, row)
    cited = [ref for row in rows if row["did"] not in ASIDE for ref in row["refs"]]
    made.hold("story", len(cited) == len(set(cited)), "a call stands in two rows")
    times = [row["at"] for row in rows if row["at"]]
    made.hold("story", times == sorted(times), "rows are out of order")


def _judge_words(made: Judged, facts: Facts, row: dict[str, Any]) -> None:
    """Addresses, names of secrets and words of refusal in a row are those of its calls."""
    if row["did"] in ASIDE:
        return
    events = [facts.events[ref[6:]] for ref in row["refs"] if ref.startswith("audit:") and ref[6:] in facts.events]
    codes = {facts.code(event["auditID"]) for event in events}
    if "was refused:" in row["says"]:
        made.hold("words", codes & {401, 403}, f"nothing was refused: {row['says'][:80]}")
    if "failed:" in row["says"]:
        made.hold(
            "words",
            any(code >= 400 and code not in (401, 403) for code in codes),
            f"nothing failed: {row['says'][:80]}",
        )
    if row["as"]:
        as_who = {(event.get("impersonatedUser") or {}).get("username") for event in events}
        made.hold("words", row["as"] in as_who, f"nobody acted as {row['as']}")
    addresses = {address for event in events for address in event.get("sourceIPs") or []}
    said = set(re.findall(r"from (\d+\.\d+\.\d+\.\d+)", row["says"]))
    if events and not any(ref.startswith("trail:") for ref in row["refs"]):
        made.hold("words", said <= addresses, f"another address: {row['says'][:80]}")
    users = {event["user"]["username"] for event in events}
    made.hold("words", not events or users & set(row["who"].split(", ")), f"another caller: {row['says'][:80]}")


def _judge_deeds(made: Judged, facts: Facts, brief: dict[str, Any]) -> None:
    told = {
        (one["kind"], one["key"])
        for incident in brief["incidents"]
        for row in incident["story"]
        for one in row["objects"]
    }
    for kind, listed in DEEDS.items():
        for value in facts.all_of(listed):
            made.hold("story recall", (kind, value) in told, f"the story misses {kind} {value}")
    named = {key for kind, key in told if kind in ("secret", "token", "exec", "deleted")}
    true = {value for listed in DEEDS.values() for value in facts.all_of(listed)}
    asked = [
        event["objectRef"]
        for event in facts.events.values()
        if facts.code(event["auditID"]) < 400 and "objectRef" in event
    ]
    for key in sorted(named - true):
        namespace, _, name = key.rpartition("/")
        fits = any(
            one.get("namespace") in (None, namespace.rpartition("/")[2]) and one.get("name") in (None, name)
            for one in asked
        )
        made.hold("story", fits, f"the story names {key}, which neither the truth nor a call has")


def _judge_open(made: Judged, facts: Facts, incident: dict[str, Any]) -> None:
    entries = incident["open"]
    made.hold("open", len({one["id"] for one in entries}) == len(entries), "two entries have one id")
    of_incident = {*incident["findings"]}
    for one in entries:
        made.hold(
            "open",
            one["key"] and one["refs"] and one["says"],
            f"an entry without key, refs or words: {one['says'][:80]}",
        )
        if one["kind"] == "created":
            stands = one["key"] in facts.stands
            made.hold(
                "open",
                one["state"] != ("ended" if stands else "usable"),
                f"{one['key']} is {one['state']}; in the dump: {stands}",
            )
        made.hold("open", one["state"] in ("usable", "ended", "cannot tell"), f"state {one['state']}")
    keys = {one["key"] for one in entries}
    told = [value for finding, value in _told(facts) if finding in of_incident]
    for value in sorted({each for one in told for each in one.get("tokens_minted") or []}):
        made.hold("open recall", value in keys, f"the open list misses the token of {value}")
    for value in sorted({each for one in told for each in one.get("objects_created") or []} & facts.stands):
        made.hold("open recall", value in keys, f"the open list misses {value}, which stands")
    for value in sorted({each for one in told for each in one.get("secrets_read") or []}):
        made.hold("open recall", value in keys or f"secrets/{value}" in keys, f"the open list misses secret {value}")
    _judge_tokens(made, facts, entries)


def _told(facts: Facts) -> Iterator[tuple[str, dict[str, Any]]]:
    yield from facts.truth["findings"].items()
    yield from facts.truth.get("more_findings", {}).items()


def _judge_tokens(made: Judged, facts: Facts, entries: list[dict[str, Any]]) -> None:
    """A token that was used is bound to what its uses say: gone with that pod, or usable."""
    issued = dict[str, str]()
    for audit_id, event in facts.events.items():
        key = (event.get("annotations") or {}).get("authentication.kubernetes.io/issued-credential-id")
        if key:
            issued[f"audit:{audit_id}"] = key
    for one in (entry for entry in entries if entry["kind"] == "token" and entry["refs"][0] in issued):
        bound, used = set[str](), False
        for event in facts.events.values():
            extra = event["user"].get("extra") or {}
            if issued[one["refs"][0]] in (extra.get("authentication.kubernetes.io/credential-id") or []):
                used = True
                bound |= set(extra.get("authentication.kubernetes.io/pod-uid") or [])
        if used:
            usable = not bound or bool(bound & facts.pods)
            made.hold(
                "open", one["state"] == ("usable" if usable else "ended"), f"token of {one['key']} is {one['state']}"
            )


def _judge_answers(made: Judged, facts: Facts, brief: dict[str, Any], answers: list[dict[str, Any]]) -> None:
    """Each question once an incident; what an answer counts is in the truth; advice is said where its condition holds, else asked."""
    parts = {one["id"]: set(one["findings"]) for one in brief["incidents"]}
    places = [(one["incident"], one["question"]) for one in answers]
    made.hold("answers", len(places) == len(set(places)), "a question is answered twice for one incident")
    made.hold("answers", {one["incident"] for one in answers} == set(parts), "an incident without answers")
    usable = {entry["key"] for one in brief["incidents"] for entry in one["open"] if entry["state"] == "usable"}
    for one in answers:
        where = f"{one['question']}: {one['says'][:70]}"
        advice = one["advice"]
        made.hold("answers", set(one["findings"]) <= parts[one["incident"]], f"for another incident's finding: {where}")
        made.hold("advice", one["next_step"] == (advice and advice["says"]), f"next_step is another sentence: {where}")
        if advice:
            hedged = "?" in advice["says"] or re.search(r"\b[Ii]f\b", advice["says"])
            made.hold("advice", advice["holds"] in (True, None), f"advice that does not hold is said: {where}")
            made.hold(
                "advice",
                advice["holds"] is True or hedged,
                f"no row decides it, and it is no question: {advice['says'][:80]}",
            )
            _judge_advice(made, facts, one, advice["says"], usable)
    _judge_verdicts(made, facts, parts, answers)


def _judge_advice(made: Judged, facts: Facts, one: dict[str, Any], says: str, usable: set[str]) -> None:
    """What an advice tells to stop, remove, rotate or treat as compromised is what the truth, the log or the dump shows to be so."""
    paths = set(re.findall(r"(?<![\w/-])[a-z][a-z0-9-]*/[a-z0-9:.-]+(?:/[A-Za-z0-9:._-]*[A-Za-z0-9])?", says))
    if says.startswith(("Remove ", "Contain, capture and then delete ")):
        gone = {path for path in paths & facts.all_of("objects_created") if path not in facts.stands}
        made.hold("advice", not gone, f"to be removed, and gone: {sorted(gone)}")
        others = {path for path in paths if path.partition("/")[0].endswith("s") and not facts.wrote(path)}
        made.hold("advice", not others, f"to be removed, and not written by the attacker: {sorted(others)}")
        made.hold("advice", "aws-auth" not in says, f"aws-auth as a whole is removed: {says[:80]}")
    if says.startswith("Rotate "):
        named = {path for path in paths if path.count("/") == 1}
        unread = {name for name in named - facts.all_of("secrets_read") if not facts.gave("secrets", *name.split("/"))}
        made.hold("advice", not unread, f"to be rotated, and not read: {sorted(unread)}")
    if says.startswith("Look at what ") and says.endswith("The object is gone."):
        made.hold("advice", not paths & facts.stands, f"said to be gone, and stands: {sorted(paths & facts.stands)}")
    if says.startswith("Treat ") and "compromised: " in says:
        users = {str(event["user"]["username"]) for event in facts.events.values()}
        made.hold(
            "advice",
            any(f"system:node:{node}" in users for node in re.findall(r"ip-[\w.-]+\w", says)),
            f"no call has the node's credential: {says[:80]}",
        )
    if says.startswith("End the token of "):
        named = {path for path in paths if path.count("/") == 1}
        made.hold("advice", named <= usable, f"to be ended, and not usable: {sorted(named)}")
    if says.startswith(("Deactivate ", "End the sessions ")):
        keys = set(re.findall(r"A[KS]IA[A-Z0-9]+", says))
        row_keys = {row.get("Access key") for row in one["rows"]}
        made.hold("advice", keys <= row_keys, f"a key of no row: {sorted(keys - row_keys)}")


def _judge_verdicts(made: Judged, facts: Facts, parts: dict[str, set[str]], answers: list[dict[str, Any]]) -> None:
    """No "not observed" beside what the truth has; permissions, impersonation and joined findings are told."""
    by_place = {(one["incident"], one["question"]): one for one in answers}
    mapped = "configmaps/kube-system/aws-auth" in facts.all_of("objects_changed")
    acted = {
        (str(event["user"]["username"]), str((event.get("impersonatedUser") or {}).get("username")))
        for event in facts.events.values()
        if event.get("impersonatedUser")
    }
    said = {question: [one for (_, name), one in by_place.items() if name == question] for _, question in by_place}
    if mapped:
        words = [one["verdict"] for one in said.get("permissions_given", [])]
        made.hold("answers", "observed" in words, "aws-auth was changed, and no permission is told")
    for user, name in acted:
        told = any(f"{user} as {name}" in one["says"] for one in said.get("impersonated", []))
        made.hold("answers", told, f"{user} called as {name}, and no answer tells it")
    for question, listed in ANSWERED.items():
        if facts.all_of(listed) and said.get(question):
            made.hold("answers", any(one["verdict"] == "observed" for one in said[question]), f"{question} is denied")
        if not facts.all_of(listed):
            wrong = [
                one
                for one in said.get(question, [])
                if one["verdict"] == "observed" and one["rows"] and question != "tokens_minted"
            ]
            made.hold("answers", not wrong, f"{question} is observed, and the truth has none")
    for (incident, question), one in by_place.items():
        if question == "belongs_together":
            ids = {row["Id"] for row in one["rows"]}
            made.hold(
                "answers",
                len(ids) == len(parts[incident]) - 1 and ids < parts[incident],
                f"other findings than the incident's: {sorted(ids)}",
            )


def _texts_of(brief: dict[str, Any], answers: dict[str, Any]) -> Iterator[str]:
    """All that is said in words."""
    for one in brief["incidents"]:
        yield one["way_in"]["says"]
        for listed in ("story", "undecided", "open", "next", "expected_if", "at_risk", "cannot_tell"):
            yield from (each["says"] for each in one[listed])
    for answer in [*answers["answers"], *(each for one in answers["findings"] for each in one["answers"])]:
        yield from (text for text in (answer["says"], answer["next_step"]) if text)


def _judge_next(made: Judged, incident: dict[str, Any], planned: set[str]) -> None:
    steps = incident["next"]
    made.hold("next", 0 < len(steps) <= MOST_NEXT, f"{len(steps)} next steps")
    for step in steps:
        made.hold("next", set(step["actions"]) <= planned, f"an action that the plan has not: {step['says'][:80]}")
        made.hold("next", step["actions"] or step["by"] == "person", f"nobody does it: {step['says'][:80]}")
    for one in incident["open"]:
        made.hold("open", set(one["ends_by"]) <= planned, f"ended by what the plan has not: {one['says'][:80]}")


def judged(recording: Path) -> Judged:
    """Make a case of a recording without its truth, and judge its brief."""
    case = shared(recording)
    return judge(recording, printed("brief", of=case), plan_of(recording), printed("answers", of=case))


def plan_of(recording: Path) -> dict[str, Any]:
    """The plan of a recording."""
    made: dict[str, Any] = planned(recording)
    return made


def main(arguments: Iterable[str]) -> int:
    """Print precision and recall of statements, story and open list; 0 when everything is right."""
    every = [judged(path) for path in [Path(argument) for argument in arguments] or recordings()]
    for made in every:
        print(f"{made.name}: {sum(made.right.values())} right, {len(made.wrong)} wrong or missed")
        for topic, says in made.wrong[:30]:
            print(f"  ! {topic}: {says}")
    topics = sorted({topic for made in every for topic in (*made.right, *(topic for topic, _ in made.wrong))})
    for topic in topics:
        right = sum(made.right.get(topic, 0) for made in every)
        wrong = sum(1 for made in every for one, _ in made.wrong if one == topic)
        print(f"{topic:14} {right / (right + wrong):.3f}  ({right} of {right + wrong})")
    return int(any(made.wrong for made in every))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
