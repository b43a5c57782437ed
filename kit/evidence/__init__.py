"""Files in, rows or rejects out: gathered, copied, hashed, told by their content, read record by record.

To add: a kind of evidence → a module in `readers`, a sample and a test; an envelope → a rule in
`formats/envelope`; a sign that something is missing → `coverage`, with a log that shows it.
"""
