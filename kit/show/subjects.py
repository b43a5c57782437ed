"""What is affected, each subject with its why; many pods grouped by workload."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd
from markupsafe import Markup

from kit.case.case import Case
from kit.model.kinds import DEEDS, SubjectName
from kit.model.kubernetes import workload_pattern
from kit.show import cited as evidence_of
from kit.show import console
from kit.show.figures import frame_rows, user_words
from kit.show.html_table import Shown, clock, fold, safe, table
from kit.show.words import NOUNS, are_gone, exported, nothing_shown, number_words, pill, rows_of_kind
from kit.store.tables import Row
from kit.words import counted

_LONGEST = ("created", "changed", "deleted")  # lists of deeds, so they come last
_GROUP_FROM = 13  # pods; fewer are listed one by one


def subjects(case: Case, kind: SubjectName) -> Shown:
    """The subjects of a kind: a sentence, the affected ones, and the possible ones folded away; each with its why."""
    affected, possible = rows_of_kind(case, kind), rows_of_kind(case, kind, "possible")
    if affected.empty and possible.empty:
        return Shown(Markup("<p>{}</p>").format(nothing_shown(case, kind)), f"no {NOUNS[kind][1]}")
    says = _subjects_sentence(case, kind)
    shown = _subjects_table(case, kind, _sorted(affected), f"{kind}-affected")
    shown += fold(
        Markup("{}: {} – not shown to be affected, to be looked at").format(
            counted(len(possible), *NOUNS[kind]), pill("possible")
        ),
        _subjects_table(case, kind, _sorted(possible), f"{kind}-possible") if len(possible) else Markup(""),
    )
    return Shown(Markup("<p>{}</p>{}{}").format(says, shown, _limits_about(case, kind)), says)


def deeds(case: Case) -> Shown:
    """What the attacker did to secrets and objects: read, minted, ran, created, changed, deleted; each with its why."""
    if not len(case.findings):
        return Shown(Markup("<p>{}</p>").format(nothing_shown(case, "created")), "no finding")
    parts = [
        Markup("<h3>{}</h3>{}").format(NOUNS[kind][1].capitalize(), subjects(case, kind).html)
        for kind in sorted(DEEDS, key=_LONGEST.__contains__)
    ]
    return Shown(Markup("").join(parts), "deeds")


def _sorted(rows: pd.DataFrame) -> pd.DataFrame:
    """What most findings name first, then what still stands."""
    order = rows.assign(
        _named=-rows["findings"].map(len),
        are_gone=are_gone(rows) if len(rows) else False,
        _through=rows["by"].map(lambda of: None not in of),
    )
    return order.sort_values(["_through", "_named", "are_gone", "namespace", "name", "key"], kind="stable").drop(
        columns=["_named", "are_gone", "_through"]
    )


def _subjects_sentence(case: Case, kind: SubjectName) -> Markup:
    rows, possible = rows_of_kind(case, kind), rows_of_kind(case, kind, "possible")
    noun = NOUNS[kind]
    at_least = "At least " if case.limits["about"].map(lambda kinds: kind in kinds).any() and len(rows) else ""
    said = (
        Markup("{} {}{}").format(pill("affected"), at_least, counted(len(rows), *noun))
        if len(rows)
        else Markup("No {} shown to be affected").format(noun[1])
    )
    if kind == "pod" and len(rows):
        gone, before = int(are_gone(rows).sum()), int(rows["gone_before"].fillna(False).sum())
        said += f", {gone:,} already gone" + (f" ({before:,} of these before the first hostile call)" if before else "")
        unknown = int((rows["standing"].isna() & ~are_gone(rows)).sum())
        said += (
            f"; for {unknown:,} it cannot be told whether {'it still stands' if unknown == 1 else 'they still stand'}"
            if unknown
            else ""
        )
    return said + (Markup(". {} {:,} more.").format(pill("possible"), len(possible)) if len(possible) else ".")


def _limits_about(case: Case, kind: SubjectName) -> Markup:
    rows = frame_rows(case.limits[case.limits["about"].map(lambda kinds: kind in kinds)])
    said = Markup("").join(
        Markup("<li>{} {}.</li>").format(pill("cannot tell", "cannot"), safe(row["says"])) for row in rows[:4]
    )
    return Markup('<ul class="plain">{}</ul>').format(said) if said else said


def _subjects_table(case: Case, kind: SubjectName, rows: pd.DataFrame, name: str) -> Markup:
    if kind == "pod" and len(rows) >= _GROUP_FROM:
        inside = table(rows, _subject_columns(case, kind, rows), export=exported(case, name), narrow=("Lived (UTC)",))
        return _workloads(case, rows) + fold(f"Each of the {len(rows):,} pods", inside)
    return table(rows, _subject_columns(case, kind, rows), export=exported(case, name), narrow=("Lived (UTC)",))


def _workloads(case: Case, rows: pd.DataFrame) -> Markup:
    """Pods gathered by namespace and name without what their controllers added."""
    pattern = [f"{row['namespace']}/{workload_pattern(str(row['name']))}" for row in frame_rows(rows)]
    stands = rows["standing"].map(lambda one: one is True) & ~are_gone(rows)
    frame = rows.assign(pattern=pattern, gone=are_gone(rows), stands=stands).groupby("pattern", sort=True)
    groups = frame.agg(
        pods=("key", "count"), gone=("gone", "sum"), stands=("stands", "sum"), first=("key", "first"),
        nodes=("node", lambda of: sorted({str(one) for one in of.dropna()})), through=("through", "first"),
    ).reset_index()  # fmt: skip
    groups = groups.sort_values(["stands", "pods", "pattern"], ascending=[False, False, True], kind="stable")
    one = {row["key"]: row for row in frame_rows(rows)}
    columns: dict[str, Callable[[Row], str]] = {
        "Pods by name": lambda row: Markup("<b>{}</b>").format(safe(row["pattern"])),
        "Pods": lambda row: number_words(row["pods"]),
        "Standing": lambda row: number_words(row["stands"]),
        "Gone": lambda row: number_words(row["gone"]),
        "Nodes": lambda row: Markup("<br>").join(
            Markup('<span class="whole">{}</span>').format(safe(_short(node))) for node in row["nodes"]
        ),
        "Why, of the first": lambda row: _why(case, one[row["first"]], most=1),
    }
    return table(groups, columns, most=30, narrow=("Pods by name",))


def _subject_columns(case: Case, kind: SubjectName, rows: pd.DataFrame) -> dict[str, Callable[[Row], str]]:
    columns: dict[str, Callable[[Row], str]] = {
        NOUNS[kind][0].capitalize(): lambda row: Markup("<b>{}</b>{}").format(
            _name(row), console.links(case, row["kind"], row["key"])
        )
    }
    if rows["node"].notna().any():
        columns["Node"] = lambda row: safe(_short(str(row["node"]))) if isinstance(row["node"], str) else "never placed"
    if (
        kind in ("pod", "node", "service_account", "created")
        and (rows["created_at"].notna() | rows["standing"].notna()).any()
    ):
        columns["Lived (UTC)"] = _life
    if rows["through"].notna().any():
        columns["By"] = lambda row: Markup("<br>").join(map(_through, row["by"]))
    columns["Why"] = lambda row: _why(case, row)
    columns["Findings"] = lambda row: f"{len(row['findings']):,}"
    return columns


def _through(ref: str | None) -> Markup:
    if ref is None:
        return Markup("the finding's caller")
    return Markup("through {}").format(safe(user_words(ref.partition(":")[2])))


def _name(row: Row) -> Markup:
    if row["kind"] == "identity":
        return safe(user_words(row["key"]))
    if row["kind"] == "pod":
        return safe(
            "/".join(str(part) for part in (row["namespace"], row["name"]) if isinstance(part, str) and part)
            or row["key"]
        )
    return safe(row["key"])


def _short(node: str) -> str:
    return node.partition(".")[0]


def _life(row: Row) -> Markup:
    start = clock(row["created_at"], "before the log")
    if not pd.isna(row["deleted_at"]):
        end = f"gone {clock(row['deleted_at'])}" + (
            " (before the first hostile call)" if row["gone_before"] is True else ""
        )
    else:
        end = {True: "stands", False: "gone, when cannot be told"}.get(row["standing"], "cannot tell whether it stands")
    return Markup("{}<br>{}").format(start, end)


def _why(case: Case, row: Row, most: int = 2) -> Markup:
    reasons = case.reasons[row["kind"], row["key"]]
    said = [
        Markup("{} {}").format(safe(why["says"], 260), evidence_of.link(case, why["ref"])) for why in reasons[:most]
    ]
    rest = counted(len(reasons) - most, "more reason")
    more = Markup(' <span class="quiet">and {}</span>').format(rest) if len(reasons) > most else ""
    return Markup("<br>").join(said) + more
