"""What all tests of the live part share."""

from __future__ import annotations

import time
from datetime import timedelta

import pytest

from kit.live.acts import service_accounts


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing in an emulator takes as long as in AWS or in a cluster, so pauses between looks are short; started programs wait in full."""
    monkeypatch.setattr(service_accounts, "CACHED", timedelta(0))
    sleep = time.sleep
    monkeypatch.setattr(time, "sleep", lambda seconds: sleep(min(seconds, 0.02)))
