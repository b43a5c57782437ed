"""What a service refused, failed or left without an answer."""

from __future__ import annotations

THROTTLED = {
    "Throttling",
    "ThrottlingException",
    "ThrottledException",
    "RequestThrottled",
    "RequestThrottledException",
    "RequestLimitExceeded",
    "TooManyRequestsException",
    "TooManyRequests",
    "SlowDown",
    "EC2ThrottledException",
}


class LiveError(Exception):
    """Something that a service said or did; `says` is for a person. service: an AWS service or kubernetes. throttled: too many calls."""

    def __init__(self, says: str, code: str = "", service: str = "kubernetes") -> None:
        super().__init__(says)
        self.says, self.code, self.service = says, code, service

    @property
    def throttled(self) -> bool:
        """Whether the service did nothing because it was asked too often."""
        return self.code in THROTTLED or self.code == "429"


class Refused(LiveError):
    """A precondition is not true: nothing was sent."""


class Failed(LiveError):
    """The service said no: nothing was changed by this call."""


class Conflict(Failed):
    """The object changed between the look and the call."""


class Missing(Failed):
    """There is no such thing."""


class Unknown(LiveError):
    """The answer did not come: it may have happened."""
