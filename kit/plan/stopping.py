"""What runs of the workloads that the attacker made: which Jobs of a CronJob still run, which Job is over; and what goes with a workload that is left without pods.

Source: Kubernetes "CronJob" (one that is suspended leaves the Jobs that run), "Jobs" (a Job that is suspended ends its pods).
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property

from kit.actions.action import Action
from kit.actions.effect import Effect
from kit.actions.target import PodParameters, Target
from kit.inventory.inventory import Inventory
from kit.inventory.thing import Thing
from kit.plan.compromised import Compromised
from kit.plan.plan import Made
from kit.plan.played import ClusterState, Running
from kit.words import Names


class Stopping:
    """The pods of one case that may still run, by what they belong to."""

    def __init__(self, held: Compromised) -> None:
        self.held = held

    @cached_property
    def _pods(self) -> list[Running]:
        return ClusterState(self.held.store, self.held.inventory).pods

    def running_jobs(self, cronjobs: Names) -> dict[str, Thing]:
        """The Jobs of CronJobs (cronjobs/NAMESPACE/NAME) of which a pod may still run, by path."""
        jobs = {one.owners[0] for one in self._pods if len(one.owners) > 1 and one.owners[-1] in cronjobs}
        found = {path: self.held.thing_at(path) for path in sorted(jobs)}
        return {path: job for path, job in found.items() if job}

    def is_too_late(self, action: Action, target: Target) -> bool:
        """Whether an action has nothing left to do: a Job is to be stopped and is over; a pod has finished, which is kept, and deleted where
        the attacker made it."""
        if target.kind == "pod" and target.key in self._finished:
            made = isinstance(target.parameters, PodParameters) and target.parameters.made_by_attacker
            return not (action.stage == "freeze" or (action.destroys and made))
        return Effect.STOPS in action.effects and target.key.startswith("jobs/") and self._is_over(target.key)

    @cached_property
    def _finished(self) -> set[str]:
        running = {one.pod.uid for one in self._pods}
        return {
            pod.uid
            for pod in self.held.inventory.pods
            if pod.standing is not False and pod.spec and pod.uid not in running
        }

    def _is_over(self, path: str) -> bool:
        """Whether all pods of a Job that the evidence shows have ended; False where it shows none."""
        job = self.held.thing_at(path)
        ran = self.held.inventory.pods_of_workload(job.resource, job.namespace, job.name, job.uid) if job else []
        return bool(ran) and not any(path in one.owners for one in self._pods)


def without_what_ends_with_its_workload(made: Iterable[Made], chosen: set[str], inventory: Inventory) -> list[Made]:
    """Pods of a workload that is left without any are kept, and nothing more: what is done to them would come too late. chosen: actions of the plan."""
    every = list(made)
    stopped = {
        target.key
        for action, target, planned in every
        if Effect.STOPS in action.effects and action.name in chosen and not planned.by_person
    }

    def ends_with_it(target: Target) -> bool:
        pod = target.thing if target.kind == "pod" else None
        above = inventory.owners(pod) if pod and stopped else ()
        return pod is not None and any(f"{one.resource}/{pod.namespace}/{one.name}" in stopped for one in above)

    return [one for one in every if one[0].stage == "freeze" or not ends_with_it(one[1])]
