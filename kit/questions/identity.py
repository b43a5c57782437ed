"""Questions about the caller: who it is, whether it was expected, what is new about its call, who else was there.

Sources: audit.k8s.io/v1 Event (user, user.extra, impersonatedUser, sourceIPs, userAgent); Kubernetes "Authenticating" (impersonation).
"""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta
from typing import Any

from kit.attribution.calls import Event, made_by, place_of, resource_of
from kit.identities.revocation import kind_of_node
from kit.inventory.addresses import is_private
from kit.inventory.node_kind import HELD_NODE
from kit.model.identity import NODE
from kit.model.kinds import Certainty, Needs
from kit.model.why import AUDIT_LOG, DUMP, Limit
from kit.questions.question import Asked, Found, question, row, whys
from kit.store.queries import groups, within
from kit.store.tables import Row
from kit.words import before_or_after, counted, few, utc

LOG = Needs("audit")
_LEAST_BASELINE = timedelta(hours=1)  # a shorter one shows nothing of what is usual


@question("Who is really behind the user name?", LOG, about=("identity",))
def who_is_it(asked: Asked) -> Found:
    """The identities of the scope; shown when the sign-in of the finding's caller decides its kind."""
    caller = asked.finding.user.get("Username")
    rows, unsure = list[Row](), list[Limit]()
    called = {event["user_name"] for event in asked.hostile} if asked.whole else set[str]()
    for profile in (one for one in asked.profiles if not called or one.identity.user_name in called):
        one = profile.identity
        credentials = [f"{each.kind} {each.key}".strip() for each in profile.credentials if each.hostile]
        rows.append(
            row(
                [profile.why.ref, *(why.ref for why in profile.patient_zero)],
                "affected" if one.sure else "possible",
                Identity=one.user_name,
                Kind=one.kind.replace("_", " "),
                Decided_by=profile.why.says,
                Credentials_of_the_attacker=credentials,
                Got_from=whys(profile.patient_zero),
                When_held=HELD_NODE[kind] if (kind := kind_of_node(asked.inventory, one)) else "",
            )
        )
        if not one.sure:
            says = f"Who {one.user_name} is cannot be told: no sign-in of it is in the evidence, and only the form of its name tells its kind"
            unsure.append(Limit(("identity",), says, f"{AUDIT_LOG}, and `aws eks list-access-entries`"))
    named = next((one for one in rows if one["Identity"] == caller), rows[0] if rows else None)
    says = f"{named['Identity']} is {named['Kind']}: {named['Decided by']}." if named else ""
    if asked.whole and len(rows) > 1:
        told = [f"{one['Identity']} ({one['Kind']})" for one in rows]
        says = f"{len(rows)} identities: {few(told, 4)}."
    elif named and named["Got from"]:
        says = f"{says} {named['Got from'][:1].upper()}{named['Got from'][1:]}."
    shown = int(bool(named) and named["certainty"] == "affected") if named else 0
    return Found(
        rows, says, "The finding names no caller, and no call is attributed to an attacker.", shown, tuple(unsure)
    )


@question("What speaks for it having been expected?", LOG)
def was_it_expected(asked: Asked) -> Found:
    """The same call before the first bad sign, by the same identity from another credential and another address: a dwelling attacker
    stands in the baseline too."""
    own, first = asked.own_calls, asked.first_hostile_at
    if not own or first is None:
        says = "Whether it was expected cannot be told: the finding's own call is not in the evidence"
        return Found([], "", "", limits=(Limit(("identity",), says, AUDIT_LOG),))
    before, limits = f"before the first bad sign ({utc(first)})", _short_baseline(asked)
    rows, said = list[Row](), list[str]()
    alike = {(event["user_name"], _words_of(event), event["namespace"]): event for event in own}
    for call in alike.values() if asked.whole else own[:1]:
        earlier = _earlier(asked, call, [*own, *asked.hostile], first)
        rows += earlier
        if earlier:
            number = sum(one["Calls"] for one in earlier)
            said.append(
                f"{call['user_name']} made the same call ({_words_of(call)}) {counted(number, 'time')} {before}"
            )
    what = few(list(dict.fromkeys(f"{event['user_name']}: {_words_of(event)}" for event in alike.values())), 3)
    nothing = f"No such call was made {before} ({what}), but from suspect credentials and addresses."
    says = f"{few(said, 2)}, with another credential from another address. Only a person's mark closes a finding."
    return Found(rows, says, nothing, limits=limits)


def _earlier(asked: Asked, call: Event, suspects: list[Event], first: datetime) -> list[Row]:
    """Calls like one, before the first bad sign, with no suspect credential and from no suspect address."""
    rows = []
    for one in groups(
        asked.store,
        "audit",
        ("source_address", "user_agent"),
        "user_name = $user AND verb = $verb AND resource IS NOT DISTINCT FROM $resource::VARCHAR"
        " AND coalesce(subresource, '') = $subresource AND namespace IS NOT DISTINCT FROM $namespace::VARCHAR AND received_at < $first"
        " AND response_code < 300 AND NOT list_contains($addresses, source_address)"
        " AND NOT list_contains($credentials, coalesce(credential_id, access_key_id, ''))",
        order="calls DESC, source_address, user_agent",
        user=call["user_name"],
        verb=call["verb"],
        resource=call["resource"],
        subresource=call["subresource"],
        namespace=call["namespace"],
        first=first,
        addresses=sorted({event["source_address"] for event in suspects} - {None}),
        credentials=sorted({event["credential_id"] or event["access_key_id"] for event in suspects} - {None}),
    ):
        rows.append(
            row([asked.ref(one["first"])], Identity=call["user_name"], From=one["source_address"], Client=one["user_agent"], Calls=one["calls"],
                First=one["first_at"], Last=one["last_at"])
        )  # fmt: skip
    return rows


@question("What about these calls was never seen before?", LOG)
def is_it_new(asked: Asked) -> Found:
    """Address, client, kind of call and namespace of the attacker's calls that the identity never had before the first bad sign."""
    first = asked.first_hostile_at
    own = asked.own_calls
    called = asked.hostile or [
        one for one in own if asked.window and asked.window.start <= one["received_at"] < asked.window.end
    ]
    users = sorted({str(event["user_name"]) for event in called})
    if first is None or not users:
        return Found([], "", "No call is attributed to an attacker, so nothing can be compared.", limits=asked.nobody)
    known = Counter[tuple[str, str, str]]()
    for one in asked.store.rows(
        "SELECT user_name, source_address, user_agent, verb || ' ' || coalesce(resource || coalesce('/' || subresource, ''), request_uri, '')"
        " AS call, namespace, count(*) AS calls FROM audit WHERE list_contains($users, user_name) AND received_at < $first"
        " GROUP BY 1, 2, 3, 4, 5",
        users=users,
        first=first,
    ):
        for what in ("source_address", "user_agent", "call", "namespace"):
            known[one["user_name"], what, one[what] or ""] += one["calls"]
    found = dict[tuple[str, str, str], tuple[Event, int]]()
    for event in called:
        values: dict[str, Any] = {**event, "call": _words_of(event)}
        for what in ("source_address", "user_agent", "call", "namespace"):
            place = (str(event["user_name"]), what, values[what] or "")
            if place[2] and not known[place]:
                found[place] = (found.get(place, (event, 0))[0], found.get(place, (event, 0))[1] + 1)
    words = {
        "source_address": "source address",
        "user_agent": "client",
        "call": "kind of call",
        "namespace": "namespace",
    }
    # Without a baseline of the identity everything is new, which says nothing.
    usual = {user for user, _, _ in known} if not _short_baseline(asked) else set()
    rows = [
        row(
            [asked.ref(event)], "affected" if user in usual else "possible", Identity=user, New=words[what], Value=value, Calls=calls,
            First=event["received_at"],
        )
        for (user, what, value), (event, calls) in found.items()
    ]  # fmt: skip
    kinds = [word for what, word in words.items() if any(what == place[1] for place in found)]
    since = f"before the first bad sign ({utc(first)})"
    return Found(
        rows,
        f"New for the identity: {', '.join(kinds)}. Compared with all that it did {since}.",
        f"The identity called so {since} too: same addresses, clients, kinds of calls and namespaces.",
        limits=_short_baseline(asked),
    )


@question("What else did the attacker's identities do?", LOG, about=("identity",))
def what_else_did_it_do(asked: Asked) -> Found:
    """The attacker's calls beside the finding's own one, by kind; possible ones too."""
    own = {place_of(event) for event in asked.own_calls}
    others = [event for event in asked.hostile if place_of(event) not in own]
    possible = [
        call.event
        for call in asked.scope.attacker.possible.values()
        if any(call.event["audit_id"] in part.possible_calls for part in (asked.parts if asked.whole else [asked.of]))
    ]
    rows = [*_by_kind(asked, others, "affected"), *_by_kind(asked, possible, "possible")]
    return Found(
        rows,
        f"{counted(len(others), 'other call')} of {counted(len({one['user_name'] for one in others}), 'identity')} {'is' if len(others) == 1 else 'are'} the attacker's.",
        "Beside the finding's own call, none is attributed to the attacker.",
        len(others),
        asked.nobody,
    )


@question("Who else called from this source address?", LOG)
def who_else_used_the_address(asked: Asked) -> Found:
    """Other identities at the attacker's addresses; at one of the cluster's own many are to be expected."""
    addresses = sorted({str(event["source_address"]) for event in asked.hostile if event["source_address"]})
    shared = [one for one in addresses if one in asked.scope.attacker.cluster_addresses.own]
    rows = []
    for address in (one for one in addresses if one not in shared):
        for one in groups(
            asked.store,
            "audit",
            ("user_name",),
            "source_address = $address AND NOT list_contains($callers, user_name)",
            order="calls DESC, user_name",
            address=address,
            callers=asked.callers
            if asked.whole
            else [str(asked.finding.user.get("Username") or (asked.callers or [""])[0])],
        ):
            rows.append(row([asked.ref(one["first"])], Address=address, Identity=one["user_name"], Calls=one["calls"],
                            First=one["first_at"], Last=one["last_at"]))  # fmt: skip
    limits = list(asked.nobody)
    for address in shared:
        says = f"Who of those behind {address} was the attacker cannot be told: {asked.scope.attacker.cluster_addresses.own[address].says}"
        limits.append(Limit(("source_ip",), says, "the sign-ins and pods behind that address"))
    return Found(
        rows,
        f"{counted(len({one['Identity'] for one in rows}), 'other identity', 'other identities')} called from the attacker's addresses.",
        f"Nobody else called from {', '.join(addresses) or 'there'}.",
        limits=tuple(limits),
    )


@question(
    "Was a credential of an affected pod or node used from outside of the cluster?",
    LOG,
    Needs("trail"),
    about=("pod", "node", "iam_role"),
)
def credentials_used_outside(asked: Asked) -> Found:
    """Tokens bound to affected pods, kubelets' credentials of affected nodes, and their AWS sessions, used from addresses that are not the cluster's."""
    own = asked.scope.attacker.cluster_addresses.own
    pods = {one.key: one for one in asked.subjects("pod") if one.certainty == "affected"}
    nodes = {one.key for one in asked.subjects("node") if one.certainty == "affected"}
    rows = []
    for one in groups(
        asked.store,
        "audit",
        ("user_name", "claimed_pod_uid", "source_address"),
        "(list_contains($pods, claimed_pod_uid) OR list_contains($nodes, user_name)) AND source_address IS NOT NULL"
        f" AND {within('received_at')}",
        order="first_at, source_address, user_name, claimed_pod_uid",
        pods=sorted(pods),
        nodes=[f"{NODE}{node}" for node in sorted(nodes)],
        start=asked.scope.given[0],
        end=asked.scope.given[1],
    ):
        if one["source_address"] not in own:
            certainty: Certainty = "affected" if own and not is_private(one["source_address"]) else "possible"
            thing = pods[one["claimed_pod_uid"]].thing if one["claimed_pod_uid"] in pods else None
            whose = thing.path if thing else one["user_name"].removeprefix(NODE)
            rows.append(
                row([asked.ref(one["first"])], certainty, Credential_of=whose, Used_as=one["user_name"], From=one["source_address"],
                    Calls=one["calls"], First=one["first_at"], Last=one["last_at"])
            )  # fmt: skip
    for used in (
        {one.session.access_key_id: one for part in asked.parts for one in part.sessions}.values()
        if asked.whole
        else asked.of.sessions
    ):
        for use in used.uses:
            if use.inside is False and (used.session.pod_uid or used.session.service_account or used.session.node):
                whose = used.session.service_account or used.session.node or used.session.pod_uid
                rows.append(
                    row([use.why.ref], Credential_of=whose, Used_as=used.session.role, From=use.address, Calls=use.calls,
                        First=use.first_at, Last=use.last_at)
                )  # fmt: skip
    limits = []
    if not pods and not nodes:
        says = "Whose credentials to look for cannot be told: no pod and no node is known to be affected"
        limits.append(Limit(("pod", "node"), says, f"{AUDIT_LOG}, or {DUMP}"))
    if not own:
        says = "Which addresses are the cluster's own cannot be told, so neither what was used outside"
        limits.append(
            Limit(("pod", "node"), says, "a cluster dump with nodes and pods, or the kubelets' calls in the audit log")
        )
    addresses = sorted({one["From"] for one in rows})
    return Found(
        rows,
        f"Yes: from {', '.join(addresses[:4])}{' and others' if len(addresses) > 4 else ''}, which {'is' if len(addresses) == 1 else 'are'} not the cluster's own.",
        "Every use of such a credential came from the cluster's own addresses.",
        limits=tuple(limits),
    )


@question("Did anybody call in another identity's name?", LOG)
def impersonated(asked: Asked) -> Found:
    """Impersonation by the attacker, and in the name of an identity of the scope."""
    rows = []
    hostile = {place_of(event) for event in asked.hostile}
    for one in asked.store.rows(
        "SELECT audit_id, file, line, item, user_name, impersonated_user_name, source_address, received_at, verb, resource, subresource, request_uri, response_code FROM audit"
        " WHERE impersonated_user_name IS NOT NULL AND (list_contains($users, user_name) OR list_contains($users, impersonated_user_name))"
        f" AND {within('received_at')}"
        " ORDER BY received_at, file, item",
        users=asked.callers,
        start=asked.scope.given[0],
        end=asked.scope.given[1],
    ):
        certainty: Certainty = "affected" if place_of(one) in hostile else "possible"
        rows.append(
            row([asked.ref(one)], certainty, Identity=one["user_name"], Call=f"{one['verb']} {resource_of(one)}", Code=one["response_code"], In_the_name_of=one["impersonated_user_name"],
                From=one["source_address"], At=one["received_at"])
        )  # fmt: skip
    sure = (one for one in rows if one["certainty"] == "affected")
    names = sorted({f"{one['Identity']} as {one['In the name of']}" for one in sure})
    return Found(
        rows,
        f"The attacker called in another's name: {few(names, 4)}.",
        "No call of these identities was in another's name.",
        limits=asked.nobody,
    )


def _by_kind(asked: Asked, events: list[Event], certainty: Certainty) -> list[Row]:
    kinds = dict[tuple[str, str, str], list[Event]]()
    for event in events:
        kinds.setdefault((made_by(event), _words_of(event), str(event["namespace"] or "")), []).append(event)
    return [
        row([asked.ref(every[0]), asked.ref(every[-1])], certainty, Identity=user, Call=call, Namespace=namespace, Calls=len(every),
            First=every[0]["received_at"], Last=every[-1]["received_at"])
        for (user, call, namespace), every in sorted(kinds.items(), key=lambda one: -len(one[1]))
    ]  # fmt: skip


def _words_of(event: Event) -> str:
    return f"{event['verb']} {resource_of(event)}"


def _short_baseline(asked: Asked) -> tuple[Limit, ...]:
    first = asked.first_hostile_at
    if asked.window is None or first is None:
        return ()
    before = first - asked.scope.limits.begins
    if before >= _LEAST_BASELINE:
        return ()
    says = f"What is usual cannot be told: the log begins {before_or_after(before)} the first bad sign"
    return (Limit(("identity",), says, "the audit log of the days before"),)
