"""The command line, thin.

To add: a command → the module of its topic, `main`, a line in the README, `make docs`.
"""
