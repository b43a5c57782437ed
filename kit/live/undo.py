"""One change is taken back: only when it still holds, nobody else's action stands on it, and what was there before is known."""

from __future__ import annotations

import time
from collections.abc import Callable

from kit.live.changes.change import Change, State, read_back
from kit.live.connection import Connection
from kit.live.errors import LiveError, Refused
from kit.plan.journal import ActionRecord, Journal

_LOOKS = 4  # after a change, until it is seen


def taken_back(live: Connection, journal: Journal, record: ActionRecord, number: int) -> tuple[str, str]:
    """Take one change back: the word of its outcome, and why it is not undone."""
    one = record.changes[number]
    try:
        change = read_back(one.change)
    except Refused as error:
        return "cannot be undone", error.says
    why = (record.action["cannot_undo"] if record.finished else "") or change.cannot_undo
    if why:
        return "cannot be undone", f"{change.says}: {why}"
    other = _shared_with(journal, record, number)
    if other:
        return "not undone", f"{change.says}: {other} stands on it too; undo that first"
    try:
        now = change.look(live)
        if change.is_restored(one.before, now):
            journal.write("undone", action=record.id, change=number, request_id="", after=now, looked_up=True)
            return "undone", ""
        if not change.holds(now) and change.is_gone(one.before, now):
            return "cannot be undone", f"{change.says}: it is not there any more"
        if not change.holds(now) and not (one.undoing and change.is_partly_restored(one.before, now)):
            why = (
                "its undo was asked for and is not seen yet"
                if one.undoing
                else "somebody changed it since; it is left as it is"
            )
            return "not undone", f"{change.says}: {why}"
        journal.write("undo_intent", action=record.id, change=number, says=f"undo: {change.says}")
        live.request_id = ""
        request = change.undo(live, one.before, one.after) or live.request_id
        # What somebody else added meanwhile stays: then it is not as before, and what was done does not hold any more.
        now = seen_after(live, change, lambda state: change.is_restored(one.before, state) or not change.holds(state))
        if not change.is_restored(one.before, now) and change.holds(now):
            journal.write("undo_asked", action=record.id, change=number, request_id=request, after=now)
            return (
                "not undone",
                f"{change.says}: its undo is asked for and not seen yet; run the same command again to look",
            )
        journal.write("undone", action=record.id, change=number, request_id=request, after=now)
    except LiveError as error:
        journal.write("not_undone", action=record.id, change=number, says=error.says)
        return "not undone", f"{change.says}: {error.says}"
    except Exception as error:  # noqa: BLE001 - of one change; the others are still taken back
        journal.write("not_undone", action=record.id, change=number, says=unforeseen(error))
        return "not undone", f"{change.says}: {unforeseen(error)}"
    return "undone", ""


def _shared_with(journal: Journal, record: ActionRecord, number: int) -> str:
    """Another action that still stands on the same change, "" when none does."""
    same = record.changes[number].change
    others = (
        one for one in journal.actions.values() if one is not record and one.finished and not one.action["cannot_undo"]
    )
    return next(
        (
            one.id
            for one in others
            if any(each.change == same and each.outcome in ("done", "already") for each in one.changes)
        ),
        "",
    )


def seen_after(live: Connection, change: Change, seen: Callable[[State], bool]) -> State:
    """What is there after a call; services that are eventually consistent are asked a few times."""
    after: State = None
    for tries in range(_LOOKS):
        after = change.look(live)
        if seen(after):
            break
        time.sleep(0.1 * 2**tries)
    return after


def unforeseen(error: Exception) -> str:
    """What is said of an error that no code foresees."""
    return f"unforeseen: {type(error).__name__}: {error}"[:500]
