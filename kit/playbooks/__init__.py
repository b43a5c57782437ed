"""What to ask and to do for a family of finding types: one TOML each, checked whole.

To add: a finding type → its entry in finding_types.json and in its family's list; a family → its file, and its case in
tests/families.py.
"""
