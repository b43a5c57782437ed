"""The kit's public names, for notebooks and programs: open a case, ask it, stop where going on would mean nothing."""

from kit.case import Case, StopNotebook, open_case

__all__ = ["Case", "StopNotebook", "open_case"]
__version__ = "0.1.0"
