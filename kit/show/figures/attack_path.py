"""The attack path: from address to credential to deed to the next credential, left to right, as an SVG whose every box leads to its call.

SVG and not plotly: texts in plotly are inert on purpose, and here each step is a link that a keyboard reaches.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

import pandas as pd
from markupsafe import Markup

from kit.model.identity import NODE, SERVICE_ACCOUNT
from kit.show.figures.chart import chart_time, visible
from kit.show.figures.timeline import arn_words
from kit.statements.moments import Moment, spoken
from kit.words import counted

MOST_BOXES = 40  # more than these are gathered
_WIDTH, _HEIGHT, _COLUMN, _ROW = 146, 62, 168, 76  # pixels of a box, and from one to the next
_KEPT = 6  # credentials that stay apart where many lead nowhere
_LINES = 4  # in a box
_LEAST_WIDTH = 760  # pixels of a path, so that it can be read on a narrow screen; a shorter one is not blown up
_LETTERS = 23  # in a line of a box
_SINGLE = ("created", "exec", "let_in", "forwarded")  # deeds that have a box each; others are gathered by kind
_WORDS = {
    "let_in": "let in",
    "secret": "read {}",
    "config_map": "read {}",
    "token": "minted {}",
    "exec": "ran in {}",
    "forwarded": "connected to {}",
    "created": "created {}",
    "changed": "changed {}",
    "deleted": "deleted {}",
    "signed_in": "signed in to AWS",
    "looked": "looked around",
    "tried": "was refused or failed",
}
_NOUNS = {"secret": "secret", "config_map": "config map", "token": "token", "changed": "object", "deleted": "object"}


@dataclass
class Box:
    """A box of the path. kind: address, credential, deed or look. lines: what it says. step: how it was come to, at that time by that call."""

    key: str
    kind: str
    lines: list[str]
    step: str = ""
    at: datetime | None = None
    ref: str = ""
    before: list[str] = field(default_factory=list)
    calls: int = 0
    column: int = 0
    row: int = 0


def attack_boxes(moments: Iterable[Moment], node_of: Mapping[str, str], owner_of: Mapping[str, str]) -> list[Box]:
    """The boxes of the path, those before first. node_of: path of a pod → its node. owner_of: role's name → the user name that got its session."""
    boxes = dict[str, Box]()
    credentials, told = dict[str, list[Moment]](), sorted(moments, key=lambda one: (one.at, one.ref))
    for one in told:
        credentials.setdefault(f"{one.actor.name}|{one.actor.through}", []).append(one)
    for key, of in sorted(credentials.items(), key=lambda item: (item[1][0].at, item[0])):
        _credential(boxes, key, of, credentials, node_of, owner_of)
        _deeds(boxes, key, of, credentials)
    found = list(boxes.values())
    if len(found) > MOST_BOXES:
        found = _gathered(found)
    return _placed(found)


def _credential(
    boxes: dict[str, Box],
    key: str,
    of: list[Moment],
    credentials: Mapping[str, list[Moment]],
    node_of: Mapping[str, str],
    owner_of: Mapping[str, str],
) -> None:
    """The box of a credential, behind what it came from: a mint, a node that was entered, another's session, else an address."""
    first = of[0]
    name, through, address = first.actor.name, first.actor.through, first.actor.address or "address not recorded"
    box = boxes[key] = Box(
        key, "credential", [spoken(arn_words(name)), through or f"from {address}"], "used", first.at, first.ref
    )
    box.calls = len(of)
    earlier = [one for every in credentials.values() for one in every if one.at <= first.at and one not in of]
    account = name.removeprefix(SERVICE_ACCOUNT).replace(":", "/", 1)
    mints = [one for one in earlier if ("token", account) in one.objects and "minted" in through]
    entered = [one for one in earlier if name.startswith(NODE) and name.removeprefix(NODE) in _nodes(one, node_of)]
    owner = next((who for role, who in owner_of.items() if through == f"with a session of {role}"), "")
    owned = [one for one in earlier if owner and one.actor.name == owner]
    if mints:
        source, box.step, box.at, box.ref = mints[-1], "minted", mints[-1].at, mints[-1].ref
        box.before = [_key(source)]
    elif entered:
        source = next((one for one in reversed(entered) if one.kind == "exec"), entered[-1])
        box.before, box.step = [f"{_key(source)}|{source.kind}|{source.ref}"], "node's credential used"
    elif owned:
        box.before, box.step = [_key(owned[-1])], "its AWS session used"
    if box.before:
        box.lines[1] = f"{through}, from {address}" if through and "minted" not in through else f"from {address}"
        return
    root = f"address|{address}"
    boxes.setdefault(root, Box(root, "address", [address]))
    box.before, box.lines[1] = [root], through or "no credential is known"


def _key(one: Moment) -> str:
    return f"{one.actor.name}|{one.actor.through}"


def _nodes(one: Moment, node_of: Mapping[str, str]) -> set[str]:
    """The nodes on which a deed ran something: that of a pod, or those of a workload's pods."""
    paths = [key for kind, key in one.objects if kind in ("exec", "created")]
    return {
        node
        for path in paths
        for pod, node in node_of.items()
        if pod == path or (not path.startswith("pods/") and _is_of(pod, path))
    }


def _is_of(pod: str, workload: str) -> bool:
    """Whether a pod's path looks like one of a workload's: same namespace, and a name that begins with the workload's."""
    place, _, name = workload.partition("/")[2].rpartition("/")
    return pod.startswith(f"pods/{place}/{name}-")


def _deeds(boxes: dict[str, Box], key: str, of: list[Moment], credentials: Mapping[str, list[Moment]]) -> None:
    """What a credential was used for: each deed that opens something has a box, others one a kind; looks only where there is nothing else."""
    looks = [one for one in of if one.kind in ("looked", "tried", "signed_in")]
    deeds = [one for one in of if one not in looks]
    for one in deeds:
        if one.kind == "token" and any(_key(use[0]) != key and _is_minted_by(one, use) for use in credentials.values()):
            continue  # the minted credential stands for it
        place = f"{key}|{one.kind}|{one.ref}" if one.kind in _SINGLE else f"{key}|{one.kind}"
        box = boxes.setdefault(place, Box(place, "deed", [], _WORDS[one.kind], one.at, one.ref, [key]))
        box.calls += 1
        box.lines = list(dict.fromkeys([*box.lines, *(name for kind, name in one.objects if kind == one.kind), *([] if one.objects else [one.thing])]))  # fmt: skip
    if looks and not deeds:
        place, kind = f"{key}|look", "tried" if all(one.kind == "tried" for one in looks) else "looked"
        boxes[place] = Box(place, "look", [f"{counted(len(looks), 'call')}"], _WORDS[kind], looks[0].at, looks[0].ref, [key], len(looks))  # fmt: skip


def _is_minted_by(one: Moment, use: list[Moment]) -> bool:
    account = use[0].actor.name.removeprefix(SERVICE_ACCOUNT).replace(":", "/", 1)
    return "minted" in use[0].actor.through and ("token", account) in one.objects and use[0].at >= one.at


def _gathered(boxes: list[Box]) -> list[Box]:
    """So many boxes as can be read: ends behind one box become one a kind, then credentials that lead to no other one; of still more the last."""
    boxes = _ends_joined(boxes)
    if len(boxes) > MOST_BOXES:
        boxes = _ends_joined(_credentials_joined(boxes))
    if len(boxes) > MOST_BOXES:
        kept, rest = boxes[: MOST_BOXES - 1], boxes[MOST_BOXES - 1 :]
        says = f"{counted(len(rest), 'more step')} in the table"
        boxes = [*kept, Box("rest", "look", [says], calls=sum(box.calls for box in rest))]
    return boxes


def _ends_joined(boxes: list[Box]) -> list[Box]:
    """Boxes that lead nowhere, joined where they come of one box by one kind of step."""
    leads = {key for box in boxes for key in box.before}
    groups = dict[str, list[Box]]()
    for box in boxes:
        joins = box.before and box.key not in leads and box.kind in ("deed", "look")
        groups.setdefault(f"{box.before[0]}|{box.step}" if joins else box.key, []).append(box)
    return [_joined(key, group) if group[1:] else group[0] for key, group in groups.items()]


def _credentials_joined(boxes: list[Box]) -> list[Box]:
    """Credentials that lead to no other one, joined where they come of one box, but for those with the most calls."""
    by_key = {box.key: box for box in boxes}
    ways = {key for box in boxes if box.kind == "credential" for key in box.before}
    ways |= {key for way in ways for key in by_key[way].before}  # through a deed
    ends = [box for box in boxes if box.kind == "credential" and box.key not in ways]
    ends.sort(key=lambda box: (-box.calls, box.key))
    groups = dict[str, list[Box]]()
    for box in ends[_KEPT:]:
        groups.setdefault(f"more|{box.before[0]}", []).append(box)
    moved = {box.key: key for key, group in groups.items() for box in group}
    made = [box for box in boxes if box.key not in moved]
    for box in made:
        box.before = [moved.get(key, key) for key in box.before]
    for key, group in groups.items():
        one = _joined(key, group)
        one.lines = [counted(len(group), "more credential")]
        made.append(one)
    return made


def _joined(key: str, group: list[Box]) -> Box:
    first = min(group, key=lambda box: (box.at is None, box.at, box.key))
    names = list(dict.fromkeys(line for box in group for line in box.lines))
    return Box(key, first.kind, names, first.step, first.at, first.ref, first.before, sum(box.calls for box in group))


def _placed(boxes: list[Box]) -> list[Box]:
    """Each box one column behind what it came from, and in the row after the last one of its path."""
    by_key = {box.key: box for box in boxes}
    after = dict[str, list[Box]]()
    for box in boxes:
        box.before = [key for key in box.before if key in by_key]
        for key in box.before[:1]:
            after.setdefault(key, []).append(box)
    row, waiting = 0, [box for box in reversed(boxes) if not box.before]
    placed = list[Box]()
    while waiting:
        box = waiting.pop()
        box.column = by_key[box.before[0]].column + 1 if box.before else 0
        # The first thing that comes of a box stands beside it; each further path begins a row of its own.
        taken = any(other.column >= box.column and other.row == row for other in placed)
        row = max((other.row for other in placed), default=-1) + 1 if taken or (not box.before and placed) else row
        box.row = row
        placed.append(box)
        waiting += sorted(after.get(box.key, []), key=lambda one: (one.key not in after, one.at is None, one.at), reverse=True)  # fmt: skip
    return placed


def path_rows(boxes: list[Box]) -> pd.DataFrame:
    """The same facts as a table: what came of what, when, by which call."""
    by_key = {box.key: box for box in boxes}
    rows = [
        {
            "at": box.at,
            "from": " ".join(by_key[box.before[0]].lines[:2]) if box.before else "",
            "step": _says(box),
            "what": ", ".join(box.lines),
            "calls": box.calls,
            "ref": box.ref,
        }
        for box in sorted(boxes, key=lambda box: (box.at is None, box.at, box.key))
        if box.kind != "address"
    ]
    return pd.DataFrame(rows, columns=["at", "from", "step", "what", "calls", "ref"])


def _says(box: Box) -> str:
    """How a box was come to, in words that stand before its names."""
    noun = next((noun for kind, noun in _NOUNS.items() if _WORDS[kind] == box.step), "")
    many = counted(len(box.lines), noun) if noun and len(box.lines) > 1 else noun
    return box.step.format(many).strip()


def path_svg(boxes: list[Box], address_of: Callable[[str], str]) -> Markup:
    """The path as an SVG that stands by itself: each box with its time is a link to its call, or bears its ref. address_of: ref → href, "" without one."""
    width = _COLUMN * (max((box.column for box in boxes), default=0) + 1) - (_COLUMN - _WIDTH) + 4
    height = _ROW * (max((box.row for box in boxes), default=0) + 1)
    by_key = {box.key: box for box in boxes}
    lines = Markup("").join(_line(by_key[box.before[0]], box) for box in boxes if box.before)
    drawn = Markup("").join(_drawn(box, address_of(box.ref) if box.ref else "") for box in boxes)
    says = f"Attack path: {counted(sum(box.kind == 'credential' for box in boxes), 'credential')}, {counted(len(boxes), 'box', 'boxes')}; the table under it has the same."
    return Markup(
        '<div class="wide path"><svg role="group" aria-label="{}" viewBox="0 0 {} {}" width="{}" height="{}" style="min-width:min(100%,{}px)">{}{}</svg></div>'
    ).format(says, width, height, width, height, min(width, _LEAST_WIDTH), lines, drawn)


def _line(source: Box, target: Box) -> Markup:
    x, y = source.column * _COLUMN + _WIDTH + 2, source.row * _ROW + _HEIGHT / 2
    end_x, end_y = target.column * _COLUMN + 2, target.row * _ROW + _HEIGHT / 2
    bend = (x + end_x) / 2
    return Markup('<path class="way" d="M{:g} {:g}C{:g} {:g} {:g} {:g} {:g} {:g}"/>').format(
        x, y, bend, y, bend, end_y, end_x, end_y
    )


def _drawn(box: Box, href: str) -> Markup:
    said = [visible(line) for line in box.lines]
    head = [f"{box.at:%H:%M:%S} {_says(box)}"] if box.at else []
    rows = [part for line in head for part in _wrapped(line)]
    rows += (
        _names(said, _LINES - len(rows))
        if box.kind == "deed"
        else [part for line in said[:2] for part in _wrapped(line)]
    )
    rows = rows[:_LINES]
    hover = "\n".join([*([f"{chart_time(box.at)} UTC"] if box.at else []), *([_says(box)] if box.at else []), *said])
    x, y = box.column * _COLUMN + 2, box.row * _ROW + 2
    texts = Markup("").join(
        Markup('<tspan x="{}" dy="{}"{}>{}</tspan>').format(x + 7, 13 if place else 14, Markup(' class="when"') if head and not place else "", line)
        for place, line in enumerate(rows)
    )  # fmt: skip
    inside = Markup(
        '<title>{}</title><rect x="{}" y="{}" width="{}" height="{}" rx="4"/><text x="{}" y="{}">{}</text>'
    ).format(hover, x, y, _WIDTH, _HEIGHT, x + 7, y, texts)
    if href:
        return Markup('<a href="{}" class="{}">{}</a>').format(href, box.kind, inside)
    return Markup('<g data-ref="{}" class="{}{}">{}</g>').format(box.ref, box.kind, " ref" if box.ref else "", inside)


def _names(said: list[str], room: int) -> list[str]:
    """The names of things in a box, a line each where there are several; of more than there is room for the first ones, and how many more."""
    if len(said) == 1:
        return _wrapped(said[0])
    shown = said if len(said) <= room else [*said[: room - 1], f"and {len(said) - room + 1:,} more"]
    return [one if len(one) <= _LETTERS else f"{one[: _LETTERS // 2 - 1]}…{one[-(_LETTERS // 2) :]}" for one in shown]


def _wrapped(line: str) -> list[str]:
    """A line in at most two, the second cut in its middle where it is longer still."""
    if len(line) <= _LETTERS:
        return [line]
    cut = max(line.rfind(letter, 0, _LETTERS) for letter in " /-:") + 1 or _LETTERS
    head, rest = line[:cut], line[cut:]
    if len(rest) > _LETTERS:
        rest = f"{rest[: _LETTERS // 2 - 1]}…{rest[-(_LETTERS // 2) :]}"
    return [head.rstrip(), rest]
