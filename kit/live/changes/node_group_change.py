"""Changes of a managed node group: its node repair switched off, and on again with the settings that it had.

Source: EKS API reference, UpdateNodegroupConfig (nodeRepairConfig; one update at a time), DescribeUpdate (NodeRepairEnabled).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from kit.live.changes.aws_change import AwsCall, EksUpdate
from kit.live.changes.change import State
from kit.live.connection import Connection
from kit.live.errors import LiveError, Missing


@dataclass(frozen=True)
class SwitchNodeRepair(EksUpdate):
    """Node repair of a managed node group, off."""

    cluster: str
    node_group: str

    @property
    def updated(self) -> str:
        return f"node group {self.node_group}"

    @property
    def says(self) -> str:
        return f"switch off node repair of node group {self.node_group}"

    def look(self, live: Connection) -> State:
        try:
            group = live.read("eks", "describe_nodegroup", **self._place)["nodegroup"]
        except Missing:
            return None
        settings = group.get("nodeRepairConfig") or {}
        state = {"on": bool(settings.get("enabled")), "settings": settings, "status": group["status"]}
        return state | ({"pending": self._is_pending(live)} if group["status"] == "UPDATING" else {})

    @property
    def _place(self) -> dict[str, str]:
        return {"clusterName": self.cluster, "nodegroupName": self.node_group}

    def _is_pending(self, live: Connection) -> bool | None:
        """Whether the update that runs switches node repair off; None where EKS may not be asked."""
        place = {"name": self.cluster, "nodegroupName": self.node_group}
        try:
            for id_ in live.pages("eks", "list_updates", "updateIds", **place):
                update = live.read("eks", "describe_update", **place, updateId=id_)["update"]
                if update["status"] == "InProgress":
                    said = {one["type"]: str(one["value"]).lower() for one in update.get("params") or []}
                    return said.get("NodeRepairEnabled") == "false"
        except LiveError:
            return None
        return False

    def holds(self, state: State) -> bool:
        return state is not None and (not state["on"] or bool(state.get("pending")))

    def is_as_before(self, before: State, now: State) -> bool:
        same = before is not None and now is not None and before["on"] == now["on"]
        return same and (now or {}).get("pending", False) is not None

    def is_restored(self, before: State, now: State) -> bool:
        """A group that is gone has nothing to put back."""
        return now is None or (self.is_as_before(before, now) and now["status"] != "UPDATING")

    def _update(self, settings: dict[str, Any]) -> AwsCall:
        return "update_nodegroup_config", self._place | {"nodeRepairConfig": settings}

    def call(self, state: State) -> AwsCall:
        return self._update({"enabled": False})

    def back(self, before: State, after: State) -> AwsCall:
        assert before is not None
        return self._update(before["settings"])
