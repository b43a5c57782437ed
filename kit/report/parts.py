"""What every page of the kit is made of: its style, a text as CSS has it, and how it is kept."""

from __future__ import annotations

from pathlib import Path

from kit.errors import CaseError
from kit.whole_file import write_whole

TEMPLATES = Path(__file__).parent / "templates"
PAGE_STYLE = (TEMPLATES / "forensic" / "page.css").read_text()


def css_text(text: str) -> str:
    """A text as CSS may have it between quotes, for the foot of printed pages (CSS Syntax, 4.3.7: escapes)."""
    return "".join(letter if letter.isascii() and letter.isalnum() else f"\\{ord(letter):06x}" for letter in text)


def keep(path: Path, text: str) -> None:
    """Write a page into a case. Raises CaseError when it cannot be written."""
    try:
        write_whole(path, text)
    except OSError as error:
        way_out = "free the disk or make the case folder writable"
        raise CaseError(f"cannot be written: {error.strerror}", where=str(path), next=way_out) from None
