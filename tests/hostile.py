"""One text that harms every output, planted in every string of a record of each source: what comes out is counted, and what does harm.

python -m tests.hostile [SOURCE...]      the table: strings planted, outputs looked at, breaches; the report's page and notebooks too (minutes a source)
"""

from __future__ import annotations

import gzip
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import click
import mistune

from kit.case.case import Case
from kit.exports.csv_file import write_csv
from kit.show.evidence import ledger
from kit.show.findings import findings
from kit.show.html_table import safe, table
from kit.show.subjects import subjects
from tests.command import RECORDINGS, kit
from tests.variation import varied

Item = dict[str, Any]
STOLEN = "stolen_sa_token"
TEXT = "=1+1|'<img src=x onerror=alert(7)>![x](http://e.example)$(>INJECTED)`>INJECTED`;\"\x1b[31m\n# x"
NO_TERMINAL = re.compile(r"\x1b\[31m")
NO_HTML = re.compile(r"<img src=(?:x|.http://e\.example)", re.IGNORECASE)


def planted(value: Any) -> Iterator[Any]:
    """The value once for each string in it, with the text in its place; what a record is known by is left."""
    if isinstance(value, str):
        yield TEXT
    elif isinstance(value, list):
        yield from (
            [*value[:place], one, *value[place + 1 :]] for place, old in enumerate(value) for one in planted(old)
        )
    elif isinstance(value, dict):
        for name, old in value.items():
            if name not in ("kind", "apiVersion", "auditID", "eventID"):
                yield from (value | {name: one} for one in planted(old))


def _renamed(records: list[Item], name: str) -> list[Item]:
    return [record | {name: f"{number:08x}-0000-4000-8000-00000000beef"} for number, record in enumerate(records)]


def _of_events(log: list[Item]) -> list[Item]:
    calls = set(json.loads((RECORDINGS / STOLEN / "ground_truth.json").read_text())["attacker_calls"])
    chosen = next(
        one for one in log if one["auditID"] in calls and one["verb"] == "create" and one.get("requestObject")
    )
    return [*log, *_renamed(list(planted(chosen)), "auditID")]


def _of_findings(listed: list[Item]) -> list[Item]:
    return [*listed, *(one | {"Id": f"{number:032x}"} for number, one in enumerate(planted(listed[0])))]


def _of_trail(records: list[Item]) -> list[Item]:
    return [*records, *_renamed(list(planted(records[0])), "eventID")]


def _of_dump(resource: str, items: list[Item]) -> list[Item]:
    return [*items, *planted(items[0])] if items else []


def _of_aws(answer: Item) -> list[Item]:
    return [answer, *planted(answer)]


SOURCES: dict[str, dict[str, Callable[..., Any]]] = {
    "audit log": {"events": _of_events},
    "findings": {"findings": _of_findings},
    "CloudTrail": {"trail": _of_trail},
    "dump": {"dump": _of_dump},
    "AWS": {"aws": _of_aws},
}


class Harmed(HTMLParser):
    """The elements of a page that the text would make: what stands as data or as text makes none."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found = list[str]()
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = dict(attrs)
        if "onerror" in names or (tag == "img" and names.get("src") in ("x", "http://e.example")):
            self.found.append(f"<{tag} {attrs}>")


def of_report(case: Path) -> Iterator[tuple[str, list[str]]]:
    """The report's page and each notebook that it ran, with the elements in them that the text makes."""
    done = kit("report", case)
    assert done.returncode == 0, done.stderr
    yield "report page", Harmed((case / "report.html").read_text()).found
    for path in sorted((case / "notebooks").glob("*.ipynb")):
        found = list[str]()
        for cell in json.loads(path.read_text())["cells"]:
            held = [cell["source"]] if cell["cell_type"] == "markdown" else []
            shown = [one.get("data", {}) for one in cell.get("outputs", [])]
            pages = ["".join(one["text/html"]) for one in shown if "text/html" in one]
            texts = [
                "".join(one) for one in (*held, *(each["text/markdown"] for each in shown if "text/markdown" in each))
            ]
            pages += [str(mistune.create_markdown(escape=False)(text)) for text in texts]
            found += [each for page in pages for each in Harmed(page).found]
        yield path.name, found


def breaches(source: str, folder: Path, report: bool = False) -> tuple[int, int, list[str]]:
    """How many strings of a source are the text, how many outputs of the case were looked at, and what in them does harm.

    report: whether the report is made too, which takes minutes.
    """
    case = folder / "case"
    evidence = varied(STOLEN, folder, **SOURCES[source])  # type: ignore[arg-type]
    made = kit("new", case, evidence)
    found = [f"kit new: exit {made.returncode}, {made.stderr[-300:]}"] if made.returncode else []
    looked = 0

    def look(name: str, text: str, harm: re.Pattern[str]) -> None:
        nonlocal looked
        looked += 1
        if hit := harm.search(text):
            found.append(f"{name}: {text[max(0, hit.start() - 60) : hit.end() + 20]!r}")

    look("terminal, kit new", made.stdout + made.stderr, NO_TERMINAL)
    for command in ("findings", "scope", "brief", "plan"):
        done = kit(command, case)
        look(f"terminal, kit {command}", done.stdout + done.stderr, NO_TERMINAL)
        if done.returncode:
            found.append(f"kit {command}: exit {done.returncode}, {done.stderr[-300:]}")
        if command == "plan":
            look("Markdown as a reader renders it", str(mistune.create_markdown(escape=False)(done.stdout)), NO_HTML)
    plan = json.loads(kit("plan", case, "--json").stdout)
    commands = [line for one in plan["actions"] for line in one["command"] if "INJECTED" in line]
    looked += len(commands)
    found += [f"shell: {line}" for line in commands if _runs(line, folder)]
    opened = Case(case)
    for name, shown in (
        ("findings", findings(opened)),
        ("subjects", subjects(opened, "pod")),
        ("files", ledger(opened)),
    ):
        look(f"HTML, {name}", str(shown._repr_html_()), NO_HTML)
    for name, frame in (("calls", opened.calls), ("subjects", opened.subjects), ("findings", opened.findings)):
        look(f"HTML, {name}", str(table(frame, {column: _cell(column) for column in frame.columns})), NO_HTML)
        write_csv(frame, folder / f"{name}.csv")
        look(f"CSV, {name}", (folder / f"{name}.csv").read_text(), re.compile(r"(?:^|,)\"?=1\+1", re.MULTILINE))
    for name, harmed in of_report(case) if report else ():
        looked += 1
        found += [f"{name}: {each}" for each in harmed]
    return _planted_in(evidence), looked, found


def _cell(column: str) -> Callable[[Any], str]:
    return lambda row: safe(row[column])


def _runs(line: str, folder: Path) -> bool:
    """Whether a printed command runs what was planted in it; kubectl and aws are stubs that do nothing."""
    stubs = folder / "stubs"
    stubs.mkdir(exist_ok=True)
    for name in ("kubectl", "aws", "date", "xargs", "tar"):
        if not (stubs / name).exists():
            (stubs / name).symlink_to("/bin/true")
    subprocess.run(
        ["/bin/bash", "-c", line], cwd=folder, env={"PATH": str(stubs)}, capture_output=True, check=False, timeout=30
    )
    return (folder / "INJECTED").exists()


def _planted_in(evidence: Path) -> int:
    """How many strings of the evidence are the text."""
    files = [path.read_bytes() for path in evidence.rglob("*") if path.is_file()]
    return sum((gzip.decompress(one) if one[:2] == b"\x1f\x8b" else one).count(b"alert(7)") for one in files)


def main() -> None:
    """Print the table; exit 1 where anything does harm."""
    harmed = False
    for source in sys.argv[1:] or SOURCES:
        with tempfile.TemporaryDirectory() as folder:
            strings, looked, found = breaches(source, Path(folder), report=True)
        click.echo(f"{source}: {strings} strings, {looked} outputs, {len(found)} breaches")
        click.echo("\n".join(found))
        harmed = harmed or bool(found)
    sys.exit(harmed)


if __name__ == "__main__":
    main()
