"""Nouns that every room speaks of; each fact about them stands in one table.

To add: a kind of subject → its line in `kinds`, and the code that makes it; another kind of Ref → a line in `LEADS_TO` of `refs`; a form of
user name → `identity`, with its test; a part of an ARN → `arn`; a right of a pod or a path of the host → `pod_spec`; a kind of Kubernetes object that is looked
at, edited or deleted → its line in `kubernetes`. New members of a finding come with botocore's model.
"""
