"""What a file is and what its records came in: text, lines, CSV, Parquet, archives, envelopes."""
