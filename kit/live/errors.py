"""What a service refused, failed or left without an answer, and which of it an AWS client's exception is."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar

from kit.errors import CallError
from kit.words import nearest, utc

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
CLOCK_IS_WRONG = {"RequestExpired", "RequestTimeTooSkewed", "SignatureDoesNotMatch", "InvalidSignatureException"}
"""The codes of a signature that is not taken: where credentials worked before, this machine's clock is wrong."""
REGION_IS_OFF = {"UnrecognizedClientException", "InvalidClientTokenId", "AuthFailure", "OptInRequired"}
"""The codes of a region that knows nothing of a credential that is taken elsewhere."""
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
        if code in CLOCK_IS_WRONG:
            raise Failed(f"{says}{_clocks(error.response)}", code, service) from None
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
    except aws_errors.InvalidRegionError as error:
        raise Failed(f"{what}: {error}", "no_region", service) from None
    except aws_errors.BotoCoreError as error:
        raise Failed(f"{what}: {error}", "unsent", service) from None


def _clocks(response: Any) -> str:
    """What the service's clock said with its answer, and what this machine's says; "" where the answer had no time."""
    told = str(response.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date") or "")
    try:
        at = parsedate_to_datetime(told)
    except ValueError:
        return ""
    return f" (its clock: {utc(at)}, this machine's: {utc(datetime.now(UTC))})"


def nobody(error: LiveError, region: str) -> CallError:
    """Why STS did not say who calls: no region of that name, no way there, a clock that is wrong, a region that is off, or no credential."""
    said = error.says.rstrip(".")
    if error.code in ("no_region", "unreached"):
        import boto3

        session = boto3.Session()
        known = [name for one in session.get_available_partitions() for name in session.get_available_regions("ec2", one)]  # fmt: skip
        if region not in known:
            return CallError(f"boto3 knows no region {region!r}, and it cannot be called: {said}", where="region", next=nearest(region, known))  # fmt: skip
    if error.code in ("unreached", "cut"):
        return CallError(said, where="AWS", next="look at this machine's network and proxy")
    if error.code in CLOCK_IS_WRONG:
        return CallError(
            f"AWS does not take the signature: {said}",
            where="AWS",
            next="set this machine's clock, and look whether the secret access key is right",
        )
    way_out = "sign in (`aws sso login` where it is SSO), or name a profile with --profile"
    if error.code in REGION_IS_OFF:
        way_out += f"; or {region} is off in this account: enable it, or name another region"
    return CallError(f"there are no usable AWS credentials: {said}", where="AWS", next=way_out)
