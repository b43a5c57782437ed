"""What a case tells of one thing, as notebooks show it: when, how often, what is new, with whom it is shared, why, and what ends it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from markupsafe import Markup

from kit.case.case import Case
from kit.show.figures import visible
from kit.show.html_table import Shown, fold, safe
from kit.show.words import pill
from kit.words import counted

_MOST = 40


def thing(case: Case, said: dict[str, Any]) -> Shown:
    """One thing; `said` is its JSON form."""
    if "record" in said:
        return _record(said)
    head = Markup("<h3>{} <code>{}</code> {}</h3>").format(
        safe(said["kind"].replace("_", " ")), safe(said["name"]), pill(said["ring"]) if said["ring"] else ""
    )
    seen = f"from {_clock(said['first_at'])} to {_clock(said['last_at'])} UTC" if said["first_at"] else ""
    numbers = f"{counted(said['calls'], 'call')} in the cluster {seen}, {said['hostile_calls']:,} of them the attacker's; {said['aws_calls']:,} in AWS."
    why = _table(said["why"], {"Why": "says", "Evidence": "ref"})
    ends = _table(said["ended_by"], {"State": "state", "What gives access, or ends it": "says", "Ended by": "ends_by"})
    parts = [
        _part("Why it is affected", why),
        _part("What of it gives access, and what ends it", ends),
        _part(
            f"New since the first bad sign ({_clock(said['since'])} UTC)" if said["since"] else "",
            _table(said["new"], {"First at": "first_at", "What": "what", "Which": "value", "Calls": "calls"}),
        ),
        _part(
            "Used with it",
            _table(said["shared"], {"Kind": "kind", "Which": "key", "Calls": "calls", "Attacker's": "hostile", "First at": "first_at", "Last at": "last_at"}),
        ),
        fold(
            f"{counted(len(said['processes']), 'process', 'processes')} as captured of the node" if said["processes"] else "",
            _table(said["processes"], {"Read at": "read_at", "Started": "started_at", "Pid": "pid", "Parent": "parent", "User": "user_id", "Program": "program", "Command line": "command_line", "SHA-256 of the program": "sha256"}),
        ),
        fold("Calls by hour and kind", _table(said["by_hour"], {"Hour": "hour", "Did": "what", "Calls": "calls", "Attacker's": "hostile"})),
        fold(
            "Calls in AWS",
            _table(said["in_aws"], {"First at": "first_at", "Did": "event_name", "Service": "event_source", "From": "source_address", "Calls": "calls", "Failed": "failed"}),
        ),
        fold(counted(len(said["findings"]), "finding"), _table(said["findings"], {"Type": "type", "Id": "id"})),
    ]  # fmt: skip
    return Shown(head + Markup("<p>{}</p>").format(safe(numbers)) + Markup("").join(parts), f"{said['ref']}: {numbers}")


def _record(said: dict[str, Any]) -> Shown:
    """A record of evidence, and what its caller did around it."""
    columns = {"At": "at", "Who": "user_name", "From": "source_address", "Did": "what", "Namespace": "namespace", "Object": "name", "Answer": "response_code", "Client": "user_agent", "Ref": "audit_id"}  # fmt: skip
    around = fold(f"{counted(said['calls'], 'call')} of the same caller around it", _table(said["around"], columns))
    shown = Markup("<p><code>{}:{}</code></p><pre>{}</pre>{}").format(
        safe(said["file"]), said["line"], visible(said["record"], keep="\n"), around
    )
    return Shown(shown, f"{said['file']}:{said['line']}\n{said['record']}")


def _part(title: str, inside: Markup) -> Markup:
    return Markup("<h4>{}</h4>{}").format(title, inside) if inside else inside


def _table(rows: Iterable[Mapping[str, Any]], columns: dict[str, str]) -> Markup:
    every = list(rows)
    if not every:
        return Markup("")
    head = Markup("").join(Markup("<th>{}</th>").format(name) for name in columns)
    body = Markup("").join(
        Markup("<tr>{}</tr>").format(Markup("").join(Markup("<td>{}</td>").format(_cell(row[name])) for name in columns.values()))
        for row in every[:_MOST]
    )  # fmt: skip
    rest = f"{len(every) - _MOST:,} more: case.about(…).said has them all." if len(every) > _MOST else ""
    return Markup(
        '<div class="wide"><table><thead><tr>{}</tr></thead><tbody>{}</tbody></table></div><p class="rest">{}</p>'
    ).format(head, body, rest)


def _cell(value: Any) -> Markup:
    if isinstance(value, list):
        return safe(", ".join(map(str, value)))
    text = "" if value is None else str(value)
    return safe(_clock(text) if text[10:11] == "T" and text.endswith("Z") else text, 300)


def _clock(text: str | None) -> str:
    return (text or "")[:19].replace("T", " ")
