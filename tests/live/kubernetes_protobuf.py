"""Bodies in Protobuf, as kubectl's typed clients send them: an Eviction, of `kubectl drain`, is all that is read here.

Sources: Kubernetes "API Concepts", Kubernetes Protobuf encoding (four magic bytes, then a runtime.Unknown); generated.proto of
apimachinery pkg/runtime and pkg/apis/meta/v1, of api policy/v1 (the numbers of the fields); Protobuf "Encoding".
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

MEDIA_TYPE, _MAGIC = "application/vnd.kubernetes.protobuf", b"k8s\x00"
_META = {1: "name", 3: "namespace", 5: "uid"}
_OPTIONS: dict[int, Any] = {
    1: "gracePeriodSeconds",
    2: ("preconditions", {1: "uid", 2: "resourceVersion"}),
    4: "propagationPolicy",
    5: "dryRun",
}
_EVICTION: dict[int, Any] = {1: ("metadata", _META), 2: ("deleteOptions", _OPTIONS)}


def of_protobuf(sent: bytes) -> dict[str, Any] | None:
    """The object that a body holds; None for one of a kind that is not read here."""
    if not sent.startswith(_MAGIC):
        return None
    unknown = dict(_fields(sent[len(_MAGIC) :]))
    about = _read(unknown[1], {1: "apiVersion", 2: "kind"})
    if about != {"apiVersion": "policy/v1", "kind": "Eviction"}:
        return None
    return about | _read(unknown[2], _EVICTION)


def _read(message: bytes, names: dict[int, Any]) -> dict[str, Any]:
    """A message by the names of its fields; one that has no name here is an error, as nothing may be lost."""
    found = dict[str, Any]()
    for number, value in _fields(message):
        name = names.get(number)
        if isinstance(name, tuple):
            found[name[0]] = _read(value, name[1])
        elif name == "dryRun":
            found.setdefault(name, []).append(value.decode())
        elif name:
            found[name] = value.decode() if isinstance(value, bytes) else value
        elif value not in (b"", 0, b"\x08\x00\x10\x00"):  # a zero time, which a client sends for none
            raise ValueError(f"field {number} is not read here: {value!r}")
    return {name: value for name, value in found.items() if value not in ("", {})}


def _fields(message: bytes) -> Iterator[tuple[int, Any]]:
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        number, wire = tag >> 3, tag & 7
        value, at = _varint(message, at)
        if wire == 2:  # bytes after their length
            yield number, message[at : at + value]
            at += value
        elif wire == 0:
            yield number, value
        else:
            raise ValueError(f"wire type {wire}")


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[at]
        value, shift, at = value | (byte & 0x7F) << shift, shift + 7, at + 1
        if not byte & 0x80:
            return value, at
