"""Whether an account and a cluster would have the evidence of an incident today: what is on, since when, and what would turn it on.

Sources: EKS User Guide "Control plane logs", "Session tags of EKS Pod Identity", "Node auto repair"; GuardDuty API, GetDetector (features);
CloudTrail User Guide "Logging data events"; VPC CNI "Network policies"; Kubernetes "Kubelet Checkpoint API" (a feature of the node's runtime).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from kit.errors import CallError
from kit.evidence.intake import Progress
from kit.inventory.network_policies import SETTINGS, Enforcer, enforcer_of
from kit.inventory.node_kind import AUTO, COMPUTE_TYPE
from kit.lenient import dict_of, dicts_of, found_at, list_of
from kit.live.collect.collection import Collection
from kit.live.collect.collection_log import CollectionLog
from kit.live.collect.requests import IN_AWS, LISTED_OBJECTS, LOG_GROUPS, THE_CLUSTER, THE_FINDING, Request
from kit.live.collect.run import Wanted, look_around, reached
from kit.live.connection import ConnectionOptions
from kit.model.command_line import Command, aws
from kit.words import utc

_YES, _NO, _CANNOT_TELL = "yes", "no", "cannot tell"


@dataclass(frozen=True)
class Readiness:
    """One source of evidence. ready: yes, no or cannot tell. needed_for: what cannot be told without it. mend: what would turn it on."""

    source: str
    ready: str
    says: str
    needed_for: str
    mend: str = ""


def check_readiness(
    folder: Path, wanted: Wanted, access: ConnectionOptions, told: Progress, tell: Callable[[str], None]
) -> list[Readiness]:
    """Ask an account and a cluster what they record, into a new folder below this one. Raises KitError."""
    live = reached(wanted, access)
    log = CollectionLog(folder / f"check-{datetime.now(UTC):%Y%m%dT%H%M%SZ}")
    try:
        live.agent = f"kit-collect/{log.run}"
        run = Collection(live, log, told)
        look_around(run, wanted, lambda _: None)
        return [*_Looks(run, wanted).rows()]
    finally:
        log.close()


class _Looks:
    """The looks at each source, with what was answered."""

    def __init__(self, run: Collection, wanted: Wanted) -> None:
        self.run, self.wanted = run, wanted

    def _asked(self, operation: str) -> list[dict[str, Any]] | None:
        """The answers to a request; None where it was refused or failed."""
        every: tuple[Request, ...] = (*IN_AWS, *LISTED_OBJECTS, *THE_FINDING, LOG_GROUPS, THE_CLUSTER)
        request = next(one for one in every if one.operation == operation)
        lines = len(self.run.log.lines)
        answers = [answer for sent in self.run.sendings(request) for answer in self.run.fetch(sent)]
        bad = any(line["status"] in ("refused", "failed") for line in self.run.log.lines[lines:] if line.get("part"))
        return None if bad else answers

    def rows(self) -> Iterator[Readiness]:
        """Each source, one after the other."""
        yield from self._control_plane_logs()
        yield from self._guardduty()
        yield from self._trails()
        yield from self._pod_identity()
        yield from self._node_groups()
        if not self.wanted.aws_only:
            yield self._network_policy()
        yield Readiness(
            "checkpoints of containers", _CANNOT_TELL, "the kubelet tells only when it is asked for one", "memory of a process"
        )  # fmt: skip

    def _control_plane_logs(self) -> Iterator[Readiness]:
        setups = dicts_of(found_at(self.run.live.described, "logging", "clusterLogging"))
        on = {name for one in setups if one.get("enabled") for name in list_of(one.get("types"))}
        groups = [one for each in self._asked("DescribeLogGroups") or () for one in dicts_of(each.get("logGroups"))]
        group = dict_of(groups[0]) if groups else {}
        made = datetime.fromtimestamp(int(group.get("creationTime") or 0) / 1000, UTC)
        days = group.get("retentionInDays")
        begin = max(made, datetime.now(UTC) - timedelta(days=int(days))) if days else made
        since = f"the log group reaches back to {utc(begin)} at most" if group else "there is no log group yet"
        kept = f", and keeps {days} days" if days else ", and keeps all"
        wanted = {"clusterLogging": [{"types": ["audit", "authenticator"], "enabled": True}]}
        mend = aws("eks", "update-cluster-config", name=self.run.values["cluster"], logging=wanted)
        for name, needed_for in (
            ("audit", "who called the API server, and what was read, made and changed"),
            ("authenticator", "which IAM principal and access key stand behind a user name"),
        ):
            ready = name in on
            says = f"{since}{kept if group else ''}" if ready else "the cluster does not write it"
            yield Readiness(f"{name} log", _YES if ready else _NO, says, needed_for, "" if ready else str(mend))

    def _guardduty(self) -> Iterator[Readiness]:
        listed = self._asked("ListDetectors")
        detectors = self.run.known.get("detectors") or []
        answers = self._asked("GetDetector") if detectors else []
        if listed is None or answers is None:
            yield Readiness("GuardDuty", _CANNOT_TELL, "it may not be asked", "findings")
            return
        detector = dict_of(answers[0]) if answers else {}
        features = {str(one.get("Name")): one for one in dicts_of(detector.get("Features"))}
        enable = aws("guardduty", "create-detector", enable=True)
        is_on = detector.get("Status") == "ENABLED"
        says = "a detector is on" if is_on else "no detector is on in this region"
        yield Readiness("GuardDuty", _YES if is_on else _NO, says, "any finding", "" if is_on else str(enable))
        for name, source, needed_for in (
            ("EKS_AUDIT_LOGS", "GuardDuty's EKS Protection", "findings about calls of the API server"),
            ("RUNTIME_MONITORING", "GuardDuty's Runtime Monitoring", "findings about processes in containers"),
        ):
            here = features.get(name) or (
                features.get("EKS_RUNTIME_MONITORING") if name == "RUNTIME_MONITORING" else None
            )
            ready = bool(here) and dict_of(here).get("Status") == "ENABLED"
            change = [{"Name": name, "Status": "ENABLED"}]
            mend = aws("guardduty", "update-detector", detector_id=str(detectors[0]), features=change) if detectors else None  # fmt: skip
            yield Readiness(source, _YES if ready else _NO, "it is on" if ready else "it is off", needed_for, "" if ready else str(mend or enable))  # fmt: skip

    def _trails(self) -> Iterator[Readiness]:
        trails, needed_for = self._asked("DescribeTrails"), "calls in AWS older than 90 days, and in other regions"
        if trails is None:
            yield Readiness("CloudTrail trail", _CANNOT_TELL, "it may not be asked", needed_for)
            return
        logging = any(one.get("IsLogging") for one in self._asked("GetTrailStatus") or ())
        lack = aws("cloudtrail", "create-trail", name="TRAIL", s3_bucket_name="BUCKET", is_multi_region_trail=True)
        says = (
            "a trail delivers" if logging else "no trail delivers; the event history has 90 days of management events"
        )
        yield Readiness("CloudTrail trail", _YES if logging else _NO, says, needed_for, "" if logging else str(lack))
        selectors = self._asked("GetEventSelectors") or []
        data = any(_selects_data(one) for one in selectors)
        names = [str(one) for one in self.run.known.get("trails", [])]
        chosen = [{"Name": "S3 objects", "FieldSelectors": [{"Field": "eventCategory", "Equals": ["Data"]}, {"Field": "resources.type", "Equals": ["AWS::S3::Object"]}]}]  # fmt: skip
        mend = aws("cloudtrail", "put-event-selectors", trail_name=names[0] if names else "TRAIL", advanced_event_selectors=chosen)  # fmt: skip
        says = (
            "a trail records them"
            if data
            else "no trail records them; the command replaces the trail's selectors: keep those that it has"
        )
        yield Readiness("CloudTrail data events", _YES if data else _NO, says, "which objects were read in S3", "" if data else str(mend))  # fmt: skip

    def _pod_identity(self) -> Iterator[Readiness]:
        listed = self._asked("ListPodIdentityAssociations")
        described = self._asked("DescribePodIdentityAssociation") if listed else []
        needed_for = "which pod a session of AWS was issued to"
        if listed is None or described is None:
            yield Readiness("Pod Identity tags", _CANNOT_TELL, "it may not be asked", needed_for)
            return
        without = [one for each in described if (one := dict_of(each.get("association"))).get("disableSessionTags")]
        for one in without:
            mend = aws("eks", "update-pod-identity-association", cluster_name=self.run.values["cluster"], association_id=str(one.get("associationId")), disable_session_tags=False)  # fmt: skip
            about = f"sessions of {one.get('namespace')}/{one.get('serviceAccount')} have no tags"
            yield Readiness("Pod Identity tags", _NO, about, needed_for, _printable(mend))
        if not without:
            says = f"all {len(described)} associations tag their sessions" if described else "there is no association"
            yield Readiness("Pod Identity tags", _YES, says, needed_for)

    def _node_groups(self) -> Iterator[Readiness]:
        listed = self._asked("ListNodegroups")
        described = self._asked("DescribeNodegroup") if listed else []
        needed_for = "a node that stays until it is captured"
        if listed is None or described is None:
            yield Readiness("node repair", _CANNOT_TELL, "it may not be asked", needed_for)
            return
        groups = [dict_of(one.get("nodegroup")) for one in described]
        on = [str(one.get("nodegroupName")) for one in groups if found_at(one, "nodeRepairConfig", "enabled")]
        says = (
            f"it is on for {', '.join(on)}: pause it while evidence is needed" if on else "it is on for no node group"
        )
        yield Readiness("node repair", _YES, says, needed_for)

    def _network_policy(self) -> Readiness:
        needed_for, listed = "isolation of a pod", self._asked("daemonsets")
        if listed is None:
            return Readiness("network policy enforcement", _CANNOT_TELL, "DaemonSets may not be listed", needed_for)
        sets = [one for each in listed for one in dicts_of(each.get("items"))]
        word, says = enforcer_of(sets, self._network_settings, self._has_auto_mode)
        if word in (Enforcer.VPC_CNI, Enforcer.OTHER):
            return Readiness("network policy enforcement", _YES, says, needed_for)
        values = {"enableNetworkPolicy": "true"}
        mend = aws("eks", "update-addon", cluster_name=self.run.values["cluster"], addon_name="vpc-cni", configuration_values=values)  # fmt: skip
        return Readiness("network policy enforcement", _NO if word is Enforcer.NOBODY else _CANNOT_TELL, says, needed_for, str(mend))  # fmt: skip

    def _network_settings(self) -> dict[str, Any] | None:
        listed = self._asked("configmaps")
        every = [] if listed is None else [one for each in listed for one in dicts_of(each.get("items"))]
        named = (
            one for one in every if tuple(found_at(one, "metadata", part) for part in ("namespace", "name")) == SETTINGS
        )
        return None if listed is None else next(named, {})

    def _has_auto_mode(self) -> bool:
        nodes = [one for each in self._asked("nodes") or () for one in dicts_of(each.get("items"))]
        return any(found_at(one, "metadata", "labels", COMPUTE_TYPE) == AUTO for one in nodes)


def _selects_data(selectors: dict[str, Any]) -> bool:
    """Whether a trail records data events: by its basic selectors or by its advanced ones."""
    basic = any(one.get("DataResources") for one in dicts_of(selectors.get("EventSelectors")))
    fields = [one for each in dicts_of(selectors.get("AdvancedEventSelectors")) for one in dicts_of(each.get("FieldSelectors"))]  # fmt: skip
    return basic or any(one.get("Field") == "eventCategory" and "Data" in list_of(one.get("Equals")) for one in fields)


def _printable(command: Command) -> str:
    if command.odd:
        raise CallError(f"{command.odd!r} is in no command", where="cluster", next="look at it in the console")
    return str(command)
