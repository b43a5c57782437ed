"""What moto lacks, or answers otherwise than AWS does: one small function an operation, and the mends of moto itself.

A fake gets the account and the call. It returns the answer by the names of botocore's model, raises a Refusal, or
returns None to let moto answer.
"""

from __future__ import annotations

import re
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from moto.ec2.models import ec2_backends

Record = dict[str, Any]


@dataclass
class Refusal(Exception):
    """An error of AWS: its code, the HTTP status and the message."""

    code: str
    status: int
    message: str = "emulated"


@dataclass
class Call:
    """One request. `status` is None while it runs, and stays so where the connection was cut before anything was done."""

    service: str
    operation: str
    parameters: Record
    dry_run: bool
    account: str
    caller: str
    over_http: bool
    request_id: str
    region: str = ""
    agent: str = ""
    status: int | None = None
    code: str | None = None
    cut: bool = False


@dataclass
class Cluster:
    """An EKS cluster as DescribeCluster gives it, and what hangs on it: kind → key → record."""

    description: Record
    parts: dict[str, dict[str, Record]] = field(default_factory=lambda: defaultdict(dict))
    updates: dict[str, Update] = field(default_factory=dict)


@dataclass
class Update:
    """A change of EKS under way: `apply` happens when it has been looked at `looks` times."""

    record: Record
    holder: Record
    looks: int
    apply: Callable[[], object]


@dataclass
class Detector:
    """A detector of GuardDuty with its findings and filters, by id and by name."""

    record: Record
    findings: dict[str, Record] = field(default_factory=dict)
    filters: dict[str, Record] = field(default_factory=dict)


@dataclass
class Account:
    """What the fakes hold of one account. What takes AWS a while is done after so many `looks` over the port."""

    number: str
    region: str
    issue: Callable[[str], str]  # ARN of a caller → an access key id of that caller
    looks: int = 2
    updates_end: str = "Successful"
    page_size: int = 100
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    denied: list[str] = field(default_factory=list)  # patterns of actions that SimulatePrincipalPolicy denies
    managed_nodes: list[Record] = field(default_factory=list)  # what DescribeInstanceInformation lists
    clusters: dict[str, Cluster] = field(default_factory=dict)
    detectors: dict[str, Detector] = field(default_factory=dict)
    scans: dict[str, Record] = field(default_factory=dict)
    scan_tokens: dict[str, str] = field(default_factory=dict)
    snapshot_locks: dict[str, Record] = field(default_factory=dict)
    recorded: Record = field(default_factory=dict)  # logs and instances of a recording (fake_logs)
    looked_at: dict[str, int] = field(default_factory=dict)  # id of a scan or snapshot → looks so far

    def held(self) -> dict[str, Any]:
        """What it holds by name, without what its emulator gave it."""
        return {name: value for name, value in vars(self).items() if name not in ("number", "region", "issue", "now")}

    def done(self, name: str, call: Call) -> bool:
        """Whether what goes by this id is done, counting this look at it."""
        looks = self.looked_at.get(name, 0)
        self.looked_at[name] = looks + call.over_http
        return looks >= self.looks

    @property
    def ec2(self) -> Any:
        """What moto holds of EC2 in this account and region."""
        return ec2_backends[self.number][self.region]


Fake = Callable[[Account, Call], Record | None]
FAKES: dict[str, Fake] = {}
NEXT_IDS: dict[str, deque[str]] = defaultdict(deque)  # prefix of EC2's ids → those to give out next


def fake(*operations: str) -> Callable[[Fake], Fake]:
    """Enter a function as what answers these operations, each as `service:Operation`."""

    def entered(function: Fake) -> Fake:
        FAKES.update(dict.fromkeys(operations, function))
        return function

    return entered


INVALID = {"eks": "InvalidParameterException", "guardduty": "BadRequestException", "ecr": "InvalidParameterException"}


def refuse_what_the_model_forbids(operation: Any, parameters: Record) -> None:
    """AWS checks enumerations, patterns and upper limits, which boto3 leaves to it; EC2's model states none."""
    if operation.input_shape is not None and operation.service_model.protocol != "ec2":
        for fault in _faults(operation.input_shape, parameters, ""):
            raise Refusal(INVALID.get(operation.service_model.service_name, "ValidationError"), 400, fault)


def _faults(shape: Any, value: Any, where: str) -> Iterator[str]:
    facts = shape.metadata
    if shape.type_name == "structure":
        for name in [name for name in shape.required_members if name not in value]:
            yield f"{where}.{name} is missing"
        for name, inner in value.items():
            if name in shape.members:
                yield from _faults(shape.members[name], inner, f"{where}.{name}")
    elif shape.type_name == "list":
        for inner in value:
            yield from _faults(shape.member, inner, where)
    if shape.type_name in ("list", "string") and not facts.get("min", 0) <= len(value) <= facts.get("max", len(value)):
        yield f"{where} has a length of {len(value)}"
    if shape.type_name == "string" and facts.get("enum") and value not in facts["enum"]:
        yield f"{where} is none of {', '.join(facts['enum'])}"
    if shape.type_name == "string" and not _fits(facts.get("pattern", ".*"), value):
        yield f"{where} does not satisfy {facts['pattern']}"


def _fits(pattern: str, value: str) -> bool:
    try:
        return re.fullmatch(pattern, value, re.DOTALL) is not None
    except re.error:
        return True  # a pattern of Java's own kind


def page(account: Account, call: Call, name: str, rows: Iterable[Any]) -> Record:
    """One page of an answer, in the service's own spelling: EKS writes small first letters."""
    limit, token = ("maxResults", "nextToken") if call.service == "eks" else ("MaxResults", "NextToken")
    everything = list(rows)
    start = int(call.parameters.get(token, "after-0").removeprefix("after-"))
    usual = 50 if call.service == "guardduty" else 100
    end = start + min(call.parameters.get(limit) or usual, account.page_size)
    return {name: everything[start:end]} | ({token: f"after-{end}"} if end < len(everything) else {})


def missing(message: str) -> Refusal:
    """What a service says of a thing that is not there."""
    return Refusal("ResourceNotFoundException", 404, message)


def arn(account: Account, service: str, what: str) -> str:
    """The ARN of a thing of this account and region."""
    return f"arn:aws:{service}:{account.region}:{account.number}:{what}"
