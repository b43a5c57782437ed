"""A case, opened: what notebooks, report and programs ask, and the JSON forms that they get.

To add: a member of a form → `contract` and docs/json.md.
"""
