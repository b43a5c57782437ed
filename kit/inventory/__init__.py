"""What existed in cluster and account, when, and what shows it.

To add: a source of lives → `lives`; a way in which a service account gets a role → `cloud`; a sign that an address is the cluster's own →
`addresses`.
"""
