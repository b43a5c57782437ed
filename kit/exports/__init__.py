"""What other programs read of a case: files in its folder `exports`, one module a format.

To add: a format → its module, and the line in the README that says where it stands.
"""
