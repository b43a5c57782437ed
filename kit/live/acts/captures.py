"""What is kept of a node before it ends: snapshots of its volumes, its console, a malware scan."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

from kit.actions.nodes import LOCKED_DAYS
from kit.live.acts.act import DOES_NOT_HOLD, HOLDS, Check, all_hold
from kit.live.acts.machine import Machine, arn_of, living_machine, machine_of, tags_of
from kit.live.changes.aws_change import AwsCall, AwsChange, send
from kit.live.changes.change import Change, State
from kit.live.changes.instance_change import SnapshotVolumes
from kit.live.connection import Connection
from kit.live.errors import Failed, Refused
from kit.plan.plan import PlannedAction
from kit.questions.verdict import CANNOT_TELL

SNAPSHOT_SECONDS = 60
"""How long one run waits for snapshots."""
SCAN_SECONDS = 30
"""How long one run waits for a scan, which takes minutes to hours."""
_PAUSE = 5  # s


def _snapshots(live: Connection, planned: PlannedAction, action: str) -> list[dict[str, Any]]:
    return _snapshots_of(live, planned.parameters.get("instance_id"), action)


def _snapshots_of(live: Connection, id_: str | None, action: str) -> list[dict[str, Any]]:
    """The snapshots of the last try of an action; of the planned instance alone where it is known, as names of nodes come again.

    Those that a person made have no token: they count as one try."""
    filters = [{"Name": "tag:kit-action", "Values": [action]}]
    tries = dict[str, list[dict[str, Any]]]()
    for one in live.pages("ec2", "describe_snapshots", "Snapshots", OwnerIds=["self"], Filters=filters):
        tags = tags_of(one)
        if not id_ or tags.get("kit-instance", id_) == id_:
            tries.setdefault(tags.get("kit-token", ""), []).append(one)
    return max(tries.values(), key=lambda every: max(str(one["StartTime"]) for one in every), default=[])


def to_snapshot(live: Connection, planned: PlannedAction) -> list[Change]:
    """The snapshots of all volumes of the node's instance."""
    machine = living_machine(live, planned)
    return [
        SnapshotVolumes(machine.id, machine.volumes(), planned.id, uuid.uuid4().hex, planned.parameters.get("case"))
    ]


def cannot_snapshot(live: Connection, planned: PlannedAction) -> str:
    """Why no snapshot can be made; "" where one can."""
    try:
        machine = living_machine(live, planned)
    except Refused:
        if are_started(live, planned).word == HOLDS:
            return ""
        raise
    return "" if machine.volumes() else "the instance has no EBS volumes: what is on its instance store goes with it"


def are_started(live: Connection, planned: PlannedAction) -> Check:
    """Whether the snapshots of this action were started."""
    return _snapshot_check(_snapshots(live, planned, planned.id), planned.id, pending=HOLDS)


def _snapshot_check(found: list[dict[str, Any]], action: str, pending: str) -> Check:
    """Whether there is a good snapshot of each volume; how many there were stands in a tag of each."""
    wanted = max((int(tags_of(one).get("kit-volumes") or 1) for one in found), default=1)
    there = len({one["VolumeId"] for one in found})
    names = ", ".join(f"{one['SnapshotId']} of {one['VolumeId']}" for one in found)
    broken = [one["SnapshotId"] for one in found if one["State"] == "error"]
    if not found:
        return Check(DOES_NOT_HOLD, f"no snapshot is tagged kit-action={action}")
    if broken:
        return Check(DOES_NOT_HOLD, f"EC2 could not make {', '.join(broken)}")
    if there < wanted:
        return Check(
            DOES_NOT_HOLD, f"there are snapshots of {there} of {wanted} volumes: {names}; somebody deleted one"
        )
    if any(one["State"] != "completed" for one in found):
        return Check(pending, f"started: {names}; EC2 copies the volumes' content meanwhile")
    return Check(HOLDS, f"completed: {names}")


def _of_all(live: Connection, planned: PlannedAction, pending: str) -> tuple[list[dict[str, Any]], Check]:
    """The snapshots of the actions that a plan waits for, and the first check that does not hold."""
    every, checks = list[dict[str, Any]](), list[Check]()
    for action in planned.parameters["of"]:
        found = _snapshots(live, planned, action)
        every += found
        checks.append(_snapshot_check(found, action, pending))
    bad = [one for one in checks if one.word != HOLDS]
    if bad:
        return every, bad[0]
    return every, Check(HOLDS, "; ".join(one.says for one in checks) or "no snapshot was planned")


def snapshots_finished(live: Connection, planned: PlannedAction) -> Iterator[tuple[str, bytes]]:
    """Waits a while for the snapshots, then keeps their description. Raises Failed while one is not completed."""
    until = time.monotonic() + SNAPSHOT_SECONDS
    while True:
        found, check = _of_all(live, planned, CANNOT_TELL)
        if check.word == DOES_NOT_HOLD:
            raise Failed(check.says)
        left = [one for one in found if one["State"] != "completed"]
        if not left:
            break
        if time.monotonic() >= until:
            says = ", ".join(
                f"snapshot {one['SnapshotId']} is {one['State']}, {one.get('Progress') or '0%'}" for one in left
            )
            raise Failed(f"{says.replace('%', ' %')}; run the same command again")
        time.sleep(_PAUSE)
    yield "snapshots.json", json.dumps(found, indent=2, default=str).encode()


def are_finished(live: Connection, planned: PlannedAction) -> Check:
    """Whether all of the node's snapshots are finished."""
    return _of_all(live, planned, DOES_NOT_HOLD)[1]


@dataclass(frozen=True)
class LockSnapshots(AwsChange):
    """The snapshots of some planned actions locked in governance mode. instance: theirs, where names of nodes come again."""

    service: ClassVar[str] = "ec2"

    actions: list[str]
    instance: str | None
    days: int

    @property
    def says(self) -> str:
        return f"lock the snapshots of {', '.join(self.actions)} for {self.days} days (governance mode)"

    def look(self, live: Connection) -> State:
        ids = sorted(one["SnapshotId"] for action in self.actions for one in _snapshots_of(live, self.instance, action))
        locked = live.pages("ec2", "describe_locked_snapshots", "Snapshots", SnapshotIds=ids) if ids else []
        states = {one["SnapshotId"]: one["LockState"] for one in locked if one["LockState"] != "expired"}
        return {"locks": {id_: states.get(id_, "") for id_ in ids}}

    def refuses(self, state: State) -> str:
        return ""

    def holds(self, state: State) -> bool:
        return state is not None and bool(state["locks"]) and all(state["locks"].values())

    def is_as_before(self, before: State, now: State) -> bool:
        """A run that was cut off between two snapshots goes on with the second: a lock that is there is left."""
        return before is not None and now is not None and before["locks"].keys() == now["locks"].keys()

    def is_restored(self, before: State, now: State) -> bool:
        """The snapshots are the kit's own: whichever of them a run that was cut off had locked, none is left locked."""
        return now is not None and "governance" not in now["locks"].values()

    def is_partly_restored(self, before: State, now: State) -> bool:
        return self.is_as_before(before, now)

    def _lock(self, id_: str) -> AwsCall:
        return "lock_snapshot", {"SnapshotId": id_, "LockMode": "governance", "LockDuration": self.days}

    def dry_run(self, live: Connection, state: State) -> str:
        open_ = [id_ for id_, lock in (state or {})["locks"].items() if not lock]
        if not open_:
            return "none is there yet: they are locked once they are started"
        return [live.dry_run(call[0], **call[1]) for call in map(self._lock, open_)][-1]

    def do(self, live: Connection, state: State) -> str:
        request, locks = "", (state or {})["locks"]
        if not locks:
            raise Failed(f"there is no snapshot of {', '.join(self.actions)} to lock")
        for id_ in (id_ for id_, lock in locks.items() if not lock):
            request = send(live, "ec2", self._lock(id_))
        return request

    def undo(self, live: Connection, before: State, after: State) -> str:
        request, now = "", (self.look(live) or {})["locks"]
        for id_ in (id_ for id_, lock in now.items() if lock == "governance"):
            request = send(live, "ec2", ("unlock_snapshot", {"SnapshotId": id_}))
        return request


def to_lock(live: Connection, planned: PlannedAction) -> list[Change]:
    """The lock of the snapshots that were started."""
    return [LockSnapshots(list(planned.parameters["of"]), planned.parameters.get("instance_id"), LOCKED_DAYS)]


def are_locked(live: Connection, planned: PlannedAction) -> Check:
    """Whether each snapshot is locked."""
    return all_hold(live, to_lock(live, planned), f"every snapshot is locked for {LOCKED_DAYS} days from its lock on")


@dataclass(frozen=True)
class ShareSnapshots(AwsChange):
    """The snapshots of some planned actions shared with another account. instance: theirs, where names of nodes come again."""

    service: ClassVar[str] = "ec2"

    actions: list[str]
    instance: str | None
    account: str

    @property
    def says(self) -> str:
        return f"share the snapshots of {', '.join(self.actions)} with account {self.account}"

    def look(self, live: Connection) -> State:
        shared, unshareable = dict[str, bool](), list[str]()
        for snapshot in (one for action in self.actions for one in _snapshots_of(live, self.instance, action)):
            asked = {"SnapshotId": snapshot["SnapshotId"], "Attribute": "createVolumePermission"}
            given = live.read("ec2", "describe_snapshot_attribute", **asked).get("CreateVolumePermissions") or []
            shared[snapshot["SnapshotId"]] = any(one.get("UserId") == self.account for one in given)
            if snapshot.get("Encrypted") and _is_of_aws(live, snapshot.get("KmsKeyId")):
                unshareable.append(snapshot["SnapshotId"])
        return {"shared": dict(sorted(shared.items())), "unshareable": sorted(unshareable)}

    def refuses(self, state: State) -> str:
        if not state or not state["unshareable"]:
            return ""
        return f"{', '.join(state['unshareable'])}: under the default key of EBS, which no other account can use. Copy it first: aws ec2 copy-snapshot --encrypted --kms-key-id KEY, a key of your own that account {self.account} may use, then share the copy"

    def holds(self, state: State) -> bool:
        return state is not None and bool(state["shared"]) and all(state["shared"].values())

    def is_as_before(self, before: State, now: State) -> bool:
        """A run that was cut off between two snapshots goes on with the second."""
        return before is not None and now is not None and before["shared"].keys() == now["shared"].keys()

    def is_restored(self, before: State, now: State) -> bool:
        """The snapshots are the kit's own: whichever of them a run that was cut off had shared, none is left shared."""
        return now is not None and not any(now["shared"].values())

    def is_partly_restored(self, before: State, now: State) -> bool:
        return self.is_as_before(before, now)

    def _change(self, id_: str, doing: str) -> AwsCall:
        asked = {"SnapshotId": id_, "Attribute": "createVolumePermission", "OperationType": doing}
        return "modify_snapshot_attribute", asked | {"UserIds": [self.account]}

    def dry_run(self, live: Connection, state: State) -> str:
        open_ = [id_ for id_, is_shared in (state or {})["shared"].items() if not is_shared]
        if not open_:
            return "none is there yet: they are shared once they are done"
        return [live.dry_run(call[0], **call[1]) for call in (self._change(id_, "add") for id_ in open_)][-1]

    def do(self, live: Connection, state: State) -> str:
        request, shared = "", (state or {})["shared"]
        if not shared:
            raise Failed(f"there is no snapshot of {', '.join(self.actions)} to share")
        for id_ in (id_ for id_, is_shared in shared.items() if not is_shared):
            request = send(live, "ec2", self._change(id_, "add"))
        return request

    def undo(self, live: Connection, before: State, after: State) -> str:
        request, now = "", (self.look(live) or {})["shared"]
        for id_ in (id_ for id_, is_shared in now.items() if is_shared):
            request = send(live, "ec2", self._change(id_, "remove"))
        return request


def _is_of_aws(live: Connection, key: str | None) -> bool:
    """Whether a key is the account's default one for EBS, which AWS manages (EBS User Guide, "Share an encrypted snapshot")."""
    if not key:
        return True
    return bool(live.read("kms", "describe_key", KeyId=key)["KeyMetadata"].get("KeyManager") == "AWS")


def to_share(live: Connection, planned: PlannedAction) -> list[Change]:
    """The sharing of the snapshots that were taken."""
    known = planned.parameters
    return [ShareSnapshots(list(known["of"]), known.get("instance_id"), str(known["evidence_account"]))]


def are_shared(live: Connection, planned: PlannedAction) -> Check:
    """Whether each snapshot is shared with the account that keeps the evidence."""
    says = f"every snapshot is shared with account {planned.parameters['evidence_account']}; the copies are made there"
    return all_hold(live, to_share(live, planned), says)


def _console(live: Connection, machine: Machine) -> str:
    """The console's output; --latest works on Nitro instances alone (EC2 API reference, GetConsoleOutput)."""
    try:
        found = live.read("ec2", "get_console_output", InstanceId=machine.id, Latest=True)
    except Failed as error:
        if error.code != "UnsupportedOperation":
            raise
        found = live.read("ec2", "get_console_output", InstanceId=machine.id)
    return str(found.get("Output") or "")


def node_captured(live: Connection, planned: PlannedAction) -> Iterator[tuple[str, bytes]]:
    """The console output and the description of the instance, as files."""
    machine = machine_of(live, planned)
    yield f"{machine.id}.console.txt", _console(live, machine).encode()
    yield f"{machine.id}.json", json.dumps(machine.instance, indent=2, default=str).encode()


def is_captured(live: Connection, planned: PlannedAction) -> Check:
    """Whether there was any console output to keep."""
    size = len(_console(live, machine_of(live, planned)).encode())
    if not size:
        return Check(CANNOT_TELL, "EC2 has no console output of the instance; memory is for a person")
    return Check(HOLDS, f"console output kept, {size} bytes; memory is for a person")


@dataclass(frozen=True)
class ScanInstance(AwsChange):
    """A malware scan of an instance's volumes by GuardDuty. since: ISO 8601; a scan that was started after it counts as this one, as
    GuardDuty takes no second one within an hour."""

    service: ClassVar[str] = "guardduty"
    cannot_undo: ClassVar[str] = "a scan that was started is not stopped; it changes nothing"

    arn: str
    token: str
    since: str

    @property
    def says(self) -> str:
        return f"start a GuardDuty malware scan of {self.arn}"

    def scans(self, live: Connection) -> list[tuple[str, str, str]]:
        """The instance's scans since then: id, status, when it was started."""
        by_arn = {
            "ListMalwareScansCriterionKey": "RESOURCE_ARN",
            "FilterCondition": {"EqualsValue": self.arn},
        }
        asked = {"ListMalwareScansFilterCriterion": [by_arn]}
        found = live.pages("guardduty", "list_malware_scans", "Scans", FilterCriteria=asked)
        return [
            (str(one["ScanId"]), str(one["ScanStatus"]), one["ScanStartedAt"].isoformat())
            for one in found
            if one["ResourceArn"] == self.arn
            and one.get("ScanStartedAt")
            and one["ScanStartedAt"] >= datetime.fromisoformat(self.since)
        ]

    def look(self, live: Connection) -> State:
        return {"scans": {id_: status for id_, status, _ in self.scans(live)}}

    def holds(self, state: State) -> bool:
        return state is not None and any(status not in ("FAILED", "SKIPPED") for status in state["scans"].values())

    def call(self, state: State) -> AwsCall:
        return "start_malware_scan", {"ResourceArn": self.arn, "ClientToken": self.token}


def node_scan(live: Connection, planned: PlannedAction) -> list[Change]:
    """A malware scan of the instance by GuardDuty."""
    since = datetime.now(UTC) - timedelta(hours=1)
    token = f"{planned.id}-{since:%Y%m%dT%H%M%S}"[-64:]
    return [ScanInstance(living_machine(live, planned).arn(live), token, since.isoformat())]


def _last_scan(live: Connection, planned: PlannedAction) -> tuple[str, str]:
    """The last scan of the instance and its status; empty where there is none."""
    id_ = planned.parameters.get("instance_id") or machine_of(live, planned).id
    ever = ScanInstance(arn_of(live, id_), "", datetime.fromtimestamp(0, UTC).isoformat())
    return max(ever.scans(live), key=lambda one: one[2], default=("", "", ""))[:2]


def node_scanned(live: Connection, planned: PlannedAction) -> Iterator[tuple[str, bytes]]:
    """Waits a while for the scan, as what ends the instance comes after it. Raises Failed while it runs."""
    until = time.monotonic() + SCAN_SECONDS
    while (scan := _last_scan(live, planned))[1] == "RUNNING":
        if time.monotonic() >= until:
            raise Failed(f"GuardDuty still scans the instance ({scan[0]}); run the same command again")
        time.sleep(_PAUSE)
    yield "scan.json", json.dumps({"scan": scan[0], "status": scan[1]}).encode()


def is_scanned(live: Connection, planned: PlannedAction) -> Check:
    """How the scan of the instance ended."""
    scan, status = _last_scan(live, planned)
    says = f"scan {scan} is {status}" if scan else "there is no scan of the instance"
    if status.startswith("COMPLETED"):
        return Check(HOLDS, f"{says}; a finding tells what it found")
    return Check(CANNOT_TELL if status == "RUNNING" else DOES_NOT_HOLD, says)
