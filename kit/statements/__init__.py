"""What is said of an incident: its story, what is still open, its counts; each statement from rows, and none knows a plan.

To add: a phase of the story → `moments`; a kind of open entry → `open_entries`, with a recording that shows its states.
"""
