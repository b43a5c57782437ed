"""What collecting costs beside a bare paging loop of boto3 over the same log: CPU, and requests against the least possible.

Both run in turn, and of each the cheapest run counts: what a busy machine adds is no cost of either.

python -m tests.collect_bench --lines 120000
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil

from kit.training.emulators.aws_emulator import AwsEmulator
from kit.training.emulators.fake_logs import AUDIT
from tests.bench import repeated
from tests.command import KIT

GOAL = 1.2  # CPU of `kit collect`, in that of the loop
TURNS = 3
START, END = datetime(2026, 11, 23, 10, tzinfo=UTC), datetime(2026, 11, 23, 16, tzinfo=UTC)
BARE = """
import json, sys
from pathlib import Path
import boto3
group, start, end, folder = sys.argv[1:]
pages = boto3.client("logs").get_paginator("filter_log_events").paginate(
    logGroupName=group, logStreamNamePrefix="kube-apiserver-audit-", startTime=int(start), endTime=int(end) - 1)
for number, page in enumerate(pages):
    page.pop("ResponseMetadata")
    Path(folder, f"{number}.json").write_text(json.dumps(page))
"""


def cpu_of(command: list[str], environment: dict[str, str]) -> float:
    """CPU seconds of a command and what it starts. Raises CalledProcessError."""
    before = psutil.Process().cpu_times()
    subprocess.run(command, env=environment, check=True, capture_output=True)
    after = psutil.Process().cpu_times()
    return float(sum(getattr(after, name) - getattr(before, name) for name in ("children_user", "children_system")))


def main() -> int:
    """Measure both and print the numbers; 1 when the goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lines", type=int, default=120_000)
    lines = [line.decode().rstrip("\n") for line in repeated(parser.parse_args().lines)]
    step = (END - START) / len(lines)
    at = [int((START + step * number).timestamp() * 1000) for number in range(len(lines))]
    with AwsEmulator("111122223333") as aws, tempfile.TemporaryDirectory() as place:
        aws.client("eks").create_cluster(
            name="prod", roleArn=f"arn:aws:iam::{aws.number}:role/c", resourcesVpcConfig={}
        )
        aws.account.recorded = {"cluster": "prod", "log": [(when, f"{AUDIT}1", line) for when, line in zip(at, lines, strict=True)], "page": 5000}  # fmt: skip
        environment = dict(os.environ) | aws.environment()
        ends = [str(int(one.timestamp() * 1000)) for one in (START, END)]
        Path(place, "bare").mkdir()
        loop = [sys.executable, "-c", BARE, "/aws/eks/prod/cluster", *ends, f"{place}/bare"]
        window = ["--start", START.isoformat(), "--end", (END + timedelta(milliseconds=1)).isoformat()]
        bare, ours = [], []
        for turn in range(TURNS):
            aws.calls.clear()
            bare.append(cpu_of(loop, environment))
            least = _pages(aws)
            aws.calls.clear()
            call = [
                str(KIT),
                "collect",
                f"{place}/{turn}",
                "--cluster",
                "prod",
                "--aws-only",
                "--only",
                "audit",
                *window,
            ]
            ours.append(cpu_of(call, environment))
            sent = _pages(aws)
    ratio = min(ours) / min(bare)
    numbers = {"lines": len(lines), "bare_cpu": round(min(bare), 2), "kit_cpu": round(min(ours), 2), "ratio": round(ratio, 2), "requests": sent, "least": least}  # fmt: skip
    sys.stdout.write(f"{json.dumps(numbers)}\n")
    return int(ratio > GOAL)


def _pages(aws: AwsEmulator) -> int:
    return sum(call.operation == "logs:FilterLogEvents" for call in aws.calls)


if __name__ == "__main__":
    sys.exit(main())
