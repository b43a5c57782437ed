"""Nobody is shown a secret: records by place, texts by look, in every envelope and every output; names and identifiers stay."""

from __future__ import annotations

import base64
import gzip
import json
import os
import stat
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

import kit
from kit.errors import CaseError
from kit.evidence.raw import Raw
from kit.model.masking import SHOW_SECRETS, Mask
from tests.command import RECORDINGS, kit_json
from tests.command import kit as run

MASK = Mask(b"k" * 32)
SECRET = "Zq7-k3Vt9-hunter2"  # noqa: S105 - planted, to be looked for
JWT = "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJrdWJlcm5ldGVzIn0.c2lnbmF0dXJl"
RECORDING = RECORDINGS / "stolen_sa_token"
STREAM = "kube-apiserver-audit-0123456789abcdef0123456789abcdef"


def _secret(**more: Any) -> dict[str, Any]:
    return {"kind": "Secret", "metadata": {"name": "db", "annotations": {"example.com/plain": SECRET}}, **more}


@pytest.mark.parametrize(
    "record",
    [
        _secret(data={"password": base64.b64encode(SECRET.encode()).decode()}),
        _secret(stringData={"password": SECRET}),
        {"kind": "SecretList", "items": [{"metadata": {"name": "a"}, "data": {"k": SECRET}}]},
        {"kind": "ConfigMap", "data": {"config": f"users:\n- user:\n    token: {SECRET}\n"}, "binaryData": {"x": SECRET}},
        {"objectRef": {"resource": "secrets"}, "requestObject": [{"op": "add", "path": "/data/p", "value": SECRET}]},
        {"objectRef": {"resource": "secrets"}, "requestObject": {"data": {"p": SECRET}}},
        [{"op": "replace", "path": "/spec/containers/0/env/0/value", "value": SECRET}],
        {"spec": {"containers": [{"env": [{"name": "DB", "value": SECRET}], "command": ["mysql", "--password", SECRET]}]}},
        {"metadata": {"annotations": {"kubectl.kubernetes.io/last-applied-configuration": f'{{"a":"{SECRET}"}}'}}},
        {"annotations": {"mutation.webhook.admission.k8s.io/x": json.dumps({"Authorization": SECRET})}},
        {"kind": "TokenRequest", "status": {"token": JWT}},
        {"requestURI": f"/api/v1/pods?access_token={SECRET}"},
        {"requestURI": f"/exec?command=mysql&command=--password&command={SECRET}"},
        {"requestURI": f"/exec?command=mysql&command=-p{SECRET}"},
        {"requestParameters": {"masterUserPassword": SECRET, "environment": {"variables": {"K": SECRET}}}},
        {"requestParameters": {"userData": base64.b64encode(f"export T={SECRET}".encode()).decode()}},
        {"responseElements": {"credentials": {"secretAccessKey": SECRET, "sessionToken": SECRET}}},
        {"errorMessage": f"signature for X-Amz-Signature={SECRET}"},
        {"headers": [{"name": "X-Api-Key", "value": SECRET}]},
        {"Service": {"AdditionalInfo": {"Value": json.dumps({"x": SECRET}), "Type": "default"}}},
        {"Containers": [{"Env": SECRET}]},
        {"CommandLine": f"curl -H 'Authorization: Bearer {JWT}' -u admin:{SECRET} https://x:{SECRET}@host/"},
        {"script": base64.b64encode(f"#!/bin/sh\nexport API_TOKEN={SECRET}\n".encode()).decode()},
        {"args": ["sh", "-c", f'echo \'{json.dumps(_secret(stringData={"p": SECRET}))}\' | kubectl create -f -']},
        {"text": f"-----BEGIN RSA PRIVATE KEY-----\n{SECRET}\n-----END RSA PRIVATE KEY-----"},
        {"text": "AKIAIOSFODNN7EXAMPLE wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"},
    ],
    ids=lambda record: json.dumps(record)[:50],
)  # fmt: skip
def test_what_is_secret_by_its_place_or_look_is_masked(record: Any) -> None:
    shown = json.dumps(MASK.record(record))
    encoded = base64.b64encode(SECRET.encode()).decode()[:-2]
    assert "[masked " in shown
    assert not [one for one in (SECRET, encoded, JWT, "wJalrXUtnFEMI") if one in shown]


@pytest.mark.parametrize(
    "text",
    [
        "kubectl create token -n shop cart",
        "TOKEN=$(kubectl create token cart)",
        "aws iam delete-access-key --access-key-id AKIAIOSFODNN7EXAMPLE --user-name a",
        "aws secretsmanager get-secret-value --secret-id prod/db",
        "secret:store/api-keys",
        "The attacker read the secret: store/api-keys.",
        "system:serviceaccount:kube-system:token-cleaner",
        "find / -perm -4000 -print0; ssh -p 2222 root@host; docker run -u 1000:1000",
        "arn:aws:secretsmanager:eu-west-1:111122223333:secret:prod/db-AbCdEf",
        "111122223333.dkr.ecr.eu-west-1.amazonaws.com/api@sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    ],
)
def test_names_and_identifiers_stay(text: str) -> None:
    assert MASK.text(text) == text


def test_members_that_name_a_secret_stay() -> None:
    named = {
        "automountServiceAccountToken": False,
        "imagePullSecrets": [{"name": "pull"}],
        "volumes": [{"secret": {"secretName": "db"}}],
        "secretKeyRef": {"name": "db", "key": "password"},
        "requestParameters": {"secretId": "prod/db", "roleArn": "arn:aws:iam::111122223333:role/x"},
        "annotations": {"authentication.k8s.io/legacy-token-manual-secret": "shop/cart", "authorization.k8s.io/reason": "RBAC: allowed"},
        "labels": {"env": "prod"},
        "credentials": {"accessKeyId": "ASIAIOSFODNN7EXAMPLE"},
    }  # fmt: skip
    assert MASK.record(named) == named
    auth = {
        "kind": "ConfigMap",
        "metadata": {"name": "aws-auth"},
        "data": {"mapRoles": "- rolearn: arn:aws:iam::1:role/x"},
    }
    assert MASK.record(auth) == auth


def test_equal_values_look_equal_under_one_key_and_nobody_can_try_values() -> None:
    plain, other = MASK.value(SECRET), Mask(b"o" * 32).value(SECRET)
    held = MASK.record(_secret(data={"p": base64.b64encode(SECRET.encode()).decode()}))["data"]["p"]
    assert plain == held == MASK.text(f"PASSWORD={SECRET}").partition("=")[2]
    assert plain != other and MASK.value("another") != plain
    assert MASK.text(MASK.text(f"--password {SECRET}")) == MASK.text(f"--password {SECRET}")


def _events() -> list[dict[str, Any]]:
    """Some calls of the recording, one of which reads a Secret with its body and one of which runs a command with a password."""
    lines = gzip.decompress((RECORDING / "audit.jsonl.gz").read_bytes()).splitlines()
    events = [json.loads(line) for line in lines]
    read = next(
        one for one in events if (one.get("objectRef") or {}).get("resource") == "secrets" and one["verb"] == "get"
    )
    read |= {"level": "RequestResponse", "responseObject": _secret(data={"password": SECRET}, apiVersion="v1")}
    ran = next(one for one in events if (one.get("objectRef") or {}).get("subresource") == "exec")
    ran["requestURI"] += f"&command=-p{SECRET}"
    return [*events[:40], read, ran]


def _payload(event: dict[str, Any]) -> dict[str, Any]:
    message = {"id": "1", "timestamp": 1769868000000, "message": json.dumps(event)}
    return {
        "messageType": "DATA_MESSAGE",
        "logGroup": "/aws/eks/a/cluster",
        "logStream": STREAM,
        "logEvents": [message],
    }


def _answer(events: list[dict[str, Any]]) -> str:
    listed = [{"logStreamName": STREAM, "timestamp": 1, "message": json.dumps(one), "eventId": "1"} for one in events]
    return json.dumps({"events": listed, "searchedLogStreams": []})


def _lines(before: str) -> Callable[[list[dict[str, Any]]], str]:
    return lambda events: "".join(f"{before}{json.dumps(one)}\n" for one in events)


def _rows(values: Iterable[Any]) -> str:
    return "".join(json.dumps(one) + "\n" for one in values)


FORMS: dict[str, Callable[[list[dict[str, Any]]], str]] = {
    "lines": _lines(""),
    "export to S3": _lines("2026-11-23T16:20:30.000Z "),
    "aws logs tail": _lines(f"2026-11-23T16:20:30.123000+00:00 {STREAM} "),
    "subscription": lambda events: "".join(json.dumps(_payload(one)) + "\n" for one in events),
    "filter-log-events": _answer,
    "Logs Insights": lambda events: json.dumps(
        {"results": [[{"field": "@message", "value": json.dumps(one)}] for one in events], "status": "Complete"}
    ),
    "Splunk, exported": lambda events: _rows({"result": {"_raw": json.dumps(one), "host": "h"}} for one in events),
    "OpenSearch": lambda events: json.dumps(
        {"hits": {"hits": [{"_index": "i", "_id": "1", "_source": one} for one in events]}}
    ),
    "OpenSearch, messages": lambda events: json.dumps(
        {
            "hits": {
                "hits": [
                    {"_index": "i", "_id": "1", "_source": {"@timestamp": 1, "message": json.dumps(one)}}
                    for one in events
                ]
            }
        }
    ),
    "Fluentd": lambda events: _rows(["eks.audit", 1795451000, one] for one in events),
    "lines and rows of Splunk": lambda events: _rows(
        {"result": {"_raw": json.dumps(one)}} if place % 2 else one for place, one in enumerate(events)
    ),
    "rows of Splunk and lines": lambda events: _rows(
        one if place % 2 or not place else {"result": {"_raw": json.dumps(one)}} for place, one in enumerate(events)
    ),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_ref_gives_its_own_record_masked_whatever_it_came_in(form: str, tmp_path: Path) -> None:
    events = _events()
    (tmp_path / "audit.log").write_text(FORMS[form](events))
    case = kit.new_case(tmp_path / "case", tmp_path / "audit.log", cluster="a")
    refs = [f"audit:{one['auditID']}" for one in (events[3], *events[-2:])]
    for ref, text in case.readable(refs).items():
        assert json.loads(text)["auditID"] == ref.partition(":")[2]
        assert SECRET not in text and SECRET not in repr(case.show(ref))
    assert "[masked " in case.readable(refs[1:2])[refs[1]] and SECRET in case.raw(refs[1])
    asked = case.audit(columns=["request_uri", "response_object"])
    assert SECRET not in asked.to_csv() and "[masked " in asked.to_csv()
    assert len(case.audit(request_uri=events[-1]["requestURI"])) == 1  # filters go by what stands in the store


def test_what_cannot_be_taken_apart_is_not_shown(tmp_path: Path) -> None:
    line = f'time="2026-11-23T16:20:30Z" level=info msg="access granted" arn="arn:aws:iam::111122223333:role/x" password={SECRET}\n'
    (tmp_path / "authenticator.log").write_text(line)
    case = kit.new_case(tmp_path / "case", tmp_path / "authenticator.log", cluster="a")
    (entry,) = case.store.ledger
    ref = f"line:{entry['sha256']}:1"
    assert "role/x" in case.readable([ref])[ref] and SECRET not in case.readable([ref])[ref]
    kept = case.path / "evidence" / "authenticator.log"
    kept.chmod(0o600)
    kept.write_text(line.replace(" arn=", ' "'))
    assert case.readable([ref])[ref].startswith("(not shown: it is neither JSON")


def test_secrets_are_shown_to_whoever_owns_the_case_and_asks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "audit.log").write_text(_lines("")(_events()))
    made = kit.new_case(tmp_path / "case", tmp_path / "audit.log", cluster="a")
    ref = f"audit:{_events()[-2]['auditID']}"
    assert SECRET not in made.readable([ref])[ref]
    monkeypatch.setenv(SHOW_SECRETS, "yes")
    assert SECRET in kit.open_case(tmp_path / "case").readable([ref])[ref]
    monkeypatch.setattr(os, "getuid", lambda: 4711)
    with pytest.raises(CaseError, match="to the owner of a case alone"):
        kit.open_case(tmp_path / "case")


def test_the_flag_says_that_secrets_are_shown_and_holds_for_its_command_alone(tmp_path: Path) -> None:
    kit_json("new", tmp_path / "case", RECORDING / "findings.json")
    told = run("findings", tmp_path / "case", "--show-secrets")
    assert told.returncode == 0 and "Secrets are shown" in told.stderr
    assert not os.environ.get(SHOW_SECRETS)
    assert "Secrets are shown" not in run("findings", tmp_path / "case").stderr


def test_a_key_that_is_none_is_told(tmp_path: Path) -> None:
    kit_json("new", tmp_path / "case", RECORDING / "findings.json")
    (tmp_path / "case" / "mask.key").write_text("short")
    told = run("findings", tmp_path / "case")
    assert told.returncode == 2 and "mask.key: is no key of this kit" in told.stderr


@pytest.mark.parametrize("name", ["../../out.json", "/etc/hostname", "link.json", "folder/../../../out.json"])
def test_a_path_of_the_store_is_never_followed_out_of_the_case(name: str, tmp_path: Path) -> None:
    kit_json("new", tmp_path / "case", RECORDING / "findings.json")
    (tmp_path / "out.json").write_bytes((RECORDING / "findings.json").read_bytes())
    (tmp_path / "case" / "evidence" / "link.json").symlink_to(tmp_path / "out.json")
    with pytest.raises(CaseError, match="leads out of the case's evidence"):
        Raw(tmp_path / "case").text(name, 1)
    assert Raw(tmp_path / "case").text("findings.json", 1)


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o277])
def test_a_case_is_for_its_owner_alone_whatever_the_umask_says(umask: int, tmp_path: Path) -> None:
    before = os.umask(umask)
    try:
        case = tmp_path / "case"
        kit_json("new", case, RECORDING / "findings.json", RECORDING / "audit.jsonl.gz")
        kit_json("add", case, RECORDING / "findings-runtime.json")
        first = kit_json("findings", case)["findings"][0]["id"]
        assert run("mark", case, "--finding", first, "--as", "confirmed").returncode == 0
        assert run("note", case, "asked the owner").returncode == 0
        kit_json("plan", case)
    finally:
        os.umask(before)
    modes = {path.relative_to(case): stat.S_IMODE(path.stat().st_mode) for path in case.rglob("*")}
    kept = {path for path in modes if path.parts[0] == "evidence" and not (case / path).is_dir()}
    assert len(kept) == 3 and {modes[path] for path in kept} == {0o400}
    assert {mode for path, mode in modes.items() if (case / path).is_dir()} == {0o700}
    assert {mode for path, mode in modes.items() if (case / path).is_file() and path not in kept} == {0o600}
    assert stat.S_IMODE(case.stat().st_mode) == 0o700
