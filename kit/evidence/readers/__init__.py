"""Readers of evidence, one file a family: each says which records it takes, reads them and names the table that it fills.

A file has a form (kit.evidence.formats.form) that gives its records, out of all envelopes. A reader is a module in this folder with
    TABLE: name of the table (kit.store.tables)
    TAKEN_AS: what the ledger calls such a file
    TAKES: the forms of evidence that it takes, for people (docs/sources.md)
    LISTS: members under which the documents that it takes keep their records
    takes(record: Record) -> bool: whether a record is one of its kind, by its content; the record may be only the beginning of
        one. It raises EvidenceError when it knows what the record is but cannot take it; its sentence is why
    rows(record: Record) -> Iterable[dict]: the table's columns other than file, line and item. It raises EvidenceError with the
        reason why a record can be no row
Every record becomes a row or a reject, nothing is skipped. `audit` reads its records many at a time (`Loader`), because there are so many.
"""
