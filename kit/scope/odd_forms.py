"""Names in the evidence of another form than Kubernetes and AWS give: kept, in no command, and said."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

from kit.lenient import dict_of, dicts_of, json_of
from kit.model.forms import ACCOUNT_FORM, CLUSTER_FORM, GROUP_FORM, INSTANCE_FORM, REGION_FORM, RESOURCE_FORM
from kit.model.kinds import DEEDS, EVERYTHING
from kit.model.why import Limit
from kit.store.store import Store
from kit.words import counted, few

_GROUP_TAG = "aws:autoscaling:groupName"


class _Checked(NamedTuple):
    """A column, which of its rows are looked at, what its values are called, their form, and the kinds that rest on them."""

    table: str
    column: str
    where: str
    called: str
    form: str
    about: tuple[str, ...]


_CHECKED = (
    _Checked("audit", "resource", "", "resources", RESOURCE_FORM, DEEDS),
    _Checked("findings", "account", "", "accounts", ACCOUNT_FORM, EVERYTHING),
    _Checked("findings", "region", "", "Regions", REGION_FORM, EVERYTHING),
    _Checked("findings", "cluster", "", "clusters", CLUSTER_FORM, EVERYTHING),
    _Checked("trail", "account", "", "accounts", ACCOUNT_FORM, ("iam_role", "credential")),
    _Checked("trail", "region", "", "Regions", REGION_FORM, ("iam_role", "credential")),
    _Checked("objects", "uid", "AND kind = 'Instance'", "EC2 instances", INSTANCE_FORM, ("node",)),
    _Checked("objects", "account", "", "accounts", ACCOUNT_FORM, ("node", "iam_role")),
)


def limits_of_records(store: Store, shown_by: Callable[[str], tuple[str, ...]]) -> Iterator[Limit]:
    """A limit for each file of which records were kept without a part, or with a part in another form. shown_by: a file's path → the kinds
    that one of its records may show."""
    for entry in store.ledger:
        if entry["odd"]:
            says = (
                f"{entry['odd']} records of {entry['path']} have members that no JSON parser holds, or of another kind than AWS and Kubernetes write,"
                " perhaps to hide them: they are kept, without these or with these in another form"
            )
            yield Limit(
                shown_by(entry["path"]), says, "the same records from another source, where these members matter"
            )


def limits_of_unread(store: Store) -> Iterator[Limit]:
    """A limit for the files that were given and whose content could not be had."""
    unread = [entry for entry in store.ledger if entry["unread"]]
    if unread:
        first = f"{unread[0]['path']:.120}, {unread[0]['note']:.120}"
        says = f"{len(unread)} files or folders of the evidence could not be read, or not whole ({first}): what they hold cannot be told"
        yield Limit(EVERYTHING, says, "the same files again, where they can be read (the ledger says why not)")


def limits_of_forms(store: Store) -> Iterator[Limit]:
    """A limit for each kind of name of which the evidence has some of another form, with where the first stands."""
    for one in _CHECKED:
        rows = store.rows(
            f"SELECT {one.column} AS value, min(file) AS file FROM {one.table}"
            f" WHERE {one.column} IS NOT NULL {one.where} GROUP BY {one.column}"
        )
        yield from _limit(one, {str(row["value"]): str(row["file"]) for row in rows})
    groups = dict[str, str]()
    for row in store.rows("SELECT object, file FROM objects WHERE kind = 'Instance'"):
        for tag in dicts_of(dict_of(json_of(row["object"])).get("Tags")):
            if tag.get("Key") == _GROUP_TAG:
                groups[str(tag.get("Value"))] = row["file"]
    yield from _limit(_Checked("objects", "object", "", "Auto Scaling groups", GROUP_FORM, ("node",)), groups)


def _limit(one: _Checked, values: dict[str, str]) -> Iterator[Limit]:
    odd = sorted(value for value in values if not (value.isprintable() and re.fullmatch(one.form, value, re.ASCII)))
    if odd:
        says = (
            f"{counted(len(odd), 'name')} of {one.called} {'is' if len(odd) == 1 else 'are'} of another form than AWS and Kubernetes give ({few([repr(value)[:60] for value in odd], 2)} in"
            f" {values[odd[0]]}): their records are kept, and the names stand in no command"
        )
        yield Limit(one.about, says, "the same records from another source")
