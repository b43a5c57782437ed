"""Plain links to the pages of findings, clusters, instances, roles and CloudTrail events in the AWS consoles. Nothing is loaded from there.

Sources: the consoles' own addresses as GuardDuty's and CloudTrail's pages give them out; Detective User Guide, "Navigating directly to a
profile"; AWS General Reference, console endpoints of the partitions.
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import quote

from markupsafe import Markup

from kit.case.case import Case
from kit.model.arn import Arn, role_of
from kit.show.html_table import safe

_REGION = re.compile(r"[a-z]{2}(-[a-z]+)+-\d{1,2}")
_DOMAINS = (
    ("cn-", "console.amazonaws.cn"),
    ("us-gov-", "console.amazonaws-us-gov.com"),
    ("", "console.aws.amazon.com"),
)


def links(case: Case, kind: str, key: str, region: Any = None) -> Markup:
    """Links for a finding, a trail event or a subject, as HTML; empty where the evidence does not name the region, or no page is known.

    kind: finding, trail, or a kind of subject. region: of the thing, the case's own without one.
    """
    place = region if isinstance(region, str) and region else case.region
    if not place or not _REGION.fullmatch(place):
        return Markup("")
    pages = _pages(case, kind, key, place)
    made = Markup(" ").join(
        Markup('<a class="console" href="{}" rel="noreferrer" target="_blank">{}</a>').format(safe(url), name)
        for name, url in pages
    )
    return Markup(' <span class="quiet">{}</span>').format(made) if made else made


def _pages(case: Case, kind: str, key: str, region: str) -> list[tuple[str, str]]:
    domain = next(domain for start, domain in _DOMAINS if region.startswith(start))
    base = f"https://{region}.{domain}"
    if kind == "finding":
        return [
            ("GuardDuty", f"{base}/guardduty/home?region={region}#/findings?macros=current&fId={quote(key, safe='')}"),
            ("Detective", f"{base}/detective/home?region={region}#findings/GuardDuty/{quote(key, safe='')}"),
        ]
    if kind == "trail":
        return [("CloudTrail", f"{base}/cloudtrailv2/home?region={region}#/events/{quote(key, safe='')}")]
    if kind == "iam_role":
        return _pages_of_role(case, role_of(key), domain, f"{base}/detective/home?region={region}#entities")
    if kind == "node":
        instance = next((one for one, node in case.inventory.node_of_instance.items() if node == key), "")
        return (
            [("EC2", f"{base}/ec2/home?region={region}#InstanceDetails:instanceId={quote(instance, safe='')}")]
            if instance
            else []
        )
    if kind in ("cluster", "pod", "service_account", "created", "changed") and case.cluster:
        return [("EKS", f"{base}/eks/home?region={region}#/clusters/{quote(case.cluster, safe='')}")]
    return []


def _pages_of_role(case: Case, role: str | None, domain: str, entities: str) -> list[tuple[str, str]]:
    """Those of a role or IAM user. Detective knows each by its principal id, which CloudTrail tells of whoever called."""
    arn = Arn.of(role)
    if arn is None or role is None:
        return []
    pages = [("IAM", f"https://{domain}/iam/home#/{arn.kind}s/details/{quote(arn.name, safe='')}")]
    called = "SELECT min(principal_id) AS principal FROM trail WHERE coalesce(issuer_arn, arn) = $role"
    known = next(iter(case.store.rows(called, role=role)), {}).get("principal")
    principal = str(known or "").partition(":")[0]  # of a session, its name stands after the role's id
    kind = {"role": "AwsRole", "user": "AwsUser"}.get(arn.kind)
    return [*pages, ("Detective", f"{entities}/{kind}/{quote(principal, safe='')}")] if kind and principal else pages
