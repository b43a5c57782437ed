"""The case's tables, their columns and types, declared once for readers, store, tests and docs.

A column of one name has one type in every table. Times are UTC, to the microsecond. `file` is the path below the case's
evidence folder; `line` the line in that file (after decompression) where the record starts, from 1; `item` the place of the
record in its file, from 1. File, line and item lead back to the raw text, which is not stored a second time.
"""

from __future__ import annotations

import pyarrow as pa

TEXT = pa.string()
TEXTS = pa.list_(pa.string())
TIME = pa.timestamp("us", tz="UTC")
COUNT = pa.int64()

PLACE = {"cluster": TEXT, "account": TEXT, "file": TEXT, "line": COUNT, "item": COUNT}

AUDIT = pa.schema(
    PLACE
    | {
        "audit_id": TEXT,
        "stage": TEXT,
        "level": TEXT,
        "verb": TEXT,
        "request_uri": TEXT,
        "user_agent": TEXT,
        "received_at": TIME,
        "stage_at": TIME,
        "user_name": TEXT,
        "user_uid": TEXT,
        "user_groups": TEXTS,
        "user_extra": TEXT,
        "credential_id": TEXT,  # extra authentication.kubernetes.io/credential-id
        "claimed_pod_name": TEXT,  # extra …/pod-name: the pod that the token is bound to
        "claimed_pod_uid": TEXT,
        "claimed_node_name": TEXT,
        "access_key_id": TEXT,  # extra accessKeyId of the EKS authenticator
        "arn": TEXT,
        "session_name": TEXT,
        "impersonated_user_name": TEXT,
        "impersonated_groups": TEXTS,
        "source_addresses": TEXTS,
        "source_address": TEXT,  # the last of them: the connection's own; those before are the client's word
        "api_group": TEXT,
        "resource": TEXT,
        "subresource": TEXT,
        "namespace": TEXT,
        "name": TEXT,
        "uid": TEXT,
        "response_code": pa.int32(),
        "decision": TEXT,
        "decision_reason": TEXT,
        "issued_credential_id": TEXT,  # annotation of a TokenRequest: the credential that it made
        "annotations": TEXT,
        "request_object": TEXT,
        "response_object": TEXT,
        "event_hash": TEXT,  # of the whole event: equal whole events are duplicates
    }
)

TRAIL = pa.schema(
    PLACE
    | {
        "event_id": TEXT,
        "event_at": TIME,
        "event_source": TEXT,
        "event_name": TEXT,
        "event_category": TEXT,
        "region": TEXT,
        "source_address": TEXT,
        "user_agent": TEXT,
        "identity_type": TEXT,
        "arn": TEXT,
        "principal_id": TEXT,
        "access_key_id": TEXT,
        "issuer_arn": TEXT,  # sessionContext.sessionIssuer.arn: the role behind a session
        "user_name": TEXT,
        "invoked_by": TEXT,
        "error_code": TEXT,
        "read_only": pa.bool_(),
        "request_parameters": TEXT,
        "response_elements": TEXT,
        "event_hash": TEXT,
    }
)

OBJECTS = pa.schema(
    PLACE
    | {
        "api_version": TEXT,
        "kind": TEXT,  # Kubernetes kind, or AWS's name of the thing (AccessEntry, PodIdentityAssociation, Instance …)
        "resource": TEXT,  # plural API name; empty for things of AWS
        "namespace": TEXT,
        "name": TEXT,
        "uid": TEXT,  # Kubernetes uid, or the ARN or id that AWS gives
        "object": TEXT,  # the whole object as JSON
        "event_hash": TEXT,
    }
)

FINDINGS = pa.schema(
    PLACE
    | {
        "id": TEXT,
        "arn": TEXT,
        "type": TEXT,
        "severity": pa.float64(),
        "title": TEXT,
        "region": TEXT,
        "created_at": TIME,
        "updated_at": TIME,
        "first_seen_at": TIME,
        "last_seen_at": TIME,
        "count": COUNT,
        "sample": pa.bool_(),
        "about_eks": pa.bool_(),
        "archived": pa.bool_(),
        "finding": TEXT,  # the whole finding as JSON, names as in the API's model
        "event_hash": TEXT,
    }
)

REJECTS = pa.schema(PLACE | {"reason": TEXT, "raw": TEXT})

COVERAGE = pa.schema(
    {
        "cluster": TEXT,
        "account": TEXT,
        "source": TEXT,  # audit, trail
        "state": TEXT,  # recorded, gap
        "start_at": TIME,
        "end_at": TIME,
        "events": COUNT,
        "says": TEXT,
    }
)

TABLES: dict[str, pa.Schema] = {
    "audit": AUDIT,
    "trail": TRAIL,
    "objects": OBJECTS,
    "findings": FINDINGS,
    "rejects": REJECTS,
    "coverage": COVERAGE,
}
