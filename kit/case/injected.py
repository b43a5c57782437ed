"""What papermill put into a notebook that somebody runs with it by hand: it only warns of a parameter that the notebook doesn't declare."""

from __future__ import annotations

import ast
import sys

from kit.errors import CallError
from kit.words import nearest

PARAMETERS = ("case_dir", "finding", "start", "end")
"""The parameters that every notebook declares."""
_HEAD = "# Parameters"  # the first line of the cell that papermill puts in


def check_injected() -> None:
    """Refuse a parameter that papermill put into this notebook and that it doesn't declare. Raises CallError."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    for source in shell.user_ns.get("In", ()) if shell is not None else ():
        for line in ast.parse(source).body if source.startswith(_HEAD) else ():
            for target in line.targets if isinstance(line, ast.Assign) else ():
                if isinstance(target, ast.Name) and target.id not in PARAMETERS:
                    raise CallError(
                        f"the notebook declares no parameter {target.id!r}", next=nearest(target.id, PARAMETERS)
                    )
