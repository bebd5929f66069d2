"""From objects to the form that was asked for: JSON, YAML, Table, metadata only."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec
import yaml

from pilothouse.api import errors
from pilothouse.api.field import go_quote
from pilothouse.api.types import Obj
from pilothouse.apiserver.endpoints.negotiation import JSON, YAML, Form, wants_pretty
from pilothouse.apiserver.registry.kind import Kind
from pilothouse.apiserver.registry.tables.column import AGE, NAME, Column, Table
from pilothouse.apiserver.request import Request, Response

encode = msgspec.json.Encoder().encode
_encode_in_order = msgspec.json.Encoder(order="sorted").encode

_JSON_HEADERS = {"Content-Type": JSON}


class _Dumper(yaml.CSafeDumper):
    """YAML without anchors: an object that appears twice is written twice."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def to_yaml(value: Any) -> bytes:
    """As sigs.k8s.io/yaml writes: keys sorted, block style."""
    return yaml.dump(
        value, Dumper=_Dumper, sort_keys=True, default_flow_style=False, allow_unicode=True
    ).encode()


def document(value: Any, form: Form, status: int = 200, *, in_order: bool = False) -> Response:
    """Any JSON value in the form's media type. `in_order`: upstream has it as a map, whose keys people see in
    order (custom resources)."""
    if form.media_type == YAML:
        return Response(status, to_yaml(value), {"Content-Type": YAML})
    if form.pretty:
        text = _encode_in_order(value) if in_order else encode(value)
        return Response(status, msgspec.json.format(text, indent=2), dict(_JSON_HEADERS))
    return Response(status, encode(value) + b"\n", dict(_JSON_HEADERS))


def json_bytes(body: bytes, status: int = 200) -> Response:
    return Response(status, body, dict(_JSON_HEADERS))


def error(failure: errors.ApiError, request: Request) -> Response:
    """A Status in JSON, or in YAML when that is what the client reads. Clients wait and try again when a header says
    for how long: no header for those that are not to wait."""
    media_type = YAML if request.headers.get("accept", "").startswith(YAML) else JSON
    form = Form(media_type, pretty=wants_pretty(request))
    response = document(failure.status(), form, failure.code)
    response.headers.update(failure.headers)
    wait_s = (failure.details or {}).get("retryAfterSeconds", 0)
    if wait_s > 0:
        response.headers["Retry-After"] = str(wait_s)
    return response


def one(request: Request, kind: Kind, obj: Obj, raw: bytes | None, form: Form, status: int = 200) -> Response:
    """One object; `raw` are its served bytes when they are at hand and in the right version."""
    if form.target:
        return document(_transform_one(request, kind, obj, form), form, status)
    if form.media_type == JSON and not form.pretty:
        if request.in_process:
            return Response(status, b"", dict(_JSON_HEADERS), obj=obj)
        return json_bytes(raw if raw is not None else encode(obj) + b"\n", status)
    return document(obj, form, status, in_order=kind.custom)


def _transform_one(request: Request, kind: Kind, obj: Obj, form: Form) -> Obj:
    if form.target == "PartialObjectMetadataList":
        raise errors.not_acceptable(
            f"you requested PartialObjectMetadataList, but the requested object is not a list (*{kind.go_name})"
        )
    if form.target == "PartialObjectMetadata":
        return partial(obj, form.target_version)
    revision = obj["metadata"].get("resourceVersion", "")
    return table(request, kind, [obj], {"resourceVersion": revision}, form)


def partial(obj: Obj, version: str = "v1") -> Obj:
    """PartialObjectMetadata of an object."""
    return {
        "kind": "PartialObjectMetadata",
        "apiVersion": f"meta.k8s.io/{version}",
        "metadata": obj.get("metadata", {}),
    }


def table(
    request: Request, kind: Kind, objects: Iterable[Obj], meta: Obj, form: Form, *, columns: bool = True
) -> Obj:
    """A Table of objects; `columns` False leaves the definitions out (all but a watch's first event)."""
    include = request.param("includeObject")
    if include not in ("", "Metadata", "Object", "None"):
        raise errors.bad_request(
            "Unable to convert to Table as requested: includeObject: Invalid value: "
            f"{go_quote(include)}: must be 'Metadata', 'Object', 'None', or empty"
        )
    layout = kind.table or PLAIN
    now_s = request.received_s
    rows = [_row(layout, obj, include, form.target_version, now_s) for obj in objects]
    return {
        "kind": "Table",
        "apiVersion": f"meta.k8s.io/{form.target_version}",
        "metadata": meta,
        "columnDefinitions": [_definition(kind, c) for c in layout.columns] if columns else None,
        "rows": rows,
    }


def _row(layout: Table, obj: Obj, include: str, version: str, now_s: float) -> Obj:
    row: Obj = {"cells": layout.row(obj, now_s)}
    if layout.conditions is not None:
        conditions = layout.conditions(obj)
        if conditions:
            row["conditions"] = conditions
    if include == "None":
        row["object"] = None
    else:
        row["object"] = obj if include == "Object" else partial(obj, version)
    return row


def _definition(kind: Kind, column: Column) -> Obj:
    description = column.describe
    if description.startswith("@"):
        description = kind.description(description[1:])
    return {
        "name": column.name,
        "type": column.type,
        "format": column.format,
        "description": description,
        "priority": column.priority,
    }


def _plain_row(obj: Obj, now_s: float) -> list[Any]:
    meta = obj["metadata"]
    return [meta.get("name", ""), meta.get("creationTimestamp") or "<unknown>"]


PLAIN = Table((NAME, Column("Created At", "date", "", "@metadata.creationTimestamp")), _plain_row)
"""Kinds without a printer of their own (rest.NewDefaultTableConvertor)."""

__all__ = ["AGE", "PLAIN", "document", "encode", "error", "json_bytes", "one", "partial", "table", "to_yaml"]
