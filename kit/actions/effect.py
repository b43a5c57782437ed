"""What an action changes of what serves and of who has access, declared with it: a plan is simulated by these alone."""

from __future__ import annotations

from enum import StrEnum


class Effect(StrEnum):
    """One change that an action makes when it is done."""

    NONE = "nothing that serves or gives access is changed"
    DELETES = "its target is gone"
    RESTORES = "its target stands again"
    REVERTS = "what the attacker changed of its target is as it was"
    UNBINDS = "the subjects that it removes are no longer in the binding"
    SUSPENDS = "the CronJob starts no further run"
    STOPS = "the workload has no pod and starts none"
    RESTARTS = "the pods that it names are replaced by new ones of their workload"
    CUTS_POD_OFF = "no traffic reaches the pod or leaves it"
    WITHDRAWS = "no Service sends to the pod by the labels that are taken off"
    CLOSES_SERVICE = "the Service is not reached from outside of the cluster"
    BLOCKS_IMAGE = "pods of the image that start anew get no image"
    CORDONS = "no new pod comes onto the node"
    EVICTS = "the pods that something starts again are moved off the node"
    CUTS_NODE_OFF = "no traffic reaches the node or leaves it"
    ENDS_NODE = "the node is gone, and every pod on it"
    ADDS_NODES = "new nodes take pods"
    NARROWS_ENDPOINT = "the cluster's endpoint takes calls from the kept addresses alone"
    SHUTS_OUT = "the principal has neither access entry nor mapping"
    ENDS_SIGN_IN = "no new sign-in or session comes from where the identity signs in"
    TAKES_BACK = "what the attacker gave the principal in AWS is taken back"
    BLOCKS_WRITES = "the user's writes are refused, no read is"
    CLOSES_TRUST = "a web token of the role's service accounts gets no new session"
    ENDS_POD_IDENTITY = "the service account gets no new session by Pod Identity"
    DENIES_SESSIONS = "the sessions of the role that it names may do nothing in AWS"
    STOPS_KEY = "the access key signs nothing"
    ENDS_TOKENS = "tokens of the service account in Secrets are gone, and all others where it is made anew"
    ROTATES = "the old value of the secret is good for nothing"
