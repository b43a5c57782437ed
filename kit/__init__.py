"""The kit's public names, for notebooks and programs: open a case, ask it, stop where going on would mean nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kit.case.case import Case
    from kit.case.opening import new_case, open_case
    from kit.case.stops import StopNotebook

__all__ = ["Case", "StopNotebook", "new_case", "open_case"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """The public names, when one is asked for: what only loads evidence need not wait for pandas."""
    if name in __all__:
        from kit.case import case, opening, stops

        return getattr({"Case": case, "StopNotebook": stops}.get(name, opening), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
