"""What to do to which things, in which order, with a digest that is approved; and the journal of what was done.

To add: a rule of who is left alone → `targets`, with its case in tests/test_plan.py; an order that has to hold → `planner`; what stops
working → `blast_radius`; a kind of journal entry → `journal`.
"""
