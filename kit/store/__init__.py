"""The case store: its tables, Parquet asked through DuckDB, and what people marked.

To add: a column → `tables`, and the reader that fills it; whatever changes what stands in the tables raises `FORMAT` in `settings`.
"""
