"""AWS on a loopback port: moto's server, with small fakes for what moto lacks, behind boto3's real clients over loopback.

The clients under test are processes of their own, which tests may kill, so all state lives here. A request is parsed
and answered by botocore's model of its service; every request over the port is written down in `calls`.
"""

from __future__ import annotations

import io
import os
import re
import socket
import threading
import uuid
from collections.abc import Callable, Iterable
from typing import Any, ClassVar, Literal
from urllib.parse import urlsplit
from xml.sax.saxutils import escape

import boto3
import orjson
from botocore.awsrequest import AWSResponse, HeadersDict
from botocore.config import Config
from moto.core.base_backend import BackendDict
from moto.core.parse import PROTOCOL_PARSERS
from moto.core.request import Request, determine_request_protocol
from moto.core.routing import get_service_router
from moto.core.serialize import SerializationContext, get_serializer_class
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from werkzeug.serving import make_server
from werkzeug.test import run_wsgi_app

import kit.training.emulators.fake_eks  # noqa: F401
from kit.training.emulators.aws_fakes import (
    FAKES,
    NEXT_IDS,
    Account,
    Call,
    Refusal,
    refuse_what_the_model_forbids,
)
from kit.training.emulators.aws_state import snapshot
from kit.training.emulators.fake_guardduty import capitalised, matches
from kit.training.emulators.fake_logs import read_s3, written_by_s3
from kit.training.emulators.mended_moto import copied
from kit.words import Names

__all__ = ["CUT", "AwsEmulator", "Call", "Fault", "Phase", "Refusal"]

SCOPE = re.compile(r"Credential=([^/]+)/[^/]*/([^/]*)/([^/]*)/aws4_request")
READING = re.compile(r"[^:]*:(Describe|List|Get|BatchGet|Simulate|AssumeRole|LookupEvents|FilterLogEvents)")
REQUEST_ID = re.compile(rb"(<(requestId|RequestId|RequestID)>)[^<]*(?=</)")
ERROR_CODE = re.compile(rb'<Code>([^<]*)</Code>|"__type": ?"(?:[^"]*#)?([^"]*)"')
UNKNOWN_KEY = {"ec2": ("AuthFailure", 401), "query": ("InvalidClientTokenId", 403)}
SESSION = boto3.session.Session()  # one, for it reads the models of the services but once
CUT = object()  # what a fault returns to close the connection without an answer

Phase = Literal["before", "after"]
Fault = Callable[[Call, Phase], Any]
Answer = tuple[int, dict[str, str], bytes]


class AwsEmulator:
    """AWS in a thread of this process, for as long as the `with` lasts; an account can be emulated once at a time.

    `arn` calls unless `environment` or `client` are told otherwise. `account` is what the fakes hold of the default
    account, to read and to change. `faults` are asked twice for each call, before and after it is done, and may return
    a Refusal, CUT or None.
    """

    _running: ClassVar[set[str]] = set()
    _moto: ClassVar[Any] = DomainDispatcherApplication(create_backend_app)
    _filled: ClassVar[dict[tuple[str, str, str], Any]] = {}
    # Clients past the port, by service, region and caller: making one takes longer than most calls.
    _idle: ClassVar[dict[tuple[str, str, str], Any]] = {}

    def __init__(self, account: str, region: str = "eu-central-1") -> None:
        self.number, self.region = account, region
        self.arn = f"arn:aws:iam::{account}:user/responder"
        self.calls: list[Call] = []
        self.faults: list[Fault] = []
        self.accounts: dict[str, Account] = {}
        self._callers: dict[str, str] = {}  # access key id → ARN
        self._clients: dict[tuple[str, str, bool], Any] = {}
        self._lock = threading.RLock()

    def __enter__(self) -> AwsEmulator:
        self._account(self.number)
        self._server = make_server("127.0.0.1", 0, self._serve, threaded=True, request_handler=_QuietHandler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        for (service, arn, over_http), client in self._clients.items():
            if over_http:
                client.close()
            else:
                client.meta.events.unregister("before-send", self._past_the_port)
                self._idle[service, self.region, arn] = client
        self._running.difference_update(self.accounts)
        NEXT_IDS.clear()

    @property
    def account(self) -> Account:
        """The account that is emulated."""
        return self.accounts[self.number]

    @property
    def changes(self) -> list[Call]:
        """The calls that ask for a change: neither reading nor a dry run."""
        return [call for call in self.calls if not call.dry_run and not READING.match(call.operation)]

    def environment(self, arn: str | None = None) -> dict[str, str]:
        """The variables that lead boto3 here as the caller `arn`, whose account may be another one."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_REGION": self.region,
            "AWS_DEFAULT_REGION": self.region,
            "AWS_ACCESS_KEY_ID": self._access_key_of(arn or self.arn),
            "AWS_SECRET_ACCESS_KEY": "emulated",
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        }

    def client(self, service: str, arn: str | None = None, *, over_http: bool = False) -> Any:
        """A boto3 client for seeding and looking: past the port, not in `calls`, out of reach of `faults`.
        With `over_http` it goes the way that the clients under test go."""
        key = service, arn or self.arn, over_http
        if key not in self._clients:
            idle = None if over_http else self._idle.pop((service, self.region, key[1]), None)
            signs = self._access_key_of(key[1])  # known here from now on
            client = idle or SESSION.client(
                service,
                endpoint_url=self.url,
                region_name=self.region,
                aws_access_key_id=signs,
                aws_secret_access_key="emulated",  # noqa: S106
                config=Config(retries={"total_max_attempts": 2}),
            )
            if not over_http:
                client.meta.events.register("before-send", self._past_the_port)
            self._clients[key] = client
        return self._clients[key]

    def next_ids(self, *ids: str) -> None:
        """The ids that EC2 gives out next, each to the next thing of its kind: `i-…`, `vol-…`, `eni-…`, `sg-…`, `snap-…`."""
        for name in ids:
            NEXT_IDS[name.partition("-")[0]].append(name)

    def add_instance(
        self, name: str, *, tags: dict[str, str] | None = None, spot: bool = False, volumes: int = 1, **more: Any
    ) -> None:
        """A running instance of this id; `more` goes to RunInstances: SubnetId, SecurityGroupIds, IamInstanceProfile…"""
        self.next_ids(name)
        devices = [
            {"DeviceName": f"/dev/xvd{'abcdef'[number]}", "Ebs": {"VolumeSize": 20, "DeleteOnTermination": True}}
            for number in range(volumes)
        ]
        labels = [{"Key": key, "Value": value} for key, value in (tags or {}).items()]
        if spot:
            more["InstanceMarketOptions"] = {"MarketType": "spot"}
        if labels:
            more["TagSpecifications"] = [{"ResourceType": "instance", "Tags": labels}]
        more = {"ImageId": "ami-12c6146b", "InstanceType": "m5.large", "BlockDeviceMappings": devices} | more
        self.client("ec2").run_instances(MinCount=1, MaxCount=1, **more)
        instance = self.account.ec2.get_instance_by_id(name)
        instance.security_groups = instance.nics[0]._group_set  # which moto leaves empty where interfaces are given

    def add_autoscaling_group(self, name: str, instances: Names, least: int = 0) -> None:
        """A group that consists of instances that are there already, and that carry its tag from then on."""
        scaling, ids = self.client("autoscaling"), list(instances)
        data = {"ImageId": "ami-12c6146b", "InstanceType": "m5.large"}
        self.client("ec2").create_launch_template(LaunchTemplateName=f"template-{name}", LaunchTemplateData=data)
        scaling.create_auto_scaling_group(
            AutoScalingGroupName=name,
            LaunchTemplate={"LaunchTemplateName": f"template-{name}"},
            MinSize=0,
            MaxSize=len(ids) + 5,
            DesiredCapacity=0,
            AvailabilityZones=[f"{self.region}a"],
        )
        scaling.attach_instances(AutoScalingGroupName=name, InstanceIds=ids)
        scaling.update_auto_scaling_group(AutoScalingGroupName=name, MinSize=least)

    def fill(self, key: str, by: Callable[[AwsEmulator], None]) -> None:
        """Fill the account by a function, or with a copy of what it made here before under this key: the calls take long."""
        backends = vars(BackendDict)["_instances"]
        place = key, self.number, self.region
        if place not in self._filled:
            by(self)
            assert not any(cluster.updates for cluster in self.account.clusters.values()), "updates end by functions"
            of_moto = {at: known[self.number] for at, known in enumerate(backends) if self.number in known}
            self._filled[place] = copied(of_moto, self.account.held())
        of_moto, of_fakes = copied(*self._filled[place])
        for at, held in of_moto.items():
            backends[at][self.number] = held
        vars(self.account).update(of_fakes)

    def add_finding(self, finding: dict[str, Any]) -> str:
        """A finding, as GetFindings or EventBridge writes it; the detector is made where there is none. Returns its id."""
        if not self.account.detectors:
            self.client("guardduty").create_detector(Enable=True)
        detector, held = next(iter(self.account.detectors.values())), capitalised(finding)
        service = held.setdefault("Service", {})
        suppressed = any(
            one["Action"] == "ARCHIVE" and matches(held, one["FindingCriteria"]) for one in detector.filters.values()
        )
        service["Archived"] = suppressed or service.get("Archived", False)
        detector.findings[held["Id"]] = held
        return str(held["Id"])

    def state(self) -> dict[str, Any]:
        """Everything that the fakes and moto hold of the default account, ready for JSON, to compare before and after."""
        return snapshot(self.client, self.account)

    def _account(self, number: str) -> Account:
        """An account of this emulator, emptied of what an earlier emulator left in moto."""
        if number not in self.accounts:
            if number in self._running:
                raise RuntimeError(f"the account {number} is being emulated already; leave that emulator first")
            self._running.add(number)
            for backends in vars(BackendDict)["_instances"]:
                backends.pop(number, None)
            self.accounts[number] = Account(number, self.region, self._access_key_of)
        return self.accounts[number]

    def _access_key_of(self, arn: str) -> str:
        kind = "ASIA" if ":assumed-role/" in arn else "AKIA"
        key = kind + uuid.uuid5(uuid.NAMESPACE_URL, arn).hex[:16].upper()
        self._callers[key] = arn
        self._account(arn.split(":")[4])
        return key

    def _serve(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        length = int(environ.get("CONTENT_LENGTH") or 0)
        environ["wsgi.input"] = io.BytesIO(environ["wsgi.input"].read(length))
        answer = self._answer(environ, over_http=True)
        if answer is None:
            environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
            raise ConnectionAbortedError  # the server drops such a request without a word
        status, headers, body = answer
        start_response(f"{status} Answered", [*headers.items(), ("Content-Length", str(len(body)))])
        return [body]

    def _past_the_port(self, request: Any, **_: Any) -> AWSResponse:
        environ = Request.from_primitives(request.method, request.url, request.headers, request.body).environ
        address = urlsplit(request.url)
        environ["RAW_URI"] = environ["REQUEST_URI"] = f"{address.path}?{address.query}"
        answer = self._answer(environ, over_http=False)
        assert answer is not None
        response = AWSResponse(request.url, answer[0], HeadersDict(answer[1]), io.BytesIO(answer[2]))
        response._content = answer[2]
        return response

    def _answer(self, environ: dict[str, Any], *, over_http: bool) -> Answer | None:
        """The answer to a request, or None where a fault cuts the connection."""
        call, operation = self._read(environ, over_http)
        answer = None
        if over_http:
            with self._lock:
                self.calls.append(call)
            fault = self._fault(call, "before")
            if fault is CUT:
                call.cut = True
                return None
            if isinstance(fault, Refusal):
                answer = self._refused(call, operation, fault)
        if answer is None:
            with self._lock:
                answer = self._done(call, operation, environ)
        call.status = answer[0]
        if call.status >= 400 and (found := ERROR_CODE.search(answer[2])):
            call.code = (found[1] or found[2]).decode()
        if over_http:
            fault = self._fault(call, "after")
            if fault is CUT:
                call.cut = True
                return None
            if isinstance(fault, Refusal):
                answer = self._refused(call, operation, fault)
                call.status, call.code = fault.status, fault.code
        return answer

    def _fault(self, call: Call, phase: Phase) -> Any:
        return next((found for fault in list(self.faults) if (found := fault(call, phase)) is not None), None)

    def _read(self, environ: dict[str, Any], over_http: bool) -> tuple[Call, Any]:
        """A request as botocore's model of its service reads it; `moto` parses, as it does for itself."""
        scope = SCOPE.search(environ.get("HTTP_AUTHORIZATION", ""))
        assert scope is not None, "an unsigned request"
        key, region, service = scope.groups()
        request = Request({**environ, "wsgi.input": io.BytesIO(environ["wsgi.input"].getvalue())})
        operation, parameters = read_s3(request) if service == "s3" else _parsed(service, request)
        caller = self._callers.get(key, "")
        call = Call(
            service=service,
            operation=f"{service}:{operation.name}",
            parameters=parameters,
            dry_run=bool(parameters.get("DryRun")) and service == "ec2",
            account=caller.split(":")[4] if caller else "",
            caller=caller,
            over_http=over_http,
            request_id=str(uuid.uuid4()),
            region=region,
            agent=environ.get("HTTP_USER_AGENT", ""),
        )
        return call, operation

    def _done(self, call: Call, operation: Any, environ: dict[str, Any]) -> Answer:
        """What AWS answers after doing it, by a fake or by moto."""
        protocol = operation.service_model.protocol
        try:
            if not call.caller:
                code, status = UNKNOWN_KEY.get(protocol, ("UnrecognizedClientException", 403))
                raise Refusal(code, status, "The security token included in the request is invalid.")
            refuse_what_the_model_forbids(operation, call.parameters)
            if call.dry_run:
                raise Refusal("DryRunOperation", 412, "Request would have succeeded, but DryRun flag is set.")
            fake = FAKES.get(call.operation)
            result = fake(self.accounts[call.account], call) if fake else None
        except Refusal as refusal:
            return self._refused(call, operation, refusal)
        if result is None:
            environ["HTTP_X_MOTO_ACCOUNT_ID"] = call.account
            try:
                chunks, line, headers = run_wsgi_app(self._moto, environ, buffered=True)
            except NotImplementedError as error:
                return self._refused(call, operation, Refusal("NotImplemented", 501, f"neither fake nor moto: {error}"))
            return self._named(call, int(line.split()[0]), dict(headers.items()), b"".join(chunks))
        if call.service == "s3":
            return self._named(call, 200, {}, written_by_s3(result))
        serializer = get_serializer_class(call.service, protocol)(operation, SerializationContext(call.request_id))
        response = serializer.serialize(result)
        body = response["body"]
        content = body if isinstance(body, bytes) else body.encode()
        return self._named(call, response["status_code"], dict(response["headers"]), content)

    def _refused(self, call: Call, operation: Any, refusal: Refusal) -> Answer:
        """An error in the form of the service's own protocol."""
        code, message = escape(refusal.code), escape(refusal.message)
        match operation.service_model.protocol:
            case "ec2":
                text = f"<Response><Errors><Error><Code>{code}</Code><Message>{message}</Message></Error></Errors><RequestID>-</RequestID></Response>"
            case "query":
                text = f"<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code><Message>{message}</Message></Error><RequestId>-</RequestId></ErrorResponse>"
            case _:
                text = orjson.dumps({"__type": refusal.code, "message": refusal.message}).decode()
        return self._named(call, refusal.status, {"x-amzn-errortype": refusal.code}, text.encode())

    def _named(self, call: Call, status: int, headers: dict[str, str], body: bytes) -> Answer:
        """An answer with the call's own request id in each place where botocore looks for one."""
        kept = {
            name: value
            for name, value in headers.items()
            if name.lower() not in ("content-length", "x-amzn-requestid", "x-amz-request-id")
        }
        return (
            status,
            {**kept, "x-amzn-requestid": call.request_id},
            REQUEST_ID.sub(rb"\g<1>" + call.request_id.encode(), body),
        )


class _QuietHandler(MotoRequestHandler):
    def log(self, type: str, message: str, *arguments: Any) -> None:
        """The test's output is no place for a server's log; only what it calls an error goes there."""
        if type == "error":
            super().log(type, message, *arguments)


def _parsed(service: str, request: Any) -> tuple[Any, Any]:
    """The operation and the parameters of a request, as moto reads them for itself."""
    operation, in_path = get_service_router(service).match(request)
    protocol = determine_request_protocol(operation.service_model, request.content_type)
    parameters = PROTOCOL_PARSERS[protocol](operation).parse(
        {
            "method": request.method,
            "values": request.values,
            "headers": request.headers,
            "body": request.data,
            "url_path": request.path,
            "url_params": in_path,
        }
    )
    return operation, parameters
