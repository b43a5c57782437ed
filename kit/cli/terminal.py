"""What a terminal gets: tables, JSON, progress, and an error as one sentence with its exit code."""

from __future__ import annotations

import errno
import io
import json
import os
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from functools import wraps
from typing import Any, NoReturn

import click

from kit.errors import CallError, KitError
from kit.model.masking import MASK
from kit.words import iso

SCRIPT_WIDTH = 250
"""Letters of a line of a table where no terminal is."""


def shows_errors(command: Callable[..., Any]) -> Callable[..., Any]:
    """Print an error of the kit as one sentence and leave with its exit code."""

    @wraps(command)
    def run(*arguments: Any, **options: Any) -> Any:
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="backslashreplace")  # a terminal that has no dash still gets the line
        if sys.stdout is None:
            _leave("the result cannot be written: standard output is closed", 1)
        try:
            made = command(*arguments, **options)
            sys.stdout.flush()
            return made
        except KitError as error:
            _leave(printable(str(_with_flags(error))), error.exit_code)
        except BrokenPipeError:
            _abandon_stdout()
            sys.exit(0)
        except (KeyboardInterrupt, RuntimeError) as error:
            # A query of DuckDB that Ctrl-C ends raises a RuntimeError.
            if isinstance(error, RuntimeError) and "interrupted" not in str(error).lower():
                raise
            _leave("stopped; what is done is kept, and the same command goes on from there", 1)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EIO, errno.EBADF):
                raise
            _abandon_stdout()
            _leave(f"the result cannot be written: {error.strerror}", 1)

    return run


def _with_flags(error: KitError) -> KitError:
    """The error of a wrong call, with the flags of this command where it names parameters."""
    context = click.get_current_context(silent=True)
    options = [one for one in context.command.params if isinstance(one, click.Option)] if context else []
    flags = {str(one.name): one.opts[0] for one in options}
    places = error.where.split(", ")
    if not isinstance(error, CallError) or not all(place in flags for place in places):
        return error
    return CallError(error.what, ", ".join(flags[place] for place in places), error.next)


def _abandon_stdout() -> None:
    """What is still to be written, which Python does at its end, goes nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _leave(sentence: str, code: int) -> NoReturn:
    click.echo(f"kit: {sentence}", err=True)
    sys.exit(code)


def printable(text: str) -> str:
    """Text from evidence, masked and safe for a terminal: control characters and direction overrides are shown, not obeyed."""
    return "".join(letter if letter.isprintable() else f"\\x{ord(letter):02x}" for letter in MASK.text(text))


class ShownProgress:
    """Progress on stderr for what takes longer than a second: a bar with the time that is left on a terminal, else a line every few
    seconds."""

    def __init__(self) -> None:
        self._is_terminal = bool(sys.stderr and sys.stderr.isatty())
        self._bar: Any = None
        self._step = ""
        self._ended = threading.Event()
        self._lock = threading.Lock()
        self._began = self._said_at = time.monotonic()

    def __call__(self, what: str, done: int, total: int) -> None:
        """Take note of a step; show it when a second has passed."""
        what = printable(what)
        if self._is_terminal:
            self._show(what, done, total)
            return
        with self._lock:
            self._step = f"{what} ({100 * done // max(total, 1)} %{self._left(done, total)})" if done < total else ""
            if self._step and time.monotonic() - self._said_at > 5:
                self._say()

    def _left(self, done: int, total: int) -> str:
        """How long the rest will take at the pace until now, once that means something."""
        spent = time.monotonic() - self._began
        return f", about {spent * (total - done) / done:.0f} s left" if spent > 5 and done * 20 > total else ""

    def _say(self) -> None:
        self._said_at = time.monotonic()
        click.echo(f"{self._step} {self._said_at - self._began:.0f} s", err=True)

    def _watch(self) -> None:
        while not self._ended.wait(0.5):
            with self._lock:
                now = time.monotonic()
                if self._step and now - self._said_at > (1 if self._said_at == self._began else 10):
                    self._say()

    def _show(self, what: str, done: int, total: int) -> None:
        if self._bar is None:
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

            columns = (TextColumn("{task.description}", markup=False), BarColumn(), TimeRemainingColumn())
            self._bar = Progress(*columns, console=Console(stderr=True), transient=True)
            self._bar.start()
            self._task = self._bar.add_task(what, total=total)
        self._bar.update(self._task, description=what, completed=done, total=total)

    def __enter__(self) -> ShownProgress:
        if not self._is_terminal:
            threading.Thread(target=self._watch, daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ended.set()
        if self._bar is not None:
            self._bar.stop()


@dataclass
class ShownTable:
    """A table without lines, made of the texts of its cells."""

    columns: tuple[str, ...]
    rows: list[list[str]] = field(default_factory=list)


def table_with(*columns: str) -> ShownTable:
    """A table without lines, with these columns."""
    return ShownTable(columns)


def add_row(table: ShownTable, *cells: Any) -> None:
    """Add a row of cells that may come from evidence; what is empty stays so."""
    table.rows.append([printable("" if _empty(cell) else str(cell)) for cell in cells])


def _empty(cell: Any) -> bool:
    return cell is None or cell != cell


def print_table(table: ShownTable) -> None:
    """Print a table as wide as the terminal, or on lines that scripts can read."""
    lines = [list(table.columns), *table.rows]
    widths = [max(len(cell) for cell in column) for column in zip(*lines, strict=True)]
    plain = all(cell.isascii() for line in lines for cell in line) and sum(widths) + 2 * len(widths) - 2 <= SCRIPT_WIDTH
    if plain and not sys.stdout.isatty():  # rich takes a tenth of a second to import
        for line in lines:
            click.echo("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)))
        return
    print_folded(table)


def print_folded(table: ShownTable) -> None:
    """Print a table with what is too wide on more lines."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    shown = Table(box=None, pad_edge=False, header_style="bold")
    for column in table.columns:
        shown.add_column(column, overflow="fold")
    for row in table.rows:
        shown.add_row(*map(Text, row))
    Console(width=None if sys.stdout.isatty() else SCRIPT_WIDTH, soft_wrap=False).print(shown)


def minute(at: Any) -> str:
    """A time to the second, for a cell."""
    return "" if _empty(at) else str(at)[:19].replace("T", " ")


def print_json(value: Any) -> None:
    """Print a value as JSON of ASCII letters alone, its texts masked."""
    click.echo(json.dumps(MASK.texts(value), indent=1, default=_jsonable, ensure_ascii=True))


def _jsonable(value: Any) -> Any:
    if _empty(value):
        return None
    if isinstance(value, datetime):
        return iso(value)
    return value.item() if hasattr(value, "item") else str(value)


def tell(says: str) -> None:
    """Say a sentence on stderr."""
    click.echo(printable(says), err=True)
