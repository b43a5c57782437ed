"""One notebook, run headless with its parameters by papermill; what became of it, whether it ended, stopped or failed."""

from __future__ import annotations

import copy
import itertools
import logging
import os
import re
import sys
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
import papermill
from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from jupyter_core.utils import run_sync
from papermill.engines import NBClientEngine, papermill_engines
from papermill.exceptions import PapermillException, PapermillExecutionError
from papermill.execute import ERROR_MARKER_TAG
from zmq import ZMQError

from kit.errors import CallError
from kit.show.figures import HEADLESS, PLOTLY_HERE, plotly_js

_ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_STOP = "StopNotebook"
_NUMBER = itertools.count()
LONGEST_SOCKET_FOLDER = (
    85  # sockets are named after the connection file, and their paths have 103 bytes at most (macOS)
)


@dataclass(frozen=True)
class Failure:
    """Where a notebook failed and why. cell: its number from 1 in the executed copy, 0 when no cell did; says: one line."""

    notebook: str
    cell: int
    says: str

    @property
    def place(self) -> str:
        """The notebook and the cell in words: `10_scope.ipynb, cell 5`."""
        return f"{self.notebook}, cell {self.cell}" if self.cell else self.notebook


@dataclass(frozen=True)
class Executed:
    """A notebook after its run. stopped: it ended early and on purpose (kit.StopNotebook)."""

    name: str
    notebook: nbformat.NotebookNode
    failure: Failure | None
    stopped: bool


class _Kernels(KernelSpecManager):
    """Knows one kernel: this very Python, whatever kernels are installed and whatever HOME holds."""

    scratch = ""

    def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
        """The kernel, whichever is asked for."""
        # IPython runs a user's start-up files in its own process; a kernel for evidence has none. A set's order must not vary.
        env = {"IPYTHONDIR": self.scratch, "JUPYTER_RUNTIME_DIR": self.scratch, "PYTHONHASHSEED": "0", HEADLESS: "1"}
        argv = [sys.executable, "-s", "-m", "ipykernel_launcher", "-f", "{connection_file}", "--log-level=50"]
        return KernelSpec(argv=argv, display_name=kernel_name, language="python", env=env)


class _SavesOnce(NBClientEngine):  # type: ignore[misc]  # papermill has no types
    """Writes the notebook when it has ended, however it did; papermill's own writes all of it twice a cell."""

    @classmethod
    def execute_managed_notebook(cls, nb_man: Any, *arguments: Any, **more: Any) -> None:
        """Run the cells."""
        place, nb_man.output_path = nb_man.output_path, None
        try:
            super().execute_managed_notebook(nb_man, *arguments, **more)
        finally:
            nb_man.output_path = place


papermill_engines.register(_SavesOnce.__name__, _SavesOnce)


def declared(path: Path) -> set[str]:
    """The parameters that a notebook declares in its cell tagged `parameters`."""
    return set(papermill.inspect_notebook(_read(path)))


def check_parameters(path: Path, parameters: Mapping[str, str]) -> None:
    """Raise CallError for a parameter that the notebook doesn't declare or that is not text; starts no kernel."""
    known = declared(path)
    for name, value in parameters.items():
        if name not in known:
            has = ", ".join(sorted(known)) or "none"
            raise CallError(f"the notebook declares no parameter {name!r}", where=path.name, next=f"it declares: {has}")
        if not isinstance(value, str):
            raise CallError(
                f"parameter {name!r} is {type(value).__name__}, not text", where=path.name, next="give it as text"
            )


class Kernel:
    """The kernel that notebooks run in, one after the other: starting Python, importing and working out the scope costs once.

    Each notebook finds an empty namespace. After one in which it died a new kernel starts. scratch: a folder for its own files.
    """

    def __init__(self, scratch: Path) -> None:
        self.scratch = scratch
        self._class = _manager(scratch)
        self._manager: Any = None

    def __enter__(self) -> Kernel:
        return self

    def __exit__(self, *error: object) -> None:
        self._let_go()
        if self._manager is not None and self._manager.has_kernel:
            run_sync(self._manager.shutdown_kernel)(now=True)

    def ready(self) -> Any:
        """The manager of a kernel with an empty namespace, or of one that is to be started."""
        self._let_go()
        if self._manager is not None and self._manager.has_kernel and run_sync(self._manager.is_alive)():
            run_sync(_reset)(self._manager)
        else:
            self._manager = self._class(kernel_name="python3")
        return self._manager

    def _let_go(self) -> None:
        """Stop the clients of earlier notebooks: nbclient leaves those of a kernel that it did not start, each with a thread that beats."""
        while self._manager is not None and self._manager.clients:
            self._manager.clients.pop().stop_channels()


async def _reset(manager: Any) -> None:
    client = manager.client()
    client.start_channels()
    try:
        await client.wait_for_ready(timeout=60)
        await client._async_execute_interactive("get_ipython().reset()", silent=True, store_history=False, timeout=60)
    finally:
        client.stop_channels()


def run(path: Path, parameters: Mapping[str, str], kernel: Kernel) -> Executed:
    """Run a notebook to its end, its stop or its failing cell; that the cell raised is told, not raised.

    Raises CallError as check_parameters does.
    """
    check_parameters(path, parameters)
    out = kernel.scratch / path.name
    problem = ""
    logging.getLogger("papermill").setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            papermill.execute_notebook(
                _read(path),
                str(out),
                dict(parameters),
                engine_name=_SavesOnce.__name__,
                kernel_name="python3",
                language="python",
                progress_bar=False,
                cwd=str(path.parent),
                km=kernel.ready(),
                skip_cells_with_tag="notebook_only",  # for a person in JupyterLab
            )
    except PapermillExecutionError:
        pass  # the cell's output holds the error
    except (RuntimeError, OSError, ZMQError, PapermillException) as error:  # a kernel that cannot start, or died
        problem = _last_line(f"{type(error).__name__}: {error}")
    notebook = _read(out) if out.is_file() else _read(path)
    notebook.cells = [cell for cell in notebook.cells if ERROR_MARKER_TAG not in cell.metadata.get("tags", [])]
    place, raised = _raised(notebook)
    if raised is not None and raised.ename == _STOP:
        return Executed(path.name, notebook, None, stopped=True)
    if raised is not None:
        return Executed(path.name, notebook, Failure(path.name, place, _says(raised)), stopped=False)
    return Executed(path.name, notebook, Failure(path.name, 0, problem) if problem else None, stopped=False)


def by_itself(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """An executed notebook that draws its figures without the others: with plotly.js at its first one."""
    alone = copy.deepcopy(notebook)
    for cell in alone.cells:
        for output in cell.get("outputs", []):
            text = output.get("data", {}).get("text/html", "")
            if PLOTLY_HERE in text:
                output["data"]["text/html"] = text.replace(PLOTLY_HERE, plotly_js(), 1)
                return alone
    return alone


def _read(path: Path) -> nbformat.NotebookNode:
    # papermill takes {} in a path for a template; so it gets the notebook itself.
    notebook: nbformat.NotebookNode = nbformat.read(path, as_version=4)
    return notebook


def _manager(scratch: Path) -> type[AsyncKernelManager]:
    kernels = _Kernels()
    kernels.scratch = str(scratch)

    class Manager(AsyncKernelManager):
        def __init__(self, **more: Any) -> None:
            super().__init__(**more)
            self.kernel_spec_manager = kernels
            self.clients = list[Any]()
            self.connection_file = str(scratch / f"k{next(_NUMBER)}.json")
            # Sockets in the scratch folder: nobody else on this machine can listen.
            self.transport = "ipc" if len(os.fsencode(scratch)) <= LONGEST_SOCKET_FOLDER else "tcp"

        def client(self, **more: Any) -> Any:
            """A client of the kernel, which is kept until it is stopped."""
            self.clients.append(super().client(**more))
            return self.clients[-1]

        async def start_kernel(self, **more: Any) -> None:  # type: ignore[override]  # awaited by its only caller
            """Start it, with what its libraries say at their end in a file, not on the terminal."""
            with (scratch / "kernel.log").open("ab") as log:
                await super().start_kernel(stderr=log, **more)

    return Manager


def _raised(notebook: nbformat.NotebookNode) -> tuple[int, Any]:
    for number, cell in enumerate(notebook.cells, 1):
        for output in cell.get("outputs", []):
            if output.output_type == "error":
                return number, output
    return 0, None


def _says(raised: Any) -> str:
    return _last_line(f"{raised.ename}: {raised.evalue}")


def _last_line(text: str) -> str:
    """The last line that says anything, without colours."""
    lines = [line.strip() for line in _ANSI.sub("", text).splitlines() if line.strip()]
    return lines[-1] if lines else "no message"
