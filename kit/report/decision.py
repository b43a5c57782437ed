"""The summary for whoever decides: what happened, when, what it comes to, what is done and what is open, on three printed pages."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from markupsafe import Markup

from kit.case.case import Case
from kit.case.display import INVENTED
from kit.case.opening import open_case
from kit.model.kinds import SUBJECT_KINDS
from kit.report.parts import PAGE_STYLE, css_text, keep
from kit.show.figures import visible
from kit.show.html_table import STYLE, clock, safe
from kit.show.indicators import indicator_table
from kit.show.steps import done
from kit.show.summary import case_facts, in_short, what_was_done
from kit.show.words import pill, severity_pill, some_of
from kit.words import counted

_MOST = 6  # entries, limits and steps of an incident
_INCIDENTS = 3  # told in full; the others in a line each
_HEAD = (
    '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><meta http-equiv="Content-Security-Policy" content="default-src '
    "'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'\">"
    '<meta name="viewport" content="width=device-width, initial-scale=1"><title>{}</title><style>{}</style>{}</head>'
    '<body><main class="kit summary"><h1>{}</h1><dl class="about">{}</dl>{}</main></body></html>'
)


def make_summary(case_dir: Path, *, finding: str = "", start: str = "", end: str = "") -> Path:
    """Write CASE/summary.html and return its path; no notebook runs. Raises CaseError and CallError as `open_case` does."""
    case = open_case(case_dir, finding, start, end)
    _ = case.window  # raises for one that misses the log
    title = f"{f'{INVENTED} – ' if case.is_sample else ''}Summary for decision: {case.name}"
    told = case_facts(case) | {"Made": f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC"}
    facts = Markup("").join(
        Markup("<div><dt>{}</dt><dd>{}</dd></div>").format(name, safe(says)) for name, says in told.items()
    )
    foot = css_text(f"{visible(title)} · Evidence {told['Evidence']}")
    numbers = f'@page{{@bottom-left{{content:"{foot}"}}@bottom-right{{content:counter(page) " / " counter(pages)}}}}'
    target = case.path / "summary.html"
    keep(target, _HEAD.format(safe(title), f"{PAGE_STYLE}\n{numbers}", STYLE, safe(title), facts, _told(case)))
    return target


def _told(case: Case) -> Markup:
    if not len(case.findings):
        return Markup("<p>There is no finding in this case, so there is no incident to decide about.</p>")
    brief = case.brief()
    parts = [Markup("<p>{}</p>").format(what_was_done(case))]
    parts += [_incident(one) for one in brief["incidents"][:_INCIDENTS]]
    rest = [
        Markup("<li>{} {}</li>").format(severity_pill(one["severity"]), safe(one["title"]))
        for one in brief["incidents"][_INCIDENTS:]
    ]
    if rest:
        parts.append(
            Markup("<h2>{}</h2><ul>{}</ul>").format(counted(len(rest), "other incident"), Markup("").join(rest))
        )
    parts.append(Markup("<h2>Done so far</h2>{}").format(done(case).html))
    parts.append(Markup("<h2>Indicators</h2>{}").format(indicator_table(case).html))
    return Markup("").join(parts)


def _incident(one: dict[str, Any]) -> Markup:
    """One incident: timeline, impact, root cause, what is open, what comes next, what cannot be told."""
    story = Markup("").join(
        Markup('<tr><th scope="row">{}</th><td>{}</td><td>{}</td></tr>').format(
            clock(row["at"]), safe(row["phase"]), in_short(row["says"], 300)
        )
        for row in one["story"]
    )
    left = [entry for entry in one["open"] if entry["state"] != "ended"]
    goes_on = {
        "yes": "The attacker may be at it now.",
        "no": "The logs end quiet: each goes on for longer than the attacker ever paused.",
    }
    steps = [
        f"{step['effect'].capitalize()} ({'a person' if step['by'] == 'person' else 'kit apply'}, {step['minutes']} min): {step['says']}"
        for step in one["next"]
    ]
    parts = [
        Markup("<h2>{} {} {}</h2><p>{} {}</p>").format(
            severity_pill(one["severity"]),
            safe(one["title"]),
            pill(one["disposition"], "high" if one["disposition"] == "hostile" else "cannot"),
            goes_on.get(one["active"], "Whether it goes on: cannot tell."),
            Markup(" ").join(in_short(f"{doubt['says']} Ask: {doubt['ask']}", 300) for doubt in one["expected_if"][:1]),
        ),
        Markup("<h3>Timeline (UTC)</h3><table><tbody>{}</tbody></table>").format(story),
        *(
            [
                Markup("<h3>Perhaps the attacker's too</h3>{}").format(
                    _listed([f"{each['says']} Ask: {each['ask']}" for each in one["undecided"]], "")
                )
            ]
            if one["undecided"]
            else []
        ),
        Markup("<h3>Impact</h3><p>Touched: {}. Exposed: {}. Possible: {}.</p>").format(
            *(_numbers(one["counts"][ring]) for ring in ("touched", "exposed", "possible"))
        ),
        Markup("<h3>Root cause</h3><p>{}</p>").format(in_short(one["way_in"]["says"], 300)),
        Markup("<h3>Open now</h3>{}").format(
            _listed([entry["says"] for entry in left], "Nothing is known to be open.")
        ),
        Markup("<h3>Next</h3>{}").format(_listed(steps, "Nothing is planned.")),
        Markup("<h3>Cannot be told</h3>{}").format(
            _listed([f"{limit['says']}." for limit in one["cannot_tell"]], "No limit is known.")
        ),
    ]
    return Markup("").join(parts)


def _numbers(found: dict[str, int]) -> Markup:
    named = [counted(number, SUBJECT_KINDS[kind].noun, SUBJECT_KINDS[kind].plural) for kind, number in found.items()]
    return some_of(named, 12) if named else Markup("nothing")


def _listed(says: list[str], otherwise: str) -> Markup:
    if not says:
        return Markup("<p>{}</p>").format(otherwise)
    more = Markup("<li>{:,} more in the report.</li>").format(len(says) - _MOST) if len(says) > _MOST else ""
    return Markup("<ul>{}{}</ul>").format(
        Markup("").join(Markup("<li>{}</li>").format(in_short(one, 260)) for one in says[:_MOST]), more
    )
