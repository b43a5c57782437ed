"""What to collect to be able to tell, as the command that collects it: from the case's own cluster and region, for the time of the limit.

The command is for whoever has access to the account; for others the limit keeps its words. Kinds of evidence are those of `kit collect --only`.
"""

from __future__ import annotations

from dataclasses import replace

from kit.model.command_line import Command
from kit.model.why import (
    AUDIT_LOG,
    AUDIT_OR_DUMP,
    BINDING_OBJECTS,
    CLOUDTRAIL,
    CLOUDTRAIL_EVERYWHERE,
    DUMP,
    OTHER_FINDINGS,
    ROLE_OBJECTS,
    SERVICE_OBJECTS,
    SOME_DUMP,
    WHOLE_FINDING,
    Limit,
)
from kit.model.window import Window
from kit.store.store import Store
from kit.words import iso

COLLECTED_AS: dict[str, tuple[str, ...]] = {
    AUDIT_LOG: ("audit",),
    AUDIT_OR_DUMP: ("audit", "objects"),
    DUMP: ("objects",),
    SOME_DUMP: ("objects",),
    ROLE_OBJECTS: ("objects",),
    BINDING_OBJECTS: ("objects",),
    SERVICE_OBJECTS: ("objects",),
    CLOUDTRAIL: ("cloudtrail",),
    CLOUDTRAIL_EVERYWHERE: ("cloudtrail",),
    OTHER_FINDINGS: ("findings",),
    WHOLE_FINDING: ("findings",),
}
"""What a limit asks for → the kinds of evidence that `kit collect` fetches for it."""
_FOLDER = "collected"


class Collecting:
    """The commands for one case. window: that of the case, for limits that name no time."""

    def __init__(self, store: Store, cluster: str | None, window: Window | None) -> None:
        self.cluster, self.region, self.window = cluster, store.settings.region, window

    def of(self, limit: Limit, finding: str = "") -> Limit:
        """A limit whose `collect` is a command, and `otherwise` what it was; as it is where the kit cannot collect that. finding: the Id that it is about."""
        kinds = COLLECTED_AS.get(limit.collect)
        if not kinds or not self.cluster:
            return limit
        whole = self.window
        start = limit.start or (whole.start if whole else None)
        end = limit.end or (whole.end if whole else None)
        words = ["kit", "collect", _FOLDER, "--cluster", self.cluster]
        words += [word for kind in kinds for word in ("--only", kind)]
        words += ["--region", self.region] if self.region else []
        if start and end and start < end:
            words += ["--start", iso(start), "--end", iso(end)]
        if finding and (kinds == ("findings",) or "--start" not in words):
            words += ["--finding", finding]
        command = Command(tuple(words))
        return limit if command.odd else replace(limit, collect=str(command), otherwise=limit.collect)
