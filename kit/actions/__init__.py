"""What an action is: its target, command, precondition, permissions and undo.

To add: an action → its entry in the file of its topic, what it does in the file of that name in `live/acts`, its line in a playbook, its case in tests/live.
"""
