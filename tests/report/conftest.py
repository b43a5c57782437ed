"""Cases, reports and a browser for the tests of the report."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import pytest

from kit.report import make_report
from tests import cases
from tests.command import RECORDINGS

MEASURE = """<script>addEventListener("load", () => {
 const of = selector => document.querySelectorAll(selector), first = of(".two")[0]?.getBoundingClientRect().bottom ?? 0;
 const screens = document.documentElement.scrollHeight / innerHeight, drawn = of(".js-plotly-plot").length;
 of("details").forEach(fold => fold.open = true);
 setTimeout(() => {
  const page = document.documentElement;
  document.title = "measured " + JSON.stringify({
    plots: of(".js-plotly-plot").length, charts: of(".kit-chart").length, marks: of(".js-plotly-plot .point, .js-plotly-plot .js-line").length,
    overflow: page.scrollWidth - page.clientWidth, cloud: of('[data-title*="cloud" i], [data-title*="share" i]').length,
    modebar: of(".modebar-btn").length, links: of(".js-plotly-plot a:not(.modebar-btn)").length,
    images: of("main img").length, injected: document.body.dataset.injected || "", code: [...of(".code")].some(e => e.offsetHeight > 0),
    logos: of(".plotlyjsicon, .modebar-btn--logo").length, summary_ends: first, screens, drawn_at_once: drawn,
    dead_links: [...of('a[href^="#"]')].filter(a => !document.getElementById(decodeURIComponent(a.getAttribute("href").slice(1)))).length,
  });
 }, 1500);
});</script>"""


@pytest.fixture(scope="session")
def make_case(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """A function that makes a case of evidence, to write a report into."""

    def make(name: str, *evidence: Path) -> Path:
        return cases.copied(tmp_path_factory.mktemp("cases") / name, *evidence)

    return make


@pytest.fixture(scope="session")
def report(make_case: Callable[..., Path]) -> Path:
    """The report of the recording stolen_sa_token."""
    return make_report(make_case("stolen-sa-token", RECORDINGS / "stolen_sa_token"))


@pytest.fixture(scope="session")
def look(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], dict[str, Any]]:
    """A function that opens a page in a headless browser and returns what it measured, with the addresses it asked for."""
    browser = browser_path()

    def look_at(page: Path) -> dict[str, Any]:
        folder = tmp_path_factory.mktemp("browser")
        measured = folder / "page.html"
        text = page.read_text(encoding="utf-8").replace("script-src ", f"script-src {_hash_of(MEASURE)} ", 1)
        measured.write_text(text + MEASURE, encoding="utf-8")
        log = folder / "net.json"
        options = [
            "--no-sandbox",
            "--disable-gpu",
            "--virtual-time-budget=8000",
            "--window-size=1440,900",
            f"--log-net-log={log}",
        ]
        done = subprocess.run(
            [browser, *options, f"--user-data-dir={folder}", "--dump-dom", measured.as_uri()],
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        )
        assert "<title>measured " in done.stdout, done.stderr[-2000:]
        title = done.stdout.partition("<title>measured ")[2].partition("</title>")[0].replace("&amp;", "&")
        return {**json.loads(title), "asked": _addresses(log)}

    return look_at


def _hash_of(element: str) -> str:
    """A script element as a page's Content-Security-Policy lets it run."""
    script = element.removeprefix("<script>").removesuffix("</script>")
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"


def browser_path() -> str:
    """Where the headless browser is; without one the test is skipped, or fails where one is required."""
    return shutil.which("chromium-headless-shell") or _no_browser()


def _addresses(log: Path) -> list[str]:
    text = log.read_text()
    events = json.loads(text if text.rstrip().endswith("}") else text.rstrip().rstrip(",") + "]}")["events"]
    addresses = {event["params"]["url"] for event in events if "url" in event.get("params", {})}
    return sorted(one for one in addresses if not one.startswith(("file:", "data:", "blob:")))


def _no_browser() -> NoReturn:
    missing = "no browser: chromium-headless-shell is not installed"
    if os.environ.get("KIT_BROWSER_REQUIRED"):
        pytest.fail(missing)
    pytest.skip(missing)
