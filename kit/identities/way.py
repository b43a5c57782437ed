"""A way into the cluster: for whom, as whom, and what shows it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from kit.model.why import Why


@dataclass(frozen=True)
class Way:
    """One way in. kind: access_entry, aws_auth, cluster_creator, identity_provider. name: the principal's ARN, or the provider.

    overruled: True where an access entry of the same principal beats it. maps_nobody: why the authenticator lets nobody in by it. since, until: UTC, None where no evidence tells.
    """

    kind: str
    name: str
    user_name: str
    groups: tuple[str, ...]
    why: Why
    policies: tuple[str, ...] = ()
    overruled: bool = False
    since: datetime | None = None
    until: datetime | None = None
    maps_nobody: str = ""
