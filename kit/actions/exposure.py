"""What is done to Services on the internet."""

from __future__ import annotations

from kit.actions.action import DRY, Action, Comes, on_object
from kit.actions.effect import Effect

ACTIONS = (
    Action("close_exposure", "contain", "Take the Service off the internet", "whoever used it from outside", undo="open it again; a load balancer gets a new address", kinds=("exposed",), commands=on_object("edit"),
           effects=(Effect.CLOSES_SERVICE,),
           precondition="address and access logs of the load balancer are noted",
           permissions=("kubernetes:services:get:{it}", "kubernetes:services:patch:{it}", "kubernetes:networking.k8s.io/ingresses:list:{space}"), preview=DRY, check="the Service is of type ClusterIP and has no ingress address",
           comes=Comes.BY_PLAYBOOK,
           ends=("created",)),
)  # fmt: skip
