"""What an action is: its target, command, precondition, permissions and undo.

To add: an action → its entry in `registry`, its line in a playbook, what it does in `live/acts`, its case in tests/live.
"""
