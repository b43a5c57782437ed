"""What a service refused, failed or left without an answer, and which of it an AWS client's exception is."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

TRIES = 6
"""How often a call is sent that may be sent again."""
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
IMPOSSIBLE = "impossible"
"""The code of what cannot be done here at all, so that nothing waits for it."""
GONE = "gone"
"""The code of what is refused because the thing that is meant is there no more: nothing of it is left to capture."""
_DENIED = {
    "AccessDenied",
    "AccessDeniedException",
    "UnauthorizedOperation",
    "Client.UnauthorizedOperation",
    "AuthFailure",
}
_ENDED = {"ExpiredToken", "ExpiredTokenException", "401", "credentials"}
Result = TypeVar("Result")


class LiveError(Exception):
    """Something that a service said or did; `says` is for a person. service: an AWS service or kubernetes. throttled: too many calls."""

    def __init__(self, says: str, code: str = "", service: str = "kubernetes") -> None:
        super().__init__(says)
        self.says, self.code, self.service = says, code, service

    @property
    def throttled(self) -> bool:
        """Whether the service did nothing because it was asked too often."""
        return self.code in THROTTLED or self.code == "429"

    @property
    def denied(self) -> bool:
        """Whether the caller lacks a permission."""
        return self.code in _DENIED or self.code == "403"

    @property
    def credentials_ended(self) -> bool:
        """Whether the caller has no credential any more that the service takes."""
        return self.code in _ENDED


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


def is_silent(error: LiveError) -> bool:
    """Whether a service was not reached, gave no answer, or asked to be left alone; one that answered 500 works for others."""
    return error.throttled or error.code in ("unreached", "cut", "502", "503", "504")


def aws_answer(call: Callable[[], Result], service: str, operation: str) -> Result:
    """What a call of AWS answers. Raises Missing, Failed, Unknown for what its client raises."""
    import botocore.exceptions as aws_errors

    what = f"{service} {operation}"
    try:
        return call()
    except aws_errors.ClientError as error:
        code = str(error.response.get("Error", {}).get("Code", ""))
        message = str(error.response.get("Error", {}).get("Message", ""))
        status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode") or 0)
        says = f"{what}: {code} {message}"[:500]
        if code in THROTTLED:
            raise Failed(f"{says} (throttled after {TRIES} tries)", code, service) from None
        if code in _DENIED:
            raise Failed(f"{what}: not permitted: {message}"[:500], code, service) from None
        if "NotFound" in code or code == "NoSuchEntity":
            raise Missing(says, code, service) from None
        raise (Unknown if status >= 500 else Failed)(says, code, service) from None
    except (aws_errors.EndpointConnectionError, aws_errors.ConnectTimeoutError) as error:
        raise Failed(f"{what}: cannot be reached: {error}", "unreached", service) from None
    except (aws_errors.HTTPClientError, aws_errors.ConnectionError) as error:
        raise Unknown(f"{what}: no answer came: {error}", "cut", service) from None
    except (
        aws_errors.NoCredentialsError,
        aws_errors.PartialCredentialsError,
        aws_errors.CredentialRetrievalError,
        aws_errors.TokenRetrievalError,
        aws_errors.SSOError,
    ) as error:
        raise Failed(f"{what}: {error}", "credentials", service) from None
    except aws_errors.BotoCoreError as error:
        raise Failed(f"{what}: {error}", "unsent", service) from None
