"""A page of the kit as PDF, printed by a Chromium that is installed already; what the page looks like on paper is its own style."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from kit.errors import CallError, WorkError
from kit.whole_file import write_whole

BROWSERS = (
    "chromium-headless-shell",
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
    "microsoft-edge",
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
)
_SECONDS = 180
_BY_HAND = "install Chromium or Chrome, or leave --pdf out, open the HTML file in any browser and print it to a file"
# Nothing but the page: no account, no update, no look for anything on the network.
_OPTIONS = (
    "--headless",
    "--disable-gpu",
    "--disable-extensions",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--no-pdf-header-footer",
    "--virtual-time-budget=10000",
)


def printing_browser() -> str:
    """The path of the browser that prints. Raises CallError where there is none."""
    found = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if found is None:
        raise CallError("there is no Chromium on this machine, which prints the PDF", where="pdf", next=_BY_HAND)
    return found


def print_pdf(page: Path, browser: str) -> Path:
    """Print a page beside itself, as PAGE.pdf. Raises WorkError when the browser does not; the page itself stays."""
    target = page.with_suffix(".pdf")
    with tempfile.TemporaryDirectory(prefix="kit-pdf-") as scratch:
        printed = Path(scratch, "page.pdf")
        # Chromium's own sandbox does not start for root; the page holds no script but the kit's (its Content-Security-Policy).
        sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []
        folder, to = f"--user-data-dir={scratch}", f"--print-to-pdf={printed}"
        command = [browser, *_OPTIONS, *sandbox, folder, to, page.resolve().as_uri()]
        try:
            subprocess.run(command, capture_output=True, timeout=_SECONDS, check=True)  # noqa: S603 - a browser by its name, and a page of ours
            write_whole(target, printed.read_bytes())
        except (OSError, subprocess.SubprocessError) as error:
            says = str(error).splitlines()[0][:120]
            raise WorkError(f"the browser printed nothing: {says}", where=str(target), next=_BY_HAND) from None
    return target
