"""When things that the attacker made or took ended: what has their name afterwards is somebody else's."""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime

from kit.attribution.calls import Event
from kit.store.store import Store


class Ends:
    """The ends of service accounts and Secrets, by name."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._of_resource = dict[str, dict[tuple[str | None, str | None], list[datetime]]]()

    def of(self, event: Event) -> datetime | None:
        """When the object that an event created was first deleted again; None when no event shows that."""
        return self.after(str(event["resource"]), event["namespace"], event["name"], event["received_at"])

    def after(self, resource: str, namespace: str | None, name: str | None, at: datetime) -> datetime | None:
        """When the object of that name was first deleted after a moment; None when no event shows that."""
        if resource not in self._of_resource:
            self._of_resource[resource] = self._deleted(resource)
        known = self._of_resource[resource]
        ends = [end for one in (name, None) for end in known[(namespace, one)] if end > at]
        return min(ends, default=None)

    def _deleted(self, resource: str) -> dict[tuple[str | None, str | None], list[datetime]]:
        """Namespace and name of objects → when they were deleted; without a name: when all of the namespace were."""
        found = defaultdict[tuple[str | None, str | None], list[datetime]](list)
        for row in self.store.rows(
            "SELECT namespace, CASE verb WHEN 'delete' THEN name END AS name, received_at FROM audit"
            " WHERE resource = $resource AND subresource IS NULL AND response_code BETWEEN 200 AND 299 AND NOT dry_run"
            " AND (verb = 'delete' AND name IS NOT NULL"
            " OR verb = 'deletecollection' AND coalesce(request_uri, '') NOT LIKE '%Selector%')",
            resource=resource,
        ):
            found[(row["namespace"], row["name"])].append(row["received_at"])
        return found
