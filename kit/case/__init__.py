"""A case, opened: what notebooks, report and programs ask, and the JSON forms that they get.

To add: a member of a form → `scope_json`, `answers_json` or `brief`, and docs/json.md.
"""
