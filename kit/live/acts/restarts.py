"""The act that replaces the pods of a workload: its template is changed in one annotation, and its controller does the rest.

Source: Kubernetes "Deployments" (a rollout is triggered by a change of the template alone; a paused one waits), "StatefulSet" and "DaemonSet",
update strategies (OnDelete).
"""

from __future__ import annotations

from typing import ClassVar

from kit.actions.restarts import restarting
from kit.live.acts.act import HOLDS, Check, act, all_hold
from kit.live.acts.cluster import meant, title
from kit.live.changes.objects import EditObject, url_path
from kit.live.connection import Connection
from kit.plan.plan import PlannedAction
from kit.questions.verdict import CANNOT_TELL
from kit.words import few

_MOST = 3  # names that are written out


class RestartWorkload(EditObject):
    """The template of a workload, changed so that its pods are replaced."""

    cannot_undo: ClassVar[str] = "pods that were replaced are gone; to take the annotation off would replace them again"


def _restart(live: Connection, planned: PlannedAction) -> list[RestartWorkload]:
    workload, known = meant(live, planned), planned.parameters
    place = (known["resource"], known["namespace"], known["name"], workload["metadata"]["uid"])
    return [RestartWorkload(*place, restarting(planned.id), {}, "replace the pods of")]


def _replaced(live: Connection, planned: PlannedAction) -> Check:
    check = all_hold(live, _restart(live, planned), f"the pods of {planned.name} are replaced")
    pods = live.listed(url_path("pods", planned.parameters["namespace"]))
    left = [title(one) for one in pods if one["metadata"]["uid"] in planned.parameters["pods"]]
    if check.word != HOLDS or not left:
        return check
    says = f"{planned.name} was told to replace its pods, and {few(left, _MOST)} still stand: look again in a minute, whether it is paused, or whether its update strategy is OnDelete"
    return Check(CANNOT_TELL, says)


act("restart_workload", changes=_restart, check=_replaced)
