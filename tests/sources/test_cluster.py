"""Cluster dumps; above all that no value of a Secret gets through."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kit.evidence.formats.form import JSON
from kit.evidence.readers import cluster
from kit.evidence.record import Record, Reject
from kit.evidence.sniff import FileKind
from kit.model.kubernetes import plural
from kit.store import tables
from kit.store.store import Store
from tests.command import kit_json
from tests.sources import reading
from tests.sources.reading import Row, taken_by

RECORDINGS = Path(__file__).parents[1] / "data" / "recordings"
DUMP = FileKind(JSON, cluster)
POD = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "n", "uid": "u"}}
HIDDEN = "aHVudGVyMg=="


def sniffed(document: Any) -> bool:
    return taken_by(json.dumps(document).encode()) is cluster


def read(document: Any) -> list[Row | Reject]:
    return reading.read(json.dumps(document, indent=1).encode(), DUMP)


@pytest.mark.parametrize(("recording", "count"), [("stolen_sa_token", 337), ("vanished_deployment", 344)])
def test_a_recorded_dump_becomes_rows_that_fit_the_table(recording: str, count: int) -> None:
    rows = []
    for path in sorted((RECORDINGS / recording / "cluster").iterdir()):
        data = path.read_bytes()
        assert taken_by(data) is cluster
        for each in reading.read(data):
            assert isinstance(each, Row)
            assert each.values["resource"] == path.stem
            rows.append(each.values | {"file": path.name, "line": each.line, "item": each.item})
    table = pa.Table.from_pylist(rows, tables.OBJECTS.schema)
    assert table.num_rows == count
    assert all(set(row) == set(tables.OBJECTS.names) for row in rows)
    assert table.column("uid").null_count == 0


COLUMNS = [{"name": name, "type": "string"} for name in ("Name", "Type", "Data", "Age")]
SECRETS = {
    "kind": "Table",
    "apiVersion": "meta.k8s.io/v1",
    "metadata": {"resourceVersion": "1"},
    "columnDefinitions": COLUMNS,
}


def test_the_table_form_of_secrets_gives_name_type_and_age_and_nothing_that_stands_beside() -> None:
    beside = {
        "kind": "Secret",
        "metadata": {"name": "db", "namespace": "shop", "annotations": {"x": HIDDEN}},
        "data": {"p": HIDDEN},
    }
    rows = [{"cells": ["db", "Opaque", 2, "5d"], "object": beside}, {"cells": ["tls", "kubernetes.io/tls", 2, "9h"]}]
    assert sniffed(SECRETS | {"rows": rows})
    made = [row.values for row in read(SECRETS | {"rows": rows}) if isinstance(row, Row)]
    assert [(one["kind"], one["namespace"], one["name"]) for one in made] == [
        ("SecretName", "shop", "db"),
        ("SecretName", None, "tls"),
    ]
    assert json.loads(made[0]["object"]) == {"name": "db", "type": "Opaque", "age": "5d"}
    assert HIDDEN not in str(made)


@pytest.mark.parametrize(
    "changed", [{"columnDefinitions": COLUMNS[:2]}, {"rows": [{"cells": []}]}, {"rows": [{"cells": [1]}]}]
)
def test_a_table_of_something_else_is_a_reject(changed: dict[str, Any]) -> None:
    (made,) = read(SECRETS | {"rows": [{"cells": ["db", "Opaque", 2, "5d"]}]} | changed)
    assert isinstance(made, Reject) and not made.raw


def test_items_of_a_typed_list_take_its_kind_wherever_it_stands() -> None:
    items = [{"metadata": {"name": "a"}}, {"metadata": {"name": "b"}}]
    for document in (
        {"kind": "NetworkPolicyList", "apiVersion": "networking.k8s.io/v1", "items": items},
        {"items": items, "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicyList"},
    ):
        assert sniffed(document)
        rows = [each.values for each in read(document) if isinstance(each, Row)]
        assert [(row["kind"], row["resource"]) for row in rows] == [("NetworkPolicy", "networkpolicies")] * 2
        assert json.loads(rows[0]["object"])["apiVersion"] == "networking.k8s.io/v1"


def test_one_object_is_a_row() -> None:
    assert sniffed(POD)
    (row,) = read(POD)
    assert isinstance(row, Row)
    named = {name: row.values[name] for name in ("api_version", "kind", "resource", "namespace", "name", "uid")}
    assert list(named.values()) == ["v1", "Pod", "pods", "n", "p", "u"]


def test_items_that_wait_long_for_their_lists_kind_are_all_there(tmp_path: Path) -> None:
    """More than is held in memory, each with what its list says at its very end."""
    pods = [{"metadata": {"name": f"p{number}", "uid": str(number), "namespace": "n"}, "spec": "x" * 200_000} for number in range(120)]  # fmt: skip
    dump = {"apiVersion": "v1", "items": pods, "kind": "PodList"}
    (tmp_path / "pods.json").write_text(json.dumps(dump) + "\n" + json.dumps(dump | {"items": [POD]}))
    (entry,) = kit_json("new", tmp_path / "case", tmp_path / "pods.json")["files"]
    assert (entry["rows"], entry["rejects"]) == (121, 0)
    rows = Store(tmp_path / "case").rows("SELECT DISTINCT kind, api_version AS v, resource AS r FROM objects")
    assert rows == [{"kind": "Pod", "v": "v1", "r": "pods"}]


def test_an_item_that_waits_and_is_nested_deeply_ends_nothing(tmp_path: Path) -> None:
    deep = '{"metadata":{"name":"a"},"spec":' + "[" * 600 + "]" * 600 + "}"
    pods = (
        '{"apiVersion":"v1","items":[{"metadata":{"name":"b"}},'
        + deep
        + ',{"metadata":{"name":"c"}}],"kind":"PodList"}'
    )
    (tmp_path / "pods.json").write_text(pods)
    (entry,) = kit_json("new", tmp_path / "case", tmp_path / "pods.json")["files"]
    assert entry["records"] == 3 and entry["rows"] >= 2


def test_an_object_whose_kind_is_beyond_the_head_is_taken() -> None:
    assert cluster.takes(Record(1, 1, {"apiVersion": "v1", "data": {}}, cut=True))
    assert not sniffed({"apiVersion": "v1", "data": {}})
    assert sniffed({"apiVersion": "v1", "data": {"a": "x" * 2_000_000}, "kind": "ConfigMap", "metadata": {"name": "a"}})


@pytest.mark.parametrize(
    "document",
    [
        {"kind": "Event", "apiVersion": "audit.k8s.io/v1", "metadata": {}},
        {"kind": "EventList", "apiVersion": "audit.k8s.io/v1", "items": []},
        {"kind": "List", "apiVersion": "v1", "items": [{"apiVersion": "audit.k8s.io/v1"}]},
        {"kind": "Config", "apiVersion": "v1", "users": []},
        {"apiVersion": "2017-11-28", "items": []},
        {"apiVersion": 1, "items": []},
    ],
)
def test_other_files_are_not_dumps(document: Any) -> None:
    assert not sniffed(document)


@pytest.mark.parametrize(
    "item",
    [
        None,
        "Pod",
        {"kind": "Pod"},
        POD | {"kind": 1},
        POD | {"metadata": []},
        POD | {"metadata": {}},
        POD | {"metadata": {"name": {}}},
        POD | {"apiVersion": "audit.k8s.io/v1"},
        {"kind": "Secret", "apiVersion": "v1", "metadata": {"name": "s", "annotations": [HIDDEN]}},
    ],
)
def test_what_is_no_object_is_a_reject_without_raw_text(item: Any) -> None:
    first, second = read({"apiVersion": "v1", "kind": "List", "items": [item, POD]})
    assert isinstance(first, Reject) and first.raw == ""
    assert isinstance(second, Row)


@pytest.mark.parametrize(("uid", "held"), [(7, "7"), ({}, None), (["u"], "u"), ([1, 2], None)])
def test_an_odd_uid_costs_no_object(uid: Any, held: str | None) -> None:
    first, second = read(
        {"apiVersion": "v1", "kind": "List", "items": [POD | {"metadata": {"name": "p", "uid": uid}}, POD]}
    )
    assert isinstance(first, Row) and isinstance(second, Row)
    assert first.values["uid"] == held


def test_an_item_whose_kind_is_no_text_has_that_of_its_list() -> None:
    (first,) = read({"apiVersion": "v1", "kind": "PodList", "items": [POD | {"kind": 5}]})
    assert isinstance(first, Row) and first.values["kind"] == "Pod"


def secret(**more: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s", "namespace": "n"}, **more}


def applied(text: str) -> dict[str, Any]:
    return {"name": "s", "annotations": {"kubectl.kubernetes.io/last-applied-configuration": text, "note": "kept"}}


@pytest.mark.parametrize(
    "value",
    [
        secret(data={"password": HIDDEN}),
        secret(stringData={"password": HIDDEN}),
        secret(data=HIDDEN),
        secret(data=[HIDDEN]),
        secret(data={"password": {"deep": HIDDEN}}),
        secret(metadata=applied(json.dumps(secret(data={"password": HIDDEN})))),
        secret(metadata=applied(" " + json.dumps(secret(stringData={"password": HIDDEN})))),
        secret(metadata=applied('{"data": {"password": "' + HIDDEN)),
        secret(metadata=applied(json.dumps({"metadata": [], "data": {"password": HIDDEN}}))),
        secret(metadata=applied(json.dumps(secret(metadata=applied(json.dumps(secret(data={"k": HIDDEN}))))))),
    ],
)
def test_values_of_secrets_are_not_kept(value: dict[str, Any]) -> None:
    plain = read({"apiVersion": "v1", "kind": "List", "items": [value]})
    typed = read({"apiVersion": "v1", "items": [value | {"kind": None}], "kind": "SecretList"})
    for made in (plain[0], typed[0]):
        assert isinstance(made, Row)
        assert made.values["kind"] == "Secret"
        assert HIDDEN not in repr(made.values)
        if isinstance(value.get("data"), dict):
            assert json.loads(made.values["object"])["data"] == {"password": "redacted"}


@given(st.integers(0, 400))
def test_a_damaged_secret_gives_no_value_away(cut: int) -> None:
    data = json.dumps({"apiVersion": "v1", "items": [secret(data={"password": HIDDEN})], "kind": "List"}, indent=1)
    for each in reading.read(data[:cut].encode(), DUMP):
        assert HIDDEN not in repr(each if isinstance(each, Reject) else each.values)


@pytest.mark.parametrize(
    ("kind", "resource"),
    [
        ("Endpoints", "endpoints"),
        ("EndpointSlice", "endpointslices"),
        ("Ingress", "ingresses"),
        ("NetworkPolicy", "networkpolicies"),
        ("Gateway", "gateways"),
        ("StorageClass", "storageclasses"),
        ("CustomResourceDefinition", "customresourcedefinitions"),
    ],
)
def test_plural_names_are_those_of_the_api(kind: str, resource: str) -> None:
    assert plural(kind) == resource


ABOUT = {"name": "x", "uid": "u", "creationTimestamp": "2026-03-01T00:00:00Z"}


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ({"spec": {"containers": []}, "status": {}}, "Pod"),
        ({"status": {"nodeInfo": {}}}, "Node"),
        ({"spec": {"clusterIP": "10.0.0.1"}}, "Service"),
    ],
)
def test_an_object_that_does_not_say_its_kind_is_told_by_its_shape(body: dict[str, Any], kind: str) -> None:
    bare = [{"metadata": ABOUT} | body]
    assert sniffed(bare)
    (row,) = read(bare)
    assert isinstance(row, Row) and (row.values["kind"], row.values["api_version"]) == (kind, "v1")


def test_an_object_whose_kind_nothing_tells_is_refused_with_the_way_out() -> None:
    (reject,) = read([{"metadata": ABOUT, "spec": {"replicas": 1}}])
    assert isinstance(reject, Reject) and "does not say its kind or version: bring `kubectl get" in reject.reason
