"""Clients for one account and one cluster, by the usual conventions: profile, region, kubeconfig, context, and their environment variables.

Reads are tried again; a write is sent once, and again only when the service said that it throttled. What became of a write whose answer
did not come is `Unknown`: it is looked up, never guessed. Sources: boto3 "Configuration" and "Retries"; Kubernetes API conventions
(status codes, Retry-After); kubectl "Organizing cluster access using kubeconfig files".
"""

from __future__ import annotations

import json
import logging
import os
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

from kit.errors import CallError
from kit.live.attempts import Attempts
from kit.live.errors import THROTTLED, TRIES, Conflict, Failed, LiveError, Missing, Unknown, aws_answer, nobody

# The clients are imported where they are used: a plan is made and read without them, and they take longest to import.
if TYPE_CHECKING:
    import boto3
    import kubernetes

_FIRST_PAUSE = 0.25  # s; doubled with each try, with jitter: about 8 s in all
_CONNECT, _READ = 10, 60  # s


@dataclass(frozen=True)
class ConnectionOptions:
    """How the account and the cluster are reached, by the usual conventions; None for what the environment says."""

    profile: str | None = None
    kubeconfig: str | None = None
    context: str | None = None


class Connection:
    """The account and the cluster of a plan. Nothing is called before the first use, and nothing is changed by checking."""

    def __init__(
        self,
        account: str | None,
        region: str | None,
        cluster: str | None,
        *,
        profile: str | None = None,
        kubeconfig: str | None = None,
        context: str | None = None,
        agent: str = "",
    ) -> None:
        """agent: what the calls are marked with in logs; then each attempt of a call is kept in `attempts` until somebody takes it."""
        self.account, self.region, self.cluster, self.agent = account, region, cluster, agent
        self.attempts = Attempts()
        # What the journal has, for the acts: files of the case that each action kept, with their hashes; answers that it got; uid of what was
        # deleted → uid of what an undo made of it.
        self.kept: dict[str, list[tuple[str, str]]] = {}
        self.answers: dict[str, list[str]] = {}
        self.remade: dict[str, str] = {}
        self.request_id = ""  # of the last call of Kubernetes: its Audit-Id
        self.logged = Logged()
        self._profile, self.kubeconfig, self.context = profile, kubeconfig, context

    @cached_property
    def _session(self) -> boto3.Session:
        import boto3
        import botocore.exceptions as aws_errors

        try:
            # boto3 knows AWS_DEFAULT_REGION alone; the AWS CLI takes AWS_REGION before it.
            return boto3.Session(
                profile_name=self._profile, region_name=self.region or os.environ.get("AWS_REGION") or None
            )
        except aws_errors.ProfileNotFound as error:
            raise CallError(
                str(error), where="--profile", next="`aws configure list-profiles` lists the profiles"
            ) from None
        except aws_errors.BotoCoreError as error:
            raise CallError(str(error), where="AWS", next="mend that file") from None

    def aws(self, service: str) -> Any:
        """The boto3 client to read with: tried again when throttled or cut."""
        return self._client(service, TRIES)

    def aws_in(self, region: str, service: str) -> Any:
        """The boto3 client to read with in another region than the session's."""
        return self._client(service, TRIES, region)

    @property
    def own_region(self) -> str:
        """The region that the session calls, "" where nothing tells it."""
        return str(self._session.region_name or "")

    def _client(self, service: str, tries: int, region: str | None = None) -> Any:
        from botocore.config import Config

        key = service, tries, region
        if key not in self._clients:
            retries: Any = {"mode": "standard", "total_max_attempts": tries}
            config = Config(
                connect_timeout=_CONNECT, read_timeout=_READ, retries=retries, user_agent_extra=self.agent or None
            )
            made = self._session.client(service, region_name=region, config=config)
            if self.agent:
                made.meta.events.register("response-received", partial(self.attempts.of_aws, service))
            self._clients[key] = made
        return self._clients[key]

    @cached_property
    def _clients(self) -> dict[tuple[str, int, str | None], Any]:
        return {}

    def read(self, service: str, operation: str, **parameters: Any) -> dict[str, Any]:
        """What a reading call of AWS answers. Raises Missing, Failed, Unknown."""
        return aws_answer(lambda: getattr(self.aws(service), operation)(**parameters), service, operation)

    def pages(self, service: str, operation: str, member: str, **parameters: Any) -> Iterator[Any]:
        """The elements of all pages of a listing call."""

        def every() -> list[Any]:
            client = self.aws(service)
            if not client.can_paginate(operation):
                return list(getattr(client, operation)(**parameters).get(member) or [])
            return [
                one for page in client.get_paginator(operation).paginate(**parameters) for one in page.get(member) or []
            ]

        yield from aws_answer(every, service, operation)

    def write(self, service: str, operation: str, **parameters: Any) -> tuple[dict[str, Any], str]:
        """Send a changing call once, again only when throttled: its answer and its request id. Raises Failed, Unknown."""

        def once() -> dict[str, Any]:
            answer: dict[str, Any] = getattr(self._client(service, 1), operation)(**parameters)
            return answer

        for pause in _pauses():
            try:
                answer = aws_answer(once, service, operation)
                return answer, str(answer.get("ResponseMetadata", {}).get("RequestId", ""))
            except Failed as error:
                if error.code not in THROTTLED or pause is None:
                    raise
                time.sleep(pause)
        raise AssertionError

    def dry_run(self, operation: str, **parameters: Any) -> str:
        """What EC2 says of a call that is only tried. Raises Failed when it would be refused."""
        try:
            self.write("ec2", operation, DryRun=True, **parameters)
        except Failed as error:
            if error.code != "DryRunOperation":
                raise
        return "EC2 would do it (DryRun)"

    @cached_property
    def caller(self) -> str:
        """The ARN of who calls AWS. Raises CallError where there are no credentials."""
        return str(self.identity["Arn"])

    @property
    def access_key_id(self) -> str:
        """The id of the access key that signs the calls, "" where there is none."""
        credentials = self._session.get_credentials()
        return str(credentials.access_key) if credentials else ""

    @property
    def caller_if_known(self) -> str | None:
        """The ARN of who calls AWS, None without credentials."""
        try:
            return self.caller
        except CallError:
            return None

    @cached_property
    def identity(self) -> dict[str, Any]:
        """Who calls AWS, as STS says. Raises CallError where it does not say, with the reason."""
        try:
            return self.read("sts", "get_caller_identity")
        except LiveError as error:
            raise nobody(error, self.own_region) from None

    @cached_property
    def api(self) -> kubernetes.client.ApiClient:
        """The client of the cluster. Raises CallError without a kubeconfig."""
        import kubernetes
        import urllib3

        settings = kubernetes.client.Configuration()
        logging.getLogger().addHandler(self.logged)  # else the client's own lines go to the terminal
        try:
            kubernetes.config.load_kube_config(
                self.kubeconfig, self.context, client_configuration=settings, persist_config=False
            )
        except (kubernetes.config.ConfigException, OSError) as error:
            name = self.cluster or "CLUSTER"
            raise CallError(
                f"there is no usable kubeconfig: {error}",
                where=self.kubeconfig or "kubeconfig",
                next=f"make one with `aws eks update-kubeconfig --name {name}`, or name it with --kubeconfig and --context",
            ) from None
        settings.retries = urllib3.Retry(0, redirect=0)
        made = kubernetes.client.ApiClient(settings)
        made.user_agent = self.agent or "kit"
        return made

    def kubernetes(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        query: dict[str, str] | None = None,
        content_type: str = "application/json",
        accept: str = "application/json",
        text: bool = False,
        raw: bool = False,
        seconds: int = _READ,
    ) -> Any:
        """Call the Kubernetes API: the parsed answer, its text, or its bytes as they came (raw).

        seconds: how long to wait for the answer. Raises Missing (404), Conflict (409), Failed and Unknown.
        """
        reading = method == "GET"
        for pause in _pauses():
            try:
                said = self._call(method, path, body, query or {}, content_type, accept, seconds)
                if raw:
                    return said
                return said.decode("utf-8", "replace") if text else _parsed(said, f"{method} {path}")
            except Unknown:
                if not reading or pause is None:
                    raise
            except Failed as error:
                if pause is None or not (
                    error.code in ("429", "disruption_budget") or (error.code == "unreached" and reading)
                ):
                    raise
            time.sleep(pause)
        raise AssertionError

    def _call(
        self, method: str, path: str, body: Any, query: dict[str, str], content_type: str, accept: str, seconds: int
    ) -> bytes:
        import kubernetes
        import urllib3

        what = f"{method} {path}"
        headers = {"Accept": accept} | ({"Content-Type": content_type} if body is not None else {})
        sent = self.api.param_serialize(
            method, path, [], list(query.items()), headers, body, auth_settings=["BearerToken"]
        )
        try:
            answer = self.api.call_api(*sent, _request_timeout=(_CONNECT, seconds))
            said: bytes = answer.read()
            self._answered(method, path, int(answer.status), answer.headers)
        except kubernetes.client.ApiException as error:
            status, said, reason = int(error.status or 0), str(error.body or "").encode(), str(error.reason)
            self._answered(method, path, status, error.headers)
            if status == 0:
                raise Unknown(f"{what}: no answer came: {reason}", "cut") from None
        except urllib3.exceptions.MaxRetryError as error:
            if isinstance(error.reason, urllib3.exceptions.SSLError):
                raise Failed(f"{what}: the API server's certificate is not trusted: {error.reason}", "tls") from None
            if isinstance(error.reason, urllib3.exceptions.NewConnectionError | urllib3.exceptions.ConnectTimeoutError):
                raise Failed(f"{what}: the API server cannot be reached: {error.reason}", "unreached") from None
            raise Unknown(f"{what}: no answer came: {error.reason}", "cut") from None
        except urllib3.exceptions.HTTPError as error:
            raise Unknown(f"{what}: no answer came: {error}", "cut") from None
        else:
            status, reason = int(answer.status), str(answer.reason)
        if 200 <= status < 300:
            return said
        message = _message(said) or reason
        says = f"{what}: {status} {message}"
        if status >= 500:
            raise Unknown(says, str(status))
        if status == 429 and b"DisruptionBudget" in said:
            raise Failed(says, "disruption_budget")
        raise {404: Missing, 409: Conflict}.get(status, Failed)(says, str(status))

    def _answered(self, method: str, path: str, status: int, headers: Any) -> None:
        self.request_id = str((headers or {}).get("Audit-Id") or "")
        if self.agent:
            self.attempts.of_kubernetes(method, path, status, self.request_id)

    def listed(
        self, path: str, *, query: dict[str, str] | None = None, accept: str = "application/json"
    ) -> list[dict[str, Any]]:
        """All items of a list, over all its pages."""
        found, more = list[dict[str, Any]](), {"limit": "500"} | (query or {})
        while True:
            page = self.kubernetes("GET", path, query=more, accept=accept)
            found += page.get("items") or []
            token = page.get("metadata", {}).get("continue")
            if not token:
                return found
            more = more | {"continue": token}

    @cached_property
    def user(self) -> dict[str, Any]:
        """Who calls Kubernetes: username, uid, groups, extra (SelfSubjectReview); {} where the cluster does not tell."""
        try:
            return self.reviewed()
        except LiveError:
            return {}

    def reviewed(self) -> dict[str, Any]:
        """Who calls Kubernetes, as it says itself. Raises LiveError."""
        review = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
        for pause in _pauses():  # it changes nothing, so it is tried again like a read
            try:
                made = self.kubernetes("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", review)
                self.user = dict(made.get("status", {}).get("userInfo") or {})
                return self.user
            except Unknown:
                if pause is None:
                    raise
                time.sleep(pause)
        raise AssertionError

    @cached_property
    def described(self) -> dict[str, Any]:
        """The cluster as EKS describes it."""
        return dict(self.read("eks", "describe_cluster", name=self.cluster)["cluster"])


class Logged(logging.Handler):
    """Takes what client libraries log: it belongs into errors, not onto the terminal."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one line."""
        self.lines.append(record.getMessage()[:300])


def _parsed(said: bytes, what: str) -> Any:
    try:
        return json.loads(said or b"null")
    except ValueError:
        raise Unknown(
            f"{what}: the answer is no JSON; something stands between here and the API server", "cut"
        ) from None


def _message(said: bytes) -> str:
    try:
        read = json.loads(said)
    except ValueError:
        return said.decode("utf-8", "replace")[:300]
    return str(read.get("message", ""))[:500] if isinstance(read, dict) else ""


def _pauses() -> Iterator[float | None]:
    """How long to wait after each try, seconds; None after the last."""
    for number in range(TRIES - 1):
        yield _FIRST_PAUSE * 2**number * random.uniform(0.75, 1.25)  # noqa: S311 - jitter
    yield None
