"""The evidence of an account and a cluster, collected by requests that change nothing, in the order in which it vanishes.

What is asked stands in one table (requests), from which the permissions follow too (least_permissions); each request is written down
(collection_log). To add: a request → its line in `requests`, its fake in kit/training/emulators, and a reader where `kit new` does not know its answer.
"""
