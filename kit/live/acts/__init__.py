"""What is done for each action, and the check afterwards: one module a topic.

To add: an action → the module of its topic, beside its entry in `actions`.
"""
