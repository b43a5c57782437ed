"""The Kubernetes API over loopback HTTP, behind the real client: state, preconditions, dry run, and a real one's refusals.

It ignores nothing: a parameter, patch or path that it does not know is refused with 501 or 404, never passed over.
Not here: schemas, immutable fields other than names, webhooks that answer, watch, server-side apply, status and scale, deletecollection,
exec (docs/decisions.md has the list). A deleted pod is gone at once but where kubelets linger. Sources:
kubernetes/kubernetes, staging/src/k8s.io/apiserver/pkg/endpoints/handlers, pkg/registry/core/pod/storage/eviction.go."""

from __future__ import annotations

import copy
import json
import re
import socket
import sys
import threading
import uuid
from collections.abc import Iterable
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Literal
from urllib.parse import parse_qsl, unquote, urlsplit

from kit.training.emulators.kubernetes_access import CLUSTER_ADMIN, TOKEN, Access, asked_of, user_of
from kit.training.emulators.kubernetes_discovery import discovery
from kit.training.emulators.kubernetes_documents import field_requirements, has, requirements, satisfied, sent
from kit.training.emulators.kubernetes_kinds import (
    CUT,
    PODS,
    REVIEWS,
    Answer,
    Asked,
    Call,
    Cut,
    Fault,
    Kind,
    Object,
    Refusal,
    key_of,
    only_metadata,
    unsupported,
)
from kit.training.emulators.kubernetes_state import KubernetesState, delete_options

__all__ = ["CUT", "Call", "Cut", "Fault", "KubernetesEmulator", "Object", "Refusal"]

_PARAMETERS = {
    "get": "pretty resourceVersion",
    "list": "pretty labelSelector fieldSelector limit continue resourceVersion timeoutSeconds allowWatchBookmarks includeObject",
    "create": "pretty dryRun fieldManager fieldValidation",
    "update": "pretty dryRun fieldManager fieldValidation",
    "patch": "pretty dryRun fieldManager fieldValidation",
    "delete": "pretty dryRun gracePeriodSeconds propagationPolicy",
    "log": "pretty container previous timestamps tailLines limitBytes",
}
_PATH = re.compile(
    r"/(?:api/(?P<core>v1)|apis/(?P<grouped>[^/]+/[^/]+))(?:/namespaces/(?P<namespace>[^/]+)(?=/))?"
    r"/(?P<plural>[^/]+)(?:/(?P<name>[^/]+)(?:/(?P<subresource>.+))?)?"
)


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away, as one that was killed, is no error of the server."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class KubernetesEmulator(KubernetesState):
    """A server whose state outlives its clients. What tests may set: faults, logs, denied, user_info, access_policy, tokens, checkpoints."""

    def __init__(
        self,
        objects: Iterable[Object] = (),
        *,
        version: str = "v1.33.1-eks-1a2b3c4",
        recreate: bool = False,
        checkpoints: bool = False,
    ) -> None:
        super().__init__(objects, recreate=recreate)
        self.version, self.checkpoints = version, checkpoints
        self.takes_all = False  # whether a caller without a token is the one of the kubeconfig
        self.url = ""
        self.calls: list[Call] = []
        self.asked: list[Asked] = []  # what authorization let through, `bind` and `escalate` too
        self.faults: list[Fault] = []
        self.logs: dict[tuple[str, str, str, bool], str] = {}  # by namespace, pod, container, previous
        self.denied: set[tuple[str, str, str, str]] = set()  # verb, group, resource, subresource
        self.access_policy = CLUSTER_ADMIN  # of the user's access entry; "" leaves it to RBAC alone
        self.tokens: dict[str, Object] = {}  # of further users, by token
        self.user_info: Object = {
            "username": "arn:aws:sts::000000000000:assumed-role/incident-responder/session",
            "groups": ["system:authenticated"],
        }
        self.broken: list[Exception] = []  # errors of the emulator or of a fault, raised again at the end
        self._pages: dict[str, tuple[str, list[Object]]] = {}

    def __enter__(self) -> KubernetesEmulator:
        handler = type("Handler", (_Handler,), {"emulator": self})
        self._server = _Server(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        if self.broken and error is None:
            raise self.broken[0]

    def kubeconfig(self, path: Path, cluster_name: str, context: str = "incident") -> Path:
        """Write a kubeconfig whose cluster and user are named as `aws eks update-kubeconfig` names them: by the ARN."""
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": cluster_name, "cluster": {"server": self.url}}],
            "users": [{"name": cluster_name, "user": {"token": TOKEN}}],
            "contexts": [{"name": context, "context": {"cluster": cluster_name, "user": cluster_name}}],
            "current-context": context,
        }
        path.write_text(json.dumps(config), encoding="utf-8")
        path.chmod(0o600)
        return path

    def serve(self, call: Call) -> Answer | Cut:
        """Answer one request; requests come one after the other."""
        with self._lock:
            self.calls.append(call)
            answer = self._fault(call, "before")
            if answer is None:
                before = dict(self._objects)
                try:
                    answer = self._execute(call)
                except Refusal as refusal:
                    self._objects = before
                    answer = refusal.answer()
                after = self._objects
                keys = sorted(before.keys() | after.keys())
                call.changed = tuple(key for key in keys if before.get(key) is not after.get(key))
                call.status = answer.status
                answer = self._fault(call, "after") or answer
            call.status = None if isinstance(answer, Cut) else answer.status
            return answer

    def _fault(self, call: Call, phase: Literal["before", "after"]) -> Answer | Cut | None:
        for fault in self.faults:
            wanted = fault(call, phase)
            if wanted is not None:
                return wanted.answer() if isinstance(wanted, Refusal) else wanted
        return None

    def _execute(self, call: Call) -> Answer:
        if any(header.startswith("Impersonate-") for header in call.headers):
            raise unsupported("impersonation")
        if self.takes_all and "Authorization" not in call.headers:
            call = replace(call, headers={**call.headers, "Authorization": f"Bearer {TOKEN}"})
        own = call.headers.get("Authorization") == f"Bearer {TOKEN}"
        user = user_of(call, {TOKEN: self.user_info} | self.tokens)
        access = Access(self._objects, user, self.access_policy if own else "", self.asked)
        path = _PATH.fullmatch(call.path)
        if not path:
            access.authorize(Asked(call.method.lower(), path=call.path))
            found = discovery(self.version, [*self._kinds()], call.path.rstrip("/")) if call.method == "GET" else None
            if found is None:
                raise Refusal(404, "", "404 page not found\n")
            return Answer(200, found)
        namespace, name, subresource = path["namespace"] or "", path["name"] or "", path["subresource"] or ""
        verb = {"GET": "get" if name else "list", "POST": "create", "PUT": "update", "PATCH": "patch"}.get(call.method)
        verb = verb or ("delete" if name else "deletecollection")
        self._authorize(access, asked_of(path, verb, call.query))
        kind = self._kind(api_version=path["core"] or path["grouped"], plural=path["plural"])
        if not kind:
            raise Refusal(404, "", "404 page not found\n")
        if kind.namespaced != bool(namespace) and (name or verb != "list" or namespace):
            raise Refusal(404, "NotFound", "the server could not find the requested resource")
        known = _PARAMETERS.get(subresource if subresource == "log" else verb, "").split()
        if unknown := sorted(call.query.keys() - set(known)):
            raise unsupported(f"{verb} with {', '.join(unknown)}")
        if subresource:
            does = {("pods", "log"): self._log, ("pods", "eviction"): self._evict, ("nodes", "proxy"): self._proxy}
            run = does.get((kind.resource, subresource.partition("/")[0]))
            if not run or verb != ("get" if subresource == "log" else "create"):
                raise unsupported(f"{verb} of {kind.plural}/{subresource}")
            return run(call, namespace, name, subresource)
        if kind.resource in REVIEWS:
            return access.review(kind, call.body, self.denied)
        if verb in ("get", "list"):
            return self._read(kind, namespace, name, call) if name else self._list(kind, namespace, call)
        changes = {"create": self._create, "update": self._update, "patch": self._patch, "delete": self._delete}
        change = changes.get(verb)
        if not change or bool(name) == (verb == "create"):
            raise Refusal(405, "MethodNotAllowed", "the server does not allow this method on the requested resource")
        options = delete_options(call) if verb == "delete" else call.query
        before = dict(self._objects)
        if verb == "create":
            access.confirm(kind, namespace, "", sent(kind, namespace, copy.deepcopy(call.body)))
        answer = change(kind, namespace, name, call)
        if verb in ("update", "patch"):
            access.confirm(kind, namespace, name, (before | self._objects)[key_of(kind, namespace, name)])
        if self._is_dry(options.get("dryRun")):
            self._objects = before
        return answer

    def _is_dry(self, asked: Any) -> bool:
        """Whether to take the change back; a value other than All is refused (apimachinery, ValidateDryRun)."""
        asked = [asked] if isinstance(asked, str) else asked or []
        if any(one != "All" for one in asked):
            raise Refusal(422, "Invalid", f'dryRun: Unsupported value: {asked}: supported values: "All"')
        return bool(asked) and "dryRun" not in self.ignored

    def _authorize(self, access: Access, asked: Asked) -> None:
        no = (asked.verb, asked.group, asked.resource, asked.subresource) in self.denied
        (replace(access, objects={}, policy="", user=access.user | {"groups": []}) if no else access).authorize(asked)

    def _read(self, kind: Kind, namespace: str, name: str, call: Call) -> Answer:
        _, item = self._stored(kind, namespace, name)
        return Answer(200, only_metadata(item) if _wants_metadata(call) else item)

    def _list(self, kind: Kind, namespace: str, call: Call) -> Answer:
        """A page of a list; further pages come from the state as it was, as etcd's revision has it."""
        labels = requirements("" if "labelSelector" in self.ignored else call.query.get("labelSelector", ""))
        fields = field_requirements(kind, call.query.get("fieldSelector", ""))
        metadata: Object = {"resourceVersion": str(self._revision)}
        if token := call.query.get("continue"):
            if token not in self._pages:
                raise Refusal(410, "Expired", "The provided continue parameter is too old")
            metadata["resourceVersion"], items = self._pages[token]
        else:
            start = key_of(kind, namespace, "") if namespace else f"{kind.resource}/"
            items = [item for key, item in sorted(self._objects.items()) if key.startswith(start)]
            items = [i for i in items if satisfied(labels, i["metadata"].get("labels") or {}) and has(fields, i)]
        limit = int(call.query.get("limit") or 0)
        if limit and len(items) > limit:
            metadata["continue"] = str(uuid.uuid4())
            self._pages[metadata["continue"]] = metadata["resourceVersion"], items[limit:]
            items = items[:limit]
        if _wants_metadata(call):
            meta = {"kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1", "metadata": metadata}
            return Answer(200, meta | {"items": [only_metadata(item) for item in items]})
        if _wants_table(call):
            return Answer(200, _table(metadata, items, call.query.get("includeObject", "Metadata")))
        if not kind.custom:  # a typed list does not repeat kind and apiVersion in its items
            items = [{k: v for k, v in item.items() if k not in ("kind", "apiVersion")} for item in items]
        named = {"kind": f"{kind.kind}List", "apiVersion": kind.api_version}
        return Answer(200, named | {"metadata": metadata, "items": items})

    def _evict(self, call: Call, namespace: str, name: str, _: str) -> Answer:
        """Delete a pod unless a disruption budget forbids it; the budget is asked before the preconditions."""
        key, pod = self._stored(PODS, namespace, name)
        if call.body["metadata"]["name"] != name:
            raise Refusal(400, "BadRequest", "name in URL does not match name in Eviction object")
        options = call.body.get("deleteOptions") or {}
        before = dict(self._objects)
        idle = pod.get("status", {}).get("phase") in ("Succeeded", "Failed", "Pending")
        for budget in [] if idle or "deletionTimestamp" in pod["metadata"] else self._budgets(pod):
            status = dict(budget.get("status") or {})
            if status.get("disruptionsAllowed", 0) <= 0:
                needs = (
                    f"needs {status.get('desiredHealthy', 0)} healthy pods and has {status.get('currentHealthy', 0)}"
                )
                said = f"The disruption budget {budget['metadata']['name']} {needs} currently"
                causes = {"causes": [{"reason": "DisruptionBudget", "message": said}]}
                message = "Cannot evict pod as it would violate the pod's disruption budget."
                raise Refusal(429, "TooManyRequests", message, details=causes)
            status["disruptionsAllowed"] -= 1
            self.add(budget | {"metadata": budget["metadata"] | {"resourceVersion": None}, "status": status})
        self._end(PODS, key, pod, options)
        if self._is_dry(options.get("dryRun") or call.query.get("dryRun")):
            self._objects = before
        return Answer(201, {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201})

    def _budgets(self, pod: Object) -> list[Object]:
        start = f"poddisruptionbudgets.policy/{pod['metadata']['namespace']}/"
        found = []
        for budget in [item for key, item in self._objects.items() if key.startswith(start)]:
            selector = budget.get("spec", {}).get("selector")
            wanted = [(k, "In", {v}) for k, v in ((selector or {}).get("matchLabels") or {}).items()]
            listed = (selector or {}).get("matchExpressions") or []
            wanted += [(one["key"], one["operator"], set(one.get("values") or ())) for one in listed]
            if selector is not None and satisfied(wanted, pod["metadata"].get("labels") or {}):
                found.append(budget)
        if len(found) > 1:
            said = "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support."
            raise Refusal(500, "InternalError", said)
        return found

    def _log(self, call: Call, namespace: str, name: str, _: str) -> Answer:
        _, pod = self._stored(PODS, namespace, name)
        sorts = ("containers", "initContainers", "ephemeralContainers")
        names = [one["name"] for sort in sorts for one in pod.get("spec", {}).get(sort) or ()]
        container = call.query.get("container") or (names[0] if len(names) == 1 else "")
        previous = call.query.get("previous") in ("true", "True", "1")
        if not container:
            said = f"a container name must be specified for pod {name}, choose one of: [{' '.join(names)}]"
            raise Refusal(400, "BadRequest", said)
        if container not in names:
            raise Refusal(400, "BadRequest", f"container {container} is not valid for pod {name}")
        if previous and (namespace, name, container, True) not in self.logs:
            said = f'previous terminated container "{container}" in pod "{name}" not found'
            raise Refusal(400, "BadRequest", said)
        said = "# end\n" if pod.get("spec", {}).get("restartPolicy") == "Never" and "nodeName" in pod["spec"] else ""
        lines = self.logs.get((namespace, name, container, previous), said).splitlines(keepends=True)
        if "tailLines" in call.query:
            lines = lines[len(lines) - min(len(lines), int(call.query["tailLines"])) :]
        if call.query.get("timestamps") in ("true", "True", "1"):
            lines = [f"2026-01-01T00:00:00.000000000Z {line}" for line in lines]
        return Answer(200, "".join(lines)[: int(call.query.get("limitBytes", 1 << 30))])

    def _proxy(self, _: Call, __: str, name: str, subresource: str) -> Answer:
        """The kubelet behind nodes/NAME/proxy: its checkpoint call alone (KEP-2008), 404 where the feature is off."""
        parts = subresource.split("/")
        if not self.checkpoints or len(parts) != 5 or parts[1] != "checkpoint":
            raise Refusal(404, "", "404 page not found\n")
        namespace, pod, container = parts[2:]
        spec = self._objects.get(key_of(PODS, namespace, pod), {}).get("spec", {})
        if spec.get("nodeName") != name or container not in [one["name"] for one in spec["containers"]]:
            raise Refusal(404, "", f"pod {namespace}/{pod} or its container {container} does not run here\n")
        file = f"checkpoint-{pod}_{namespace}-{container}-2026-01-01T00:00:00Z.tar"
        return Answer(200, {"items": [f"/var/lib/kubelet/checkpoints/{file}"]})


class _Handler(BaseHTTPRequestHandler):
    """HTTP around an emulator."""

    emulator: KubernetesEmulator
    protocol_version = "HTTP/1.1"
    wbufsize = -1
    disable_nagle_algorithm = True

    def _serve(self) -> None:
        parts = urlsplit(self.path)
        sent = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        headers = {name.title(): value for name, value in self.headers.items()}
        query = dict(parse_qsl(parts.query, keep_blank_values=True))
        call = Call(self.command, unquote(parts.path), query, None, headers)
        try:
            call = replace(call, body=json.loads(sent) if sent else None)
            answer = self.emulator.serve(call)
        except json.JSONDecodeError:
            answer = Refusal(400, "BadRequest", "the object provided is unrecognized").answer()
        except Exception as error:  # noqa: BLE001 - a thread's error would be lost; the test gets it at the end
            self.emulator.broken.append(error)
            answer = Refusal(500, "InternalError", f"the emulator failed: {error!r}").answer()
        try:
            if isinstance(answer, Cut):
                self.close_connection = True
                self.connection.shutdown(socket.SHUT_RDWR)
                return
            text = isinstance(answer.content, str)
            content = answer.content if isinstance(answer.content, str) else json.dumps(answer.content)
            self.send_response(answer.status)
            self.send_header("Content-Type", "text/plain" if text else "application/json")
            self.send_header("Content-Length", str(len(content.encode())))
            self.send_header("Audit-Id", call.audit_id)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content.encode())
            self.wfile.flush()
        except OSError:  # the client is gone, as when a test killed it
            self.close_connection = True

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _serve  # noqa: N815

    def log_message(self, format: str, *args: Any) -> None:
        """Print nothing."""


def _wants_metadata(call: Call) -> bool:
    return "as=PartialObjectMetadata" in call.headers.get("Accept", "").partition(",")[0]


def _wants_table(call: Call) -> bool:
    return "as=Table" in call.headers.get("Accept", "").partition(",")[0]


def _table(metadata: Object, items: list[Object], included: str) -> Object:
    """A list as a table of names, types and ages; objects stand in it as includeObject says (k8s.io/kubernetes, printers/internalversion)."""
    rows = []
    for item in items:
        object_ = {} if included == "None" else {"object": only_metadata(item) if included == "Metadata" else item}
        about = item["metadata"]
        rows.append({"cells": [about["name"], item.get("type", ""), len(item.get("data") or {}), "5d"]} | object_)
    names = (("Name", "string"), ("Type", "string"), ("Data", "integer"), ("Age", "string"))
    columns = [{"name": name, "type": kind, "format": "", "description": "", "priority": 0} for name, kind in names]
    return {"kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": metadata, "columnDefinitions": columns, "rows": rows}  # fmt: skip
