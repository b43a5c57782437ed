"""The command line, thin.

To add: a command → here, a line in the README, `make docs`.
"""
