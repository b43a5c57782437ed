"""What `kit collect` does: whom and where it asks, the finding, its window, and then all requests of the kinds that are wanted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kit.errors import CallError, EvidenceError
from kit.lenient import dict_of, dicts_of, list_of, member, time_of
from kit.live.collect.bucket_logs import bucket_folder, size_of
from kit.live.collect.collection import Collection
from kit.live.collect.collection_log import ARRIVED, CollectionLog
from kit.live.collect.estimate import ASK_ABOVE, Estimate, estimate_of
from kit.live.collect.requests import (
    EVENTS,
    IN_AWS,
    KINDS_OF_EVIDENCE,
    LATEST,
    LISTED_OBJECTS,
    LOG_FILE,
    LOG_FILES,
    LOG_GROUPS,
    NETWORK,
    ON_DEMAND,
    SECRETS,
    SEQUENCE_FINDINGS,
    SEQUENCES,
    THE_CLUSTER,
    THE_FINDING,
    Request,
    asked_for,
)
from kit.live.connection import Connection, ConnectionOptions
from kit.live.place import place_checked
from kit.model.arn import partition_of
from kit.model.finding import Finding, finding_of
from kit.model.window import Window, checked_window
from kit.words import Names, iso, nearest, utc

if TYPE_CHECKING:
    from kit.evidence.intake import Progress

FIRST_KINDS = ("findings", "events", "container_logs", "objects", "audit", "authenticator", "eks")
"""The kinds of a first pass, which give a brief: what vanishes first, and who called."""
_BEFORE, _AFTER = timedelta(hours=1), timedelta(hours=6)
_SLICE, _DAY = timedelta(hours=1), timedelta(days=1)
_PODS = next(one for one in LISTED_OBJECTS if one.operation == "pods")
_REST = tuple(one for one in LISTED_OBJECTS if one is not _PODS)


@dataclass(frozen=True)
class Wanted:
    """What is to be collected. finding: its id, `latest`, or "" where a window is given. pods, principals: more to ask about, from a case.

    estimate_only: nothing but how much it would be. agreed: logs of any size are fetched without a question.
    logs_from: s3://BUCKET/PREFIX, where the control plane's logs lie that are taken in place of CloudWatch Logs'.
    """

    cluster: str
    region: str = ""
    finding: str = ""
    start: str = ""
    end: str = ""
    kinds: Names = ()
    secrets: bool = False
    aws_only: bool = False
    estimate_only: bool = False
    agreed: bool = False
    pods: tuple[tuple[str, str], ...] = ()
    principals: Names = ()
    logs_from: str = ""


@dataclass
class Arrived:
    """What came of one kind of evidence. refused: the permissions to ask for. failed: what was said."""

    kind: str
    answers: int = 0
    empty: int = 0
    bytes: int = 0
    refused: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)

    @property
    def gone(self) -> str:
        """When evidence of this kind is gone."""
        return KINDS_OF_EVIDENCE[self.kind]


@dataclass
class Gathered:
    """What a collection has: by kinds of evidence, and the finding that it settled on."""

    kinds: list[Arrived] = field(default_factory=list)
    finding: str = ""
    estimate: Estimate | None = None

    @property
    def answers(self) -> int:
        """How many answers there are."""
        return sum(one.answers for one in self.kinds)

    @property
    def misses_some(self) -> bool:
        """Whether something was refused or failed."""
        return any(one.refused or one.failed for one in self.kinds)


def collect(
    folder: Path, wanted: Wanted, access: ConnectionOptions, told: Progress, tell: Callable[[str], None]
) -> Gathered:
    """Collect into a folder what is wanted and is not there yet. Raises KitError; what came until then stays."""
    kinds = _checked_kinds(wanted.kinds, wanted.secrets)
    begin, end = checked_window(wanted.start, wanted.end)
    folders = [bucket_folder(wanted.logs_from)] if wanted.logs_from else []
    if not wanted.finding and not (begin and end):
        raise CallError(
            "neither a finding nor a window is given",
            where="finding, start, end",
            next="give --finding ID or --finding latest, or --start and --end",
        )
    live = reached(wanted, access)
    log = CollectionLog(folder)
    try:
        live.agent = f"kit-collect/{log.run}"
        run = Collection(live, log, told)
        look_around(run, wanted, tell)
        finding, window = _settle(run, wanted, begin, end)
        tell(f"Evidence from {utc(window.start)} to {utc(window.end)}, into {folder}")
        _name(run, window, wanted)
        run.known["log_folders"] = folders
        estimate = _estimated(run, kinds, window, wanted, tell)
        if not wanted.estimate_only:
            _send(run, kinds, finding, wanted)
        return Gathered(arrived_by_kind(log), finding.id if finding else "", estimate)
    finally:
        log.close()


def _checked_kinds(given: Names, secrets: bool) -> set[str]:
    for kind in given:
        if kind not in KINDS_OF_EVIDENCE:
            raise CallError(
                f"{kind!r} is no kind of evidence", where="kinds", next=nearest(kind, list(KINDS_OF_EVIDENCE))
            )
    return set(given) or set(KINDS_OF_EVIDENCE) - (ON_DEMAND - ({"secrets"} if secrets else set()))


def reached(wanted: Wanted, access: ConnectionOptions) -> Connection:
    """A connection to the account of the credentials. Raises CallError without a region."""
    live = Connection(
        None,
        wanted.region or None,
        wanted.cluster,
        profile=access.profile,
        kubeconfig=access.kubeconfig,
        context=access.context,
    )
    live.region = live.own_region
    if not live.region:
        raise CallError("no region is given", where="region", next="name it with --region, or set AWS_REGION")
    return live


def look_around(run: Collection, wanted: Wanted, tell: Callable[[str], None]) -> None:
    """Who asks, and whether kubeconfig and credentials are for the cluster."""
    live = run.live
    live.account = str(live.identity["Account"])
    run.values |= {
        "account": live.account,
        "region": live.region,
        "cluster": wanted.cluster,
        "partition": partition_of(live.caller),
        "log_group": f"/aws/eks/{wanted.cluster}/cluster",
    }
    run.write_down_others()
    described = run.fetch(next(iter(run.sendings(THE_CLUSTER))))
    last = [one for one in run.log.lines if one.get("operation") == THE_CLUSTER.operation][-1:]
    if not described and last and last[0]["status"] == "empty":
        raise CallError(
            f"there is no cluster {wanted.cluster} in {live.region} of account {live.account}",
            where="cluster",
            next="`aws eks list-clusters` lists them; --region names another region",
        )
    if described:
        live.described = dict_of(described[0].get("cluster"))
        _say_what_is_logged(live.described, tell)
    if wanted.aws_only:
        return
    try:
        for says in place_checked(live, aws=True, cluster=True):
            tell(says)
    except CallError as error:
        raise CallError(error.what, error.where, f"{error.next}; or collect from AWS alone with --aws-only") from None
    finally:
        run.write_down_others()
    run.user = str(live.user.get("username") or "")
    run.write_down_others()


def _say_what_is_logged(cluster: dict[str, Any], tell: Callable[[str], None]) -> None:
    setups = dicts_of(member(cluster, "logging", "clusterLogging"))
    on = {name for one in setups if one.get("enabled") for name in list_of(one.get("types"))}
    if "audit" not in on:
        tell(
            "WARNING: this cluster writes no audit log now. Without one, objects, findings and CloudTrail tell what stands "
            "and what AWS saw; who called the cluster, and what was read there, cannot be told"
        )


def _settle(run: Collection, wanted: Wanted, begin: datetime | None, end: datetime | None) -> tuple[Finding | None, Window]:  # fmt: skip
    """The finding and the window of this call: as an earlier run of the same call settled them. Raises CallError."""
    asked = [wanted.finding, wanted.start, wanted.end]
    before = run.log.settled_before(asked)
    finding = None
    if wanted.finding:
        run.send_all(THE_FINDING[:1])
        if not run.known.get("detectors"):
            raise CallError(
                f"GuardDuty is off in {run.region}, or its detectors may not be listed",
                where="finding",
                next="name the finding's region with --region, or give --start and --end in place of the finding",
            )
        name = str(before.get("finding") or "") or wanted.finding
        finding = _finding(run, _latest(run) if name == "latest" else name)
    if before:
        begin, end = time_of(before["start"]), time_of(before["end"])
    elif finding:
        now = datetime.now(UTC)
        seen = finding.first_seen_at or finding.created_at or now - _DAY
        last = finding.last_seen_at or finding.updated_at or seen
        begin, end = begin or seen - _BEFORE, end or max(min(last + _AFTER, now), last + timedelta(minutes=1))
    if begin is None or end is None or begin >= end:
        raise CallError("the window is empty", where="start, end", next="give --start and --end")
    if not before:
        settled = {"finding": finding.id if finding else "", "start": iso(begin), "end": iso(end)}
        run.log.settled = {"asked": asked} | settled
    return finding, Window(begin, end)


def _latest(run: Collection) -> str:
    run.send_all((LATEST, SEQUENCES))
    answers = [answer for sent in run.sendings(SEQUENCE_FINDINGS) for answer in run.fetch(sent)]
    sequences = [one for one in _findings_in(answers) if one.cluster == run.values["cluster"] and one.updated_at]
    found = [str(one) for one in run.known.get("latest", [])][:1]
    if sequences:
        newest = max(sequences, key=lambda one: str(one.updated_at))
        other = _finding(run, found[0]).updated_at if found else None
        found = found if other and newest.updated_at and other > newest.updated_at else [newest.id]
    if not found:
        raise CallError(
            f"GuardDuty has no finding about cluster {run.values['cluster']} in {run.region}",
            where="finding",
            next="name the finding's region with --region, or give --start and --end",
        )
    return found[0]


def _findings_in(answers: list[dict[str, Any]]) -> Iterator[Finding]:
    """The findings in what GetFindings answered, without what is no finding."""
    for raw in (raw for answer in answers for raw in dicts_of(answer.get("Findings"))):
        try:
            yield finding_of(raw)
        except EvidenceError:
            continue


def _finding(run: Collection, name: str) -> Finding:
    run.values["finding"] = name
    answers = [answer for sent in run.sendings(THE_FINDING[1]) for answer in run.fetch(sent)]
    for finding in _findings_in(answers):
        if finding.cluster not in (None, run.values["cluster"]):
            raise CallError(
                f"finding {name} is about cluster {finding.cluster}, not {run.values['cluster']}",
                where="finding, cluster",
                next="give the one that you mean",
            )
        return finding
    refused = run.log.lines[-1]["status"] == "refused"
    raise CallError(
        f"finding {name} may not be read: ask for guardduty:GetFindings"
        if refused
        else f"there is no finding {name} in {run.region} of account {run.values['account']}",
        where="finding",
        next="name its region with --region and its account with --profile, or give --start and --end in its place",
    )


def _name(run: Collection, window: Window, wanted: Wanted) -> None:
    """What the collection knows before it asks: the slices of the window, and what a case names."""
    run.values |= {"start": window.start, "end": window.end}
    run.known["slices"] = [{"from": one.start, "to": one.end} for one in slices(window, _SLICE)]
    run.known["days"] = [{"from": one.start, "to": one.end} for one in slices(window, _DAY)]
    run.known["own_names"] = [wanted.cluster]
    for arn in wanted.principals:
        run.learn("principals", arn)


def _estimated(
    run: Collection, kinds: set[str], window: Window, wanted: Wanted, tell: Callable[[str], None]
) -> Estimate | None:
    """How much the logs of the window are. Raises CallError where that is more than is fetched without a word."""
    if not kinds & {"audit", "authenticator"}:
        return None
    if wanted.logs_from:
        run.send_all((LOG_FILES,))
        estimate = size_of(run.known.get("bucket_files", []), window)
        if not estimate.files:
            tell(f"WARNING: {wanted.logs_from} has no file that may have events of this window, or none may be listed")
    else:
        answers = [answer for sent in run.sendings(LOG_GROUPS) for answer in run.fetch(sent)]
        estimate = estimate_of(answers, str(run.values["log_group"]), window, datetime.now(UTC))
    if estimate.bytes > ASK_ABOVE or wanted.estimate_only:
        tell(estimate.says)
    if estimate.bytes > ASK_ABOVE and not (wanted.agreed or wanted.estimate_only):
        raise CallError(
            f"about {estimate.bytes / 1e9:,.0f} GB of logs would be fetched",
            where="start, end",
            next="give a shorter window, --only for other kinds first, or --yes to fetch them all",
        )
    return estimate


def slices(window: Window, length: timedelta) -> list[Window]:
    """A window cut at whole multiples of a length, so that another window over the same time has the same slices."""
    first = datetime(1970, 1, 1, tzinfo=UTC)
    found, at = list[Window](), window.start
    while at < window.end:
        following = min(first + ((at - first) // length + 1) * length, window.end)
        found.append(Window(at, following))
        at = following
    return found


def _send(run: Collection, kinds: set[str], finding: Finding | None, wanted: Wanted) -> None:
    asked = asked_for(kinds)
    workloads = [*wanted.pods]
    about = finding.workload if finding else {}
    if about.get("Name"):
        workloads.append((str(about.get("Namespace") or "default"), str(about["Name"])))
    subjects = bool(workloads) and "container_logs" in kinds and not wanted.aws_only

    def those(*requests: Request) -> tuple[Request, ...]:
        in_cluster = not wanted.aws_only
        return tuple(one for one in requests if one in asked and (in_cluster or one.service != "kubernetes"))

    run.send_all(those(EVENTS))
    run.send_all((_PODS,) if subjects else those(_PODS))
    if subjects:
        run.container_logs(workloads)
    run.send_all(those(*_REST))
    run.send_all(those(SECRETS) if "secrets" in kinds else ())
    from_bucket = wanted.logs_from and kinds & {"audit", "authenticator"}
    run.send_all((LOG_FILE,) if from_bucket else ())
    run.send_all(those(*(one for one in IN_AWS if not (wanted.logs_from and one.service == "logs"))))
    if "network" in kinds:
        _send_network(run, wanted)


def _send_network(run: Collection, wanted: Wanted) -> None:
    """The logs of the nodes' traffic. Raises CallError where they are more than is fetched without a word."""
    groups, folders, *logs = NETWORK
    answers = [answer for sent in run.sendings(groups) for answer in run.fetch(sent)]
    run.send_all((folders,))
    window = Window(run.values["start"], run.values["end"])
    names = [str(one["network_group"]) for one in run.known.get("network_groups", [])]
    size = sum(estimate_of(answers, name, window, datetime.now(UTC)).bytes for name in names)
    size += size_of(run.known.get("network_files", []), window).bytes
    if size > ASK_ABOVE and not wanted.agreed:
        raise CallError(
            f"up to {size / 1e9:,.0f} GB of the nodes' traffic would be fetched",
            where="start, end",
            next="give a shorter window, or --yes to fetch it all",
        )
    run.send_all(tuple(logs))


def arrived_by_kind(log: CollectionLog) -> list[Arrived]:
    """What there is of each kind of evidence, by the last word on each part."""
    found = {kind: Arrived(kind) for kind in KINDS_OF_EVIDENCE}
    last = dict[tuple[str, int], dict[str, Any]]()
    for line in log.lines:
        if line.get("part") and line.get("kind") in found:
            last[str(line["part"]), int(line.get("page") or 1)] = line
    for line in last.values():
        one = found[line["kind"]]
        one.answers += line["status"] in ARRIVED
        one.empty += line["status"] == "empty"
        one.bytes += int(line["bytes"])
        if line["status"] == "refused" and line["permission"] not in one.refused:
            one.refused.append(line["permission"])
        elif line["status"] == "failed":
            one.failed.append(line["error"])
    return [one for one in found.values() if one.answers or one.refused or one.failed]
