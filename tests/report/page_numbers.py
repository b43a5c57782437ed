"""Holds the numbers of a report's page to each other: what a sentence counts is what the table under it has, and a fact has one value.

Reads the page alone, as a reader would; nothing of kit/ is used.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from bs4 import BeautifulSoup, Tag

COUNTED = re.compile(r"^affected (?:At least )?([\d,]+) (.+?)(?:, [^.]*)?\.(?: possible ([\d,]+) more\.)?")
MAYBE = re.compile(r"^([\d,]+) (.+?): possible")
TILE = re.compile(
    r"^([\d,]+) (\D+?)(?: affected)?(?: [\d,]+ already gone| none known to be gone)?(?: · | )?(?:([\d,]+) possible)?$"
)
CALLS = re.compile(r"([\d,]+) calls? in the audit log(?: and ([\d,]+) calls? in CloudTrail)? (?:is|are) the attacker's")
FOLDED = re.compile(r"^(?:Each of the )?([\d,]+) (?:rows?|pods)$")
REST = re.compile(r"([\d,]+) more rows are not shown")


def disagreeing(page: str) -> tuple[int, list[str]]:
    """How many numbers were compared, and each disagreement in a sentence."""
    main = BeautifulSoup(page, "html.parser").find("main")
    assert isinstance(main, Tag)
    wrong, compared = list[str](), 0
    values = dict[str, dict[int, str]]()

    def fact(name: str, value: str | None, where: str) -> None:
        nonlocal compared
        if value is not None:
            compared += 1
            values.setdefault(name, {}).setdefault(_number(value), where)

    for sentence in main.find_all("p"):
        if said := COUNTED.match(_text(sentence)):
            noun = _singular(said[2])
            fact(f"affected {noun}", said[1], _text(sentence))
            fact(f"possible {noun}", said[3], _text(sentence))
            table = sentence.find_next_sibling("table") or sentence.find_next("table")
            for rows in _listed(table):
                fact(f"affected {noun}", str(rows), f"rows of the table under it: {noun}")
    for fold in main.find_all("summary"):
        maybe, folded = MAYBE.match(_text(fold)), FOLDED.match(_text(fold))
        if maybe:
            fact(f"possible {_singular(maybe[2])}", maybe[1], _text(fold))
        if maybe or folded:
            for rows in _listed(fold.find_next("table")):
                compared += 1
                said_rows = _number((maybe or folded)[1])  # type: ignore[index]
                if rows != said_rows:
                    wrong.append(f"{_text(fold)!r} has {rows} rows")
    for tile in main.select(".tile"):
        said = TILE.match(_text(tile))
        if said:
            fact(f"affected {_singular(said[2])}", said[1], f"tile {_text(tile)}")
            fact(f"possible {_singular(said[2])}", said[3], f"tile {_text(tile)}")
    said = CALLS.search(_text(main))
    for number, heading in (
        ((said[1], "Calls-in-the-Kubernetes-audit-log"), (said[2], "Calls-in-CloudTrail")) if said else ()
    ):
        place = main.find(id=heading)
        if number and isinstance(place, Tag):
            for rows in _listed(place.find_next("table")):
                fact(f"calls of {heading}", number, "first screen")
                fact(f"calls of {heading}", str(rows), "rows of the table")
    wrong += [
        f"{name} is {' and '.join(map(str, found))}: {list(found.values())}"
        for name, found in values.items()
        if len(found) > 1
    ]
    return compared, wrong


def _listed(table: object) -> Iterator[int]:
    """How many things a table lists, those included that it says are left out; nothing of one that lists groups of them."""
    if not isinstance(table, Tag) or "by name" in _text(table.find("tr")):
        return
    rows = [row for row in table.find_all("tr") if row.find("td")]
    rest = table.parent.find_next_sibling("p", class_="rest") if table.parent else None
    left = REST.match(_text(rest))
    yield len(rows) + (_number(left[1]) if left else 0)


def _text(of: object) -> str:
    return (
        re.sub(r"\s+", " ", of.get_text(" ", strip=True)).replace(" .", ".").replace(" ,", ",")
        if isinstance(of, Tag)
        else ""
    )


def _number(text: str) -> int:
    return int(text.replace(",", ""))


def _singular(noun: str) -> str:
    return (
        re.sub(r"(?<=\w)s\b", "", noun.strip().lower()).replace("addresse", "address").replace("identitie", "identity")
    )
