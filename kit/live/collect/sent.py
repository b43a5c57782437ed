"""One request as it is sent: its parameters filled in, the key by which it is known, the name of its file, and what its answer names."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from kit.lenient import dict_of, text_of
from kit.live.collect.requests import LOG_FILE, Members, Request
from kit.model.arn import Arn, name_in, role_of
from kit.words import iso

_INSTANCE = re.compile(r"/(i-[0-9a-f]{8,17})$")  # of aws:///ZONE/INSTANCE
_IMAGE = re.compile(r"(\d{12})\.dkr\.ecr\.([a-z0-9-]+)\.[a-z.]+/([a-z0-9._/-]+)@(sha256:[0-9a-f]{64})")
_NO_TOKEN = {"ResponseMetadata", "nextToken", "NextToken", "Marker", "IsTruncated", "searchedLogStreams"}


@dataclass(frozen=True)
class Sent:
    """A request with its parameters. one: what it is sent for, None where it is sent once."""

    request: Request
    one: Any
    region: str
    parameters: Mapping[str, Any]

    @property
    def part(self) -> str:
        """The key by which a log knows it."""
        known = json.dumps(self.parameters, sort_keys=True, default=str).encode()
        return f"{self.request.service}:{self.request.operation}:{self.region}:{hashlib.sha256(known).hexdigest()[:16]}"

    def file(self, page: int, of_this_region: bool = True) -> str:
        """Where its answer is written, below the folder."""
        request, more = self.request, f"-{page}" if page > 1 else ""
        if request.service == "kubernetes":
            return f"cluster/{request.operation}{more}.json"
        if request is LOG_FILE:  # its folders name the log stream
            names = [in_file_name(name) for name in self.one["key"].split("/") if name]
            return "/".join([request.kind, "of-bucket", *names])
        if request.operation == "GetObject":
            return f"{request.kind}/{in_file_name(name_in(self.one['key']))}"
        words = re.sub(r"(?<=[a-z])(?=[A-Z])", "-", request.operation).lower()
        where = "" if of_this_region else f"-{self.region}"
        named = f"-{self._label()}" if request.each or self.parameters else ""
        folder = "findings" if request.operation == "GetFindings" else request.kind if _is_log(request) else "aws"
        return f"{folder}/{request.service}-{words}{named}{where}{more}.json"

    def _label(self) -> str:
        about = self.one if isinstance(self.one, Mapping) else {}
        if isinstance(begin := about.get("from"), datetime):
            of = f"{in_file_name(about['of'])}-" if "of" in about else ""
            return f"{of}{begin:%Y%m%dT%H%M%SZ}"
        return in_file_name(self.one) if isinstance(self.one, str) else self.part.rpartition(":")[2][:8]


def _is_log(request: Request) -> bool:
    return request.operation in ("FilterLogEvents", "LookupEvents")


def in_file_name(text: str) -> str:
    """A text as part of a file's name: other letters are replaced, and then a digest tells two apart."""
    plain = re.sub(r"[^\w.=+-]", "_", text, flags=re.ASCII)[:80].lstrip(".")
    return plain if plain == text else f"{plain}-{hashlib.sha256(text.encode('utf-8', 'replace')).hexdigest()[:8]}"


def filled(asked: Any, values: Mapping[str, Any]) -> Any:
    """Parameters with what their variables stand for. Raises KeyError for what is not known."""
    if isinstance(asked, Mapping):
        return {name: filled(value, values) for name, value in asked.items()}
    if isinstance(asked, list | tuple):
        return [filled(value, values) for value in asked]
    return values[asked[1:]] if isinstance(asked, str) and asked.startswith("$") else asked


def stands_at(answer: Any, path: Members) -> Iterator[Any]:
    """What stands at a path of an answer, lists taken apart."""
    if isinstance(answer, list):
        for each in answer:
            yield from stands_at(each, path)
    elif not path:
        yield from () if answer is None or answer == "" else (answer,)
    elif isinstance(answer, Mapping):
        yield from stands_at(answer.get(path[0]), path[1:])


def known_as(name: str, value: Any, one: Any, account: str) -> Iterator[tuple[str, Any]]:
    """What the name of something in an answer is asked for by: a role's ARN by its name, a Node's provider id by its instance."""
    text = text_of(value) or ""
    if name == "principals":
        arn = Arn.of(role_of(value))
        if arn and arn.account == account:
            yield f"{arn.kind}s", arn.name
    elif name == "profiles":
        yield name, name_in(text)
    elif name == "instances":
        if found := _INSTANCE.search(text):
            yield name, found[1]
    elif name == "images":
        if found := _IMAGE.search(text):
            yield name, found.groups()
    elif name == "delivered":
        yield "trail_files", {"bucket": one["bucket"], "key": text}
    elif name == "network_files":
        key, size = text_of(dict_of(value).get("Key")), dict_of(value).get("Size")
        yield name, {"network_bucket": one["network_bucket"], "network_key": key, "key": key, "size": size}
    elif name == "interfaces":
        if instance := text_of(dict_of(dict_of(value).get("Attachment")).get("InstanceId")):
            yield name, {"id": text_of(dict_of(value).get("NetworkInterfaceId")), "instance": instance}
    elif name == "bucket_files":
        yield name, {"bucket": one["bucket"], "key": dict_of(value).get("Key"), "size": dict_of(value).get("Size")}
    elif name in ("role_policies", "user_policies"):
        yield name, {name.partition("_")[0]: one, "policy": value}
    elif name == "policy_versions":
        yield name, {"policy_arn": one, "version": text_of(dict_of(value).get("DefaultVersionId"))}
    else:
        yield name, value


def holds_nothing(answer: Mapping[str, Any]) -> bool:
    """Whether an answer of AWS names nothing: its lists are empty, and there is nothing else in it."""
    return all(value in ([], {}, None) for name, value in answer.items() if name not in _NO_TOKEN)


def written_as(value: Any) -> str:
    """How JSON of the AWS CLI has what JSON has no form for."""
    if isinstance(value, datetime):
        return iso(value)
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)
