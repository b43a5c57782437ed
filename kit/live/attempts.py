"""Each request that a connection sent, with the id by which the service's own log has it: a try that was throttled stands there too.

Sources: botocore, endpoint.py (`response-received` is emitted for each try); Kubernetes "Auditing" (the Audit-Id of an answer is the auditID
of its event).
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any


@dataclass(frozen=True)
class Attempt:
    """One request that was sent, and what came back. operation: of AWS, or the method. request_id: of AWS, or the Audit-Id."""

    at: datetime
    service: str
    operation: str
    region: str
    request_id: str
    status: int
    error: str
    path: str = ""


class Attempts(threading.local):
    """The requests that this thread sent, oldest first."""

    def __init__(self) -> None:
        self.made: list[Attempt] = []

    def of_aws(
        self, service: str, event_name: str, parsed_response: Any, context: Any, exception: Any, **_: Any
    ) -> None:
        """Take down one try of a call of AWS, as botocore tells it."""
        answer = parsed_response or {}
        about, error = answer.get("ResponseMetadata", {}), answer.get("Error", {})
        said = " ".join(filter(None, [error.get("Code"), error.get("Message")])) or str(exception or "")
        region, operation = str((context or {}).get("client_region") or ""), event_name.rpartition(".")[2]
        request_id, status = str(about.get("RequestId", "")), int(about.get("HTTPStatusCode") or 0)
        self.made.append(Attempt(datetime.now(UTC), service, operation, region, request_id, status, said))

    def of_kubernetes(self, method: str, path: str, status: int, request_id: str) -> None:
        """Take down one call of the API server."""
        self.made.append(Attempt(datetime.now(UTC), "kubernetes", method, "", request_id, status, "", path))

    def taken(self) -> list[Attempt]:
        """Those since the last look."""
        taken, self.made = self.made, []
        return taken
