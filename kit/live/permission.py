"""Whether AWS would let the caller do something, for services that have no dry-run: by IAM's policy simulation.

Sources: IAM API reference, SimulatePrincipalPolicy (it wants the ARN of a role or user, with its path, never of a session); a session's
ARN has no path (IAM User Guide, "IAM identifiers").
"""

from __future__ import annotations

from kit.live.connection import Connection
from kit.live.errors import Failed, LiveError
from kit.model.arn import is_role, name_in, role_of
from kit.words import Names

_SERVICES = {
    "eks": "EKS",
    "iam": "IAM",
    "ecr": "ECR",
    "guardduty": "GuardDuty",
    "autoscaling": "EC2 Auto Scaling",
}


def simulated(live: Connection, actions: Names) -> str:
    """What IAM says of calls that cannot be tried: that they are allowed, or why it could not tell. Raises Failed when they are denied."""
    named = list(actions)
    service = _SERVICES.get(named[0].partition(":")[0], named[0])
    try:
        source = _policy_source(live)
        answer = live.read("iam", "simulate_principal_policy", PolicySourceArn=source, ActionNames=named)
    except LiveError as error:
        return f"{service} has no dry-run, and it could not be simulated: {error.says}"
    for one in answer["EvaluationResults"]:
        if one["EvalDecision"] != "allowed" and one.get("MissingContextValues"):
            return f"{service} has no dry-run, and the simulation of {one['EvalActionName']} hangs on {', '.join(one['MissingContextValues'])}"
        if one["EvalDecision"] != "allowed":
            says = f"{source} may not call {one['EvalActionName']}: {one['EvalDecision']}, by policy simulation"
            raise Failed(f"{says} for any resource; what a policy allows for this resource alone does not show")
    return f"{service} has no dry-run; by policy simulation it is allowed"


def _policy_source(live: Connection) -> str:
    """The ARN of the caller's role or user as the simulation wants it."""
    who = role_of(live.caller)
    if who is None:
        raise Failed(f"{live.caller} is neither a role nor a user")
    if not is_role(who):
        return who
    return str(live.read("iam", "get_role", RoleName=name_in(who))["Role"]["Arn"])
