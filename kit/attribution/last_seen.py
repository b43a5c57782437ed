"""What the audit log itself shows to be there when it ends: pods whose tokens, and nodes whose kubelets, still call.

Source: Kubernetes, "Managing Service Accounts" (a bound token ends with its pod); "Leases" (a kubelet renews its own every ten seconds).
"""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import cached_property

from kit.model.identity import NODE
from kit.store.store import Store

_LATELY = timedelta(minutes=1)  # a token of a pod that was deleted is taken for about as long


class LastSeen:
    """When pods and nodes made themselves seen last, where that is so near to the end of the log that they stood then."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def pod(self, uid: str) -> datetime | None:
        """When the API server last took a token that is bound to a pod; None where that is too long ago."""
        (row,) = self.store.rows(
            f"SELECT max(last_at) AS at FROM {self.store.callers} WHERE claimed_pod_uid = $uid", uid=uid
        )
        return self._if_lately(row["at"])

    def node(self, name: str) -> datetime | None:
        """When the kubelet of a node last renewed its lease; None where that is too long ago."""
        (row,) = self.store.rows(
            "SELECT max(received_at) AS at FROM audit WHERE resource = 'leases' AND verb IN ('update', 'patch') AND user_name = $user"
            " AND response_code BETWEEN 200 AND 299",
            user=f"{NODE}{name}",
        )
        return self._if_lately(row["at"])

    def _if_lately(self, at: datetime | None) -> datetime | None:
        return at if at and self._end and self._end - at <= _LATELY else None

    @cached_property
    def _end(self) -> datetime | None:
        (row,) = self.store.rows("SELECT max(received_at) AS at FROM audit")
        at: datetime | None = row["at"]
        return at
