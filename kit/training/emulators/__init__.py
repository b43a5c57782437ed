"""AWS and a cluster on loopback ports, for labs that are done and for the tests of what the kit does.

The real boto3 and kubernetes clients speak to them. They need the extra `training` (moto, flask). What they speak of is named as AWS and
Kubernetes name it, so names here are those of the services, not of the kit. To add: what moto lacks → a fake in `fake_eks`, `fake_guardduty` or
`fake_logs`; a kind of Kubernetes object → `kubernetes_kinds`.
"""
