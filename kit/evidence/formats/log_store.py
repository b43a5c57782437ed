"""What log stores, shippers and monitoring services keep an event in: Splunk, OpenSearch and Elastic, Wazuh, Fluent Bit, Filebeat, Loki
and Grafana, Datadog, Graylog, Kafka, Fluentd, Vector, Cribl.

Each gives the event as it was sent, where it is whole there; what a store took apart into fields of its own is no event any more. A line
of a container is refused by what the store says beside it: whoever ran in that container wrote it. Sources: Splunk, Search API and HTTP
Event Collector; OpenSearch, Search API; Elastic Common Schema (event.original); Wazuh, alerts and archives of the AWS module; Fluent Bit,
tail; Loki, HTTP API (query_range) and logcli; Grafana, Explore; Datadog, Logs API v2 and archives; Graylog, GELF; kcat; Kafka Connect; Fluentd,
forward protocol; Vector, log event; Elasticsearch, Bulk, SQL and ES|QL APIs; OpenSearch, SQL plugin; Azure Monitor, response format; Fluent Bit,
Msgpack format.
"""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any

from kit.errors import EvidenceError
from kit.evidence.record import Content, Log
from kit.lenient import dict_of, dicts_of, found_at, list_of, text_of, texts_of, utc_time

LISTS = ("data", "messages", "streams")
"""Members under which these stores keep their records."""

_CONTAINERS = frozenset(
    {"stream", "kubernetes", "docker", "container", "container_id", "container_name", "pod", "pod_name", "k8s"}
)
_OF_CONTAINERS = ("kubernetes_", "kubernetes.", "container_", "container.", "k8s_", "k8s.", "docker.", "pod_", "pod.")
_COLLECTED = frozenset({"time", "host", "source", "sourcetype", "index", "fields"})
_SHIPPED = frozenset({"log", "date", "time", "@timestamp", "timestamp", "timegenerated", "tag", "time_key"})
_OF_WAZUH = frozenset({"rule", "manager", "decoder", "location", "agent"})
_AWS_MODULE = "Wazuh-AWS"  # where the lines of its AWS module are from; others are of files that an agent read
_OF_DATADOG = frozenset({"service", "source", "status", "tags", "host", "date", "timestamp"})
_OF_LOKI = ("__aws_cloudwatch_log_group", "log_group"), ("__aws_cloudwatch_log_stream", "log_stream")
_OF_KAFKA = frozenset({"topic", "partition", "offset"})


def of_log_store(value: dict[str, Any], log: Log) -> list[Content] | None:
    """What a store's record holds; None for what is none. Raises EvidenceError for a line that a container logged."""
    readings = (of(value, log) for of in (_splunk, _search, _wazuh, _datadog, _loki, _kafka, _tabled, _shipped))
    return next((held for held in readings if held is not None), None)


def _splunk(value: dict[str, Any], log: Log) -> list[Content] | None:
    if isinstance(value.get("_raw"), str | dict):  # its rows, Sumo Logic's and Cribl's, which may hold what was parsed
        _refuse_containers(value)
        return [Content(value["_raw"], log, logged=True)]
    if isinstance(value.get("result"), dict) and "_raw" in value["result"]:  # its export as JSON
        return [Content(value["result"], log)]
    if (
        "event" in value and value.keys() & _COLLECTED and value.keys() <= _COLLECTED | {"event"}
    ):  # HTTP Event Collector
        _refuse_containers(value)
        return [Content(value["event"], log, logged=True)]
    return None


def _search(value: dict[str, Any], log: Log) -> list[Content] | None:
    """OpenSearch and Elastic: a search's answer, one document, its fields alone."""
    if isinstance(event := value.get("event"), dict) and _is_json(event.get("original")):
        _refuse_containers(value)  # Elastic Common Schema
        return [Content(event["original"], log, logged=True)]
    if _is_json(value.get("event.original")):  # the same as a column of Kibana's
        _refuse_containers(value)
        return [Content(value["event.original"], log, logged=True)]
    if isinstance(hits := found_at(value, "hits", "hits"), list):
        return [Content(each, log) for each in hits]
    if len(value) == 1 and value.keys() <= {"index", "create"} and "_index" in dict_of(next(iter(value.values()))):
        return []  # the line before a document in a bulk request
    if not value.keys() & {"_index", "_id"}:
        return None
    if isinstance(value.get("_source"), dict):
        return [Content(value["_source"], log)]
    if isinstance(fields := value.get("fields"), dict):
        alone = {name: each[0] if isinstance(each, list) and len(each) == 1 else each for name, each in fields.items()}
        return [Content(alone, log)]
    return None


def _wazuh(value: dict[str, Any], log: Log) -> list[Content] | None:
    """An alert, or a line of its archives: the event of its AWS module under data.aws, or the line as it was read under full_log."""
    if not value.keys() & _OF_WAZUH or not isinstance(value.get("location", ""), str):
        return None
    line = _object(value.get("full_log"))
    held = next((found for each in (value.get("data"), line) if isinstance(found := found_at(each, "aws"), dict)), None)
    if held is not None and value.get("location", _AWS_MODULE) != _AWS_MODULE:
        raise EvidenceError("is a line of a file that an agent of Wazuh read: whoever may write to that file wrote it")
    if held is not None:
        return [Content(held, log)]
    if not line:
        return None
    _refuse_containers(value)
    return [Content(value["full_log"], log, logged=True)]


def _datadog(value: dict[str, Any], log: Log) -> list[Content] | None:
    """An event of its Logs API, or a line of its archives: the message as it was sent, else what it was parsed into."""
    held = value.get("attributes")
    if not isinstance(held, dict):
        return None
    if value.get("type") == "log":
        return [Content(held, log)]
    if not value.keys() & _OF_DATADOG:
        return None
    _refuse_containers(held)
    _refuse_containers(value)
    return [Content(value["message"] if _is_json(value.get("message")) else held, log, logged=True)]


def _loki(value: dict[str, Any], log: Log) -> list[Content] | None:
    """An answer of query_range, a stream of it, a line of logcli, a line of Grafana's."""
    if isinstance(result := found_at(value, "data", "result"), list) and "resultType" in dict_of(value["data"]):
        return [Content(each, log) for each in dicts_of(result)]
    if isinstance(labels := value.get("stream"), dict) and isinstance(value.get("values"), list):
        _refuse_containers(labels)
        return [
            Content(each[1], replace(_log_of(labels, log), at=each[0]), logged=True)
            for each in list_of(value["values"])
            if isinstance(each, list) and len(each) > 1
        ]
    if not _is_json(value.get("line")):
        return None
    labels = {name: each for held in ("labels", "fields") for name, each in _object(value.get(held)).items()}
    _refuse_containers(labels)
    return [Content(value["line"], replace(_log_of(labels, log), at=value.get("timestamp")), logged=True)]


def _log_of(labels: dict[str, Any], log: Log) -> Log:
    """Where CloudWatch Logs kept the lines, as lambda-promtail says it."""
    group, stream = (
        next((text_of(labels.get(name)) for name in names if labels.get(name)), None) for names in _OF_LOKI
    )
    return replace(log, group=group or log.group, stream=stream or log.stream)


def _kafka(value: dict[str, Any], log: Log) -> list[Content] | None:
    """A message as kcat prints it, or as Kafka Connect's JSON converter does."""
    if value.keys() >= _OF_KAFKA or value.keys() == {"schema", "payload"}:
        held = next((value[name] for name in ("payload", "value") if value.get(name)), None)
        return [Content(held, log, logged=True)] if isinstance(held, dict) or _is_json(held) else None
    return None


def _shipped(value: dict[str, Any], log: Log) -> list[Content] | None:
    """Fluent Bit, Filebeat, Vector, Graylog: the line under a name of the shipper's."""
    if isinstance(inner := value.get("message"), dict) and value.keys() & {
        "index",
        "highlight_ranges",
    }:  # Graylog's search
        return [Content(inner, log)]
    for name in ("full_message", "short_message"):  # GELF
        if _is_json(value.get(name)):
            _refuse_containers(value)
            return [Content(value[name], log, logged=True)]
    if value.keys() == {"tag", "time", "record"} and isinstance(value["record"], dict):
        _refuse_containers(value)
        return [Content(value["record"], log)]
    for name in ("log", "message"):
        held = value.get(name)
        if _is_json(held):
            _refuse_containers(value)
        beside = _SHIPPED if name == "log" or _is_json(held) else {"@timestamp"}
        if isinstance(held, str) and (beside & {column(each) for each in value if each != name} or len(value) == 1):
            return [Content(held, log, logged=True)] if _is_json(held) else None
        about = {"log": _SHIPPED, "message": {"@timestamp", "source_type"}}[name]
        if isinstance(held, dict) and about & value.keys() - {name} and "verb" in held:  # parsed on its way
            _refuse_containers(value)
            return [Content(held, log, logged=True)]
    return None


_NANOSECONDS = re.compile(r"1\d{18}")  # of this century, as Loki writes times


def of_sequence(value: list[Any], log: Log) -> list[Content] | None:
    """What a list holds whose places have a meaning: an event of Fluentd or Fluent Bit, a batch of them, a line of Loki's without its stream;
    None for any other."""
    match value:
        case [str(tag), int() | float() | str(), {} as event] if not _is_json(tag):
            events = [event]
        case [str(tag), [first, *_] as pairs, *_] if not _is_json(tag) and _of_pair(first) is not None:
            events = [pair if (held := _of_pair(pair)) is None else held for pair in pairs]
        case [str(at), str(line), *_] if _NANOSECONDS.fullmatch(at) and _is_json(line):
            return [Content(line, replace(log, at=at), logged=True)]
        case _:
            held = _of_pair(value)
            return None if held is None else [Content(held, log)]
    _refuse_containers({"tag": tag})
    return [Content(event, log) for event in events]


def _of_pair(value: Any) -> dict[str, Any] | None:
    """The event of a time and an event, as Fluentd forwards them, or of [time, metadata] and an event, as Fluent Bit does since 2.1; None for
    anything else."""
    match value:
        case [[at, {}] | at, dict(event)] if not isinstance(at, list | dict) and utc_time(at):
            return event
    return None


def _tabled(value: dict[str, Any], log: Log) -> list[Content] | None:
    """Rows beside the names of their columns: Elasticsearch SQL and ES|QL, OpenSearch SQL, the API of Azure Monitor, which keeps Sentinel's."""
    tables = value.get("tables")
    if isinstance(tables, list) and len(value) <= 3:
        return [Content(each, log) for each in tables] if dicts_of(tables) == tables else None
    for about, held in (("columns", "rows"), ("columns", "values"), ("schema", "datarows")):
        names, rows = [each.get("name") for each in dicts_of(value.get(about))], value.get(held)
        if not names or not isinstance(rows, list) or not all(isinstance(name, str) for name in names):
            continue
        if len({*names}) < len(names):
            raise EvidenceError("is a table in which two columns have one name")
        if held == "values" and _is_columnar(value, names, rows):
            rows = [list(row) for row in zip(*rows, strict=True)]
        fits = [isinstance(row, list) and len(row) == len(names) for row in rows]
        return [
            Content(dict(zip(names, row, strict=True)) if fit else row, log)
            for row, fit in zip(rows, fits, strict=True)
        ]
    return None


def _is_columnar(value: dict[str, Any], names: list[Any], rows: list[Any]) -> bool:
    """Whether a list is a column: ES|QL, which says how long it took, gives columns only where asked, and SQL gives nothing else under this name."""
    lengths = {len(row) if isinstance(row, list) else -1 for row in rows}
    if len(rows) != len(names) or len(lengths) != 1 or -1 in lengths:
        return False
    return "took" not in value or lengths != {len(names)}


def column(name: str) -> str:
    """The name of a column in small letters, without the time zone that consoles write behind it.

    >>> column("TimeGenerated [UTC]")
    'timegenerated'
    """
    return re.split(r" [(\[]", name.strip().lower(), maxsplit=1)[0]


def _is_json(text: Any) -> bool:
    return isinstance(text, str) and text.lstrip()[:1] == "{"


def _object(value: Any) -> dict[str, Any]:
    """An object, also one that was written into a text; {} for anything else."""
    if not _is_json(value):
        return dict_of(value)
    try:
        return dict_of(json.loads(value))
    except (ValueError, RecursionError):
        return {}


OF_CONTAINER = "is a line that a container logged: whoever ran in it could write any event there"
_FROM = ("tag", "fluentd_tag", "file", "filename", "path", "source")
"""Where shippers say which file a line is from."""
_FILE_OF_CONTAINER = re.compile(r"(?:^|[/.])var[/.](?:log[/.](?:containers|pods)|lib[/.]docker[/.]containers)[/.]")
_TAGS = tuple(f"{name}:" for name in ("container_name", "container_id", "pod_name", "kube_container_name", "pod_id"))


def _refuse_containers(value: dict[str, Any]) -> None:
    """Raise EvidenceError for a line that a container logged, by the names, tags and paths that a shipper puts beside it."""
    tags = [tag.lower() for tag in texts_of(value.get("tags"))]
    if value.keys() & _CONTAINERS or any(name.lower().startswith(_OF_CONTAINERS) for name in value):
        raise EvidenceError(OF_CONTAINER)
    if any(tag.startswith(_TAGS) for tag in tags):
        raise EvidenceError(OF_CONTAINER)
    places = [value.get(name) for name in _FROM] + [found_at(value, "log", "file", "path")]
    if any(isinstance(place, str) and _FILE_OF_CONTAINER.search(place) for place in places):
        raise EvidenceError(OF_CONTAINER)
