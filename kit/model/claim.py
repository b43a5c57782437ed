"""A claim: one statement with the values that it tells, the evidence that it rests on, and whether its condition holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from kit.words import few

NAMES_TOLD = 4  # names in a sentence; the claim's own values have all


@dataclass(frozen=True)
class Claim:
    """One statement. template: its words, with {name} for each value; of several names the first ones are told.

    refs: the evidence. holds: whether the condition is met under which it may be said; None when no evidence tells.
    """

    template: str
    values: Mapping[str, Any] = field(default_factory=dict)
    refs: tuple[str, ...] = ()
    holds: bool | None = True

    @property
    def says(self) -> str:
        """The sentence, made from the values."""
        return self.template.format_map(
            {
                name: few(list(map(str, one)), NAMES_TOLD) if isinstance(one, list | tuple) else one
                for name, one in self.values.items()
            }
        )
