"""Questions about AWS: what roles of affected pods and nodes did there, and whether data was taken out.

Sources: CloudTrail User Guide (data events are logged only where a trail asks for them); Amazon VPC User Guide (flow logs).
"""

from __future__ import annotations

from collections import defaultdict

from kit.attribution.calls import AwsEvent, not_none
from kit.model.identity import NODE
from kit.model.why import Rule
from kit.questions.identity import LOG
from kit.questions.question import Asked, Found, question, row
from kit.questions.verdict import SHOWN_BY
from kit.words import counted

_TAKES_DATA = (
    "GetObject", "CopyObject", "GetSecretValue", "BatchGetSecretValue", "GetParameter", "GetParameters", "GetParametersByPath", "Decrypt",
    "CreateSnapshot", "ModifySnapshotAttribute", "SharedSnapshotVolumeCreated", "CopySnapshot", "PutBucketPolicy", "PutReplicationConfiguration",
    "GetDownloadUrlForLayer", "BatchGetItem", "Scan", "Query", "ModifyDBSnapshotAttribute", "StartExportTask", "ExportTableToPointInTime",
)  # fmt: skip


@question("What did roles of affected pods and nodes do in AWS?", LOG, *SHOWN_BY["aws_call"], about=("iam_role",))
def used_in_aws(asked: Asked) -> Found:
    """The attacker's calls in CloudTrail with roles of pods and nodes, and with what these led to; failed ones too. The callers' own sign-ins
    to the cluster are not among them."""
    signed_in = not_none(
        event["access_key_id"] for event in asked.hostile if not str(event["user_name"]).startswith(NODE)
    )
    by_call = defaultdict[tuple[str, str, str], list[AwsEvent]](list)
    for event, _ in asked.trail.values():
        if event["access_key_id"] in signed_in or event["issued"] in signed_in:
            continue
        by_call[(str(event["access_key_id"]), str(event["source_address"]), str(event["event_name"]))].append(event)
    rows = [
        row([f"trail:{one['event_id']}" for one in events[:3]], Call=name, Access_key=key, From=address, Calls=len(events),
            First=events[0]["event_at"], Last=events[-1]["event_at"])
        for (key, address, name), events in sorted(by_call.items(), key=lambda one: one[1][0]["event_at"])
    ]  # fmt: skip
    number = sum(one["Calls"] for one in rows)
    says = f"{counted(number, 'call')} in CloudTrail {'is' if number == 1 else 'are'} the attacker's: {', '.join(list(dict.fromkeys(str(one['Call']) for one in rows))[:5])}."
    return Found(
        rows, says, "CloudTrail shows no call of the attacker with a role of a pod or a node.", limits=asked.nobody
    )


@question("Was data taken out?", *SHOWN_BY["data_out"], about=("aws_call",))
def data_taken_out(asked: Asked) -> Found:
    """Calls of the attacker that copy or read data in AWS, forwarded ports and copying commands in pods."""
    rows = []
    for event_id, (event, why) in asked.trail.items():
        if not event["error_code"] and event["event_name"] in _TAKES_DATA:
            rows.append(
                row(
                    [f"trail:{event_id}"],
                    What=f"{event['event_name']} in AWS",
                    Where=event["source_address"],
                    At=event["event_at"],
                    Why=why,
                )
            )
    for one in (*asked.subjects("exec"), *asked.subjects("forwarded")):
        for reason in (why for why in one.why if why.rule is Rule.CARRIES_OUT):
            rows.append(
                row([reason.ref], "possible", What=reason.says, Where=one.key, At=None, Why="it can carry data out")
            )
    sure = sum(one["certainty"] == "affected" for one in rows)
    return Found(
        rows,
        f"{counted(sure, 'call')} of the attacker read or copied data in AWS; how much cannot be told from them.",
        "No call that takes data out is shown.",
    )
