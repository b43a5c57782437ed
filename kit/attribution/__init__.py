"""Which calls are the attacker's, by which rule, and what they did.

To add: a rule → `attacker`, with a recording that shows it; a kind of deed → `deeds`, docs/json.md and `show`.
"""
