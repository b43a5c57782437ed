"""The columns of the frames that a case gives, each with what it means (docs/api.md). Those of the store's tables mean what they mean there."""

from __future__ import annotations

import pyarrow as pa

from kit.store.tables import COLUMNS, COUNT, TEXT, TEXTS, TIME

_MEANINGS = {
    "ref": "what names the record for `case.raw` and `case.show`",
    "because": "the rules that make the call the attacker's, in one sentence",
    "findings": "Ids of the findings that it belongs to",
    "node": "node of a pod",
    "created_at": "when it was made",
    "deleted_at": "when it was deleted",
    "standing": "whether the cluster dump has it (true) or it is gone (false); empty where that cannot be told",
    "certainty": "`affected` is acted on, `possible` is looked at",
    "why": "the reasons, in one sentence",
    "why_refs": "the refs of the evidence for the reasons",
    "through": "the identity or IAM role that did it and leads back to the finding",
    "role": "IAM role or user",
    "calls": "how many calls, failed ones too",
    "first_at": "the first of them",
    "last_at": "the last of them",
    "source_addresses": "where they came from, each once",
    "bytes": "size of the file",
}
"""What a column means in every frame that has it, where the store has no column of that name or another one."""

FRAMES: dict[str, dict[str, str]] = {
    "subjects": {
        "kind": "pod, node, image, identity …: docs/json.md has all",
        "key": "which one of its kind",
        "ref": "`kind:key`",
        "namespace": "namespace",
        "name": "name of the object",
        "uid": "uid of the object",
        "node": "",
        "created_at": "",
        "deleted_at": "",
        "standing": "",
        "certainty": "",
        "through": "",
        "why": "",
        "why_refs": "",
        "findings": "",
        "gone_before": "whether it was gone before the attacker's first call",
    },
    "calls": {
        **dict.fromkeys(("ref", "audit_id", "received_at", "user_name"), ""),
        "credential": "access key, id of the token or certificate, or namespace/name of the Secret that the token is from; empty where the log names none",
        **dict.fromkeys(
            (
                *("source_address", "user_agent", "verb", "resource", "subresource", "namespace", "name", "request_uri", "response_code"),
                *("decision_reason", "file", "line", "item", "findings", "because"),
            ),
            "",
        ),
        "applied_from": "the source (Git, a chart) from which a controller applied it; then the controller's identity is not the attacker's",
        "deeds": "what it did, each with kind and key of the subject",
        "before": "what stood before a change; empty where no body tells",
        "after": "what stood after it",
    },
    "aws_calls": dict.fromkeys(
        (
            *("ref", "event_id", "event_at", "arn", "access_key_id", "source_address", "user_agent", "event_source", "event_name"),
            *("region", "error_code", "file", "line", "item", "because"),
        ),
        "",
    ),
    "identities": {
        "user_name": "user name in the cluster",
        "ref": "`identity:USER NAME`",
        "kind": "anonymous, service_account, node, iam, oidc or control_plane",
        "certainty": "whether the kind is shown by the sign-in (affected) or by the form of the name alone (possible)",
        "role": "",
        "calls": "",
        "hostile_calls": "how many of them are the attacker's",
        "credentials": "how many credentials it used",
        "first_at": "",
        "last_at": "",
        "source_addresses": "",
        "came_by": "the pod, node or session whose credential the attacker used",
        "take_away": "how its access ends, in the order in which it is done",
        "findings": "",
    },
    "sessions": {
        "access_key_id": "access key of the session",
        "kind": "irsa, pod_identity, instance, saml, web_identity, role, key or unknown",
        "certainty": "whether the attacker used it (affected) or may have (possible)",
        "role": "",
        "issued_at": "when it was issued",
        "expires_at": "when it ends",
        "asked_by": "who asked for it",
        "service_account": "namespace/name of the service account that it was issued to",
        "pod": "uid of that pod",
        "node": "name of that node",
        "calls": "",
        "failed": "how many of them failed",
        "outside": "whether it was used from outside the cluster's own addresses; empty where that cannot be told",
        "first_at": "",
        "last_at": "",
        "source_addresses": "",
        "services": "what was called, as service:Call",
        "why": "",
        "findings": "",
    },
    "credentials": {
        "kind": "token (minted by a TokenRequest), pod_token, secret_token, certificate, access_key, session, node or sign_in",
        "key": "namespace/name of the service account or Secret, name of the request, uid of the pod, access key id, node or user name",
        "holder": "whom it signs in as: user name in the cluster, or ARN in AWS",
        "certainty": "whether the attacker has it (affected) or it was within reach (possible)",
        "obtained_by": "the deeds that gave it, and its first use",
        "bound_to": "pods that it is bound to",
        "since": "when the attacker had it first",
        "state": "usable, ended or cannot tell",
        "ends_at": "when it ended or ends; empty where that is not told",
        "ended_by": "why it has ended or goes on",
        "refs": "the refs of the evidence",
        "findings": "",
    },
    "let_in": {
        "key": "ARN, user or group",
        "by": "access_entry, aws_auth, binding, access_key, login_profile, trust_policy, pod_identity or identity_provider",
        "since": "when a call of the attacker let it in",
        "certainty": "whether it had no way in before, so that its calls since are the attacker's (affected), or may have had one (possible)",
        "why": "",
        "refs": "the ref of the call",
        "calls": "how many calls it made in the cluster since, as far as they are the attacker's",
        "findings": "",
    },
    "actions": {
        "id": "which action, and on which target",
        "stage": "freeze, contain, revoke, capture, eradicate or recover, in this order",
        "action": "name of the action: docs/actions.md has all",
        "does": "what is done, in one sentence",
        "target": "ref of the subject that it is done to",
        "name": "name of the target",
        "uid": "uid of the target",
        "precondition": "what has to be true before",
        "blast_radius": "what else stops working",
        "command": "the commands as a person would type them",
        "undo": "how it is taken back",
        "cannot_undo": "why it cannot be taken back; empty where it can",
        "by_person": "why a person does it; empty where the kit can",
        "waits_for": "ids of the actions that are done before",
        "when_not": "when it is left out",
        "permissions": "what it needs to be allowed",
        "why": "",
        "why_refs": "",
    },
    "stages": {
        "stage": "freeze, contain, revoke, capture, eradicate or recover",
        "actions": "how many actions",
        "names": "their names, each once",
        "for_person": "how many of them a person does",
        "no_undo": "how many of them cannot be taken back",
    },
    "simulated": {
        "stage": "after which stage: freeze, contain, revoke, capture, eradicate or recover",
        "side": "`you`: what serves you; `attacker`: what gives the attacker something",
        "kind": "service, workload, node …; of the attacker's side as in the open entries of `kit brief`",
        "key": "which one of its kind",
        "state": "of yours `stopped` by the plan or `before` it; of the attacker's ended, shut out, dies, cannot tell or still works",
        "says": "why",
        "until": "when it ends by itself; empty where no evidence tells, or it has ended",
    },
    "ends": {
        "entry": "id of the entry in the brief's open list",
        "kind": "token, credential, access_key, node, identity, let_in, created or secret",
        "key": "which one",
        "state": "usable, or cannot tell",
        "until": "when it ends by itself; empty where that is in no evidence",
        "ends_action": "id of an action that ends it or, of a session of AWS and the cluster, one of both; empty where none does",
    },
    "limits": {
        "about": "kinds of subjects that it is about",
        "start": "start of the stretch that it is about; empty for all of the window",
        "end": "its end",
        "says": "what cannot be told, and why",
        "collect": "what to collect to be able to tell: a command where `kit collect` fetches it",
        "otherwise": "the same for whoever has no access to the account; empty where `collect` is no command",
        "findings": "",
    },
    "ledger": {
        "path": "path of the file below the case's evidence folder",
        "sha256": "SHA-256 of the file as it was given",
        "bytes": "",
        "taken_as": "what it was taken for; empty for a file that no reader takes",
        "records": "records in it; rows + duplicates + rejects",
        "rows": "records that became rows",
        "duplicates": "records that the case had already",
        "rejects": "records that could not become rows",
        "first_at": "time of the first record",
        "last_at": "time of the last record",
        "note": "damage, or why it was not taken",
        "odd": "rows of which a part is left out or kept in another form; audit events say it in `repaired`",
        "unread": "whether its content could not be had, such as a closed folder or a file with a password",
    },
    "objects": {
        "ref": "`object:UID`",
        "resource": "plural API name",
        "kind": "kind, as the dump or AWS names it",
        "namespace": "namespace",
        "name": "name",
        "uid": "uid; of things of AWS their ARN or id",
        "node": "",
        "service_account": "namespace/name of the service account that a pod runs under",
        "created_at": "when it was made; empty where the evidence does not tell",
        "deleted_at": "when it was deleted; empty where it was not, or that is not told",
        "standing": "",
        "why": "which evidence shows it",
        "object": "the whole object as JSON, where the dump has it; values of Secrets are left out",
    },
    "secrets_read": {
        "user_name": "who read it",
        "secret": "namespace/name; empty where a list's contents cannot be told in full, as `how` says",
        "namespace": "namespace of the secret",
        "name": "name of the secret",
        "certainty": "`affected`: it was returned; `possible`: it may have been",
        "how": "by name, or named in a list or watch",
        "attacker": "whether one of these calls is the attacker's",
        "calls": "",
        "first_at": "",
        "last_at": "",
        "source_addresses": "",
        "refs": "the first of these calls, at most ten",
    },
}  # fmt: skip
"""Frame → its columns → what each means; "" for what it means wherever it stands."""

SHOWN = {
    "audit": (
        "ref received_at user_name source_address user_agent verb resource subresource namespace name response_code request_uri"
        " access_key_id audit_id stage level file line item"
    ),
    "trail": (
        "ref event_at event_source event_name region source_address user_agent identity_type arn access_key_id issuer_arn user_name"
        " invoked_by error_code read_only event_id file line item"
    ),
    "sign_ins": "signed_in_at granted message arn user_name user_groups access_key_id session_name source_address file line item",
}
"""Log → the columns that a call without `columns` gives: all that is short."""

REPEATS = {
    *("cluster", "account", "file", "stage", "level", "verb", "resource", "subresource", "namespace", "user_name", "user_agent"),
    *("source_address", "decision", "event_source", "event_name", "event_category", "region", "identity_type", "arn", "kind", "certainty"),
    *("issuer_arn", "invoked_by", "error_code", "log_stream", "state", "source", "taken_as", "api_version", "api_group"),
}  # fmt: skip
"""Columns of few values: categories in pandas."""


def meaning(frame: str, column: str) -> str:
    """What a column of a frame means."""
    said = FRAMES.get(frame, {}).get(column) or _MEANINGS.get(column)
    return said or COLUMNS[column][1]


_TYPES = {
    TEXTS: "why_refs findings source_addresses refs came_by take_away services about bound_to deeds blast_radius command waits_for when_not permissions names",
    COUNT: "calls hostile_calls credentials failed bytes records rows duplicates rejects odd line item actions for_person no_undo",
    pa.bool_(): "standing gone_before outside attacker unread",
    TIME: "created_at deleted_at first_at last_at since ends_at issued_at expires_at start end until received_at event_at",
    pa.int32(): "response_code",
}
"""Type → the columns of the frames that have it; the others are text."""


def type_of(column: str) -> pa.DataType:
    """The type of a column of the frames."""
    return next((kind for kind, names in _TYPES.items() if column in names.split()), TEXT)
