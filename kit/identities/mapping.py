"""The lines of aws-auth as the authenticator reads them: one reader for evidence and cluster.

Sources: aws-iam-authenticator, pkg/mapper/configmap (YAML with its anchors is made JSON, whose member names are read in any case and whose
texts are no lists; ARNs are compared in lower case), pkg/arn (of a session it knows its role's ARN without the path), pkg/server (placeholders).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import yaml

from kit.lenient import dict_of, list_of
from kit.model.arn import principal_of

MEMBERS = {"mapRoles": "rolearn", "mapUsers": "userarn"}  # member of the data → of its elements, with the ARN
ACCOUNTS = "mapAccounts"
_MOST = 50_000  # values of one text, with all of its aliases unfolded; a ConfigMap holds 1 MiB
_PLACEHOLDERS = re.compile(r"\{\{(?:AccountID|SessionName|SessionNameRaw|EC2PrivateDNSName|AccessKeyID)\}\}")


@dataclass(frozen=True)
class Mapping:
    """One element of mapRoles or mapUsers. principal: as of principal_of; None for an ARN that is none.

    maps_nobody: why nobody signs in by it, "" when somebody may. odd: what the authenticator passes over in it, "" when nothing.
    """

    arn: str
    principal: tuple[str, str, str] | None
    user_name: str
    groups: list[str]
    maps_nobody: str = ""
    odd: str = ""


class _Texts(yaml.SafeLoader):
    """All plain values as texts: an account's number may begin with a zero. Merges and nulls stay."""

    yaml_implicit_resolvers = {
        letter: [one for one in found if one[0] in ("tag:yaml.org,2002:merge", "tag:yaml.org,2002:null")]
        for letter, found in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


def elements(text: Any) -> list[Any]:
    """The list in a member of aws-auth, [] for an empty one. Raises ValueError with the reason where the authenticator reads none."""
    if not isinstance(text, str):
        raise ValueError("is no text")
    if text.strip() in ("", "``", '""'):
        return []
    loader = None
    try:
        loader = _Texts(text)  # which refuses letters that YAML has not
        root = loader.get_single_node()
        if root is None:
            return []
        _unfolded(root, {}, set())
        read = loader.construct_document(root)
    except yaml.MarkedYAMLError as error:
        where = f" in line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise ValueError(f"is no YAML{where}: {error.problem or error.context}") from None
    except (yaml.YAMLError, RecursionError) as error:
        raise ValueError(f"is no YAML: {str(error).partition(chr(10))[0]}") from None
    finally:
        if loader is not None:
            loader.dispose()
    if read is not None and not isinstance(read, list):
        raise ValueError("is no list")
    return list_of(read)


def _unfolded(node: yaml.Node, known: dict[int, int], above: set[int]) -> int:
    """How many values a node has, each alias counted with all that it stands for. Raises ValueError for too many, or a node in itself."""
    if id(node) not in known:
        if id(node) in above:
            raise ValueError("has an anchor in itself")
        above.add(id(node))
        held = node.value if isinstance(node, yaml.CollectionNode) else ()
        inner = (part for one in held for part in (one if isinstance(one, tuple) else (one,)))
        known[id(node)] = 1 + sum(_unfolded(part, known, above) for part in inner)
        above.discard(id(node))
    if known[id(node)] > _MOST:
        raise ValueError("unfolds without end")
    return known[id(node)]


def mapping_of(member: str, element: Any) -> Mapping:
    """What the authenticator reads of an element of mapRoles or mapUsers."""
    lower = {str(name).lower(): value for name, value in dict_of(element).items()}
    arn, user = _text(lower.get(MEMBERS[member])), _text(lower.get("username"))
    listed, principal, odd = lower.get("groups"), principal_of(arn), ""
    if listed and not isinstance(listed, list):
        odd = f"its groups are the text {listed!r}, no list: it gives none"
    misspelt = [name for name in lower if name != "username" and re.sub("[^a-z]", "", name) == "username"]
    nobody = ""
    if not arn:
        nobody = f"it has no {MEMBERS[member]}"
    elif principal and principal[1] == "role" and arn.count("/") > 1:
        nobody = "the authenticator knows a role by its ARN without the path"
    elif misspelt and not user:
        nobody = f"the authenticator knows no `{misspelt[0]}`, and no `username` stands in it"
    return Mapping(arn, principal, user, [_text(one) for one in list_of(listed)], nobody, odd)


def in_effect(member: str, listed: list[Mapping]) -> list[Mapping]:
    """The elements of a member, of which the last of each ARN alone lets in: the authenticator keeps one line an ARN (saveMap). It
    writes a role's ARN in lower case for that, and a user's as it stands."""
    last = {_kept_under(member, one): number for number, one in enumerate(listed)}
    later = f"a later line of {member} for the same ARN takes its place"
    return [
        one if one.maps_nobody or last[_kept_under(member, one)] == number else replace(one, maps_nobody=later)
        for number, one in enumerate(listed)
    ]


def _kept_under(member: str, one: Mapping) -> str:
    return one.arn.lower() if member == "mapRoles" else one.arn


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def mapped_accounts(text: Any) -> Iterator[str]:
    """The accounts of which every principal is let in; none where the authenticator reads none."""
    try:
        yield from (one for one in elements(text) if isinstance(one, str) and one)
    except ValueError:
        return


def may_give(template: str, user_name: str) -> bool:
    """Whether a user name may come from a mapping's or an access entry's name, with its {{placeholders}}."""
    first, *rest = map(re.escape, _PLACEHOLDERS.split(template))
    # Each text between two placeholders is taken where it first stands and not looked for again: else many of them take for ever.
    pattern = first + "".join(f"(?>.+?{part})" for part in rest[:-1]) + "".join(f".+{part}" for part in rest[-1:])
    return bool(template) and re.fullmatch(pattern, user_name) is not None
