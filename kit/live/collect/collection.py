"""Sends the requests of a collection, writes each answer as it came and each request into the log, and never the same twice.

A refusal stops nothing else. Answers are pages: each is a file, and the log has the token of the next, so that a run that was killed goes on.
Sources: Kubernetes API concepts, "Retrieving large results sets in chunks" (a token that is too old is 410) and "Receiving resources as
Tables" (includeObject); CloudTrail API, LookupEvents (two requests a second).
"""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from kit.errors import WorkError
from kit.lenient import dict_of, dicts_of, found_at, member, texts_of
from kit.live.attempts import Attempt
from kit.live.collect.bucket_logs import may_have
from kit.live.collect.collection_log import CollectionLog
from kit.live.collect.network_logs import folders_of, is_network_file, streams_of
from kit.live.collect.requests import (
    EVENT_HISTORY,
    LISTED_KINDS,
    NAMES_ALONE,
    ORGANIZATION,
    TRAIL_FILE,
    TRAIL_FILES,
    Request,
)
from kit.live.collect.sent import Sent, filled, holds_nothing, in_file_name, known_as, stands_at, written_as
from kit.live.collect.trail_files import DELIVERED_WITHIN, delivery_folders, is_of, of_an_organization
from kit.live.connection import Connection
from kit.live.errors import CLOCK_IS_WRONG, REGION_IS_OFF, LiveError, Missing, aws_answer
from kit.model.window import Window
from kit.whole_file import write_whole
from kit.words import iso

_SIDE_BY_SIDE = 4
_OF_LOGS = ("FilterLogEvents", "LookupEvents")
_PAGES_OF_LOGS = "before-parse.cloudwatch-logs.FilterLogEvents"  # botocore's event; its answer of the server is JSON
_PAGE = "500"  # objects, as kubectl asks for
_LOG_BYTES = 64 << 20  # of one container's log
_PACE = 0.5  # s between two calls of LookupEvents
_TOKENS = {
    "nextToken": "nextToken",
    "NextToken": "NextToken",
    "Marker": "Marker",
    "NextContinuationToken": "ContinuationToken",
}
_CAME = "came"  # the member of an answer with the bytes that the server sent
_TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"
_METADATA = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"
_GLOBAL = {"aws": "us-east-1", "aws-cn": "cn-north-1", "aws-us-gov": "us-gov-west-1"}


class Collection:
    """One run over one folder. values: what is filled into requests. told: progress, by a sentence, how much is done, and of how much."""

    def __init__(self, live: Connection, log: CollectionLog, told: Callable[[str, int, int], None]) -> None:
        self.live, self.log, self.told = live, log, told
        self.values = dict[str, Any]()
        self.known = dict[str, list[Any]]()
        self.user = ""  # of the cluster, as it names whoever asks
        self._learning = threading.Lock()

    def send_all(self, requests: tuple[Request, ...]) -> None:
        """Send these requests, each once for all that it is sent for."""
        for number, request in enumerate(requests):
            self.told(f"{request.service} {request.operation}", number, len(requests))
            every = [*self.sendings(request)]
            if request.each and request.service != "kubernetes" and request.operation != "LookupEvents":
                pool = ThreadPoolExecutor(_SIDE_BY_SIDE)
                try:
                    for _ in pool.map(self.fetch, every):
                        pass
                finally:
                    pool.shutdown(cancel_futures=True)
            else:
                for sent in every:
                    self.fetch(sent)

    def sendings(self, request: Request) -> Iterator[Sent]:
        """What a request is sent for, with its parameters; nothing where a name that it needs is not known."""
        if request.service == "ecr":
            self._name_images()
        elif request is ORGANIZATION:
            trails = self.known.get("trail_buckets", [])
            self.known[request.each] = [self.values["account"]] if any(map(of_an_organization, trails)) else []
        elif request.kind == "network":
            self._name_network_logs()
        elif request is TRAIL_FILES:
            self._name_trail_folders()
        elif request is EVENT_HISTORY and self._has_trail_files():
            return
        each = self._names(request.each) if request.each else [None]
        size = request.chunk
        chunks: list[Any] = [each[at : at + size] for at in range(0, len(each), size)] if size else each
        regions = dict.fromkeys([self.region, self._global_region] if request.everywhere else [self.region])
        for one in chunks:
            single = {name: values[0] for name, values in self.known.items() if values and name != request.each}
            own = {"one": one} | (dict(one) if isinstance(one, Mapping) else {})
            try:
                parameters = filled(request.asks, single | self.values | own)
            except KeyError:
                continue
            for region in regions:
                yield Sent(request, one, region, _in_milliseconds(request, parameters))

    def _names(self, name: str) -> list[Any]:
        """What is known by a name, in an order that does not hang on which answer came first."""
        had = self.values.get("finding") if name == "finding_ids" else None
        listed = [one for one in self.known.get(name, []) if had is None or one != had]
        return sorted(listed) if all(isinstance(one, str) for one in listed) else listed

    @property
    def region(self) -> str:
        """The region of the cluster."""
        return str(self.values["region"])

    @property
    def _global_region(self) -> str:
        """Where CloudTrail has the events of global services."""
        return _GLOBAL[str(self.values["partition"])]

    def _name_images(self) -> None:
        """The images of the account's registry, each by itself: ECR refuses a whole call for one image that is gone."""
        here = (self.values["account"], self.region)
        images = sorted(one[2:] for one in self.known.get("images", []) if one[:2] == here)
        self.known["own_images"] = [{"repository": name, "digest": {"imageDigest": digest}} for name, digest in images]
        self.known["repositories"] = [{"repository": name} for name in sorted({name for name, _ in images})]

    @property
    def _window(self) -> Window:
        return Window(self.values["start"], self.values["end"])

    def _name_trail_folders(self) -> None:
        regions = (self.region, self._global_region)
        trails = self.known.get("trail_buckets", [])
        organization = next(iter(self.known.get("organizations", [])), "")
        account = str(self.values["account"])
        self.known["trail_days"] = [*delivery_folders(trails, account, organization, regions, self._window)]

    def _name_network_logs(self) -> None:
        """The streams and folders in which the traffic and the DNS queries of the nodes stand, by what was described before."""
        logs, resolvers = self.known.get("flow_logs", []), [str(one) for one in self.known.get("query_logs", [])]
        nodes, vpc = self.known.get("instances", []), str(next(iter(self.known.get("vpc", [])), ""))
        interfaces = sorted(str(one["id"]) for one in self.known.get("interfaces", []) if one["instance"] in nodes)
        self.known["network_streams"] = [*streams_of(logs, resolvers, interfaces, vpc, self._window)]
        groups = sorted({str(one["network_group"]) for one in self.known["network_streams"]})
        self.known["network_groups"] = [{"network_group": name} for name in groups]
        place = str(self.values["account"]), self.region, vpc
        self.known["network_folders"] = [*folders_of(logs, resolvers, *place, self._window)]

    def _has_trail_files(self) -> bool:
        """Whether the files of the window were delivered, and all of them could be had: they have more than the event history."""
        of_files = [line for line in self.log.lines if line.get("service") == "s3" and line.get("part")]
        late = self._window.end > datetime.now(UTC) - DELIVERED_WITHIN
        had = any(line["operation"] == TRAIL_FILE.operation and line["status"] == "ok" for line in of_files)
        last = {line["part"]: line["status"] for line in of_files}
        return had and not late and not {"refused", "failed"} & set(last.values())

    def learn(self, name: str, value: Any, one: Any = None) -> None:
        """Take note of something that later requests ask for."""
        with self._learning:
            if name == "delivered" and not is_of(str(value), self._window):
                return
            if name == "network_files" and not is_network_file(value, one["part"], self._window):
                return
            if name == "bucket_files" and not may_have(value, self._window):
                return
            for called, each in known_as(name, value, one, str(self.values["account"])):
                listed = self.known.setdefault(called, [])
                if each not in listed:
                    listed.append(each)

    def fetch(self, sent: Sent) -> list[dict[str, Any]]:
        """All pages of an answer, of a log none; those alone are asked for that are not there. Raises WorkError where no further request would be answered."""
        answers, pages = list[dict[str, Any]](), self.log.pages(sent.part)
        if any(page["file"] and not (self.log.folder / page["file"]).exists() for page in pages):
            pages = []
        for page in pages if sent.request.finds or sent.request.operation == "GetFindings" else ():
            if page["file"]:
                answers.append(self._taken_in(sent, json.loads((self.log.folder / page["file"]).read_bytes())))
        number, token = len(pages), str(pages[-1]["next"] or "") if pages else ""
        goes_on = bool(token)
        while token or not number:
            try:
                answer, data, following = self._asked(sent, token)
            except LiveError as error:
                if goes_on and not (error.denied or error.throttled or error.credentials_ended):
                    goes_on, token, number, answers = False, "", 0, []  # the token is too old: this part from its start
                    continue
                self._failed(sent.request, sent.part, error, sent.region)
                return answers
            number += 1
            of_log = sent.request.operation in _OF_LOGS
            # The pages of a log are on the disk, and nobody asks for them: kept too, they filled the memory.
            answers += [] if of_log else [self._taken_in(sent, answer)]
            nothing = holds_nothing(answer) if sent.request.service != "kubernetes" else not answer.get("items")
            file = "" if nothing and of_log else sent.file(number, sent.region == self.region)
            more = {"page": number, "next": following if following != token else ""}
            self._arrived(sent.request, sent.part, "empty" if nothing else "ok", file, data, more)
            token = str(more["next"])
        return answers

    def _taken_in(self, sent: Sent, answer: dict[str, Any]) -> dict[str, Any]:
        for name, paths in sent.request.finds.items():
            for value in (value for path in paths for value in stands_at(answer, path)):
                self.learn(name, value, sent.one)
        return answer

    def _asked(self, sent: Sent, token: str) -> tuple[dict[str, Any], bytes, str]:
        """One page: as a value, as it came, and the token of the next. Raises LiveError."""
        request = sent.request
        if request.service == "kubernetes":
            return self._listed(request, token)
        client = self.live.aws(request.service) if sent.region == self.region else self.live.aws_in(sent.region, request.service)  # fmt: skip
        from botocore import xform_name

        if request.operation == "LookupEvents":
            time.sleep(_PACE)
        takes = client.meta.service_model.operation_model(request.operation).input_shape  # None where it takes nothing
        given = {parameter: token for parameter in _TOKENS.values() if token and takes and parameter in takes.members}
        call = getattr(client, xform_name(request.operation))
        if request.operation == "FilterLogEvents":
            client.meta.events.register(_PAGES_OF_LOGS, _keep_as_it_came, unique_id=_PAGES_OF_LOGS)
        if request.operation == "GetObject":
            body: bytes = aws_answer(lambda: call(**sent.parameters)["Body"].read(), request.service, request.operation)
            return {"Body": len(body)}, body, ""
        answer: dict[str, Any] = aws_answer(lambda: call(**sent.parameters, **given), request.service, request.operation)  # fmt: skip
        answer.pop("ResponseMetadata", None)
        following = next((str(answer[name] or "") for name in _TOKENS if name in answer), "")
        if _CAME in answer:
            return answer, answer.pop(_CAME), following
        data = json.dumps(answer, default=written_as, ensure_ascii=False).encode("utf-8", "backslashreplace")
        return answer, data, following if answer.get("IsTruncated", True) else ""

    def _listed(self, request: Request, token: str) -> tuple[dict[str, Any], bytes, str]:
        kind = LISTED_KINDS[request.operation]
        path = f"/apis/{kind.api_version}/{kind.resource}" if kind.group else f"/api/v1/{kind.resource}"
        query = {"limit": _PAGE} | ({"continue": token} if token else {})
        accept = _METADATA if kind.resource == NAMES_ALONE else "application/json"
        if kind.resource == "secrets":
            query, accept = query | {"includeObject": "None"}, _TABLE
        data: bytes = self.live.kubernetes("GET", path, query=query, accept=accept, raw=True)
        try:
            answer = dict_of(json.loads(data))
        except ValueError:
            raise LiveError(f"GET {path}: the answer is no JSON", "cut") from None
        if kind.resource == "secrets" and answer.get("kind") != "Table":
            raise LiveError(f"GET {path}: the server has no Table form, so Secrets are left out", "no_table")
        return answer, data, str(found_at(answer, "metadata", "continue") or "")

    def container_logs(self, workloads: list[tuple[str, str]]) -> None:
        """The logs of the containers of these workloads or pods, by namespace and name; of restarted ones those before the restart too."""
        request = Request(
            "container_logs", "kubernetes", "pods/log", absent=("400",)
        )  # a container that has no such log
        chosen = [pod for pod in self.known.get("pods", []) if any(_is_of(pod, *one) for one in workloads)]
        for number, pod in enumerate(chosen):
            self.told("logs of containers", number, len(chosen))
            space, name = str(member(pod, "metadata", "namespace")), str(member(pod, "metadata", "name"))
            for status in _container_statuses(pod):
                for previous in [False, True][: 1 + bool(status.get("restartCount"))]:
                    self._container_log(request, space, name, str(status.get("name")), previous)

    def _container_log(self, request: Request, space: str, name: str, container: str, previous: bool) -> None:
        end = "_previous" if previous else ""
        file = f"logs/containers/{in_file_name(space)}_{in_file_name(name)}_{in_file_name(container)}{end}.log"
        part = f"kubernetes:pods/log::{space}/{name}/{container}{end}"
        if any((self.log.folder / page["file"]).exists() for page in self.log.pages(part)):
            return
        query = {"container": container, "timestamps": "true", "limitBytes": str(_LOG_BYTES)}
        path = f"/api/v1/namespaces/{quote(space, safe='')}/pods/{quote(name, safe='')}/log"
        try:
            data: bytes = self.live.kubernetes("GET", path, query=query | ({"previous": "true"} if previous else {}), accept="*/*", raw=True)  # fmt: skip
        except LiveError as error:
            self._failed(request, part, error, "")
            return
        self._arrived(request, part, "ok" if data else "empty", file, data, {"page": 1, "next": ""})

    def _arrived(
        self, request: Request, part: str, status: str, file: str, data: bytes, more: Mapping[str, Any]
    ) -> None:
        try:
            if file:
                write_whole(self.log.folder / file, data)
            digest = hashlib.sha256(data).hexdigest() if file else ""
            about = {"status": status, "part": part, "bytes": len(data), "sha256": digest, "file": file}
            self._write_down(request, about | dict(more))
        except OSError as error:
            raise WorkError(
                f"the folder cannot be written: {error.strerror}",
                str(self.log.folder),
                "make room; the same command goes on from there",
            ) from None

    def _failed(self, request: Request, part: str, error: LiveError, region: str) -> None:
        """Write down what was refused or failed. Raises WorkError where every further request would be."""
        none_there = isinstance(error, Missing) or error.code in request.absent
        status = "refused" if error.denied else "empty" if none_there else "failed"
        if request.service == "kubernetes":
            kind = LISTED_KINDS.get(request.operation)
            permission = f"list {kind.path}" if kind else f"get {request.operation}"
        else:
            permission = request.iam_action
        line = {"status": status, "part": part, "permission": permission if status == "refused" else ""}
        self._write_down(request, line | {"error": error.says, "page": 1, "next": ""})
        if error.credentials_ended or error.code in CLOCK_IS_WRONG:
            why = "this machine's clock is wrong" if error.code in CLOCK_IS_WRONG else "the credentials have ended"
            raise WorkError(f"{why}: {error.says}", next="mend that; the same command goes on from there")
        if error.code in REGION_IS_OFF and region == self.region and request.service != "ec2":
            raise WorkError(
                f"region {region} takes no calls of this account: it is off, or the credentials are not for it ({error.says})",
                next="name another region with --region, or enable it",
            )

    def write_down_others(self) -> None:
        """Write down requests that nobody wrote down, as those by which the place was checked."""
        for attempt in self.live.attempts.taken():
            self.log.append(self._line(attempt, attempt.service, attempt.operation))

    def _write_down(self, request: Request, about: Mapping[str, Any]) -> None:
        """A line for each try of a request; the last one has what became of it."""
        service, operation = request.service, request.operation
        *earlier, last = self.live.attempts.taken() or [Attempt(datetime.now(UTC), service, "", "", "", 0, "")]
        word = f"List{LISTED_KINDS[operation].kind}" if operation in LISTED_KINDS else operation
        name = word if service == "kubernetes" else operation
        for attempt in earlier:
            self.log.append(self._line(attempt, service, name))
        self.log.append(self._line(last, service, name) | {"kind": request.kind} | dict(about))

    def _line(self, attempt: Attempt, service: str, operation: str) -> dict[str, Any]:
        good = 200 <= attempt.status < 300
        return {
            "at": iso(attempt.at),
            "service": service,
            "operation": operation,
            "path": attempt.path,
            "region": attempt.region,
            "request_id": attempt.request_id,
            "as": self.user if service == "kubernetes" else self.live.caller_if_known or "",
            "case": self.log.run,
            "status": "ok" if good else "refused" if attempt.status in (401, 403) else "failed",
            "permission": f"{service}:{operation}" if attempt.status == 403 else "",
            "error": attempt.error,
            "bytes": 0,
            "sha256": "",
            "file": "",
            "part": "",
        }


def _keep_as_it_came(response_dict: Mapping[str, Any], customized_response_dict: dict[str, Any], **_: object) -> None:
    """Let the bytes of a page stand beside what botocore reads in them: they are the evidence, and writing a page anew is half of its cost."""
    customized_response_dict[_CAME] = response_dict["body"]


def _in_milliseconds(request: Request, parameters: dict[str, Any]) -> dict[str, Any]:
    """CloudWatch Logs counts milliseconds; the end of a slice is excluded, and of a call included."""
    if request.service != "logs" or "startTime" not in parameters:
        return parameters
    begin, end = (int(parameters[name].timestamp() * 1000) for name in ("startTime", "endTime"))
    return parameters | {"startTime": begin, "endTime": max(begin, end - 1)}


def _is_of(pod: dict[str, Any], namespace: str, name: str) -> bool:
    """Whether a pod is this one, or of the workload of that name."""
    if member(pod, "metadata", "namespace") != namespace:
        return False
    names = [member(pod, "metadata", "name"), *(one.get("name") for one in dicts_of(member(pod, "metadata", "ownerReferences")))]  # fmt: skip
    return any(one == name or one.startswith(f"{name}-") for one in texts_of(names))


def _container_statuses(pod: dict[str, Any]) -> list[dict[str, Any]]:
    status = dict_of(pod.get("status"))
    every = ("containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses")
    return [one for name in every for one in dicts_of(status.get(name))]
