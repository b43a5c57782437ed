"""What existed in cluster and account, when, and what shows it.

To add: a source of lives → `inventory`; a sign that an address is the cluster's own → `addresses`.
"""
