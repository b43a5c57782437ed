"""Questions about the incident as a whole: sample or not, what GuardDuty's agents saw, the way in, what is left, what belongs together.

Sources: GuardDuty API reference (RuntimeDetails, EbsVolumeScanDetails, Service.AdditionalInfo); IAM and EKS API references (calls that let
somebody in); EC2 "Instance metadata options" (hop limit 1 keeps pods from the node's role).
"""

from __future__ import annotations

import json
from typing import Any

from kit.attribution.calls import let_through
from kit.attribution.deeds import path_of
from kit.lenient import dict_of, list_of, member
from kit.model.finding import Finding
from kit.model.identity import NOT_SIGNED_IN
from kit.model.kinds import Certainty, Needs
from kit.model.why import AUDIT_LOG, Limit, Standing
from kit.questions.identity import LOG
from kit.questions.question import Asked, Found, question, row, stands, whys
from kit.scope.subject import Subject
from kit.store.tables import Row
from kit.words import counted, few

_LETS_IN = {
    "eks.amazonaws.com": ("CreateAccessEntry", "UpdateAccessEntry", "AssociateAccessPolicy", "CreatePodIdentityAssociation",
                          "UpdatePodIdentityAssociation", "AssociateIdentityProviderConfig", "UpdateClusterConfig"),
    "iam.amazonaws.com": ("CreateUser", "CreateAccessKey", "CreateLoginProfile", "UpdateLoginProfile", "CreateRole", "UpdateAssumeRolePolicy",
                          "AttachRolePolicy", "AttachUserPolicy", "PutRolePolicy", "PutUserPolicy", "CreateOpenIDConnectProvider",
                          "CreateSAMLProvider", "AddUserToGroup", "CreatePolicyVersion", "DeactivateMFADevice"),
    "lambda.amazonaws.com": ("CreateFunction20150331", "AddPermission20150331v2"),
    "ec2.amazonaws.com": ("CreateKeyPair", "ImportKeyPair", "AuthorizeSecurityGroupIngress", "RunInstances"),
}  # fmt: skip
_COMES_BACK = ("cronjobs", "daemonsets", "deployments", "statefulsets", "replicasets", "mutatingwebhookconfigurations",
               "validatingwebhookconfigurations", "rolebindings", "clusterrolebindings", "roles", "clusterroles", "serviceaccounts",
               "customresourcedefinitions", "apiservices", "certificatesigningrequests")  # fmt: skip


@question("Is it a sample finding that AWS made for practice?")
def is_it_a_sample(asked: Asked) -> Found:
    """Whether GuardDuty marks the finding as a sample."""
    rows = (
        [row([asked.finding_ref("service.additionalInfo")], Member="service.additionalInfo.sample", Value="true")]
        if asked.finding.sample
        else []
    )
    return Found(rows, "Yes: nothing in it exists. Archive it.", "No: GuardDuty does not mark it as a sample.")


@question("What did Runtime Monitoring see?")
def seen_at_runtime(asked: Asked) -> Found:
    """Process, its lineage, and what the finding's context names: files, domains, addresses, sockets; without interpretation."""
    rows, seen = list[Row](), list[str]()
    for finding in asked.findings:
        details = dict_of(member(finding.raw, "Service", "RuntimeDetails"))
        process = dict_of(details.get("Process"))
        action = dict_of(member(finding.raw, "Service", "Action"))
        parts = (
            ("process", process),
            ("context", dict_of(details.get("Context"))),
            ("network", dict_of(action.get("NetworkConnectionAction"))),
            ("DNS request", dict_of(action.get("DnsRequestAction"))),
        )
        found = [one for word, value in parts for one in _members(finding, word, value)]
        if found:
            user = f" as user {process['User']}" if process.get("User") else ""
            seen.append(f"{process.get('ExecutablePath') or process.get('Name') or 'a process'}{user}")
        rows += found
    limits = []
    if not rows:
        says = "What ran cannot be told: the finding has no runtime details"
        limits.append(
            Limit(
                ("runtime",),
                says,
                "`aws guardduty get-findings` for this finding, and the other Runtime Monitoring findings of that pod",
            )
        )
    return Found(rows, f"Runtime Monitoring saw {few(list(dict.fromkeys(seen)), 3)}.", "", limits=tuple(limits))


def _members(finding: Finding, word: str, value: dict[str, Any], above: str = "") -> list[Row]:
    rows = []
    for name, one in value.items():
        if isinstance(one, dict):
            rows += _members(finding, word, one, f"{above}{name}.")
        elif one not in (None, "", []):
            text = (
                [json.dumps(each, default=str) if isinstance(each, dict) else str(each) for each in one]
                if isinstance(one, list)
                else str(one)
            )
            rows.append(row([finding.ref("service.runtimeDetails")], Of=word, Member=f"{above}{name}", Value=text))
    return rows


@question("Which files did the malware scan find?")
def scanned_files(asked: Asked) -> Found:
    """The files that the finding's malware scan names: threat, path, hash, volume."""
    rows = []
    for finding, threat in ((one, threat) for one in asked.findings for threat in _threats(one)):
        for one in dict_of(threat).get("FilePaths") or []:
            path = dict_of(one)
            rows.append(row([finding.ref("service.ebsVolumeScanDetails")], Threat=threat.get("Name"), File=path.get("FilePath") or path.get("FileName"),
                            Hash=path.get("Hash"), Volume=path.get("VolumeArn")))  # fmt: skip
    limits = []
    if not rows:
        says = "Which files carry malware cannot be told: no scan result is in the finding"
        limits.append(Limit(("scan",), says, "a GuardDuty malware scan of the node's volumes"))
    return Found(
        rows, f"{counted(len(rows), 'file')}: {few([str(one['File']) for one in rows], 3)}.", "", limits=tuple(limits)
    )


def _threats(finding: Finding) -> list[Any]:
    scan = dict_of(member(finding.raw, "Service", "EbsVolumeScanDetails"))
    return list_of(dict_of(dict_of(scan.get("ScanDetections")).get("ThreatDetectedByName")).get("ThreatNames"))


@question("How did the attacker get in?", LOG, Needs("dump"), Needs("trail"))
def way_in(asked: Asked) -> Found:
    """What shows the way in: the pod, node or session that the credential came from; and what may have been it."""
    rows = [
        row([why.ref], Way="credential", What=f"{profile.identity.user_name}: {why.says}")
        for profile in asked.profiles
        for why in profile.patient_zero
        if profile.identity.user_name not in NOT_SIGNED_IN
    ]
    unsigned = [
        one for one in asked.hostile if one["user_name"] in NOT_SIGNED_IN and let_through(one) and one["resource"]
    ]
    if unsigned:
        rows.append(
            row(
                [asked.ref(unsigned[0])],
                Way="anonymous access",
                What="the API server let calls without any credential through",
            )
        )
    first = asked.scope.attacker.first_call_at
    for other in asked.scope.attacker.findings:
        early = other.first_seen_at and first and other.first_seen_at <= first
        if ":Runtime/" in other.type and early and not other.sample and _same_pod(asked, other.workload):
            rows.append(
                row(
                    [str(other.ref())],
                    Way="the pod itself",
                    What=f"{other.type} was seen in an affected pod before the first hostile call",
                )
            )
    rows += _exposed_pods(asked)
    if any(profile.identity.node for profile in asked.profiles):
        rows += _metadata_options(asked)
    sure = [str(one["What"]) for one in rows if one["certainty"] == "affected"]
    nothing = "Nothing shows how the attacker got in."
    limits = (
        ()
        if sure
        else (
            Limit(
                ("way_in",),
                "How the attacker got in cannot be told: no evidence shows where the credential came from",
                f"{AUDIT_LOG}, from before the first bad sign; the image scan of the pod",
            ),
        )
    )
    return Found(rows, f"{sure[0]}." if sure else "", nothing, limits=limits)


def _same_pod(asked: Asked, workload: dict[str, Any]) -> bool:
    uids = {one.key for one in asked.subjects("pod") if one.certainty == "affected"}
    names = {(one.thing.namespace, one.thing.name) for one in asked.subjects("pod") if one.thing}
    owners = {(pod.namespace, owner.name) for pod in asked.things("pod") for owner in asked.inventory.owners(pod)}
    return workload.get("Uid") in uids or (workload.get("Namespace"), workload.get("Name")) in names | owners


def _exposed_pods(asked: Asked) -> list[Row]:
    from kit.questions.question import QUESTIONS

    found = QUESTIONS["exposed_services"].find(asked).rows
    return [row(one["refs"], "possible", Way="exposed service", What=f"{one['What']} leads to {few(one['Leads to affected pods'], 2)} from {few(one['From'], 2)}")
            for one in found if one["Leads to affected pods"]]  # fmt: skip


def _metadata_options(asked: Asked) -> list[Row]:
    nodes = {str(profile.identity.node) for profile in asked.profiles if profile.identity.node}
    rows = []
    for one in asked.store.rows("SELECT uid, object FROM objects WHERE kind = 'Instance'"):
        instance = dict_of(json.loads(one["object"]))
        options = dict_of(instance.get("MetadataOptions"))
        node = asked.inventory.node_of_instance.get(str(instance.get("InstanceId")))
        hops = options.get("HttpPutResponseHopLimit")
        if node in nodes and (options.get("HttpTokens") == "optional" or (isinstance(hops, int) and hops > 1)):
            what = f"pods on {node} reach its role through instance metadata (tokens {options.get('HttpTokens')}, hop limit {hops})"
            rows.append(row([f"aws:{one['uid']}"], "possible", Way="instance metadata", What=what))
    return rows


@question(
    "What was made that lets in again?",
    LOG,
    Needs("trail"),
    about=("created", "changed", "granted", "token"),
)
def ways_back(asked: Asked) -> Found:
    """What the attacker left that lets in again or starts again; and calls of others in AWS since the first bad sign that let somebody in."""
    rows = []
    scaled = {path_of(one) for one in asked.hostile if one["subresource"] == "scale"}
    written = {
        path_of(one) for one in asked.hostile if one["subresource"] != "scale" and one["verb"] in ("patch", "update")
    }
    for one in asked.subjects("created", "changed"):
        resource = one.key.partition("/")[0]
        if one.kind == "changed" and one.key in scaled - written:
            continue  # more or fewer pods of what stood before let nobody in
        states = {asked.states.get(f"{one.kind}:{one.key}") or asked.states.get(str(why.ref)) for why in one.why}
        gone = (one.thing is not None and one.thing.standing is False) or states == {"ended"}
        if (
            resource in _COMES_BACK or one.key.endswith("/aws-auth") or (resource == "secrets" and _is_token(one.thing))
        ) and not gone:
            rows.append(
                row(
                    [why.ref for why in one.why],
                    one.certainty,
                    What=one.key,
                    How=whys(list(one.why)[:1]),
                    By=_maker(asked, one),
                    Stands=Standing.STANDS if states == {"usable"} else stands(one.thing) or Standing.CANNOT_TELL,
                )
            )
    rows += _tokens(asked, "What", "How")
    for event in asked.hostile:
        if event["subresource"] == "ephemeralcontainers" and event["response_code"] and event["response_code"] < 300:
            rows.append(
                row(
                    [asked.ref(event)],
                    What=f"ephemeral container in {event['namespace']}/{event['name']}",
                    How="added",
                    Stands="as long as the pod",
                )
            )
    for aws_event in asked.store.rows(
        "SELECT event_id, event_at, event_source, event_name, arn, user_name FROM trail WHERE error_code IS NULL"
        " AND list_contains($names, event_source || ' ' || event_name) AND ($first::TIMESTAMPTZ IS NULL OR event_at >= $first::TIMESTAMPTZ) ORDER BY event_at, event_id",
        names=[f"{service} {name}" for service, names in _LETS_IN.items() for name in names],
        first=asked.first_hostile_at,
    ):
        certainty: Certainty = "affected" if aws_event["event_id"] in asked.scope.attacker.trail else "possible"
        what = f"{aws_event['event_source'].partition('.')[0]} {aws_event['event_name']}"
        rows.append(row([f"trail:{aws_event['event_id']}"], certainty, What=what,
                        How=f"by {aws_event['arn'] or aws_event['user_name']}", Stands=""))  # fmt: skip
    sure = list(dict.fromkeys(str(one["What"]) for one in rows if one["certainty"] == "affected"))
    return Found(
        rows,
        f"{counted(len(sure), 'way')} back: {few(sure, 3)}.",
        "No object, token or call of the attacker that lets in again is shown.",
    )


def _maker(asked: Asked, subject: Subject) -> str:
    """Who wrote an object: a finding's own call that opened the way may be anybody's."""
    refs = {asked.ref(event) for event in asked.hostile}
    return "the attacker" if any(str(why.ref) in refs for why in subject.why) else "the finding's call"


def _tokens(asked: Asked, what: str, how: str) -> list[Row]:
    """The minted tokens that may still be used, as the open list has them."""
    rows = []
    for one in asked.subjects("token"):
        states = {asked.states.get(str(why.ref), "cannot tell") for why in one.why}
        if states != {"ended"}:
            usable = "usable" in states and one.certainty == "affected"
            stands = Standing.STANDS if usable else Standing.CANNOT_TELL
            cells = {what: f"token of {one.key}", how: whys(list(one.why)[:1]), "Stands": stands}
            rows.append(row([why.ref for why in one.why], "affected" if usable else "possible", **cells))
    return rows


def _is_token(thing: Any) -> bool:
    return bool(thing and thing.body.get("type") == "kubernetes.io/service-account-token")


@question("What was made and still stands?", LOG, Needs("dump"), about=("created", "changed"))
def still_standing(asked: Asked) -> Found:
    """Objects that the attacker made and that are not known to be gone; changed ones are possible, as the change may be taken back."""
    rows = []
    for one in asked.subjects("created"):
        state = asked.states.get(f"created:{one.key}", "cannot tell")
        standing = one.thing.standing if one.thing else {"usable": True, "ended": False}.get(state)
        deleted = one.key in {each.key for each in asked.subjects("deleted")}
        if standing or (standing is None and not deleted):
            rows.append(
                row(
                    [why.ref for why in one.why],
                    "affected" if standing else "possible",
                    Object=one.key,
                    Made=whys(list(one.why)[:1]),
                    By=_maker(asked, one),
                    Stands=Standing.STANDS if standing else Standing.CANNOT_TELL,
                )
            )
    made = {one["Object"] for one in rows}
    rows += _tokens(asked, "Object", "Made")
    for one in asked.subjects("changed"):
        if one.key not in made and not (one.thing and one.thing.standing is False):
            whose = whys(list(one.why)[:1])
            rows.append(
                row(
                    [why.ref for why in one.why],
                    "possible",
                    Object=one.key,
                    Made=whose,
                    Stands="whether the change was taken back cannot be told",
                )
            )
    number = sum(one["certainty"] == "affected" for one in rows)
    return Found(
        rows,
        f"{counted(number, 'thing')} that {'was' if number == 1 else 'were'} made still {'stands' if number == 1 else 'stand'}: {few([str(one['Object']) for one in rows if one['certainty'] == 'affected'], 3)}.",
        "No object that the attacker's calls made is known to stand, and no token of theirs is known to be usable.",
    )


@question("Which other findings belong to the same incident?", about=("identity",))
def belongs_together(asked: Asked) -> Found:
    """The other findings of the same incident, as the brief joins them, each with what is affected by both."""
    pods = {one.key: one.thing.name for one in asked.subjects("pod") if one.thing}
    rows = []
    for scope, shared in asked.together:
        names = [f"{kind.replace('_', ' ')} {pods.get(key) or key}" for kind, key in shared]
        other = scope.finding
        rows.append(
            row(
                [other.ref()],
                Finding=other.type,
                Id=other.id,
                Severity=other.severity,
                First_seen=other.first_seen_at,
                Shares=names[:6] or ["the attacker's calls, or another finding of the incident"],
            )
        )
    says = "Which findings belong together cannot be told: nothing is known to be affected by this one"
    limits = () if asked.of.affected() else (Limit(("finding",), says, AUDIT_LOG),)
    says = f"{counted(len(rows), 'other finding belongs', 'other findings belong')} to the same incident."
    return Found(
        rows,
        says,
        "No other finding of the case shares a caller, credential, object or pod with it, or an address of the attacker's own.",
        limits=limits,
    )
