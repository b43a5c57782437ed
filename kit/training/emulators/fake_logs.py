"""CloudWatch Logs and CloudTrail of an account made from a recording, and what moto lacks of other services that are only read.

Sources: CloudWatch Logs API, FilterLogEvents (both ends included; a page may be empty and have a token); CloudTrail API, LookupEvents.
"""

from __future__ import annotations

import functools
import gzip
import json
import zlib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import botocore.session

from kit.training.emulators.aws_fakes import Account, Call, Record, fake, missing, page

AUDIT, AUTHENTICATOR = "kube-apiserver-audit-", "authenticator-"


def give_logs(account: Account, source: Path, cluster: str) -> None:
    """The audit log and CloudTrail of a recording, and its instances as DescribeInstances printed them."""
    lines = gzip.decompress((source / "audit.jsonl.gz").read_bytes()).decode().splitlines()
    events = [_of_a_server(json.loads(line), line) for line in lines]
    path = source / "cloudtrail.json.gz"
    trail = json.loads(gzip.decompress(path.read_bytes()))["Records"] if path.exists() else []
    instances = json.loads((source / "aws" / "ec2-describe-instances.json").read_text())
    account.recorded = {"cluster": cluster, "log": events, "trail": trail, "instances": instances}


def _of_a_server(event: Record, line: str) -> tuple[int, str, str]:
    """An event as the log has it: its time, the stream of one of two API servers, and its line."""
    server = ("0a1b" * 8, "2c3d" * 8)[zlib.crc32(event["auditID"].encode()) % 2]
    return _milliseconds(event["stageTimestamp"]), f"{AUDIT}{server}", line


def _milliseconds(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp() * 1000)


def _group(account: Account, call: Call) -> Record:
    group = f"/aws/eks/{account.recorded.get('cluster')}/cluster"
    if call.parameters["logGroupName"] in account.recorded.get("other_groups", {}):
        return {"log": account.recorded["other_groups"][call.parameters["logGroupName"]]}
    if call.parameters["logGroupName"] != group:
        raise missing("The specified log group does not exist.")
    return account.recorded


@fake("logs:DescribeLogGroups")
def _(account: Account, call: Call) -> Record:
    name = f"/aws/eks/{account.recorded.get('cluster')}/cluster"
    given = account.recorded and name.startswith(call.parameters.get("logGroupNamePrefix", ""))
    size = account.recorded.get("stored_bytes", 5_000_000)
    arn = f"arn:aws:logs:{account.region}:{account.number}:log-group:{name}:*"
    group = {"logGroupName": name, "arn": arn, "storedBytes": size, "creationTime": 1_760_000_000_000}
    prefix = call.parameters.get("logGroupNamePrefix", "")
    others = [
        group | {"logGroupName": one} for one in account.recorded.get("other_groups", {}) if one.startswith(prefix)
    ]
    return {"logGroups": [group, *others] if given else others}


@fake("logs:DescribeLogStreams")
def _(account: Account, call: Call) -> Record:
    names = sorted({stream for _, stream, _ in _group(account, call)["log"]})
    arn = f"arn:aws:logs:{account.region}:{account.number}:log-group:{call.parameters['logGroupName']}:log-stream:"
    wanted = call.parameters.get("logStreamNamePrefix", "")
    return {"logStreams": [{"logStreamName": name, "arn": arn + name} for name in names if name.startswith(wanted)]}


@fake("logs:FilterLogEvents")
def _(account: Account, call: Call) -> Record:
    given, recorded = call.parameters, _group(account, call)
    rows = [
        {"logStreamName": stream, "timestamp": at, "message": line, "ingestionTime": at, "eventId": f"{number:056}"}
        for number, (at, stream, line) in enumerate(recorded["log"])
        if given["startTime"] <= at <= given["endTime"] and stream.startswith(given.get("logStreamNamePrefix", ""))
    ]
    if recorded.get("empty_first") and "nextToken" not in given:
        return {"events": [], "searchedLogStreams": [], "nextToken": "after-0"}
    size = recorded.get("page", 10_000)
    start = int(given.get("nextToken", "after-0").removeprefix("after-"))
    more = {"nextToken": f"after-{start + size}"} if start + size < len(rows) else {}
    return {"events": rows[start : start + size], "searchedLogStreams": []} | more


@fake("cloudtrail:LookupEvents")
def _(account: Account, call: Call) -> Record:
    start, end = (call.parameters[name].timestamp() for name in ("StartTime", "EndTime"))
    newest = sorted(account.recorded.get("trail", []), key=lambda one: str(one["eventTime"]), reverse=True)
    found = []
    for one in newest:
        at = datetime.fromisoformat(one["eventTime"])
        if start <= at.timestamp() <= end and call.region == one["awsRegion"]:
            named = {"EventId": one["eventID"], "EventName": one["eventName"], "EventTime": at.astimezone(UTC)}
            found.append(named | {"EventSource": one["eventSource"], "CloudTrailEvent": json.dumps(one)})
    start_at = int(call.parameters.get("NextToken", "after-0").removeprefix("after-"))
    more = {"NextToken": f"after-{start_at + 50}"} if start_at + 50 < len(found) else {}
    return {"Events": found[start_at : start_at + 50]} | more


@fake("cloudtrail:DescribeTrails")
def _(account: Account, call: Call) -> Record:
    return {"trailList": account.recorded.get("trails", [])}


@fake("organizations:DescribeOrganization")
def _(account: Account, call: Call) -> Record:
    return {"Organization": account.recorded["organization"]}


@fake("cloudtrail:GetTrailStatus", "cloudtrail:GetEventSelectors")
def _(account: Account, call: Call) -> Record:
    if call.operation.endswith("Status"):
        return {"IsLogging": True, "LatestDeliveryAttemptTime": "2026-01-01T00:00:00Z"}
    return {"TrailARN": call.parameters["TrailName"], "EventSelectors": []}


@fake("ec2:DescribeFlowLogs")
def _(account: Account, call: Call) -> Record:
    return {"FlowLogs": account.recorded.get("flow_logs", [])}


@fake("route53resolver:ListResolverQueryLogConfigAssociations", "route53resolver:GetResolverQueryLogConfig")
def _(account: Account, call: Call) -> Record:
    configs = account.recorded.get("query_logs", {})
    if call.operation.endswith("Associations"):
        rows = [{"Id": f"rqlca-{name}", "ResolverQueryLogConfigId": name, "ResourceId": "vpc"} for name in configs]
        return {"ResolverQueryLogConfigAssociations": rows}
    return {"ResolverQueryLogConfig": configs[call.parameters["ResolverQueryLogConfigId"]]}


@fake("ec2:DescribeInstances")
def _(account: Account, call: Call) -> Record | None:
    recorded: Any = account.recorded.get("instances")
    if recorded is None:
        return None
    wanted = {value for one in call.parameters.get("Filters", []) for value in one["Values"]}
    found = [
        reservation | {"Instances": [one for one in reservation["Instances"] if one["InstanceId"] in wanted]}
        for reservation in recorded["Reservations"]
    ]
    return {"Reservations": [one for one in found if one["Instances"]]}


@fake("eks:ListInsights")
def _(account: Account, call: Call) -> Record:
    return page(account, call, "insights", [])


@fake("iam:ListServiceSpecificCredentials")
def _(account: Account, call: Call) -> Record:
    return {"ServiceSpecificCredentials": [], "IsTruncated": False}


@fake("eks:ListFargateProfiles")
def _(account: Account, call: Call) -> Record:
    return page(account, call, "fargateProfileNames", [])


@functools.cache
def _model_of_s3() -> Any:
    return botocore.session.get_session().get_service_model("s3")


def read_s3(request: Any) -> tuple[Any, Record]:
    """The operation and parameters of a GET of S3 by path, which moto's router does not know: a list, or an object."""
    bucket, _, key = request.path.lstrip("/").partition("/")
    if key:
        return _model_of_s3().operation_model("GetObject"), {"Bucket": bucket, "Key": key}
    names = {"prefix": "Prefix", "continuation-token": "ContinuationToken"}
    given = {names[name]: value for name, value in request.args.items() if name in names}
    return _model_of_s3().operation_model("ListObjectsV2"), {"Bucket": bucket} | given


def written_by_s3(result: Record) -> bytes:
    """An answer of S3 as it goes over the wire: an object's bytes, or a list in XML."""
    if isinstance(result.get("Body"), bytes):
        return bytes(result["Body"])
    rows = "".join(
        f"<Contents><Key>{escape(one['Key'])}</Key><Size>{one['Size']}</Size></Contents>" for one in result["Contents"]
    )
    token = result.get("NextContinuationToken")
    more = f"<NextContinuationToken>{token}</NextContinuationToken>" if token else ""
    truncated = str(result["IsTruncated"]).lower()
    return f"<ListBucketResult><Name>{escape(result['Name'])}</Name><IsTruncated>{truncated}</IsTruncated>{more}{rows}</ListBucketResult>".encode()


@fake("s3:ListObjectsV2", "s3:GetObject")
def _(account: Account, call: Call) -> Record:
    delivered = account.recorded.get("delivered", {})
    if call.operation.endswith("GetObject"):
        return {"Body": delivered[call.parameters["Key"]]}
    keys = [key for key in sorted(delivered) if key.startswith(call.parameters["Prefix"])]
    start = int(call.parameters.get("ContinuationToken", "0"))
    more = {"NextContinuationToken": str(start + 2)} if start + 2 < len(keys) else {}
    sizes = account.recorded.get("sizes", {})
    rows = [{"Key": key, "Size": sizes.get(key, len(delivered[key]))} for key in keys[start : start + 2]]
    return {"Name": call.parameters["Bucket"], "Contents": rows, "IsTruncated": bool(more)} | more
