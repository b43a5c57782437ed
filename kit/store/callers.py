"""Who called, in memory: a row an identity, address, client and credential; and the events of those who made few calls.

The log is asked many times who called from where and since when, and for the events of a few callers. Each of these took a walk through the
whole log; now it takes one to find the callers, and one for the events of several callers at once.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any

import duckdb

CALLER = "user_name, source_address, user_agent, arn, access_key_id, credential_id, claimed_pod_uid, token_secret"
"""The columns that tell callers apart."""
CALLERS = (*CALLER.split(", "), "calls", "first_at", "last_at")
"""The columns of the relation `callers`: the number of calls, and when the first and the last was received."""
MOST_HELD = 100_000  # events, 60 MB; who made more calls is asked for in the log
_PAIR = "coalesce(user_name, ''), coalesce(source_address, '')"
_HELD = (
    "audit_id, received_at, stage_at, verb, request_uri, user_name, user_uid, impersonated_user_name, source_address, user_agent, resource,"
    " subresource, namespace, name, uid, response_code, dry_run, issued_credential_id, file, line, item,"
    " arn, access_key_id, credential_id, claimed_pod_uid, token_secret"
)
_Pair = tuple[str, str]


class Callers:
    """The relations `callers` and `held` of one store, made when they are asked for first.

    database_for: gives the store's database, in which all that a query names can be read. most: events that are held.
    """

    def __init__(self, database_for: Callable[[str], duckdb.DuckDBPyConnection], most: int) -> None:
        self._database_for, self._most = database_for, most
        self._held = set[_Pair]()
        self._events = 0

    @cached_property
    def name(self) -> str:
        """The name of the relation of all callers (CALLERS)."""
        self._do(
            f"CREATE TABLE callers AS SELECT {CALLER}, count(*) AS calls, min(received_at) AS first_at, max(received_at) AS last_at"
            f" FROM audit GROUP BY {CALLER}"
        )
        return "callers"

    def relation(self, among: str, values: Mapping[str, Any]) -> str:
        """The relation in which all events stand that are of some callers: `held`, in memory, else `audit`.

        among: a condition on the relation of callers. values: of its $names, and others.
        """
        wanted = self._pairs(among, values)
        missing = wanted - self._held
        if missing and not self._hold(missing):
            return "audit"
        if not self._held:
            self._make()
        return "held"

    def _pairs(self, among: str, values: Mapping[str, Any]) -> set[_Pair]:
        named = {name: values[name] for name in re.findall(r"\$(\w+)", among)}
        return set(self._do(f"SELECT DISTINCT {_PAIR} FROM {self.name} WHERE {among}", named).fetchall())

    @cached_property
    def _calls(self) -> dict[_Pair, int]:
        """Identity and address → the number of calls."""
        found = self._do(f"SELECT {_PAIR}, sum(calls)::BIGINT FROM {self.name} GROUP BY ALL ORDER BY ALL")
        return {(user, address): calls for user, address, calls in found.fetchall()}

    def _hold(self, missing: set[_Pair]) -> bool:
        """Read the events of callers into memory, and with them of others of the same identity or address, which are asked for next; False
        where they are too many."""
        count = sum(self._calls[pair] for pair in missing)
        if self._events + count > self._most:
            return False
        users, addresses = {user for user, _ in missing}, {address for _, address in missing}
        near = [pair for pair in self._calls if (pair[0] in users or pair[1] in addresses) and pair not in missing]
        for pair in sorted(near, key=lambda one: (self._calls[one], one)):
            if pair in self._held:
                continue
            if self._events + count + self._calls[pair] > self._most // 2:
                break
            missing = missing | {pair}
            count += self._calls[pair]
        self._make()
        wanted = sorted(missing)
        self._do(
            f"INSERT INTO held SELECT {_HELD} FROM audit WHERE ({_PAIR}) IN (SELECT (unnest($users), unnest($addresses)))",
            {"users": [user for user, _ in wanted], "addresses": [address for _, address in wanted]},
        )
        self._held |= missing
        self._events += count
        return True

    def _make(self) -> None:
        self._do(f"CREATE TABLE IF NOT EXISTS held AS SELECT {_HELD} FROM audit LIMIT 0")

    def _do(self, sql: str, values: Mapping[str, Any] | None = None) -> duckdb.DuckDBPyConnection:
        return self._database_for(sql).execute(sql, values or None)
