"""Query parameters and option bodies of the verbs (meta/v1 ListOptions, CreateOptions, PatchOptions, …)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pilothouse.api import errors, fields, labels
from pilothouse.api.field import go_quote
from pilothouse.api.types import Obj
from pilothouse.api.validation import meta as meta_validation
from pilothouse.apiserver.request import Request
from pilothouse.apiserver.request_info import is_true

META_GROUP = "meta.k8s.io"


@dataclass(slots=True)
class ListOptions:
    """`send_initial_events` is None when it was not asked about."""

    label_selector: labels.Selector | None
    field_selector: fields.Selector | None
    resource_version: str
    match: str
    limit: int
    continue_: str
    timeout_s: int | None
    bookmarks: bool
    watch: bool
    send_initial_events: bool | None


def integer(query: Mapping[str, list[str]], name: str) -> int | None:
    """An int64 parameter; 400 with Go's text when it is none."""
    values = query.get(name)
    if not values or values[0] == "":
        return None
    text = values[0]
    try:
        number = int(text)
    except ValueError:
        raise errors.bad_request(f"strconv.ParseInt: parsing {go_quote(text)}: invalid syntax") from None
    if not -(2**63) <= number < 2**63:
        raise errors.bad_request(f"strconv.ParseInt: parsing {go_quote(text)}: value out of range")
    return number


_UINT64_MAX = 2**64 - 1
_DIGITS_MAX = 400
"""Python refuses to read some thousands."""


def revision(text: str) -> int:
    """A resourceVersion as Go's ParseUint reads it. ValueError in its words."""
    if not (text.isascii() and text.isdigit()):
        raise ValueError(f"strconv.ParseUint: parsing {go_quote(text)}: invalid syntax")
    number = int(text[:_DIGITS_MAX])
    if number > _UINT64_MAX:
        raise ValueError(f"strconv.ParseUint: parsing {go_quote(text)}: value out of range")
    return number


def list_options(request: Request, *, watch: bool) -> ListOptions:
    """Parsed and validated; raises 400 for what cannot be parsed, 422 for what does not fit together."""
    query = request.query
    initial = query.get("sendInitialEvents")
    try:
        label_text = request.param("labelSelector")
        field_text = request.param("fieldSelector")
        options = ListOptions(
            labels.parse(label_text) if label_text else None,
            fields.parse(field_text) if field_text else None,
            request.param("resourceVersion"),
            request.param("resourceVersionMatch"),
            integer(query, "limit") or 0,
            request.param("continue"),
            integer(query, "timeoutSeconds"),
            is_true(query.get("allowWatchBookmarks")),
            watch,
            is_true(initial) if initial else None,
        )
    except ValueError as error:
        raise errors.bad_request(str(error)) from None
    found = meta_validation.validate_list_options(
        options.resource_version,
        options.match,
        options.continue_,
        options.send_initial_events,
        watch=watch,
    )
    if found:
        raise errors.invalid(META_GROUP, "ListOptions", "", found)
    return options


def write_options(request: Request, kind: str) -> Obj:
    """Create-, Update- or PatchOptions from the query; 422 when invalid."""
    query = request.query
    options: Obj = {"kind": kind, "apiVersion": f"{META_GROUP}/v1"}
    if "dryRun" in query:
        options["dryRun"] = query["dryRun"]
    for name in ("fieldManager", "fieldValidation"):
        if query.get(name) and query[name][0]:
            options[name] = query[name][0]
    if kind == "PatchOptions" and query.get("force"):
        options["force"] = is_true(query["force"])
    if len(options) == 2 and kind != "PatchOptions":
        return options
    patch_type = request.headers.get("content-type", "").partition(";")[0] if kind == "PatchOptions" else ""
    found = meta_validation.validate_write_options(options, patch_type)
    if found:
        raise errors.invalid(META_GROUP, kind, "", found)
    return options


def is_dry_run(options: Obj) -> bool:
    return bool(options.get("dryRun"))


_DELETE_QUERY = ("gracePeriodSeconds", "orphanDependents", "propagationPolicy", "dryRun")


def delete_options(request: Request, body: Any) -> Obj:
    """DeleteOptions from the body if there is one, else from the query; 422 when invalid."""
    options: Obj = {}
    if isinstance(body, dict) and body:
        options = {k: v for k, v in body.items() if v is not None}
    elif any(name in request.query for name in _DELETE_QUERY):
        options = _delete_query(request)
    options.setdefault("kind", "DeleteOptions")
    options.setdefault("apiVersion", f"{META_GROUP}/v1")
    grace = options.get("gracePeriodSeconds")
    if grace is not None and grace < 0:
        options["gracePeriodSeconds"] = 1
    found = meta_validation.validate_delete_options(options)
    if found:
        raise errors.invalid(META_GROUP, "DeleteOptions", "", found)
    return options


def _delete_query(request: Request) -> Obj:
    options: Obj = {}
    grace = integer(request.query, "gracePeriodSeconds")
    if grace is not None:
        options["gracePeriodSeconds"] = grace
    if request.query.get("orphanDependents"):
        options["orphanDependents"] = is_true(request.query["orphanDependents"])
    if request.param("propagationPolicy"):
        options["propagationPolicy"] = request.param("propagationPolicy")
    if request.query.get("dryRun"):
        options["dryRun"] = request.query["dryRun"]
    return options
