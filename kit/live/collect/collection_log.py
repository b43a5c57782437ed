"""FOLDER/collection.jsonl: each request of a collection, one JSON object a line, written before the next request is sent.

It tells what is there already, so that the same command goes on; and by which request ids the collection's own calls stand in the logs.
"""

from __future__ import annotations

import fcntl
import json
import os
import threading
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kit.errors import CaseError
from kit.lenient import dict_of, text_of
from kit.whole_file import for_owner_alone

LOG_NAME = "collection.jsonl"
ARRIVED = ("ok", "empty")


class CollectionLog:
    """The log of one folder, for one process at a time. run: the id that the requests of all its runs carry."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.settled = dict[str, Any]()  # what the next line tells of this call: its finding and window
        self._lock = threading.Lock()
        try:
            with for_owner_alone():
                folder.mkdir(parents=True, exist_ok=True)
                self._file = os.open(folder / LOG_NAME, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CaseError("another collection writes to this folder", str(folder), "wait for it to end") from None
        except OSError as error:
            raise CaseError(f"cannot be written: {error.strerror}", str(folder), "name another folder") from None
        self.lines = list(self._read())
        self.run = next((str(one["case"]) for one in self.lines if one.get("case")), "") or uuid.uuid4().hex
        self._pages = dict[str, list[dict[str, Any]]]()
        for line in self.lines:
            self._turn(line)

    def _read(self) -> list[dict[str, Any]]:
        """The whole lines; what a killed run left of one is taken off."""
        with os.fdopen(os.dup(self._file), "rb") as file:
            file.seek(0)
            text = file.read()
        whole = text[: text.rfind(b"\n") + 1]
        os.ftruncate(self._file, len(whole))
        os.lseek(self._file, 0, os.SEEK_END)
        try:
            return [dict_of(json.loads(line)) for line in whole.splitlines()]
        except ValueError:
            raise CaseError(
                "is no collection log of this kit", str(self.folder / LOG_NAME), "collect into a new folder"
            ) from None

    def _turn(self, line: Mapping[str, Any]) -> None:
        part = text_of(line.get("part"))
        if part and line.get("status") in ARRIVED:
            if line.get("page") == 1:
                self._pages[part] = []
            self._pages.setdefault(part, []).append(dict(line))

    def pages(self, part: str) -> list[dict[str, Any]]:
        """The answers of a part that are there, in their order."""
        return self._pages.get(part, [])

    def append(self, line: dict[str, Any]) -> None:
        """Write one line to the disk. Raises OSError."""
        with self._lock:
            if self.settled:
                line, self.settled = line | {"settled": self.settled}, {}
            data = json.dumps(line, ensure_ascii=True).encode() + b"\n"
            at = os.lseek(self._file, 0, os.SEEK_END)
            try:
                while data:
                    data = data[os.write(self._file, data) :]
                os.fsync(self._file)
            except OSError:
                os.ftruncate(self._file, at)
                raise
            self.lines.append(line)
            self._turn(line)

    def settled_before(self, asked: list[str]) -> dict[str, Any]:
        """What an earlier run of the same call settled: its finding and window; {} for the first."""
        settled = (dict_of(one.get("settled")) for one in self.lines)
        return next((one for one in settled if one.get("asked") == asked), {})

    def close(self) -> None:
        """Let another process write to the folder."""
        os.close(self._file)
