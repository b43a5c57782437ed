"""Which calls are the attacker's, by which rule, and what they did.

To add: a rule → `rules` (the attacker's) or `possible` (perhaps the attacker's) and the list at the head of `attacker`, with a
recording that shows it; a kind of deed → `deeds`, and its line in `kinds` of `model`.
"""
