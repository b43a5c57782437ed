"""What notebooks show of playbooks and answers: each question with its verdict, what it rests on, and what it means for the next step."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

import pandas as pd

from kit.case.case import Case
from kit.playbooks.playbook import Ask, Playbook, finding_types, playbook_of
from kit.questions.question import Answer
from kit.questions.verdict import CANNOT_TELL, NOT_OBSERVED, OBSERVED
from kit.show import cited as evidence_of
from kit.show.html_table import Shown, clock, fold, safe, table, write_csv
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
        techniques = ", ".join(f"{safe(one.name)} ({safe(one.id)})" for one in played.techniques)
        note = f" {pill('configuration issue', 'quiet')}" if played.configuration_issue else ""
        tactic = f"Tactic: {safe(', '.join(tactics))}. " if tactics else ""
        parts.append(
            f"<h3>{safe(played.title)}{note}</h3><p>{_codes(types)}</p><p>{with_code(played.saw)}</p>"
            f"<p><b>False alarm?</b> {with_code(played.commonly)} {with_code(played.tell)}</p>"
            f'<p class="quiet">{tactic}Techniques, our own mapping: {techniques}. After: {", ".join(_sources(played.sources))}.</p>'
        )
    return Shown(
        "".join(parts) or "<p>There is no finding in this case.</p>", counted(len(parts), "family", "families")
    )


def _families(case: Case) -> dict[Playbook, list[str]]:
    found = dict[Playbook, list[str]]()
    for row in case.findings.itertuples():
        found.setdefault(playbook_of(str(row.type)), []).append(str(row.id))
    return found


def _codes(types: list[str]) -> str:
    return " ".join(f"<code>{safe(one)}</code>" for one in types)


def _sources(urls: tuple[str, ...]) -> list[str]:
    """Links to the pages, each once."""
    pages = dict[str, str]()
    for url in urls:
        pages.setdefault(url.rpartition("/")[2].partition("#")[0].removesuffix(".html"), url)
    return [f'<a href="{safe(url)}" rel="noreferrer">{safe(name)}</a>' for name, url in pages.items()]


def verdicts(case: Case) -> Shown:
    """Every question of every finding's playbook with its verdict; answers that are the same for several findings stand once."""
    parts, exported = list[str](), list[dict[str, Any]]()
    for number, (played, ids) in enumerate(_families(case).items()):
        rows = []
        for one in played.questions:
            alike = dict[tuple[str, str, str], list[Answer]]()
            for finding_id in ids:
                answer = next(each for each in case.answers(finding_id) if each.question is one.question)
                alike.setdefault((answer.verdict.word, answer.says, repr(answer.rows)), []).append(answer)
                exported.append(
                    {
                        "finding": finding_id,
                        "question": one.question.name,
                        "verdict": answer.verdict.word,
                        "says": answer.says,
                    }
                )
            rows += [_answer_row(case, one, answers, len(ids)) for answers in alike.values()]
        telling = [
            answer for finding_id in ids for answer in case.answers(finding_id) if answer.question is played.telling
        ]
        word = next(
            word for word in (OBSERVED, CANNOT_TELL, NOT_OBSERVED) if any(one.verdict.word == word for one in telling)
        )
        title = f"{safe(played.title)} – {counted(len(ids), 'finding')}: {safe(played.telling.asks)} {_verdict(word)}"
        body = f"<table><thead><tr><th>Question</th><th>Verdict</th><th>Answer</th><th>Next step</th></tr></thead><tbody>{''.join(rows)}</tbody></table>"
        parts.append(fold(title, f'<div class="wide">{body}</div>', opened=number == 0))
    if exported:
        write_csv(pd.DataFrame(exported), case.path / "exports" / "answers.csv")
    return Shown("".join(parts) or "<p>There is no finding to ask about.</p>", counted(len(exported), "answer"))


def about(case: Case, *names: str) -> Shown:
    """The answers to some questions, by name, for all chosen findings; those that are the same stand once."""
    parts = []
    for name in names:
        alike = dict[tuple[str, str, str], list[Answer]]()
        for finding_id in case.findings["id"]:
            answer = case.answer(str(finding_id), name)
            alike.setdefault((answer.verdict.word, answer.says, repr(answer.rows)), []).append(answer)
        order = sorted(alike.values(), key=lambda one: (OBSERVED, CANNOT_TELL, NOT_OBSERVED).index(one[0].verdict.word))
        for number, answers in enumerate(order):
            title = f"<h3>{safe(answers[0].question.asks)}</h3>" if not number else ""
            types = list(dict.fromkeys(one.finding.type for one in answers))
            whose = (
                f' <span class="quiet">({_codes(types[:3])}{f" and {len(types) - 3} more" if len(types) > 3 else ""})</span>'
                if len(order) > 1
                else ""
            )
            answer = answers[0]
            parts.append(
                f"{title}<p>{_verdict(answer.verdict.word)} {safe(answer.says, 400)}{whose}</p>{_missing(answer)}{rows(case, answer)}"
            )
    return Shown("".join(parts) or "<p>There is no finding to ask about.</p>", counted(len(names), "question"))


def _verdict(word: str) -> str:
    return pill(word, _WORDS[word])


def _answer_row(case: Case, one: Ask, answers: list[Answer], findings: int) -> str:
    answer = answers[0]
    mine = (
        f'<br><span class="quiet">for {len(answers)} of {findings} findings</span>' if len(answers) < findings else ""
    )
    marks = "".join(_mark(case, each) for each in answers)
    return (
        f"<tr><td>{safe(one.question.asks)}</td><td>{_verdict(answer.verdict.word)}{mine}</td><td>{safe(answer.says, 400)}{marks}{_missing(answer)}"
        f"{rows(case, answer)}</td><td>{with_code(one.next_step(answer.verdict.word))}</td></tr>"
    )


def _mark(case: Case, answer: Answer) -> str:
    said = [one for one in case.marks if one.finding == answer.finding.id and one.question == answer.question.name]
    return "".join(
        f'<p>{pill(one.word, "quiet")} {safe(one.note)} <span class="quiet">({clock(one.at)} UTC)</span></p>'
        for one in said
    )


def _missing(answer: Answer) -> str:
    limits = answer.verdict.limits
    if not limits:
        return ""
    said = "".join(f"<li>{safe(one.says)}. Collect: {with_code(one.collect)}.</li>" for one in limits[:6])
    more = f"<li>{len(limits) - 6} more stand under What cannot be told.</li>" if len(limits) > 6 else ""
    title = "at least; what is missing" if answer.verdict.word == OBSERVED else "what is missing"
    return fold(f"{title} ({len(limits)})", f"<ul>{said}{more}</ul>")


def rows(case: Case, answer: Answer) -> str:
    """The rows of an answer as a folded table, each with links to its evidence."""
    if not answer.rows:
        return ""
    columns: dict[str, Callable[[dict[str, Any]], str]] = {
        heading: _cell(heading) for heading in answer.rows[0] if heading not in ("certainty", "path", "refs") and any(one.get(heading) not in (None, "", []) for one in answer.rows)
    }  # fmt: skip
    if any(one["certainty"] == "possible" for one in answer.rows):
        columns["Certainty"] = lambda one: pill(one["certainty"])
    columns["Evidence"] = lambda one: " ".join(evidence_of.link(case, ref) for ref in one["refs"][:_MOST_REFS])
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
            return "<br>".join(safe(each, 300) for each in value[:8]) + (
                f"<br>and {len(value) - 8} more" if len(value) > 8 else ""
            )
        if isinstance(value, datetime):
            return clock(value)
        return "" if value is None or value != value else safe(value, 300)

    return cell
