"""What the incident comes to: what was touched, what is exposed by node and by account, and who acted, each in one table."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

import pandas as pd
from markupsafe import Markup

from kit.case.case import Case
from kit.case.told import accounts_of_pods, told
from kit.exports.csv_file import write_csv
from kit.model.arn import role_of
from kit.model.identity import SERVICE_ACCOUNT
from kit.model.kubernetes import workload_pattern
from kit.show import cited as evidence_of
from kit.show import console
from kit.show.figures import frame_rows, user_words
from kit.show.html_table import Shown, clock, fold, safe, table
from kit.show.words import are_gone, exported, nothing_shown, pill, rows_of_kind, short_names, with_code
from kit.statements.moments import Moment, spoken
from kit.statements.techniques import ATTACK_VERSION, DeedTechnique, technique_of
from kit.store.tables import Row
from kit.words import counted

_ORDER = ("let_in", "secret", "config_map", "token", "exec", "forwarded", "created", "changed", "deleted", "signed_in", "looked", "tried")  # fmt: skip
_WORDS = {
    "let_in": "let somebody in",
    "secret": "read secrets",
    "config_map": "read config maps",
    "token": "minted tokens",
    "exec": "ran commands",
    "forwarded": "opened connections",
    "created": "created",
    "changed": "changed",
    "deleted": "deleted",
    "signed_in": "signed in",
    "looked": "looked around",
    "tried": "tried without success",
}
_SHOWN = 4  # things of a group before the rest folds


def what_was_touched(case: Case) -> Shown:
    """What the attacker did to what, grouped by who did it from where; each group with its technique and its calls."""
    groups = defaultdict[tuple[str, str, str, str], list[Moment]](list)
    for one in told(case):
        groups[one.kind, one.actor.name, one.actor.address or "", one.actor.through].append(one)
    if not groups:
        return Shown(Markup("<p>{}</p>").format(nothing_shown(case, "created")), "nothing")
    order = sorted(groups.items(), key=lambda item: (_ORDER.index(item[0][0]), item[1][0].at))
    rows = [
        {
            "did": _WORDS[kind],
            "first_at": of[0].at,
            "last_at": of[-1].at,
            "who": name,
            "through": through,
            "address": address or None,
            "technique": technique_of(of[0]),
            "things": list(dict.fromkeys(f"{one.verb} {one.thing}".strip() for one in of)),
            "calls": len(of),
            "refs": [one.ref for one in of],
        }
        for (kind, name, address, through), of in order
    ]
    days = _days(one[when] for one in rows for when in ("first_at", "last_at"))
    columns: dict[str, Callable[[Row], str]] = {
        "Did": lambda row: Markup("<b>{}</b>").format(row["did"].capitalize()),
        "To what": lambda row: _listed([safe(one, 200) for one in row["things"]]),
        "Who, from": lambda row: Markup('{}<br><span class="quiet">{}</span>').format(
            safe(short_names(spoken(row["who"]))),
            safe(", ".join(part for part in (row["through"], row["address"]) if part)),
        ),
        _heading("At", days): lambda row: _span(row["first_at"], row["last_at"], days),
        "ATT&CK": lambda row: technique_link(row["technique"]),
        "Calls": lambda row: f"{row['calls']:,}",
        "Evidence": lambda row: _links(case, row["refs"]),
    }
    frame = pd.DataFrame(rows)
    write_csv(frame.assign(technique=[one.id if one else "" for one in frame["technique"]]), exported(case, "touched"))
    looks = frame["did"].isin([_WORDS["looked"], _WORDS["tried"]])
    of_looks = counted(int(frame[looks]["calls"].sum()), "call") + " that looked around or tried without success"
    html = table(frame[~looks], columns, narrow=("Calls",))
    says = Markup('<p class="quiet">Techniques of MITRE ATT&amp;CK for Enterprise {}, our own mapping.</p>').format(
        ATTACK_VERSION
    )
    return Shown(
        says + html + fold(of_looks, table(frame[looks], columns, narrow=("Calls",))), counted(len(rows), "group")
    )


def technique_link(technique: DeedTechnique | None) -> Markup:
    """A technique by its id, with its name and tactic on hover, as a link to its page; nothing where none is given."""
    if not technique:
        return Markup("")
    place = technique.id.replace(".", "/")
    return Markup('<a href="https://attack.mitre.org/techniques/{}/" title="{}: {}" rel="noreferrer" target="_blank">{}</a>').format(
        place, technique.tactic, technique.name, technique.id
    )  # fmt: skip


def _days(times: Iterable[Any]) -> list[str]:
    return sorted({clock(pd.Timestamp(at))[:10] for at in times})


def _heading(word: str, days: list[str]) -> str:
    """The heading of a column of times: with the day, where they are all of one, so that no cell repeats it."""
    return Markup('{}, <span class="whole">{} UTC</span>').format(word, days[0]) if len(days) == 1 else f"{word} (UTC)"


def _span(first: Any, last: Any, days: list[str]) -> Markup:
    """From when to when; without the day where `days` has one alone."""
    start, end = clock(pd.Timestamp(first)), clock(pd.Timestamp(last))
    end = end[11:] if start[:10] == end[:10] else end
    start = start[11:] if len(days) == 1 else start
    once = start in (end, f"{end}") or start.endswith(f" {end}")
    return Markup('<span class="whole">{}</span>').format(start) if once else Markup('<span class="whole">{} –</span> <span class="whole">{}</span>').format(start, end)  # fmt: skip


def _listed(things: list[Markup], most: int = _SHOWN) -> Markup:
    """Things one under the other; of many the first ones, and the rest folds."""
    head = Markup("<br>").join(things[:most])
    rest = things[most:]
    return head + (fold(f"{len(rest):,} more", Markup("<br>").join(rest)) if rest else Markup(""))


def _links(case: Case, refs: list[str], most: int = 3) -> Markup:
    more = Markup(' <span class="quiet">and {:,} more</span>').format(len(refs) - most) if len(refs) > most else ""
    return Markup(" ").join(evidence_of.link(case, ref) for ref in refs[:most]) + more


def by_node(case: Case) -> Shown:
    """What is affected on each node: the pods by name, and how many of them stand."""
    pods, nodes = rows_of_kind(case, "pod"), rows_of_kind(case, "node")
    if pods.empty and nodes.empty:
        return Shown(Markup("<p>{}</p>").format(nothing_shown(case, "node")), "no node")
    known = {str(row["key"]): row for row in frame_rows(nodes)}
    placed = pods.assign(place=pods["node"].where(pods["node"].notna(), ""))
    rows = [
        _of_node(name, placed[placed["place"] == name], known.get(name))
        for name in sorted({*known, *placed["place"]}, key=lambda name: (name not in known, name))
    ]
    columns: dict[str, Callable[[Row], str]] = {
        "Node": lambda row: Markup("<b>{}</b>").format(safe(row["node"].partition(".")[0] or "no node is known")),
        "The node itself": lambda row: pill(row["itself"], "affected" if row["itself"] == "affected" else "quiet"),
        "Affected pods": lambda row: f"{row['pods']:,}",
        "Standing": lambda row: f"{row['standing']:,}",
        "By name": lambda row: _by_name(row["names"]),
        "Why": lambda row: _why(case, "node", row["node"]) if row["node"] in known else "through its pods",
    }
    html = table(pd.DataFrame(rows), columns, export=exported(case, "by-node"), narrow=("Node", "Affected pods"))
    return Shown(html, counted(len(rows), "node"))


def _of_node(name: str, pods: pd.DataFrame, node: Row | None) -> dict[str, Any]:
    return {
        "node": name,
        "itself": "affected" if node is not None else "not shown",
        "pods": len(pods),
        "standing": int((pods["standing"].map(lambda one: one is True) & ~are_gone(pods)).sum()) if len(pods) else 0,
        "names": _patterns(pods),
    }


def _patterns(pods: pd.DataFrame) -> list[str]:
    """Pods by namespace and workload, the most first, each with its number."""
    number = defaultdict[str, int](int)
    for row in frame_rows(pods):
        number[f"{row['namespace']}/{workload_pattern(str(row['name']))}"] += 1
    return [f"{name} ({many:,})" for name, many in sorted(number.items(), key=lambda item: (-item[1], item[0]))]


def _by_name(names: list[str]) -> Markup:
    """Names in a row; of many the first ones, and the rest folds."""
    rest = Markup(", ").join(map(safe, names[_SHOWN:]))
    return Markup(", ").join(map(safe, names[:_SHOWN])) + fold(f"{len(names) - _SHOWN:,} more", rest)


def _why(case: Case, kind: str, key: str) -> Markup:
    """The first reason why a subject is in scope, and some of the others folded."""
    said = [
        Markup("{} {}").format(safe(why["says"], 260), evidence_of.link(case, why["ref"]))
        for why in case.reasons[kind, key][:6]
    ]
    number = len(case.reasons[kind, key])
    return said[0] + fold(counted(number - 1, "more reason"), Markup("<br>").join(said[1:]))


def by_account(case: Case) -> Shown:
    """Service accounts and IAM roles that are affected: the pods that run as them, and why."""
    accounts, roles = rows_of_kind(case, "service_account"), rows_of_kind(case, "iam_role")
    if accounts.empty and roles.empty:
        return Shown(Markup("<p>{}</p>").format(nothing_shown(case, "service_account")), "no account")
    runs_as = defaultdict[str, list[int]](list)
    pods = rows_of_kind(case, "pod").reset_index(drop=True)
    account_of = accounts_of_pods(case)
    for place, uid in enumerate(pods["uid"]):
        if isinstance(uid, str) and uid in account_of:
            runs_as[account_of[uid]].append(place)
    rows = [
        {
            "account": row["key"],
            "kind": kind,
            "pods": len(runs_as.get(row["key"], ())) if kind == "service account" else None,
            "names": _patterns(pods.iloc[runs_as.get(row["key"], [])]),
        }
        for kind, frame in (("service account", accounts), ("IAM role or user", roles))
        for row in frame_rows(frame)
    ]
    columns: dict[str, Callable[[Row], str]] = {
        "Account": lambda row: Markup('<b>{}</b><br><span class="quiet">{}</span>{}').format(
            safe(short_names(row["account"])), row["kind"], console.links(case, "iam_role", row["account"]) if row["kind"] != "service account" else "",
        ),
        "Affected pods that run as it": lambda row: Markup("{} {}").format(f"{row['pods']:.0f}:" if row["names"] else "", _by_name(row["names"])),
        "Why": lambda row: _why(case, "iam_role" if row["kind"] != "service account" else "service_account", row["account"]),
    }  # fmt: skip
    frame = pd.DataFrame(rows)
    write_csv(frame, exported(case, "by-account"))
    used = set(_used_accounts(case))
    first = frame["account"].isin(used)
    noun = "more account" if first.any() else "account"
    rest = f"{counted(int((~first).sum()), noun)}: exposed, not known to be used by the attacker"
    html = table(frame[first], columns) + fold(rest, table(frame[~first], columns), opened=not first.any())
    return Shown(html, counted(len(rows), "account"))


def _used_accounts(case: Case) -> list[str]:
    """The service accounts and roles as which the attacker is known to have called."""
    users = [str(name) for name in case.calls["user_name"]]
    names = {
        name.removeprefix(SERVICE_ACCOUNT).replace(":", "/", 1) for name in users if name.startswith(SERVICE_ACCOUNT)
    }
    minted = {key for one in told(case) for kind, key in one.objects if kind == "token"}
    roles = {role for arn in case.aws_calls["arn"] if (role := role_of(arn))}
    return sorted({*names, *minted, *roles})


def whose(case: Case) -> Shown:
    """Each identity that the attacker used, a row each: how its credential was obtained, from where it was used, and what ends it."""
    every = {one["user_name"]: one for finding in case.scope["findings"] for one in finding["identities"]}
    used = {name: one for name, one in every.items() if any(source["hostile_calls"] for source in one["sources"])}
    if not used:
        says = "No call is attributed to an attacker, so no identity is known to have been used by one."
        return Shown(Markup("<p>{}</p>").format(says), says)
    rows = [{"name": name, "one": one} for name, one in used.items()]
    hostile = [source for one in used.values() for source in one["sources"] if source["hostile_calls"]]
    days = _days(source[when] for source in hostile for when in ("first_at", "last_at"))
    columns: dict[str, Callable[[Row], str]] = {
        "Who": lambda row: Markup("<b>{}</b>").format(safe(short_names(user_words(row["name"])))),
        "Credential, and how it was obtained": lambda row: _obtained(case, row["one"]),
        _heading("Used from", days): lambda row: _used_from(row["one"]["sources"], days),
        "Ends by": lambda row: _ends_by(row["one"]["take_away"]),
    }
    return Shown(table(pd.DataFrame(rows), columns), counted(len(rows), "identity", "identities"))


def _obtained(case: Case, one: Any) -> Markup:
    whys = [*one["patient_zero"], *one["came_from"]]
    said = [Markup("{} {}").format(safe(why["says"], 260), evidence_of.link(case, why["ref"])) for why in whys]
    keys = [row["key"] for row in one["credentials"] if row["hostile_calls"] and row["key"]]
    held = Markup("<br>").join(Markup("<code>{}</code>").format(safe(key, 60)) for key in keys[:3])
    says = _listed(said, 2) if said else Markup("{} how it was obtained.").format(pill("cannot tell", "cannot"))
    return Markup("<br>").join(part for part in (says, held) if part)


def _used_from(sources: Iterable[Any], days: list[str]) -> Markup:
    return _listed(
        [
            Markup('<code class="whole">{}</code> {}, {}').format(
                safe(one["address"] or "not recorded"),
                counted(one["hostile_calls"], "call"),
                _span(one["first_at"], one["last_at"], days),
            )
            for one in sources
            if one["hostile_calls"]
        ],
        3,
    )


def _ends_by(steps: list[Any]) -> Markup:
    rest = Markup("").join(Markup("<li>{}.</li>").format(with_code(step["says"])) for step in steps[1:])
    first = Markup("{}. ").format(with_code(steps[0]["says"])) if steps else Markup("")
    more = fold(counted(len(steps) - 1, "more step"), Markup("<ol>{}</ol>").format(rest)) if rest else ""
    return Markup('{}{}<a href="#The-plan">the plan</a>').format(first, more)
