"""The commands that move pods off a node, as the kit does it: what is kept as evidence or would be started by nothing again stays.

Source: kubectl, `drain` (it ends pods that have finished, whosever they are, and moves none where one stands that nothing starts again; which pods it
sees, labels alone tell it).
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from kit.actions.action import Held
from kit.actions.target import NodeParameters, Target
from kit.inventory.thing import Thing
from kit.model.command_line import Command
from kit.model.forms import DOMAIN_FORM, LABEL_FORM

STAYS = "kit-stays"
"""A label of our own, of pods that stay while the others move; taken off again after that."""
_FINISHED = ("Succeeded", "Failed")
_DRAINS = ("--ignore-daemonsets", "--delete-emptydir-data", "--timeout=300s", "--skip-wait-for-delete-timeout=60")


def moving(target: Target, held: Held) -> list[Command]:
    """Pods that stay are labelled, the others moved, the labels taken off."""
    every = ("kubectl", "label", "pods", "-A", f"--field-selector=spec.nodeName={target.key}")
    ended = [Command((*every[:-1], f"{every[-1]},status.phase={phase}", f"{STAYS}=true")) for phase in _FINISHED]
    named = [
        Command(
            (
                "kubectl",
                "label",
                "pods",
                "-n",
                str(pod.namespace),
                f"{every[-1]},metadata.name={pod.name}",
                f"{STAYS}=true",
            )
        )
        for pod in _staying(target, held)
    ]
    drained = Command(("kubectl", "drain", target.key, *_DRAINS, f"--pod-selector=!{STAYS}"))
    return [*ended, *named, drained, Command((*every, "-l", STAYS, f"{STAYS}-"))]


def _staying(target: Target, held: Held) -> Iterator[Thing]:
    """The attacker's pods, and those without an owner that starts them again."""
    theirs = target.known(NodeParameters).affected_pods
    for pod in held.inventory.pods:
        if pod.standing is False or pod.node != target.key or not _is_named_well(pod):
            continue
        if pod.uid in theirs or (pod.body and not held.inventory.owners(pod)):
            yield pod


def _is_named_well(pod: Thing) -> bool:
    """Whether its name can be a part of a selector."""
    names = ((LABEL_FORM, pod.namespace), (DOMAIN_FORM, pod.name))
    return all(re.fullmatch(form, str(name), re.ASCII) for form, name in names)
