"""Who is let in, with which credentials and rights, and how that ends.

To add: a way in → `access`, a step that ends one → `revocation`, with a user of that kind in tests/test_identities.py; a kind of AWS session →
`sessions`; a way to a secret → `rights`.
"""
