"""Processes that the kit's own pod read of a node: each a row, shown with its pod, none of them able to write a line of its own."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from kit.actions.node_capture import capture_pod
from kit.case.opening import open_case
from kit.evidence.formats.captured import captured_records, is_capture
from kit.evidence.record import Record, Reject
from tests.cases import copied
from tests.command import RECORDINGS, kit, kit_json

NODE = "ip-10-0-0-1.ec2.internal"
HASH = "25c34e130c601c5610c131710ce7fca96248d6e56bf99e39a3c74072a98db158"
OLD_HEAD = "# processes: pid, parent, sha256 of its program, program, command line, pod"
SOCKETS = "# sockets: the first process of each network, then its tables"


def script() -> str:
    """What the pod on a node runs."""
    return str(capture_pod(NODE, "action")["spec"]["containers"][0]["command"][2])


def head() -> str:
    """The head that the script writes."""
    (line,) = [line for line in script().splitlines() if line.startswith('echo "# processes of ')]
    return line.removeprefix('echo "').removesuffix('"').replace("$NODE", NODE)


def test_a_process_is_a_row_and_is_shown_with_its_pod_without_secrets(tmp_path: Path) -> None:
    case = copied(tmp_path / "case", RECORDINGS / "stolen_sa_token")
    pod = next(one for one in open_case(case).inventory.pods if one.standing)
    own, theirs = pod.uid.replace("-", "_"), "11111111-2222-3333-4444-555555555555"
    lines = [
        "2026-11-29T16:40:00Z",
        head().replace(NODE, str(pod.node)),
        f"1\t0\t0\t1764433000\t{HASH}\t/sbin/init\t/sbin/init\t\t",
        f"77\t1\t1000\t1764434000\t{HASH}\t/tmp/x (deleted)\t/tmp/x --password hunter2 -o pool:443\t{own}\t{'a' * 64}",
        f"78\t1\t1000\t1764434001\t{HASH}\t/app\t/app\t{theirs}\t{'b' * 64}",
        SOCKETS,
        "## net:[4026531840] 1 tcp",
        "# end",
    ]
    (tmp_path / "anything.txt").write_text("\n".join(lines))
    (entry,) = kit_json("add", case, tmp_path / "anything.txt")["files"]
    assert (entry["rows"], entry["rejects"]) == (3, 0), entry
    (ran,) = kit_json("show", case, f"pod:{pod.uid}")["processes"]
    assert (ran["node"], ran["pid"], ran["parent"], ran["user_id"], ran["sha256"]) == (
        pod.node,
        "77",
        "1",
        "1000",
        HASH,
    )
    assert (ran["started_at"], ran["container_id"], ran["pod_uid"]) == ("2025-11-29T16:33:20Z", "a" * 64, pod.uid)
    assert "hunter2" not in ran["command_line"] and ran["command_line"].endswith("-o pool:443")
    shown = kit("show", case, f"pod:{pod.uid}").stdout
    assert "pid 77 of 1, user 1000, since 2025-11-29 16:33:20" in shown and "hunter2" not in shown
    assert [one["pid"] for one in kit_json("show", case, f"node:{pod.node}")["processes"]] == ["1", "77", "78"]


def test_what_an_older_kit_read_is_taken_and_what_is_no_process_is_a_reject(tmp_path: Path) -> None:
    case = copied(tmp_path / "case", RECORDINGS / "stolen_sa_token")
    lines = [
        "2026-11-29T16:40:00Z",
        OLD_HEAD,
        f"1\t0\t{HASH}\t/sbin/init\t/sbin/init\t",
        "2\t0",
        f"x\t0\t{HASH}\ta\ta\t",
        SOCKETS,
    ]
    (tmp_path / "node.processes.txt").write_text("\n".join(lines))
    (entry,) = kit_json("add", case, tmp_path / "node.processes.txt")["files"]
    assert (entry["rows"], entry["rejects"]) == (1, 2), entry
    rejects = open_case(case).store.rows(
        "SELECT line, reason FROM rejects WHERE file LIKE '%node.processes.txt' ORDER BY line"
    )
    assert [one["line"] for one in rejects] == [4, 5] and "2 cells" in rejects[0]["reason"]


def test_the_script_reads_a_process_and_a_program_cannot_write_a_line(tmp_path: Path) -> None:
    """As sh runs it, on one process of this machine: a name with a tab and a line break stays in its cell."""
    odd = tmp_path / "x\n9999\t1\t0"
    odd.symlink_to("/bin/sleep") if not Path("/bin/sleep").is_file() else odd.write_bytes(
        Path("/bin/sleep").resolve().read_bytes()
    )
    odd.chmod(0o755)
    running = subprocess.Popen([odd, "3600"])
    try:
        listing = script().split("echo '# sockets")[0].replace("/proc/[0-9]*", f"/proc/{running.pid}")
        said = subprocess.run(
            ["sh", "-c", listing], env=os.environ | {"NODE": NODE}, capture_output=True, check=True
        ).stdout
    finally:
        running.kill()
        running.wait()
    found = list(captured_records([said]))
    assert not [one for one in found if isinstance(one, Reject)]
    (own,) = [one.value for one in found if isinstance(one, Record) and one.value["pid"] == str(running.pid)]
    assert own["program"].startswith(f"{tmp_path}/x 9999 1 0") and own["node"] == NODE and len(own["sha256"]) == 64


def test_a_log_in_which_somebody_wrote_the_head_is_a_log() -> None:
    """A client names itself as it likes, in the first event of a log too."""
    event = '{"kind": "Event", "userAgent": "' + OLD_HEAD + '"}'
    assert not is_capture(event.encode()) and not is_capture(f"2026-11-29T16:40:00Z {OLD_HEAD}\n".encode())
    assert is_capture(f"2026-11-29T16:40:00Z\n{OLD_HEAD}\n".encode())
