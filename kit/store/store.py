"""The case store: Parquet below CASE/store, asked through DuckDB. Questions never open evidence files.

Layout: store/<table>/<number>.parquet, one part a file of evidence and table; store/ledger.json.
"""

from __future__ import annotations

import re
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence, Set
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import numpy as np
import pyarrow as pa

from kit.errors import CallError, CaseError
from kit.model.address import ODD, canonical
from kit.model.refs import Ref
from kit.store import tables
from kit.store.callers import MOST_HELD, Callers
from kit.store.ledger import ledger_of
from kit.store.parquet import (
    MOST_THREADS,
    connect,
    empty_relation,
    first_link,
    misfit,
    parts_of,
    place_of_part,
    plain_path,
    read_parquet,
)
from kit.store.settings import settings_of
from kit.store.tables import TABLES, quoted, rows_of

if TYPE_CHECKING:
    import pandas as pd

_MADE_ANEW = "make the case anew from its evidence folder"
KEPT_ROWS = 2_000, 20_000  # of one answer, and of all that are kept
LONGEST_KEPT = 20_000  # letters of a question and its values
FEW_EVENTS = 100
SMALL = (
    2 << 20
)  # bytes of Parquet; so much, some 30,000 audit events, is read once, when it is asked first, and asked in memory
_WORD = re.compile(r"\w+")
# All events of one request have these in common. OCSF cuts times to milliseconds.
_OF_A_REQUEST = (
    "date_trunc('millisecond', received_at)",
    *(f"coalesce({column}, '')" for column in ("user_name", "verb", "request_uri")),
)


class Store:
    """The tables of one case, read-only. Each table of kit.store.tables has a table or a view of the same name.

    `findings` holds each finding once, as last updated; `finding_versions` holds all that arrived.
    """

    def __init__(self, case: Path) -> None:
        self.case = case
        self.settings = settings_of(case)
        self._ledger = ledger_of(case, self.settings.store)
        self._kept, self._kept_rows = dict[str, list[dict[str, Any]]](), 0
        self._scratch = tempfile.TemporaryDirectory(prefix="kit-store-")
        store = plain_path(case, Path(self._scratch.name), "case") / self.settings.store
        known = {name: value for name in ("cluster", "account") if (value := getattr(self.settings, name))}
        last = self._ledger["parts"]
        if link := first_link(case / self.settings.store):
            raise CaseError("is a link, which no store of this kit has", where=str(link), next=_MADE_ANEW)
        found = {name: parts_of(store, name, last) for name in tables.TABLES}
        # Coverage is of all evidence, written anew with each addition.
        found["coverage"] = [part for part in found["coverage"] if part == place_of_part(store, "coverage", last)]
        self._is_small = is_small = sum(part.stat().st_size for parts in found.values() for part in parts) <= SMALL
        self._database = connect(spill=Path(self._scratch.name), threads=1 if is_small else MOST_THREADS)
        self._database.execute("SET parquet_metadata_cache = true")  # nobody writes the parts of a store that is open
        self._unread = set[str]()  # the tables of a small store that no question has named until now
        for name, table in tables.TABLES.items():
            parts = found[name]
            view = "finding_versions" if name == "findings" else name
            # What no record says is taken from the case: with more evidence it may be known better.
            source = read_parquet(parts) if parts else empty_relation(table.schema)
            told = {column: f"coalesce({column}, {quoted(value)})" for column, value in known.items()}
            try:
                if parts and (odd := misfit(self._database, source, table.schema)):
                    raise CaseError(f"is no table {name} of this kit: {odd}", where=str(parts[0]), next=_MADE_ANEW)
                if parts and "source_address" in table.names:
                    told["source_address"] = self._address_in(source)
                columns = ", ".join(
                    f"{told[column]} AS {column}" if column in told else f'"{column}"' for column in table.names
                )
                self._database.execute(f"CREATE VIEW {view} AS SELECT {columns} FROM {source}")
            except duckdb.Error as error:
                raise self._unreadable(name, error) from None
            if is_small and parts:
                self._unread.add(view)
        # From here on nothing reads another file, whatever SQL it is; what a query spills is DuckDB's own.
        self._database.execute(f"SET allowed_directories = [{quoted(f'{store}/')}]")
        self._database.execute("SET enable_external_access = false")
        self._database.execute("SET lock_configuration = true")
        self._database.execute(
            "CREATE VIEW findings AS SELECT * EXCLUDE (newest) FROM (SELECT *, row_number() OVER"
            " (PARTITION BY id ORDER BY updated_at DESC NULLS LAST, wrapper <> 'GuardDuty', file, item) AS newest FROM finding_versions)"
            " WHERE newest = 1"
        )

    def _unreadable(self, name: str, error: duckdb.Error) -> CaseError:
        says = str(error).strip().split("\n")[0][:200]
        return CaseError(f"its table {name} cannot be read: {says}", where=str(self.case), next=_MADE_ANEW)

    def _for(self, sql: str) -> duckdb.DuckDBPyConnection:
        """The database, for a query: the tables of a small store that it names are read into memory before; who lists findings needs no log."""
        if not self._unread:
            return self._database
        named = set(_WORD.findall(sql.lower()))
        if "findings" in named:
            named.add("finding_versions")
        for view in sorted(self._unread & named):
            # A view cannot be replaced by a table of its name while that is made of it.
            try:
                self._database.execute(f"CREATE TABLE {view}_read AS SELECT * FROM {view}")
            except duckdb.Error as error:
                raise self._unreadable("findings" if view == "finding_versions" else view, error) from None
            self._database.execute(f"DROP VIEW {view}")
            self._database.execute(f"ALTER TABLE {view}_read RENAME TO {view}")
            self._unread.remove(view)
        return self._database

    def _address_in(self, source: str) -> str:
        """SQL of the column source_address with each address in its one form. Logs hardly have another, so that most need no change."""
        odd = ODD.format("source_address")
        found = self._database.execute(f"SELECT DISTINCT source_address FROM {source} WHERE {odd}").fetchall()
        forms = {text: canonical(text) for (text,) in found}
        whens = " ".join(f"WHEN {quoted(text)} THEN {quoted(form)}" for text, form in forms.items() if text != form)
        return f"CASE source_address {whens} ELSE source_address END" if whens else "source_address"

    @cached_property
    def ledger(self) -> list[dict[str, Any]]:
        """What became of each file, in the order in which they were given (columns: kit.store.ledger.LedgerEntry)."""
        return list(self._ledger["files"])

    def table(self, sql: str, **values: Any) -> pa.Table:
        """The Arrow table that a query in DuckDB's SQL gives; `values` fill its $names."""
        return self._for(sql).sql(sql, params=values or None).to_arrow_table()

    def rows(self, sql: str, **values: Any) -> list[dict[str, Any]]:
        """The rows of a small result as dicts; times are aware datetimes in UTC."""
        # `sql` plans a query twice, for its columns and to run it. The other way copies the rows once more, and warns of that.
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Arrow output on a DB-API result makes an extra copy")
            return rows_of(self._for(sql).execute(sql, values or None).to_arrow_table())

    def rows_again(self, sql: str, **values: Any) -> list[dict[str, Any]]:
        """Rows, from memory where the same was asked before and they are few: a scope asks much of each finding of one caller."""
        asked = f"{sql}\0{sorted(values.items())!r}"
        if asked not in self._kept:
            rows = self.rows(sql, **values)
            if len(asked) > LONGEST_KEPT or len(rows) > KEPT_ROWS[0] or self._kept_rows + len(rows) > KEPT_ROWS[1]:
                return rows
            self._kept[asked] = rows
            self._kept_rows += len(rows) + 1  # the question takes room too
        return [dict(row) for row in self._kept[asked]]

    def batches(self, sql: str, size: int = 500, **values: Any) -> Iterator[list[dict[str, Any]]]:
        """The rows of a large result, some at a time. Ask nothing else until it is used up."""
        for batch in self._for(sql).sql(sql, params=values or None).to_arrow_reader(size):
            yield rows_of(batch)

    def up_to(self, most: int, sql: str, **values: Any) -> pa.Table | None:
        """The Arrow table that a query gives; None, read no further, when it has more than `most` rows."""
        reader = self._for(sql).sql(sql, params=values or None).to_arrow_reader(20_000)
        batches, rows = list[pa.RecordBatch](), 0
        for batch in reader:
            rows += batch.num_rows
            if rows > most:
                return None
            batches.append(batch)
        return pa.Table.from_batches(batches, reader.schema)

    def checked(self, sql: str) -> str:
        """SQL that somebody wrote, when it is one SELECT that can be planned; it changes nothing then. Raises CallError with DuckDB's sentence."""
        try:
            found = self._database.extract_statements(str(sql))
            if len(found) != 1 or found[0].type != duckdb.StatementType.SELECT:
                raise CallError("this is not one SELECT", next="ask one question at a time; a case is only read")
            self._database.sql(sql)
        except duckdb.Error as error:
            says = " ".join(str(error).partition("\n\n")[0].partition("Error: ")[2].split())
            tables = ", ".join([*TABLES, "finding_versions"])
            raise CallError(says or "this SQL cannot be read", next=f"the tables are {tables}") from None
        return sql

    def event_ref(self, event: Mapping[str, Any]) -> Ref:
        """The Ref of an audit event (audit_id, file, item): by auditID, or by its place where other requests bear that auditID too."""
        return self._event_ref(event, self.reused_audit_ids)

    def event_refs(self, events: Sequence[Mapping[str, Any]]) -> list[Ref]:
        """The Refs of some audit events; for a few the whole log is not looked through, unless it was already."""
        is_whole = "reused_audit_ids" in self.__dict__ or len(events) > FEW_EVENTS
        reused = self.reused_audit_ids if is_whole else self.reused_among(list({event["audit_id"] for event in events}))
        return [self._event_ref(event, reused) for event in events]

    def _event_ref(self, event: Mapping[str, Any], reused: Set[str]) -> Ref:
        if event["audit_id"] in reused:
            digest = next(entry["sha256"] for entry in self.ledger if entry["path"] == event["file"])
            return Ref.of("line", f"{digest}:{event['item']}")
        return Ref.of("audit", event["audit_id"])

    @cached_property
    def reused_audit_ids(self) -> frozenset[str]:
        """auditIDs that stand on more than one request: a client may choose its own with the Audit-ID header."""
        # A request has one event a stage; they differ in stage alone.
        repeated = self._repeated_hashes()
        return self._reused("hash(audit_id) IN (SELECT unnest($hashes))", hashes=repeated) if repeated else frozenset()

    def _repeated_hashes(self) -> list[int]:
        """The hashes of auditIDs that stand on more than one event: sorted, they take a third of what grouping the texts does."""
        asked = "SELECT hash(audit_id) AS hashed FROM audit"
        reader = self._for(asked).sql(asked).to_arrow_reader(100_000)
        columns = (batch.column(0) for batch in reader)
        parts = [np.frombuffer(one.buffers()[1], np.uint64, len(one), one.offset * 8) for one in columns]
        hashes = np.sort(np.concatenate(parts)) if parts else np.empty(0, np.uint64)
        return list(map(int, np.unique(hashes[1:][hashes[1:] == hashes[:-1]])))

    def reused_among(self, audit_ids: list[str]) -> frozenset[str]:
        """Those of some auditIDs that stand on more than one request: the whole log has long to be looked through for them."""
        return (
            self._reused("audit_id IN (SELECT wanted FROM unnest($ids) AS listed(wanted))", ids=audit_ids)
            if audit_ids
            else frozenset()
        )

    def _reused(self, among: str, **values: Any) -> frozenset[str]:
        differ = " OR ".join(f"min({one}) <> max({one})" for one in _OF_A_REQUEST)
        sql = f"SELECT audit_id FROM audit WHERE {among} GROUP BY audit_id HAVING {differ}"
        return frozenset(audit_id for (audit_id,) in self._for(sql).execute(sql, values).fetchall())

    @property
    def callers(self) -> str:
        """The relation of who called (kit.store.callers.CALLERS): a row an identity, address, client and credential."""
        return self._callers.name

    def events_of(self, among: str, values: Mapping[str, Any]) -> str:
        """The relation that has all events of some callers: `audit`, or a smaller one in memory with the columns that tell of a call.

        among: a condition on the relation of callers, with some of the $names of `values`; "" for all.
        """
        return self._callers.relation(among, values) if among and not self._is_small else "audit"

    @cached_property
    def _callers(self) -> Callers:
        return Callers(self._for, MOST_HELD)

    def frame(self, sql: str, **values: Any) -> pd.DataFrame:
        """The result as a pandas frame with Arrow types."""
        import pandas as pd

        frame: pd.DataFrame = self.table(sql, **values).to_pandas(types_mapper=pd.ArrowDtype)
        return frame
