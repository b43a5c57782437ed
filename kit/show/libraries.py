"""Which cell brings a large library: a notebook holds each once, with the first thing shown that needs it.

Figures need plotly.js, which has 5 MB, and tables that sort need DataTables. Whatever a cell brings is good for the whole page.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_BROUGHT = dict[str, tuple[str, str]]()  # library → the cell of this kernel that brings it, and the run of it that did
_APART = list[bool]()


def is_brought_here(library: str) -> bool:
    """Whether what is shown now has to bring a library: the first that needs it, and again when its cell runs again."""
    cell, run = _cell_and_run()
    if _APART or not cell:
        return True
    known = _BROUGHT.setdefault(library, (cell, ""))
    if known[0] != cell or known[1] == run:
        return False
    _BROUGHT[library] = cell, run
    return True


@contextmanager
def apart() -> Iterator[None]:
    """What is shown in this block brings its libraries itself: a widget's part of the page is drawn anew while cells stay."""
    _APART.append(True)
    try:
        yield
    finally:
        _APART.pop()


def _cell_and_run() -> tuple[str, str]:
    """The cell that runs, by its id where the notebook's editor names it, else by its text; and the run. Empty outside of a kernel."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    asks = getattr(shell, "get_parent", None)
    request: dict[str, Any] = asks() if asks else {}
    if request.get("header", {}).get("msg_type") != "execute_request":
        return "", ""
    cell = request["metadata"].get("cellId") or request["content"]["code"]
    return str(cell), str(request["header"]["msg_id"])
