"""The forms of names that Kubernetes and AWS give: what is of another form was written by somebody else.

Sources: Kubernetes "Object Names and IDs"; EC2, EKS and Auto Scaling API references; AWS General Reference, accounts and Regions.
"""

from __future__ import annotations

from typing import Final

LABEL_FORM: Final = r"[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?"
DOMAIN_FORM: Final = rf"{LABEL_FORM}(?:\.{LABEL_FORM})*"
RESOURCE_FORM: Final = rf"[a-z][a-z0-9]*(?:\.{DOMAIN_FORM})?"
INSTANCE_FORM: Final = r"i-(?:[0-9a-f]{8}|[0-9a-f]{17})"
REGION_FORM: Final = r"[a-z]{2}(?:-[a-z]+)+-\d"
ACCOUNT_FORM: Final = r"\d{12}"
GROUP_FORM: Final = r"[A-Za-z0-9][A-Za-z0-9_.+=@:/-]{0,254}"
CLUSTER_FORM: Final = r"[0-9A-Za-z][0-9A-Za-z_-]{0,99}"
