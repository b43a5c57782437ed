"""Equal records are kept once and counted."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from kit.store import tables
from kit.store.ledger import LedgerEntry
from kit.store.parquet import parts_of, parts_of_file, read_parquet


def set_duplicates_aside(store: Path, numbers: dict[int, LedgerEntry], database: duckdb.DuckDBPyConnection) -> None:
    """Keep the first of equal records (whole events, not ids) and count the others in the ledger.

    numbers: the files of this call by their number; of those before nothing changes, because they come first.
    """
    last = max(numbers, default=0)
    holding = [table for table in tables.TABLES.values() if table.has_records]
    for table in holding:
        parts = parts_of(store, table.name, last)
        if not parts:
            continue
        source = read_parquet(parts, ", filename = true, file_row_number = true")
        copies = database.execute(
            f"WITH twice AS (SELECT event_hash FROM {source} GROUP BY event_hash HAVING count(*) > 1)"
            " SELECT filename, list(file_row_number) FROM (SELECT filename, file_row_number, row_number() OVER"
            f" (PARTITION BY {table.same} ORDER BY parse_filename(filename)[:6], item, filename, file_row_number) AS copy"
            f" FROM {source} SEMI JOIN twice USING (event_hash)) WHERE copy > 1 GROUP BY filename"
        ).fetchall()
        for filename, twice in copies:
            _drop_rows(Path(filename), set(twice))
    for number, entry in numbers.items():  # also what a call that was cut off had set aside
        kept = sum(
            pq.read_metadata(part).num_rows for table in holding for part in parts_of_file(store, table.name, number)
        )
        entry.rows, entry.duplicates = kept, entry.records - entry.rejects - kept


def _drop_rows(part: Path, numbers: set[int]) -> None:
    """Write a part anew without some of its rows, some at a time, so that no more of it is held."""
    smaller, first = part.with_suffix(".kept"), 0
    with pq.ParquetFile(part) as whole, pq.ParquetWriter(smaller, whole.schema_arrow, compression="zstd") as kept:
        for batch in whole.iter_batches(batch_size=2_000):
            keep = [first + place not in numbers for place in range(batch.num_rows)]
            kept.write_batch(batch.filter(tables.array_of(keep, pa.bool_())))
            first += batch.num_rows
    smaller.replace(part)
