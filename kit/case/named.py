"""What somebody means who names a thing of a case, by a ref or as it is called: an address, a user name, a pod, a secret."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address
from typing import TYPE_CHECKING

from kit.errors import CallError
from kit.model.address import canonical
from kit.model.pod_spec import images
from kit.model.refs import LEADS_TO, REF_KINDS, Ref

if TYPE_CHECKING:
    from kit.case.scoped import ScopedCase

_BY_NAME = {"pods": "pod", "nodes": "node", "serviceaccounts": "service_account", "secrets": "secret"}
_SEEN = "SELECT 1 FROM audit WHERE {where} UNION ALL SELECT 1 FROM trail WHERE {also} LIMIT 1"
_CALLERS = {
    "identity": _SEEN.format(where="user_name = $key", also="user_name = $key"),
    "source_ip": _SEEN.format(where="source_address = $key", also="source_address = $key"),
    "credential": _SEEN.format(where="$key IN (access_key_id, credential_id)", also="access_key_id = $key"),
    "iam_role": _SEEN.format(where="arn = $key", also="$key IN (arn, issuer_arn)"),
}
"""Kind of Ref → whether a log has such a caller, in SQL."""
_ASKED_FOR = "SELECT 1 FROM audit WHERE resource = 'secrets' AND namespace = $namespace AND name = $name LIMIT 1"
_MOST_NAMED = 6
_THINGS = ("pod", "node", "service_account", "secret", "config_map", "image", "identity", "source_ip", "iam_role")
"""What is meant rather than a deed that was done to it, or a credential that has its name."""


def ref_meant(case: ScopedCase, thing: str) -> Ref:
    """The Ref of what is meant. Raises CallError for what the case has not, and where the name means several things."""
    kind, colon, key = str(thing).partition(":")
    if colon and kind in REF_KINDS and key:
        return _known(case, Ref.of("credential" if kind == "access_key" else kind, key))
    meant = list(dict.fromkeys(_meant(case, str(thing))))
    found = [one for one in meant if one.kind in _THINGS] or meant[:1]
    if len(found) == 1:
        return found[0]
    if not found:
        raise CallError(
            f"this case has nothing that is called {thing!r}",
            where="thing",
            next="name an address, a user name, an access key, an ARN, NAMESPACE/NAME of a pod or secret, a node, an image, or a ref",
        )
    listed = ", ".join(found[:_MOST_NAMED]) + (" and more" if len(found) > _MOST_NAMED else "")
    raise CallError(f"{thing!r} means several things", where="thing", next=f"give one of these refs: {listed}")


def _known(case: ScopedCase, ref: Ref) -> Ref:
    """The ref itself, of an address in its one form, when the case has it."""
    if ref.kind in LEADS_TO:
        case.place(ref)
        return ref
    key = canonical(ref.key) if ref.kind == "source_ip" else ref.key
    wanted = Ref.of(ref.kind, key)
    if wanted not in set(_meant(case, key)):
        raise CallError(f"this case has no {ref}", where="thing", next="`kit scope CASE --all` lists what is in scope")
    return wanted


def _meant(case: ScopedCase, text: str) -> Iterator[Ref]:
    """All that a name may mean."""
    try:
        yield from _callers(case, "source_ip", canonical(str(ip_address(text))))
    except ValueError:
        yield from (ref for kind in _CALLERS if kind != "source_ip" for ref in _callers(case, kind, text))
    namespace, _, name = text.rpartition("/")
    for resource, kind in _BY_NAME.items():
        for one in case.inventory.named(resource, namespace or None, name):
            yield Ref.of(kind, one.uid if kind == "pod" else text)
    if text in case.inventory.things:
        one = case.inventory.things[text]
        yield Ref.of("pod", text) if one.resource == "pods" else Ref.of("object", text)
    if namespace and case.store.rows(_ASKED_FOR, namespace=namespace, name=name):
        yield Ref.of("secret", text)
    if any(text in images(pod.spec) for pod in case.inventory.pods):
        yield Ref.of("image", text)
    yield from (
        Ref.of(one["kind"], one["key"])
        for finding in case.scope["findings"]
        for one in finding["subjects"]
        if one["key"] == text
    )


def _callers(case: ScopedCase, kind: str, key: str) -> Iterator[Ref]:
    if case.store.rows(_CALLERS[kind], key=key):
        yield Ref.of(kind, key)
