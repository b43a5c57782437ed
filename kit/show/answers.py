"""What notebooks show of playbooks and answers: each question with its verdict, what it rests on, and what it means for the next step."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import datetime
from typing import Any

import pandas as pd
from markupsafe import Markup

from kit.case.answers import AskedIncident, IncidentAnswer
from kit.case.case import Case
from kit.exports.csv_file import write_csv
from kit.model.why import collecting_words
from kit.playbooks.playbook import Playbook, finding_types, playbook_of
from kit.questions.question import QUESTIONS, Answer
from kit.questions.verdict import CANNOT_TELL, NOT_OBSERVED, OBSERVED
from kit.show import cited as evidence_of
from kit.show.figures import HEADLESS
from kit.show.html_table import Shown, clock, fold, safe, table
from kit.show.words import pill, with_code
from kit.words import counted

_WORDS = {OBSERVED: "observed", NOT_OBSERVED: "quiet", CANNOT_TELL: "cannot"}
_MOST_ROWS = 12
_MOST_REFS = 4


def playbooks(case: Case) -> Shown:
    """What the families of the findings mean: what GuardDuty saw and did not see, how it is a false alarm, ATT&CK."""
    parts = []
    for played, ids in _families(case).items():
        types = sorted({str(row.type) for row in case.findings.itertuples() if row.id in ids})
        tactics = sorted({known.tactic for one in types if (known := finding_types().get(one)) and known.tactic})
        techniques = Markup(", ").join(
            Markup("{} ({})").format(safe(one.name), safe(one.id)) for one in played.techniques
        )
        note = Markup(" {}").format(pill("configuration issue", "quiet")) if played.configuration_issue else ""
        tactic = Markup("Tactic: {}. ").format(safe(", ".join(tactics))) if tactics else ""
        parts.append(
            Markup(
                '<h3>{}{}</h3><p>{}</p><p>{}</p><p><b>False alarm?</b> {} {}</p><p class="quiet">{}Techniques, our own mapping: {}. After: {}.</p>'
            ).format(
                safe(played.title),
                note,
                _codes(types),
                with_code(played.saw),
                with_code(played.commonly),
                with_code(played.tell),
                tactic,
                techniques,
                Markup(", ").join(_sources(played.sources)),
            )
        )
    return Shown(
        Markup("").join(parts) or Markup("<p>There is no finding in this case.</p>"),
        counted(len(parts), "family", "families"),
    )


def _families(case: Case) -> dict[Playbook, list[str]]:
    found = dict[Playbook, list[str]]()
    for row in case.findings.itertuples():
        found.setdefault(playbook_of(str(row.type)), []).append(str(row.id))
    return found


def _codes(types: list[str]) -> Markup:
    return Markup(" ").join(Markup("<code>{}</code>").format(safe(one)) for one in types)


def _sources(urls: tuple[str, ...]) -> list[Markup]:
    """Links to the pages, each once."""
    pages = dict[str, str]()
    for url in urls:
        pages.setdefault(url.rpartition("/")[2].partition("#")[0].removesuffix(".html"), url)
    return [Markup('<a href="{}" rel="noreferrer">{}</a>').format(safe(url), safe(name)) for name, url in pages.items()]


def verdicts(case: Case) -> Shown:
    """Every question of each incident's playbooks with its verdict, asked once of the whole incident; then the findings of no incident."""
    parts, exported = list[Markup](), list[dict[str, Any]]()
    for number, (incident, answers) in enumerate(_by_incident(case)):
        findings = len(incident.findings)
        played = playbook_of(incident.gravest.type)
        telling = next(one.answer for one in answers if one.answer.question is played.telling)
        title = Markup("{} – {}: {} {}").format(
            safe(played.title), counted(findings, "finding"), safe(played.telling.asks), _verdict(telling.verdict.word)
        )
        rows = Markup("").join(_answer_row(case, one, findings) for one in answers)
        body = Markup(
            "<table><thead><tr><th>Question</th><th>Verdict</th><th>Answer</th><th>Next step</th></tr></thead><tbody>{}</tbody></table>"
        ).format(rows)
        parts.append(fold(title, Markup('<div class="wide">{}</div>').format(body), opened=number == 0))
        exported += [
            {
                "finding": finding,
                "question": one.answer.question.name,
                "verdict": one.answer.verdict.word,
                "says": one.answer.says,
            }
            for one in answers
            for finding in one.findings
        ]
    for finding, because in case.no_incident:
        parts.append(
            Markup("<p>{} <code>{}</code>: {}</p>").format(_codes([finding.type]), safe(finding.id), safe(because))
        )
    if exported:
        write_csv(pd.DataFrame(exported), case.path / "exports" / "answers.csv")
    return Shown(
        Markup("").join(parts) or Markup("<p>There is no finding to ask about.</p>"), counted(len(exported), "answer")
    )


def _by_incident(case: Case) -> list[tuple[AskedIncident, list[IncidentAnswer]]]:
    found = dict[str, list[IncidentAnswer]]()
    for one in case.incident_answers:
        found.setdefault(one.incident.id, []).append(one)
    return [(of_one[0].incident, of_one) for of_one in found.values()]


def about(case: Case, *names: str) -> Shown:
    """The answers to some questions, by name, for all chosen findings; those that are the same stand once."""
    parts = []
    asked = {one.answer.question.name for one in case.incident_answers} if os.environ.get(HEADLESS) else set[str]()
    for name in names:
        if name in asked:  # a report has each answer once
            link = Markup(
                '<p>{} <a href="#Questions-and-answers">The answer stands under Questions and answers.</a></p>'
            )
            parts.append(link.format(safe(QUESTIONS[name].asks)))
            continue
        alike = dict[tuple[str, str, str], list[Answer]]()
        for finding_id in case.findings["id"]:
            answer = case.answer(name, str(finding_id))
            alike.setdefault((answer.verdict.word, answer.says, repr(answer.rows)), []).append(answer)
        order = sorted(alike.values(), key=lambda one: (OBSERVED, CANNOT_TELL, NOT_OBSERVED).index(one[0].verdict.word))
        for number, answers in enumerate(order):
            title = Markup("<h3>{}</h3>").format(safe(answers[0].question.asks)) if not number else ""
            types = list(dict.fromkeys(one.finding.type for one in answers))
            whose = (
                Markup(' <span class="quiet">({}{})</span>').format(
                    _codes(types[:3]), f" and {len(types) - 3} more" if len(types) > 3 else ""
                )
                if len(order) > 1
                else ""
            )
            answer = answers[0]
            parts.append(
                Markup("{}<p>{} {}{}</p>{}{}").format(
                    title,
                    _verdict(answer.verdict.word),
                    safe(answer.says, 400),
                    whose,
                    _missing(answer),
                    rows_fold(case, answer),
                )
            )
    return Shown(
        Markup("").join(parts) or Markup("<p>There is no finding to ask about.</p>"), counted(len(names), "question")
    )


def _verdict(word: str) -> Markup:
    return pill(word, _WORDS[word])


def _answer_row(case: Case, one: IncidentAnswer, findings: int) -> Markup:
    answer = one.answer
    matters = (
        Markup('<br><span class="quiet">matters for {} of {} findings</span>').format(len(one.findings), findings)
        if len(one.findings) < findings
        else ""
    )
    marks = Markup("").join(
        Markup('<p>{} {} <span class="quiet">({} UTC)</span></p>').format(
            pill(each.word, "quiet"), safe(each.note), clock(each.at)
        )
        for each in one.marks
    )
    return Markup("<tr><td>{}</td><td>{}{}</td><td>{}{}{}{}</td><td>{}</td></tr>").format(
        safe(answer.question.asks),
        _verdict(answer.verdict.word),
        matters,
        safe(answer.says, 400),
        marks,
        _missing(answer),
        rows_fold(case, answer),
        with_code(one.advice.says) if one.advice else "",
    )


def _missing(answer: Answer) -> Markup:
    limits = answer.verdict.limits
    if not limits:
        return Markup("")
    said = Markup("").join(
        Markup("<li>{}. Collect: {}.</li>").format(
            safe(one.says), with_code(collecting_words(one.collect, one.otherwise))
        )
        for one in limits[:6]
    )
    more = (
        Markup("<li>{} more stand under What cannot be told.</li>").format(len(limits) - 6) if len(limits) > 6 else ""
    )
    title = "at least; what is missing" if answer.verdict.word == OBSERVED else "what is missing"
    return fold(f"{title} ({len(limits)})", Markup("<ul>{}{}</ul>").format(said, more))


def rows_fold(case: Case, answer: Answer) -> Markup:
    """The rows of an answer as a folded table, each with links to its evidence."""
    if not answer.rows:
        return Markup("")
    columns: dict[str, Callable[[dict[str, Any]], str]] = {
        heading: _cell(heading) for heading in answer.rows[0] if heading not in ("certainty", "path", "refs") and any(one.get(heading) not in (None, "", []) for one in answer.rows)
    }  # fmt: skip
    if any(one["certainty"] == "possible" for one in answer.rows):
        columns["Certainty"] = lambda one: pill(one["certainty"])
    columns["Evidence"] = lambda one: Markup(" ").join(evidence_of.link(case, ref) for ref in one["refs"][:_MOST_REFS])
    frame = pd.DataFrame(answer.rows, dtype=object)
    export = (
        case.path / "exports" / f"{answer.question.name}-{answer.finding.id[:8]}.csv"
        if len(frame) > _MOST_ROWS
        else None
    )
    return fold(counted(len(frame), "row"), table(frame, columns, most=_MOST_ROWS, export=export))


def _cell(heading: str) -> Callable[[dict[str, Any]], str]:
    def cell(one: dict[str, Any]) -> str:
        value = one.get(heading)
        if isinstance(value, list):
            return Markup("<br>").join(safe(each, 300) for each in value[:8]) + (
                Markup("<br>and {} more").format(len(value) - 8) if len(value) > 8 else ""
            )
        if isinstance(value, datetime):
            return clock(value)
        return "" if value is None or value != value else safe(value, 300)

    return cell
