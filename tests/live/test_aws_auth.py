"""The text of aws-auth without one principal: every other line stays, whatever it looks like, or the text is left alone."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as some

from kit.identities.aws_auth_text import NotEditable, accounts, mappings_in, missing, names_again, with_again, without
from kit.model.arn import principal_of

IAM = "arn:aws:iam::111122223333"
PRINCIPAL = ("111122223333", "role", "intruder")


@pytest.mark.parametrize(
    ("arn", "expected"),
    [
        (f"{IAM}:role/Intruder", PRINCIPAL),
        (f"{IAM}:role/deep/er/intruder", PRINCIPAL),
        ("arn:aws:sts::111122223333:assumed-role/Intruder/me", PRINCIPAL),
        ("arn:aws-cn:iam::111122223333:user/a/Eve", ("111122223333", "user", "eve")),
        (f"{IAM}:root", None),
        ("system:node:a", None),
        ("", None),
    ],
)
def test_a_principal_is_the_same_by_each_of_its_arns(arn: str, expected: Any) -> None:
    assert principal_of(arn) == expected


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (f"- rolearn: {IAM}:role/Intruder\n  username: a\n", "[]\n"),
        (f"# why\n- rolearn: {IAM}:role/intruder\n  groups: [a]", "# why\n[]\n"),
        (f"- {{rolearn: {IAM}:role/INTRUDER, username: a}}\n- rolearn: x\n", "- rolearn: x\n"),
        (f'- "roleARN": "{IAM}:role/x/Intruder"\n\n# of b\n- rolearn: b\n', "\n# of b\n- rolearn: b\n"),
        (
            f"  - groups:\n    - system:masters\n    # in between\n    rolearn: {IAM}:role/Intruder\n  # of b\n  - rolearn: b\n",
            "  # of b\n  - rolearn: b\n",
        ),
        (
            f"- rolearn: a\r\n  username: 'x: y'\r\n- rolearn: {IAM}:role/Intruder\r\n",
            "- rolearn: a\r\n  username: 'x: y'\r\n",
        ),
        (
            f"- rolearn: {IAM}:role/Intruder\n- rolearn: b\n- rolearn: {IAM}:role/intruder\n  username: twice\n# end\n",
            "- rolearn: b\n# end\n",
        ),
    ],
)
def test_only_its_lines_go(before: str, after: str) -> None:
    assert without({"mapRoles": before, "other": "kept"}, PRINCIPAL) == {"mapRoles": after}
    yaml.safe_load(after)


def test_users_and_accounts_are_read_too() -> None:
    data = {"mapUsers": f"- userarn: {IAM}:user/eve\n  groups: [system:masters]\n", "mapAccounts": "- '111122223333'\n"}
    assert without(data, ("111122223333", "user", "eve")) == {"mapUsers": "[]\n"}
    assert [one.groups for one in mappings_in(data)] == [["system:masters"]] and accounts(data) == ["111122223333"]


_TEXTS = some.text(some.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), min_size=1, max_size=8)
_ELEMENTS = some.fixed_dictionaries(
    {"rolearn": some.sampled_from([f"{IAM}:role/Intruder", f"{IAM}:role/b"]) | _TEXTS},
    optional={
        "username": _TEXTS,
        "groups": some.lists(_TEXTS, max_size=3),
        "note": some.dictionaries(_TEXTS, _TEXTS, max_size=2),
    },
)


@given(some.lists(_ELEMENTS, min_size=1, max_size=5), some.booleans())
@settings(max_examples=200, deadline=None)
def test_whatever_stands_in_it_the_others_stay(elements: list[dict[str, Any]], indented: bool) -> None:
    text = yaml.safe_dump(elements, allow_unicode=True, sort_keys=False, width=10_000)
    if indented:
        text = "".join(f"  {line}\n" for line in text.split("\n") if line)
    data = {"mapRoles": text}
    left = [one for one in elements if principal_of(one["rolearn"]) != PRINCIPAL]
    try:
        changed = without(data, PRINCIPAL)
    except NotEditable:
        return
    assert yaml.safe_load((data | changed)["mapRoles"]) == left
    lines = iter(text.splitlines())
    assert all(line == "[]" or line in lines for line in (data | changed)["mapRoles"].splitlines())


def back(before: str, now: str) -> str:
    """The text of now with what the removal of PRINCIPAL took out of another one."""
    data = {"mapRoles": before}
    return with_again(data, without(data, PRINCIPAL), {"mapRoles": now})["mapRoles"]


INTRUDER = f"- rolearn: {IAM}:role/Intruder  # why?\n  username: a\n"


@pytest.mark.parametrize(
    ("before", "now", "after"),
    [
        (f"- rolearn: b\n{INTRUDER}", "- rolearn: b\n- rolearn: c", f"- rolearn: b\n- rolearn: c\n{INTRUDER}"),
        (INTRUDER, "# mine\n[]\n", f"# mine\n{INTRUDER}"),
        (INTRUDER, "", INTRUDER),
        (
            INTRUDER,
            "  - rolearn: c\n  # end\n",
            f"  - rolearn: c\n  # end\n  - rolearn: {IAM}:role/Intruder  # why?\n    username: a\n",
        ),
        (f"  - rolearn: {IAM}:role/Intruder\n    username: a\n", "- rolearn: c\n", f"- rolearn: c\n- rolearn: {IAM}:role/Intruder\n  username: a\n"),
    ],
)  # fmt: skip
def test_its_lines_come_back_behind_what_others_wrote_since(before: str, now: str, after: str) -> None:
    assert back(before, now) == after


@pytest.mark.parametrize("now", ["[{rolearn: c}]", "- rolearn: [", "rolearn: c"])
def test_a_text_that_lines_cannot_be_put_into_is_left_alone(now: str) -> None:
    with pytest.raises(NotEditable):
        back(INTRUDER, now)


def test_a_principal_that_is_mapped_again_is_seen() -> None:
    old, new = {"mapRoles": f"- rolearn: b\n{INTRUDER}"}, {"mapRoles": "- rolearn: b\n"}
    assert not names_again(old, new, {"mapRoles": "- rolearn: b\n- rolearn: c\n"})
    assert names_again(old, new, {"mapRoles": f"- rolearn: {IAM}:role/deep/INTRUDER\n"})
    assert not names_again(old, new, {}) and missing(old, new, {}) and not missing(old, new, old)


@given(some.lists(_ELEMENTS, min_size=1, max_size=4), some.lists(_ELEMENTS, max_size=3), some.booleans())
@settings(max_examples=200, deadline=None)
def test_whatever_stands_in_it_by_then_comes_back_with_it(
    elements: list[dict[str, Any]], others: list[dict[str, Any]], indented: bool
) -> None:
    text = yaml.safe_dump(elements, allow_unicode=True, sort_keys=False, width=10_000)
    later = yaml.safe_dump(others, allow_unicode=True, sort_keys=False, width=10_000)
    if indented:
        text = "".join(f"  {line}\n" for line in text.split("\n") if line)
    data = {"mapRoles": text}
    try:
        taken = without(data, PRINCIPAL)
        changed = with_again(data, taken, {"mapRoles": later})
    except NotEditable:
        return
    gone = [one for one in elements if principal_of(one["rolearn"]) == PRINCIPAL and one not in others]
    assert yaml.safe_load(({"mapRoles": later} | changed)["mapRoles"]) == [*others, *gone]
