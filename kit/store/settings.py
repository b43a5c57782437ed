"""CASE/case.toml: where a case is from, and in which format its store is. A store of another format is never read."""

from __future__ import annotations

import json
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path

from kit.errors import CaseError

FORMAT = "3"
"""The format of the stores that this kit writes and reads. It rises with every change of what stands in the tables."""


@dataclass(frozen=True)
class Settings:
    """What case.toml says. cluster_told: whether the caller named the cluster. store: the name of the folder of the store."""

    format: str
    cluster: str | None = None
    account: str | None = None
    region: str | None = None
    cluster_told: bool = False
    store: str = "store"

    @property
    def is_older(self) -> bool:
        """Whether an older kit made the store."""
        return int(self.format) < int(FORMAT)


def settings_of(case: Path) -> Settings:
    """The settings of a case whose store this kit can read. Raises CaseError for a store of another format and for a folder that is no case."""
    found = settings_of_any_format(case)
    if found.format == FORMAT:
        return found
    which = f"(its store has format {found.format}, this kit reads {FORMAT})"
    if found.is_older:
        raise CaseError(
            f"this case was made by an older kit {which}",
            where=str(case),
            next=f"run `kit upgrade {case}`, which loads its own evidence again; nothing of it is lost",
        )
    raise CaseError(f"this case was made by a newer kit {which}", where=str(case), next="work on it with that kit")


def settings_of_any_format(case: Path) -> Settings:
    """The settings of a case, whichever kit made it. Raises CaseError for a folder that is no case."""
    path = case / "case.toml"
    try:
        read = tomllib.loads(path.read_bytes().decode())
    except OSError:
        raise CaseError(
            "not a case of this kit", where=str(case), next="make one with `kit new CASE EVIDENCE...`"
        ) from None
    except (ValueError, RecursionError):
        raise _odd(path, "it cannot be read") from None
    if not re.fullmatch(r"[1-9]\d{0,5}|0", str(read.get("format"))):
        raise _odd(path, "it names no format of a store")
    texts = {name: read[name] for name in ("cluster", "account", "region", "store") if name in read}
    if not all(isinstance(one, str) for one in texts.values()):
        raise _odd(path, f"{', '.join(texts)} are texts")
    if not _STORE.fullmatch(texts.get("store", "store")):
        raise _odd(path, "it names no folder of a store")
    return Settings(str(read["format"]), cluster_told=read.get("cluster_told") is True, **texts)


_STORE = re.compile(r"store(-\d{1,6})?")


def _odd(path: Path, says: str) -> CaseError:
    return CaseError(
        f"is no case.toml of this kit: {says}",
        where=str(path),
        next="put back what `kit new` wrote, or make the case anew from its evidence folder",
    )


def case_toml(settings: Settings) -> str:
    """The text of case.toml."""
    names = ("format", "cluster", "account", "region")
    values = {name: value for name in names if (value := getattr(settings, name))}
    # A JSON text is a TOML one, but for the delete character and for halves of surrogate pairs.
    texts = {key: json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f") for key, value in values.items()}
    if settings.cluster_told:
        texts["cluster_told"] = "true"
    if settings.store != "store":
        texts["store"] = f'"{settings.store}"'
    return "".join(f"{key} = {text}\n" for key, text in texts.items())


def stores_of(case: Path) -> list[Path]:
    """The folders in a case that are a store: the one that counts, and what an upgrade that was cut off has left."""
    return [path for path in sorted(case.glob("store*")) if _STORE.fullmatch(path.name) and path.is_dir()]
