"""Envelopes in which services hand findings on: EventBridge events, SNS notifications, SQS messages, Lambda's batches of both.

An envelope may be inside another, as JSON text. Sources: EventBridge "event structure"; SNS "message and JSON formats"; Lambda
"using SQS", "using SNS".
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from kit.errors import EvidenceError

DEEPEST = 8  # envelopes in each other


def opened(value: Any, depth: int = DEEPEST) -> Iterator[Any]:
    """What is in the envelopes of a record, whole; the record itself when it is in none.

    Raises EvidenceError for text that is no JSON, and for more envelopes in each other than anybody makes.
    """
    if not depth:
        raise EvidenceError(f"is in more than {DEEPEST} envelopes")
    inner = contents(value)
    if inner is None:
        yield value
        return
    for each in inner:
        if isinstance(each, str):
            each = json_of(each)
        yield from opened(each, depth - 1)


def json_of(text: str) -> Any:
    """The value in a JSON text inside JSON. Raises EvidenceError for what is none."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise EvidenceError("holds text that is no JSON") from None


def contents(value: Any) -> list[Any] | None:
    """What an envelope holds, texts as they are; None for what is no envelope."""
    if not isinstance(value, dict):
        return None
    if isinstance(value.get("Sns"), dict):  # a record of Lambda's
        return [value["Sns"]]
    if isinstance(value.get("Message"), str) and ("TopicArn" in value or value.get("Type") == "Notification"):
        return [value["Message"]]
    for body in ("body", "Body"):  # Lambda, ReceiveMessage
        if isinstance(value.get(body), str) and value.keys() & {
            "messageId",
            "MessageId",
            "receiptHandle",
            "ReceiptHandle",
        }:
            return [value[body]]
    detail = value.get("detail")
    if isinstance(detail, dict):
        listed = detail.get("findings")
        if isinstance(listed, list):
            return list(listed)
        # What the envelope says of account and region is the finding's too, where a cut-down event leaves it out.
        around = {"accountId": value.get("account"), "region": value.get("region")}
        return [{name: each for name, each in around.items() if isinstance(each, str)} | detail]
    return None
