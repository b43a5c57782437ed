"""What to search for elsewhere: the indicators of all incidents as a table, and as a CSV file."""

from __future__ import annotations

from markupsafe import Markup

from kit.case.case import Case
from kit.exports.indicators import indicators, write_indicators
from kit.show.html_table import Shown, fold, safe
from kit.words import counted

_MOST = 8  # values of a kind before the rest folds


def indicator_table(case: Case) -> Shown:
    """A row a kind of indicator with its values; `exports/indicators.csv` has one a line."""
    rows = indicators(case.brief())
    if not rows:
        says = "No call is attributed to an attacker, so there is nothing to search for elsewhere."
        return Shown(Markup("<p>{}</p>").format(says), says)
    write_indicators(rows, case.path / "exports" / "indicators.csv")
    body = Markup("")
    for kind in dict.fromkeys(row.kind for row in rows):
        values = [Markup("<code>{}</code>").format(safe(row.value)) for row in rows if row.kind == kind]
        rest = fold(f"{len(values) - _MOST:,} more", Markup("<br>").join(values[_MOST:]))
        said = Markup("<br>").join(values[:_MOST]) + rest
        body += Markup('<tr><th scope="row">{}</th><td>{}</td></tr>').format(kind.capitalize(), said)
    says = Markup(
        '<p class="quiet">{} of the attacker\'s calls. A user agent, an identity or an image may be yours too. <code>exports/indicators.csv</code> in the case folder has one a line.</p>'
    ).format(counted(len(rows), "indicator"))
    return Shown(says + Markup('<div class="wide"><table><tbody>{}</tbody></table></div>').format(body), "indicators")
