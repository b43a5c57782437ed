"""The SQL that the kit asks its store, as it runs, and whether Spark and Athena could run it too: text → ok or why not.

A text passes when sqlglot can write it for both, and when it has none of what passes there and means something else. What fills a
store (kit.evidence) is DuckDB's own SQL, and so is what a person asks through `case.sql`.

    python -m tests.sql_table [CASE ...]
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import sqlglot
from sqlglot import expressions as exp
from sqlglot.errors import ErrorLevel, SqlglotError

from kit.case.case import Case
from kit.case.opening import open_case
from kit.questions import QUESTIONS
from kit.store import store as store_module
from kit.store.callers import CALLERS
from kit.store.store import Store
from kit.store.tables import TABLES

ENGINES = ("spark", "athena")
KIT = Path(store_module.__file__).parents[1]
_ASKING = {"rows": 0, "table": 0, "batches": 0, "up_to": 1}
"""Method of Store → the place of its text among the arguments."""


@dataclass
class Text:
    """One SQL text. asked_at: module and function; nulls: parameters that were None in some run; lists: those that were a list."""

    sql: str
    asked_at: str
    nulls: set[str] = field(default_factory=set)
    lists: set[str] = field(default_factory=set)


@contextmanager
def collected() -> Iterator[dict[str, Text]]:
    """The texts that stores are asked within."""
    found, before = dict[str, Text](), {name: getattr(Store, name) for name in _ASKING}

    def listening(name: str) -> Any:
        def asked(self: Store, *given: Any, **values: Any) -> Any:
            sql = given[_ASKING[name]]
            text = found.setdefault(sql, Text(sql, _asked_at()))
            text.nulls |= {key for key, value in values.items() if value is None}
            text.lists |= {key for key, value in values.items() if isinstance(value, list)}
            return before[name](self, *given, **values)

        return asked

    for name in _ASKING:
        setattr(Store, name, listening(name))
    try:
        yield found
    finally:
        for name, method in before.items():
            setattr(Store, name, method)


def _asked_at() -> str:
    frame, store = sys._getframe(2), Path(store_module.__file__)
    while frame.f_back and ((path := Path(frame.f_code.co_filename)) == store or KIT not in path.parents):
        frame = frame.f_back
    return f"{Path(frame.f_code.co_filename).relative_to(KIT).with_suffix('')}: {frame.f_code.co_name}"


def ask_all(case: Case) -> None:
    """Ask a case for all that it can be asked: scope, questions, plan, brief and frames."""
    case.answers_contract()
    case.brief()
    for finding in case.finding_rows:
        for name in QUESTIONS:
            case.answer(name, finding["id"])
    for name in vars(Case) | vars(Case.__base__):
        if not name.startswith("_") and not callable(getattr(Case, name)):
            getattr(case, name)
    start = case.window.start if case.window else None
    case.audit(stages=True)
    case.audit(start=start, user_name=["a", "b"], user_groups="c", verb="get", name="d*", most=1)
    case.cloudtrail(start=start, event_name="Get*")
    case.sign_ins(granted=True)
    for kind in ("pods", "Instance"):
        case.objects(kind)
    case.secrets_read()
    case.activity(20)
    repr(case)


def faults(text: Text) -> dict[str, str]:
    """Engine → why it cannot run the text, or would answer otherwise; "" for what it can."""
    wrong = "; ".join(dict.fromkeys(_wrong(text)))
    return {engine: "; ".join(filter(None, (_refused(text.sql, engine), wrong))) for engine in ENGINES}


@cache
def _refused(sql: str, engine: str) -> str:
    try:
        sqlglot.transpile(sql, read="duckdb", write=engine, unsupported_level=ErrorLevel.RAISE)
    except SqlglotError as error:
        return str(error).partition("\n")[0]
    return ""


_OF_ONE_ROW = (exp.ArgMin, exp.ArgMax, exp.AnyValue, exp.First, exp.Last)
_OF_NULL = (exp.Is, exp.NullSafeEQ, exp.NullSafeNEQ)
_SAID: dict[type[exp.Expr], str] = {
    exp.TimeToUnix: "epoch() of a difference is DuckDB's",
    exp.ArrayOverlaps: "list_has_any() becomes &&, which is another operator in Spark",
    exp.ArrayContainsAll: "list_has_all() becomes @>, which is another operator elsewhere",
    exp.Contains: "contains() of a text is of an array in Athena",
    exp.JSONExtract: "a JSON path that is no scalar's",
    exp.GroupConcat: "a list as text, whose order is not told",
    exp.Struct: "a struct literal",
    exp.Qualify: "QUALIFY, which loses its ORDER BY",
} | dict.fromkeys(_OF_ONE_ROW, "takes a value of one of several rows, and a tie decides of which")
"""Kind of expression → what is wrong with it."""


def _wrong(text: Text) -> Iterator[str]:
    """What sqlglot passes on, and what is not the same elsewhere."""
    for node in sqlglot.parse_one(text.sql, read="duckdb").walk():
        if said := _SAID.get(type(node)):
            yield said
        elif isinstance(node, exp.Anonymous):
            yield f"{node.this}() is no function that sqlglot knows"
        elif isinstance(node, exp.Group) and node.args.get("all"):
            yield "GROUP BY ALL is not Athena's"
        elif isinstance(node, exp.JSONExtractScalar) and not _names_one(node.expression):
            yield "a JSON path that is listed or names many"
        elif isinstance(node, exp.Length | exp.ArraySize) and node.this.name in text.lists:
            yield f"the length of the list ${node.this.name}"
        elif isinstance(node, exp.Placeholder) and (node.name in text.nulls or isinstance(node.parent, _OF_NULL)):
            if not isinstance(node.parent, exp.Cast):
                yield f"${node.name} may be NULL and has no type"
        elif isinstance(node, exp.TimestampTrunc) and node.text("unit").lower().endswith("s"):
            yield f"date_trunc of {node.text('unit')}, a plural"
        elif isinstance(node, exp.Explode | exp.Unnest) and isinstance(node.parent, exp.Select):
            yield "unnest among the columns"
        elif isinstance(node, exp.ArrayAgg) and not isinstance(_around(node), exp.ArraySort):
            yield "a list whose order is not told"
        elif isinstance(node, exp.Select):
            yield from (f"{name} is an alias of the same SELECT" for name in _aliases_used(node))


def _around(node: exp.Expr) -> exp.Expr | None:
    """What a list is made for, FILTER left out."""
    return node.parent.parent if isinstance(node.parent, exp.Filter) else node.parent


def _names_one(path: exp.Expr) -> bool:
    many = (exp.JSONPathWildcard, exp.JSONPathRecursive, exp.JSONPathSlice, exp.JSONPathUnion, exp.JSONPathFilter)
    return isinstance(path, exp.JSONPath) and not list(path.find_all(*many))


def _aliases_used(select: exp.Select) -> list[str]:
    """The aliases of a SELECT that it uses itself, other than to sort by: Athena has none of these yet."""
    aliases = {one.alias for one in select.expressions if isinstance(one, exp.Alias)} - _columns(select)
    parts = [
        *select.expressions,
        *(select.args[name] for name in ("where", "group", "having") if select.args.get(name)),
    ]
    used = (column.name for part in parts for column in part.find_all(exp.Column) if column.parent_select is select)
    return [name for name in dict.fromkeys(used) if name in aliases]


def _columns(select: exp.Select) -> set[str]:
    """The columns of what a SELECT reads; of the tables all."""
    named = {one.alias: one.this for one in select.root().find_all(exp.CTE)}
    found = set[str]()
    for source in select.find_all(exp.Table, exp.Subquery):
        if source.parent_select is not select:
            continue
        inner = named.get(source.name) if isinstance(source, exp.Table) else source.this
        if isinstance(inner, exp.Query):
            found |= set(inner.named_selects)
            found |= _columns(inner) if isinstance(inner, exp.Select) and inner.is_star else set()
        elif isinstance(source, exp.Table):
            table = TABLES.get(source.name.replace("finding_versions", "findings"))
            found |= set(table.names if table else CALLERS)
    return found


def table(texts: Iterable[Text]) -> str:
    """The texts as a page of Markdown: where each is asked, and what Spark and Athena say to it."""
    lines = ["| asked in | text | Spark | Athena |", "|---|---|---|---|"]
    for text in sorted(texts, key=lambda one: (one.asked_at, one.sql)):
        said = faults(text)
        sql = " ".join(text.sql.split()).replace("|", "\\|")
        lines.append(f"| {text.asked_at} | `{sql}` | {' | '.join(said[engine] or 'ok' for engine in ENGINES)} |")
    return "\n".join(lines)


def main(cases: list[str]) -> int:
    """Print the table of the texts that these cases are asked, the sample case without one; 1 when a text fails."""
    with collected() as found:
        for case in cases or ["sample"]:
            ask_all(open_case(case))
    print(table(found.values()))
    failed = [text for text in found.values() if any(faults(text).values())]
    print(f"\n{len(found)} texts of {len({one.asked_at for one in found.values()})} functions; {len(failed)} fail")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
