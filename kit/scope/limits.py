"""What the evidence of a case does not reach for a finding: why something cannot be told, and what to collect to be able to."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from functools import cached_property

from kit.attribution.attacker import Attacker
from kit.attribution.calls import not_none
from kit.evidence.readers import aws, cluster, eksctl
from kit.evidence.record import NO_LOSS
from kit.inventory.inventory import Inventory
from kit.model.finding import Finding
from kit.model.identity import NODE
from kit.model.kinds import CALLS_ON_PODS, DEEDS, EVERYTHING, PODS
from kit.model.kubernetes import WORKLOADS
from kit.model.why import AUDIT_LOG, DUMP, WHOLE_FINDING, Limit
from kit.model.window import Window
from kit.scope.access_limits import limits_of_aws_auth, limits_of_refusals, limits_without_trail
from kit.scope.odd_forms import limits_of_forms, limits_of_records, limits_of_unread
from kit.store.store import Store
from kit.store.tables import TABLES
from kit.words import Names, counted, few, utc

USUAL = (
    ("resource = 'pods'", "pods", CALLS_ON_PODS),
    ("resource = 'secrets'", "secrets", ("secret", "credential", "created", "changed", "deleted")),
    ("verb = 'create'", "a creation", (*CALLS_ON_PODS, "granted", "token", "identity")),
    ("verb IN ('delete', 'deletecollection')", "a deletion", ("deleted", *PODS)),
    ("verb IN ('update', 'patch')", "a change", ("changed", "granted", "introduced", *PODS)),
    ("starts_with(user_name, 'system:node:')", "a node's kubelet", PODS),
)
"""What the log of a live cluster holds (a test in SQL, its name), and the kinds of subjects that cannot be told without it."""
_IS_LOSS = "NOT EXISTS (SELECT 1 FROM unnest($no_loss) AS known(beginning) WHERE starts_with(reason, beginning))"
_SHOWN_BY: dict[str, tuple[str, ...]] = {
    TABLES["findings"].title: (*PODS, "identity", "source_ip"),
    TABLES["trail"].title: ("iam_role", "credential", "let_in"),
    TABLES["sign_ins"].title: ("identity", "let_in"),
    cluster.TAKEN_AS: (*PODS, "reachable", "secret"),
    aws.TAKEN_AS: ("node", "iam_role", "let_in"),
    eksctl.TAKEN_AS: ("let_in",),
}
"""What the records of a file are called → the kinds of subjects that one of them may show."""
MOST_SPANS = 10  # that are listed one by one


class Limits:
    """The limits of one case in one window (None: there is no audit log and none was given)."""

    def __init__(self, store: Store, inventory: Inventory, attacker: Attacker, window: Window | None) -> None:
        self.store = store
        self.inventory = inventory
        self.attacker = attacker
        self.window = window

    @cached_property
    def unrecorded(self) -> list[tuple[datetime, datetime]]:
        """The parts of the window that no audit log of this case recorded, longer than a second; all of it without a log."""
        if self.window is None:
            return []
        missing = list[tuple[datetime, datetime]]()
        spans = self.store.rows(
            "SELECT start_at, end_at FROM coverage WHERE source = 'audit' AND state = 'recorded' AND log_stream IS NULL ORDER BY start_at"
        )
        at = self.begins
        for span in spans:
            if (span["start_at"] - at).total_seconds() > 1 and span["start_at"] < self.window.end:
                missing.append((at, span["start_at"]))
            at = max(at, span["end_at"])
        if (self.window.end - at).total_seconds() > 1:
            missing.append((at, self.window.end))
        return missing

    @cached_property
    def begins(self) -> datetime:
        """Where the window begins to be recorded: its first event may be of a watch that began long before the log did."""
        assert self.window is not None
        (row,) = self.store.rows(
            "SELECT min(first_at) AS first, (SELECT min(start_at) FROM coverage WHERE source = 'audit' AND state = 'recorded') AS written"
            f" FROM {self.store.callers}"
        )
        return row["written"] if row["written"] and self.window.start == row["first"] else self.window.start

    @cached_property
    def partial(self) -> list[tuple[datetime, datetime, str]]:
        """The parts of the window in which the log of an API server may be missing, each with what shows it."""
        if self.window is None:
            return []
        rows = self.store.rows("SELECT start_at, end_at, says FROM coverage WHERE state = 'partial' ORDER BY start_at")
        return [
            (max(row["start_at"], self.window.start), min(row["end_at"], self.window.end), row["says"])
            for row in rows
            if row["start_at"] < self.window.end and row["end_at"] > self.window.start
        ]

    def of(self, finding: Finding, kinds: Names, calls: Names, namespaces: Names) -> Iterator[Limit]:
        """The limits for a finding. kinds: of its subjects. calls: auditIDs of its attacker's calls. namespaces: that it is about."""
        yield from self._of_log or self._of_time(finding)
        for row in self.store.rows(
            "SELECT wrapper FROM findings WHERE id = $id AND wrapper <> 'GuardDuty'", id=finding.id
        ):
            missing = finding.missing
            lost = f" (not in it: {', '.join(missing)})" if missing else ""
            says = f"This finding came as {row['wrapper']}, which drops some of what GuardDuty says{lost}: what it does not name may still be affected"
            yield Limit((*PODS, "identity", "source_ip"), says, WHOLE_FINDING)
        yield from self._of_members(finding)
        yield from self._of_rejects
        if self._has_log:
            yield from self._of_caller(finding)
            yield from self._of_namespaces(namespaces)
        yield from self._of_dump
        yield from self._of_access
        if "exec" in kinds:
            says = (
                "What was typed in an interactive session cannot be told: the audit log has its first command line only"
            )
            yield Limit(("exec",), says, "Runtime Monitoring findings, or the container's own logs")
        if calls:
            yield from self._of_addresses(set(calls))

    @cached_property
    def _of_rejects(self) -> list[Limit]:
        """Records of other evidence than the audit log that could not be read, and records that are not as AWS and Kubernetes write them."""
        found = []
        lost = self.store.rows(
            "SELECT file, n, line, reason FROM (SELECT file, line, reason, count(*) OVER (PARTITION BY file) AS n,"
            " row_number() OVER (PARTITION BY file ORDER BY item, line, reason) AS place FROM rejects"
            f" WHERE file NOT IN (SELECT DISTINCT file FROM audit) AND {_IS_LOSS}) AS lost WHERE place = 1 ORDER BY file",
            no_loss=list(NO_LOSS),
        )
        for row in lost:
            says = f"{row['n']} records of {row['file']} could not be read (line {row['line']}: {row['reason']:.120}): what they held cannot be told"
            found.append(Limit(self._shown_by(row["file"]), says, "the same records again, undamaged"))
        found += [*limits_of_records(self.store, self._shown_by), *limits_of_unread(self.store)]
        return [*found, *limits_of_forms(self.store)]

    def _shown_by(self, file: str) -> tuple[str, ...]:
        """The kinds of subjects that a record of a file may show, by what it was taken for."""
        taken_as = next((str(entry["taken_as"]) for entry in self.store.ledger if entry["path"] == file), "")
        kinds = [of for title, of in _SHOWN_BY.items() if title in taken_as]
        return tuple(dict.fromkeys(kind for of in kinds or [EVERYTHING] for kind in of))

    @cached_property
    def _has_log(self) -> bool:
        return bool(self.store.rows("SELECT 1 FROM audit LIMIT 1"))

    @cached_property
    def _of_log(self) -> list[Limit]:
        if self._has_log:
            return []
        says = "There is no audit log: what the caller did, and which pods existed, cannot be told"
        return [Limit(EVERYTHING, says, AUDIT_LOG)]

    def _of_time(self, finding: Finding) -> Iterator[Limit]:
        assert self.window is not None
        if finding.first_seen_at and finding.first_seen_at < self.begins:
            says = f"The finding was first seen {utc(finding.first_seen_at)}, before the window begins: what happened until then cannot be told"
            yield Limit(EVERYTHING, says, AUDIT_LOG, finding.first_seen_at, self.begins)
        elif self._begins_late:
            yield self._begins_late
        if finding.last_seen_at and finding.last_seen_at >= self.window.end:
            says = f"The finding was last seen {utc(finding.last_seen_at)}, after the window ends: what happened since cannot be told"
            yield Limit(EVERYTHING, says, AUDIT_LOG, self.window.end, finding.last_seen_at)
        elif self._ends_early:
            yield self._ends_early
        yield from self._of_content

    @cached_property
    def _begins_late(self) -> Limit | None:
        """That other findings of the case were seen before the log begins."""
        assert self.window is not None
        firsts = [one.first_seen_at for one in self._findings if one.first_seen_at]
        at, first = self.begins, min(firsts, default=self.begins)
        if (at - first).total_seconds() <= 1:
            return None
        says = f"The audit log of the window begins {utc(at)}, and another finding was first seen {utc(first)}: what happened until then cannot be told"
        return Limit(EVERYTHING, says, AUDIT_LOG, first, at)

    @cached_property
    def _ends_early(self) -> Limit | None:
        """That other evidence goes on after the log ends: findings, objects of the dump."""
        assert self.window is not None
        later = [("a finding was seen", one.last_seen_at) for one in self._findings if one.last_seen_at]
        later += [
            (f"{one.path} was created", one.created_at)
            for one in self.inventory.things.values()
            if one.standing and one.created_at
        ]
        at = self.window.end
        what, last = max(later, key=lambda one: one[1], default=("", at))
        if (last - at).total_seconds() <= 1:
            return None
        says = f"The audit log of the window ends {utc(at)}, and {what} {utc(last)}: what happened since cannot be told"
        return Limit(EVERYTHING, says, AUDIT_LOG, at, last)

    @cached_property
    def _findings(self) -> list[Finding]:
        """The findings of the case that are about its cluster."""
        return [
            one
            for one in self.attacker.findings
            if not one.sample and one.about_eks and not self.attacker.own_calls.is_foreign(one)
        ]

    def gaps(self, about: tuple[str, ...], window: Window) -> Iterator[Limit]:
        """The limits on some kinds that follow from what of the audit log is missing, or may be, within a window."""
        missing = [(start, end) for start, end in self.unrecorded if start < window.end and end > window.start]
        if len(missing) > MOST_SPANS:
            lasting = sum((end - start).total_seconds() for start, end in missing) / 60
            says = f"The audit log does not cover {len(missing)} spans of time, {lasting:,.0f} minutes in all"
            yield Limit(about, says, AUDIT_LOG, missing[0][0], missing[-1][1])
        else:
            for start, end in missing:
                says = f"The audit log does not cover {utc(start)} to {utc(end)}"
                yield Limit(about, says, AUDIT_LOG, start, end)
        for start, end, shown in self.partial:
            if start < window.end and end > window.start:
                says = f"Between {utc(start)} and {utc(end)} a part of the audit log may be missing: {shown}"
                yield Limit(about, says, AUDIT_LOG, start, end)

    @cached_property
    def _of_content(self) -> list[Limit]:
        """What the log itself lacks: time, lines, bodies."""
        assert self.window is not None
        found = list(self.gaps(EVERYTHING, self.window))
        (lost,) = self.store.rows(
            "SELECT count(*) AS n, min(near_at) AS first, max(near_at) AS last FROM rejects"
            f" WHERE file IN (SELECT DISTINCT file FROM audit) AND {_IS_LOSS}"
            " AND (near_at IS NULL OR near_at BETWEEN $start AND $end)",
            no_loss=list(NO_LOSS),
            start=self.window.start,
            end=self.window.end,
        )
        if lost["n"]:
            when = ""
            if lost["first"]:
                when = f" (about {utc(lost['first'])}" + (
                    f" to {utc(lost['last'])})" if lost["last"] > lost["first"] else ")"
                )
            says = f"{lost['n']} lines of the audit log could not be read{when}; what they held cannot be told"
            collect = "the same log again, undamaged; of messages that CloudWatch Logs cut nothing more is to be had"
            found.append(Limit(EVERYTHING, says, collect, lost["first"], lost["last"]))
        odd = self.store.rows(
            "SELECT repaired, count(*) AS n FROM audit WHERE repaired IS NOT NULL AND received_at >= $start AND received_at < $end"
            " GROUP BY repaired ORDER BY n DESC, repaired",
            start=self.window.start,
            end=self.window.end,
        )
        if odd:
            says = (
                f"{sum(row['n'] for row in odd)} events hold what no JSON parser or clock does ({odd[0]['repaired']:.120}), perhaps to hide them: they are kept,"
                " that part in another form; other systems may have dropped them"
            )
            found.append(Limit(DEEDS, says, "the raw text of these events (`repaired` in the table audit)"))
        reused = self.store.reused_audit_ids
        if reused:
            says = (
                f"{len(reused)} auditIDs stand on several requests ({', '.join(sorted(reused)[:3])}): a client chose them, perhaps to"
                " hide one request behind another. All are kept, but other systems may have kept one only"
            )
            found.append(Limit(DEEDS, says, "what other systems made of these requests, if anything is missing there"))
        (bare,) = self.store.rows(
            "SELECT count(*) AS n FROM audit WHERE resource = 'pods' AND verb = 'create' AND subresource IS NULL"
            " AND response_code BETWEEN 200 AND 299 AND NOT dry_run AND uid IS NULL"
            " AND received_at >= $start AND received_at < $end",
            start=self.window.start,
            end=self.window.end,
        )
        if bare["n"]:
            says = f"{bare['n']} pods were created whose bodies were not logged (audit level Metadata): which pods they are, and whose, cannot be told"
            collect = "an audit policy that logs pods at level RequestResponse, as EKS's own does; a cluster dump for those that stand"
            found.append(Limit(PODS, says, collect))
        return [*found, *self._of_filter, *self._of_silent_nodes]

    @cached_property
    def _of_filter(self) -> list[Limit]:
        """What every log of a live cluster has and this one has not: perhaps somebody chose what to export."""
        counts = ", ".join(f"count(*) FILTER ({test}) AS part_{number}" for number, (test, _, _) in enumerate(USUAL))
        (row,) = self.store.rows(f"SELECT {counts} FROM audit")
        return [
            Limit(
                about,
                f"The audit log has not a single event of {what}: either there was none, or they were left out",
                AUDIT_LOG,
            )
            for number, (_, what, about) in enumerate(USUAL)
            if not row[f"part_{number}"]
        ]

    @cached_property
    def _of_silent_nodes(self) -> list[Limit]:
        """Nodes that stand in the dump since before the log ended and whose kubelets made no call in it: an API server's log is missing."""
        assert self.window is not None
        rows = self.store.rows(
            f"SELECT DISTINCT substr(user_name, 13) AS node FROM {self.store.callers} WHERE starts_with(user_name, $prefix)",
            prefix=NODE,
        )
        seen = {row["node"] for row in rows}
        silent = [
            str(node.name)
            for node in self.inventory.of("nodes")
            if node.name not in seen
            and node.standing
            and (node.created_at is None or node.created_at < self.window.end)
        ]
        if not silent:
            return []
        says = f"{counted(len(silent), 'node')} of the dump made no call in the audit log ({few(silent, 3)}): the log of an API server may be missing"
        return [Limit(EVERYTHING, says, AUDIT_LOG)]

    @staticmethod
    def _of_members(finding: Finding) -> Iterator[Limit]:
        """What a finding does not say, and others of its type do: its caller, its call, its workload."""
        if finding.odd:
            says = (
                f"The finding has members of another kind than GuardDuty writes ({few(finding.odd, 4)}):"
                " they are left out, and what they name may still be affected"
            )
            yield Limit((*PODS, "identity", "source_ip"), says, WHOLE_FINDING)
        user, call = finding.user.get("Username"), finding.api_call
        # Only a malware scan's finding has neither, beside a workload.
        if ":Kubernetes/" in finding.type and not (user and call) and (user or call or not finding.workload):
            lacking = "which call was made" if user else "who called"
            says = f"The finding does not say {lacking}: what its caller did cannot be told"
            yield Limit(EVERYTHING, says, WHOLE_FINDING)
        on_pods = call.get("Resource") in ("pods", "services", *WORKLOADS.values()) and call.get("Verb") not in (
            "get",
            "list",
            "watch",
        )
        in_pod = ":Runtime/" in finding.type and finding.resource_type != "Instance"
        if (on_pods or in_pod) and not finding.workload:
            says = "The finding names no workload: which pods it is about cannot be told"
            yield Limit(PODS, says, WHOLE_FINDING)

    def _of_namespaces(self, namespaces: Names) -> Iterator[Limit]:
        """Namespaces of this finding or of another one, of which the log has nothing: perhaps somebody chose what to export."""
        others = {one.workload.get("Namespace") for one in self._findings}
        others |= {one.api_call.get("Namespace") for one in self._findings}
        for namespace in sorted({*namespaces, *map(str, others - {None, ""})} - self._logged_namespaces):
            says = f"The audit log has not a single event of namespace {namespace}: either there was none, or they were left out"
            yield Limit(EVERYTHING, says, AUDIT_LOG)

    @cached_property
    def _logged_namespaces(self) -> set[str]:
        rows = self.store.rows("SELECT DISTINCT namespace FROM audit WHERE namespace IS NOT NULL")
        return {row["namespace"] for row in rows}

    def _of_caller(self, finding: Finding) -> Iterator[Limit]:
        if not finding.api_call or not finding.user.get("Username"):
            return
        seen = finding.first_seen_at, finding.last_seen_at
        if not self.attacker.own_calls.of(finding):
            says = "The finding's own call is not in the audit log: log and finding do not meet, so its caller's deeds cannot be told in full"
            yield Limit(EVERYTHING, says, AUDIT_LOG, *seen)
        elif not finding.is_policy and not self.attacker.own_calls.callers(finding):
            says = "Which calls are the attacker's cannot be told: the finding does not say from which address and client its call came, and several fit"
            yield Limit(
                (*EVERYTHING, "source_ip"),
                says,
                "the finding in full, with its remoteIpDetails and userAgent",
                *seen,
            )

    @cached_property
    def _of_access(self) -> list[Limit]:
        return [
            *limits_without_trail(self.store, self.attacker),
            *limits_of_aws_auth(self.store),
            *limits_of_refusals(self.store),
        ]

    @cached_property
    def _of_dump(self) -> list[Limit]:
        if not self.inventory.has_dump:
            says = "There is no cluster dump: what still stands, and objects older than the log, cannot be told"
            return [Limit((*PODS, "secret"), says, DUMP)]
        namespaces = {pod.namespace or "" for pod in self.inventory.pods} or {""}
        missing = sorted(one for one in namespaces if not self.inventory.is_dumped("pods", one))
        if not missing:
            return []
        which = "" if len(missing) == len(namespaces) else f" of {', '.join(missing[:5])}"
        more = f" and {counted(len(missing) - 5, 'more namespace')}" if which and len(missing) > 5 else ""
        says = f"The cluster dump has no pods{which}{more}: which of them still stand, and pods older than the log, cannot be told"
        return [Limit(PODS, says, DUMP)]

    def _of_addresses(self, calls: set[str]) -> Iterator[Limit]:
        """Whose calls from the attacker's addresses are not attributed, because others use these addresses too."""
        events = [call.event for call in self.attacker.calls.values() if call.event["audit_id"] in calls]
        for address in sorted(not_none(event["source_address"] for event in events) - self.attacker.addresses):
            if not (others := self.attacker.others_at(address)):
                continue  # one of the cluster's own, from which every call is attributed
            listed = few([f"{user} ({number} calls)" for user, number in others], 4)
            says = f"Others use {address} too, so calls from there are told apart by identity, credential and user agent alone; not attributed: {listed}"
            yield Limit(
                ("source_ip", "identity"),
                says,
                "what these did, and network logs that tell the machines behind it apart",
            )
