"""What runs of the workloads that the attacker made, and which of yours the attacker's webhook changed; and what goes with a workload whose pods end.

Source: Kubernetes "CronJob" (one that is suspended leaves the Jobs that run), "Jobs" (a Job that is suspended ends its pods).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from functools import cached_property

from kit.actions.action import Action
from kit.actions.effect import Effect
from kit.actions.target import PodParameters, RestartedWorkload, Target
from kit.inventory.inventory import Inventory
from kit.inventory.thing import Thing
from kit.model.why import Rule
from kit.plan.compromised import Compromised
from kit.plan.plan import Made
from kit.plan.played import ClusterState, Running
from kit.scope.subject import Subject
from kit.words import Names

RESTARTS = ("deployments", "statefulsets", "daemonsets")
"""What replaces its pods when its template changes."""


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

    def injected_workloads(self) -> dict[str, list[Subject]]:
        """The workloads of yours (by path) of which pods stand that the attacker's webhook changed, with these pods.

        Left out is one that the attacker made or changed, that starts none again, and one of which a pod was the attacker's tool in another way: such
        a pod is evidence.
        """
        used = {call.event["claimed_pod_uid"] for call in self.held.scope.attacker.calls.values()}
        changed, others = defaultdict[str, list[Subject]](list), set[str]()
        for pod in (one for key, one in self.held.index.places.items() if key[0] == "pod"):
            rules = {why.rule for why in pod.why}
            if pod.thing is None or pod.certainty != "affected" or pod.thing.standing is False:
                continue
            owners = self.held.inventory.owners(pod.thing)
            path = f"{owners[-1].resource}/{pod.thing.namespace}/{owners[-1].name}" if owners else ""
            if rules <= {Rule.PRESENT, Rule.LIFE, Rule.INJECTED} and Rule.INJECTED in rules and pod.key not in used:
                changed[path].append(pod)
            elif pod.key in self.held.used_pods:
                others.add(path)
        theirs = {key for kind, key in self.held.affected if kind in ("created", "changed")}
        return {
            path: changed[path]
            for path in sorted(changed.keys() - others - theirs)
            if path.partition("/")[0] in RESTARTS and self.held.thing_at(path)
        }

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
    """Pods of a workload that is left without any, or that replaces them, are kept, and nothing more: what is done to them would come too late.

    A workload replaces its pods only where the kit takes away what changed them. chosen: actions of the plan."""
    every = list(made)
    is_freed = any(action.name in chosen and not planned.by_person and _frees(action) for action, _, planned in every)
    every = [one for one in every if is_freed or Effect.RESTARTS not in one[0].effects]
    by_kit = [(action, target) for action, target, planned in every if action.name in chosen and not planned.by_person]
    stopped = {target.key for action, target in by_kit if Effect.STOPS in action.effects}
    replaced = {uid for _, target in by_kit for uid in _replaced_with(target)}

    def ends_with_it(target: Target) -> bool:
        pod = target.thing if target.kind == "pod" else None
        above = inventory.owners(pod) if pod and stopped else ()
        in_stopped = pod is not None and any(f"{one.resource}/{pod.namespace}/{one.name}" in stopped for one in above)
        return in_stopped or (target.kind == "pod" and target.key in replaced)

    return [one for one in every if one[0].stage == "freeze" or not ends_with_it(one[1])]


def _frees(action: Action) -> bool:
    """Whether an action takes the attacker's webhooks away, or puts back those that the attacker changed."""
    return bool({"written_webhook", "changed_webhook"} & {*action.kinds}) and not action.reads_only


def _replaced_with(target: Target) -> list[str]:
    return target.parameters.pods if isinstance(target.parameters, RestartedWorkload) else []
