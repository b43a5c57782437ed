"""A recording's cluster and account, standing again in the emulators as its dumps have them, and a case of its evidence beside."""

from __future__ import annotations

import copy
import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from kubernetes.config import kube_config
from moto.iam.models import iam_backends

from kit.actions.effect import Effect
from kit.actions.registry import ACTIONS
from kit.model.arn import name_in
from kit.training.emulators.aws_emulator import AwsEmulator
from kit.training.emulators.kubernetes_emulator import KubernetesEmulator
from kit.training.emulators.standing import standing_in
from tests import cases
from tests.command import RECORDINGS, Done, kit

STOLEN = "stolen_sa_token"


@dataclass
class Scene:
    """A case, and the account and cluster that it is about."""

    case: Path
    aws: AwsEmulator
    kubernetes: KubernetesEmulator
    environment: dict[str, str]

    def kit(self, command: str, *arguments: str | Path, **more: str) -> Done:
        """Run a command of `kit` on the case, with this account and cluster."""
        environment = self.environment | more
        with pytest.MonkeyPatch.context() as patch:  # the client reads this variable when it is imported
            patch.setattr(kube_config, "KUBE_CONFIG_DEFAULT_LOCATION", environment["KUBECONFIG"])
            return kit(command, self.case, *arguments, env=environment)

    def plan(self, *arguments: str) -> dict[str, Any]:
        """Make the plan and return it in its JSON form."""
        return dict(json.loads(said(self.kit("plan", *arguments, "--json"))))

    def apply(self, digest: str, *arguments: str) -> list[dict[str, Any]]:
        """Apply the saved plan and return the outcomes; what is not done is no failure here."""
        done = self.kit("apply", "--approve", digest, "--check-after", "0", "--json", *arguments)
        assert done.returncode in (0, 1) and done.stdout, done.stderr
        return list(json.loads(done.stdout)["actions"])

    def state(self) -> dict[str, Any]:
        """Everything that account and cluster hold, by content."""
        aws = self.aws.state()
        for cluster in aws["clusters"].values():
            cluster.pop("updates")  # EKS's own list of what was asked of it
        return {"aws": aws, "cluster": self.kubernetes.content()}

    def changes(self) -> int:
        """How many calls asked for a change."""
        return len(self.aws.changes) + sum(bool(call.changed) for call in self.kubernetes.calls)


def said(done: Done) -> str:
    """What a command printed; it has to have ended well."""
    assert done.returncode == 0, done.stderr
    return done.stdout


def refused(scene: Scene, *arguments: str, command: str = "apply", **environment: str) -> str:
    """What a call says that is refused before anything is done."""
    before, calls = scene.state(), scene.changes()
    done = scene.kit(command, *arguments, **environment)
    assert done.returncode == 2 and "Traceback" not in done.stderr, done.stderr
    assert (scene.state(), scene.changes()) == (before, calls)
    return done.stderr


def comparable(state: dict[str, Any]) -> Any:
    """A state without the ids and times that the services give out."""
    text = json.dumps(state, sort_keys=True)
    text = re.sub(r"\b(snap|vol|eni|sg|vpc|subnet|a)-[0-9a-f]{8,17}\b", r"\1-id", text)
    text = re.sub(r"127\.0\.0\.1:\d+|eks-cluster-sg-[a-z-]+-\d+", "name", text)
    text = re.sub(r"\b[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}\b", "token", text)
    text = re.sub(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d[.\d]*(Z|\+00:00)?", "time", text)
    return sorted(re.split(r"(?<=[,{\[])", text))


@contextmanager
def standing(
    recording: str | Path, folder: Path, *, enforced: bool = True, checkpoints: bool = True, case: Path | None = None
) -> Iterator[Scene]:
    """The scene of a recording. enforced: whether the VPC CNI enforces network policies. checkpoints: whether kubelets have the API.

    case: one that is copied instead of made anew, of the same evidence.
    """
    source = RECORDINGS / recording
    texts = {str(path.relative_to(source)): path.read_text() for path in source.rglob("*.json")}
    with standing_in(texts, str(recording), enforced=enforced, checkpoints=checkpoints) as stood:
        shutil.copytree(case or cases.shared(source, enforced=enforced), folder / "case")
        kubeconfig = stood.kubernetes.kubeconfig(folder / "kubeconfig", stood.arn)
        own = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
        environment = own | stood.aws.environment() | {"KUBECONFIG": str(kubeconfig)}
        yield Scene(folder / "case", stood.aws, stood.kubernetes, environment)


def add_access_key(aws: AwsEmulator, user: str, access_key_id: str) -> None:
    """A long-term key of this id, which IAM would have chosen itself."""
    iam = aws.client("iam")
    if user not in [one["UserName"] for one in iam.list_users()["Users"]]:
        iam.create_user(UserName=user)
    iam.create_access_key(UserName=user)
    backend = iam_backends[aws.number]["aws"]
    backend.users[user].access_keys[-1].access_key_id = access_key_id


def add_principals(scene: Scene, plan: dict[str, Any]) -> None:
    """What a plan names and no dump has stands in the account too: keys that are deactivated, roles that the logs alone name."""
    for one in plan["actions"]:
        for key in one["parameters"].get("access_key_ids") or ():
            if Effect.STOPS_KEY in ACTIONS[one["action"]].effects:
                add_access_key(scene.aws, name_in(one["parameters"]["arn"]), key)
    roles = [str(one["parameters"].get("role") or "") for one in plan["actions"]]
    iam, known = scene.aws.client("iam"), {*scene.aws.state()["roles"]}
    for name in sorted({name_in(one) for one in roles if one.split(":")[4:5] == [scene.aws.number]} - known):
        iam.create_role(RoleName=name, AssumeRolePolicyDocument='{"Version": "2012-10-17", "Statement": []}')


def add_new_node(scene: Scene) -> None:
    """The node that a person adds before the old ones end."""
    node = copy.deepcopy(next(one for key, one in scene.kubernetes.objects().items() if key.startswith("nodes/")))
    node["metadata"] |= {"name": "new-node", "uid": "new-node"}
    node["spec"] = {"providerID": "aws:///zone/i-00000000000000000"}
    scene.kubernetes.add(node)
