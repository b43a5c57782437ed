"""Whose it is: the affected workloads and the secrets that were read, by namespace, with the labels that say who owns them."""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Callable
from typing import Any

import pandas as pd
from markupsafe import Markup

from kit.case.case import Case
from kit.inventory.thing import Thing
from kit.lenient import dict_of
from kit.model.kubernetes import workload_pattern
from kit.show.figures import frame_rows
from kit.show.html_table import Shown, fold, safe, table
from kit.show.words import are_gone, exported, nothing_shown, pill, rows_of_kind
from kit.store.tables import Row
from kit.words import counted

OWNER_KEYS = frozenset(
    ("owner", "owners", "team", "contact", "maintainer", "squad", "department", "business-unit", "cost-center", "part-of")
)  # fmt: skip
"""Last parts of the keys of labels and annotations by which clusters commonly name an owner; `part-of` is Kubernetes' own recommended one."""
_SET_BY_CONTROLLERS = re.compile(
    r"(?:topology|batch|apps|statefulset|node|pod-template-generation)[\w.-]*kubernetes\.io/|pod-template-(?:hash|generation)$|controller-|job-name$"
)
"""Keys of labels that Kubernetes itself gives to pods: they tell nothing of whose it is."""
_SHOWN = 5  # workloads or secrets of a namespace before the rest folds
_MOST_LABELS = 4


def by_namespace(case: Case) -> Shown:
    """A row a namespace: its affected workloads with their pods and labels, the secrets that were read, and who owns them by labels and annotations.

    Whose data they hold is in no evidence, and that is said.
    """
    pods, secrets = rows_of_kind(case, "pod"), rows_of_kind(case, "secret")
    if pods.empty and secrets.empty:
        return Shown(Markup("<p>{}</p>").format(nothing_shown(case, "pod")), "no workload")
    workloads = _workloads(case, pods)
    read = defaultdict[str, list[str]](list)
    for row in frame_rows(secrets):
        read[str(row["namespace"])].append(str(row["name"]))
    rows = [
        {
            "namespace": name,
            "workloads": [_said(path, of) for path, of in sorted(workloads[name].items(), key=lambda item: (-item[1]["pods"], item[0]))],
            "pods": sum(of["pods"] for of in workloads[name].values()),
            "secrets": sorted(read[name]),
            "owners": _owners(case, name, list(workloads[name].values())),
        }
        for name in sorted({*workloads, *read})
    ]  # fmt: skip
    columns: dict[str, Callable[[Row], str]] = {
        "Namespace": lambda row: Markup("<b>{}</b>").format(safe(row["namespace"])),
        "Affected workloads, with their labels": lambda row: _listed(row["workloads"]),
        "Secrets read": lambda row: _listed(row["secrets"]) or "none",
        "Owner, by its label": lambda row: _listed(row["owners"]) or pill("none is named", "cannot"),
    }
    says = Markup(
        "<p>Whose data they hold: {}. No evidence says what a workload or a secret is about: ask the owners.</p>"
    ).format(pill("cannot tell", "cannot"))
    html = table(pd.DataFrame(rows), columns, export=exported(case, "by-namespace"), narrow=("Namespace",))
    return Shown(says + html, counted(len(rows), "namespace"))


def _workloads(case: Case, pods: pd.DataFrame) -> dict[str, dict[str, dict[str, Any]]]:
    """Namespace → workload → how many of its pods are affected, how many stand, and its labels; a pod without a controller by its own name."""
    found = defaultdict[str, dict[str, dict[str, Any]]](dict)
    gone = are_gone(pods)
    for row, is_gone in zip(frame_rows(pods), gone, strict=True):
        pod = case.inventory.things.get(row["uid"]) if isinstance(row["uid"], str) else None
        above = _above(case, pod)
        path = above.path if above else f"pods/{row['namespace']}/{workload_pattern(str(row['name']))}"
        of = found[str(row["namespace"])].setdefault(path, {"pods": 0, "standing": 0, "things": {}})
        of["pods"] += 1
        of["standing"] += int(row["standing"] is True and not is_gone)
        for thing in (above, pod):
            if thing is not None:
                of["things"].setdefault(thing.uid, thing)
    return found


def _above(case: Case, pod: Thing | None) -> Thing | None:
    """The controller at the top of a pod, as the evidence has it, with its name at least."""
    owners = case.inventory.owners(pod) if pod is not None else []
    if pod is None or not owners:
        return None
    top = owners[-1]
    known = case.inventory.things.get(top.uid or "")
    return known or Thing(
        top.resource, pod.namespace, top.name, top.uid or f"{top.resource}/{pod.namespace}/{top.name}"
    )


def _said(path: str, of: dict[str, Any]) -> str:
    """A workload in a line: `deployments/api (24 pods, 5 standing): app=api`."""
    resource, _, name = path.partition("/")
    labels = Counter(f"{key}={value}" for thing in of["things"].values() for key, value in thing.labels.items() if not _SET_BY_CONTROLLERS.match(key))  # fmt: skip
    shown = [label for label, _ in sorted(labels.items(), key=lambda item: (-item[1], item[0]))[:_MOST_LABELS]]
    told = f": {', '.join(shown)}" if shown else ""
    return f"{resource}/{name.partition('/')[2]} ({counted(of['pods'], 'pod')}, {of['standing']:,} standing){told}"


def _owners(case: Case, namespace: str, workloads: list[dict[str, Any]]) -> list[str]:
    """The labels and annotations that name an owner, of the namespace first, then of its affected workloads; each once."""
    dumped = "SELECT object FROM objects WHERE resource = 'namespaces' AND name = $name ORDER BY file, item"
    about = [dict_of(json.loads(row["object"]).get("metadata")) for row in case.store.rows(dumped, name=namespace)]
    pairs = [pair for one in about for sort in ("labels", "annotations") for pair in dict_of(one.get(sort)).items()]
    things = [thing for of in workloads for thing in of["things"].values()]
    pairs += [pair for thing in things for pair in (*thing.labels.items(), *thing.annotations.items())]
    return list(dict.fromkeys(f"{key}={value}" for key, value in pairs if key.rpartition("/")[2].lower() in OWNER_KEYS))


def _listed(words: list[str]) -> Markup:
    lines = [safe(word, 160) for word in words]
    rest = fold(f"{len(lines) - _SHOWN:,} more", Markup("<br>").join(lines[_SHOWN:]))
    return Markup("<br>").join(lines[:_SHOWN]) + rest
