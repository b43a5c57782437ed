"""A figure with the same facts as a table below it."""

from __future__ import annotations

from collections.abc import Callable

from markupsafe import Markup

from kit.case.case import Case
from kit.show import figures
from kit.show.html_table import Shown, fold, table
from kit.store.tables import Row
from kit.words import counted


def picture(chart: figures.Chart, below: Markup) -> Shown:
    """A figure with what stands below it."""
    return Shown(Markup("<figure>{}</figure>{}").format(chart._repr_html_(), below), repr(chart))


def with_table(case: Case, chart: figures.Chart, columns: dict[str, Callable[[Row], str]], name: str) -> Shown:
    """A figure with its rows as a table below it, which is exported under a name."""
    inside = table(chart.rows, columns, export=case.path / "exports" / f"{name}.csv")
    return picture(chart, fold(f"The same as a table ({counted(len(chart.rows), 'row')})", inside))
