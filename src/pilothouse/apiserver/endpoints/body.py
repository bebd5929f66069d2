"""From a request body to an object of the kind that the path names, or upstream's reason why not."""

from __future__ import annotations

from typing import Any, NamedTuple

from pilothouse.api import errors
from pilothouse.api.field import go_quote, invalid
from pilothouse.api.protobuf import Codec
from pilothouse.api.schema import parse
from pilothouse.api.types import Obj
from pilothouse.apiserver.endpoints import negotiation
from pilothouse.apiserver.endpoints.scope import Scope
from pilothouse.apiserver.registry.kind import Kind
from pilothouse.apiserver.request import Request

_SCHEME = "pkg/api/legacyscheme/scheme.go:30"
_OWN_SCHEMES = {"apiregistration.k8s.io": "k8s.io/kube-aggregator/pkg/apiserver/scheme/scheme.go:28"}
"""Groups that upstream serves from servers of their own, which know no kinds but theirs."""
_SUMMARY_LENGTH = 30


def field_validation(options: Obj) -> str:
    """Ignore, Warn or Strict; Warn when unset."""
    return options.get("fieldValidation") or "Warn"


class Sent(NamedTuple):
    """A body as it was sent: its value (the server's now), the fields that it repeats, and its text."""

    value: Obj
    duplicates: list[str]
    raw: bytes = b""


def read(request: Request, scope: Scope, options: Obj) -> Obj:
    """The body decoded and defaulted, in the request's version. Unknown and duplicate fields are warnings or
    a 400, as `fieldValidation` says."""
    return made_of(sent(request, scope, options), request, scope, options)


def sent(request: Request, scope: Scope, options: Obj) -> Sent:
    if request.in_process and isinstance(request.body, dict):
        return Sent(request.body, [])
    media_type = negotiation.body_type(request.headers.get("content-type", ""))
    raw = request.body if isinstance(request.body, bytes) else b""
    validation = field_validation(options)
    try:
        value, duplicates = parsed(
            scope.shared.codec,
            raw,
            media_type,
            duplicates=validation != "Ignore",
            typed=not scope.kind.custom,
        )
    except ValueError as error:
        raise _unrecognized(scope.kind, str(error), raw) from None
    return Sent({} if value is None else value, duplicates, raw)


def made_of(body: Sent, request: Request, scope: Scope, options: Obj) -> Obj:
    return decode(body.value, scope.kind, scope, body.duplicates, options, request, body.raw)


def parsed(
    codec: Codec, raw: bytes, media_type: str, *, duplicates: bool = False, typed: bool = True
) -> tuple[Any, list[str]]:
    """The JSON value of a body of any accepted media type, and its duplicate fields. ValueError."""
    if media_type == negotiation.PROTOBUF:
        return codec.decode(raw), []
    value, repeated = parse.body(raw, media_type, duplicates=duplicates, typed=typed)
    if not isinstance(value, dict) and value is not None:  # YAML
        raise ValueError(parse.type_meta_error(value))
    return value, repeated


def decode(
    value: Obj,
    kind: Kind,
    scope: Scope,
    duplicates: list[str],
    options: Obj,
    request: Request,
    raw: bytes = b"",
) -> Obj:
    """Check the kind, decode, report, default."""
    group, version, name = identify(value, kind, raw)
    _check_kind(kind, scope, group, version, name, _name_in(value))
    try:
        decoded = kind.decode(value)
    except ValueError as error:
        raise _cannot_handle(kind, name, version, str(error)) from None
    problems = [*duplicates, *decoded.strict_errors] if kind.custom else [*decoded.strict_errors, *duplicates]
    report(problems, kind, name, version, options, request)
    obj = decoded.obj
    kind.default(obj)
    return obj


def _name_in(value: Obj) -> str:
    """What a body that nobody has checked yet calls itself."""
    meta = value.get("metadata")
    name = meta.get("name") if isinstance(meta, dict) else ""
    return name if isinstance(name, str) else ""


def identify(value: Obj, kind: Kind, raw: bytes) -> tuple[str, str, str]:
    """(group, version, kind) that a body claims, the path's where it says nothing (built-in kinds only)."""
    api_version, name = value.get("apiVersion"), value.get("kind")
    for claim in (api_version, name):
        if claim is not None and not isinstance(claim, str):
            raise _unrecognized(kind, parse.type_meta_error(value), raw)
    if kind.custom and not name:
        raise errors.bad_request(
            f"the object provided is unrecognized (must be of type {kind.resource.kind}): "
            f"Object 'Kind' is missing in '{raw.decode('utf-8', 'replace')}' ({summary(raw)})"
        )
    group, version = ("", "") if kind.custom else (kind.resource.group, kind.resource.version)
    if api_version:
        parts = api_version.split("/")
        if len(parts) > 2:
            raise _unrecognized(kind, f"unexpected GroupVersion string: {api_version}", raw)
        group, version = (parts[0], parts[1]) if len(parts) == 2 else ("", parts[0])
    return group, version, name or kind.resource.kind


def _check_kind(kind: Kind, scope: Scope, group: str, version: str, name: str, object_name: str) -> None:
    resource = kind.resource
    if name == resource.kind and group == resource.group and version == resource.version:
        return
    group_version = f"{group}/{version}" if group else version
    if kind.custom:
        raise _custom_mismatch(kind, group_version, name, object_name)
    raise _cannot_handle(kind, name, version, unconvertible(scope, group, version, name))


def unconvertible(scope: Scope, group: str, version: str, name: str) -> str:
    """Why an object of this group, version and kind does not become one of the scope's."""
    own_scheme = _OWN_SCHEMES.get(scope.kind.resource.group)
    if scope.known_kind(group, version, name) and (not own_scheme or group == scope.kind.resource.group):
        return f"converting ({version}.{name}) to ({scope.kind.go_name}): unknown conversion"
    group_version = f"{group}/{version}" if group else version
    return (
        f"no kind {go_quote(name)} is registered for version {go_quote(group_version)} in scheme "
        f"{go_quote(own_scheme or _SCHEME)}"
    )


def _custom_mismatch(kind: Kind, group_version: str, name: str, object_name: str) -> errors.ApiError:
    """The version is the handler's to refuse, the kind the strategy's (customResourceValidator)."""
    resource = kind.resource
    if group_version != resource.group_version:
        return errors.bad_request(
            f"the API version in the data ({group_version}) does not match the expected API version "
            f"({resource.group_version})"
        )
    wrong = invalid("kind", name, f"must be {resource.kind}")
    return errors.invalid(resource.group, name, object_name, [wrong])


def report(problems: list[str], kind: Kind, name: str, version: str, options: Obj, request: Request) -> None:
    """Strict: refuse. Warn: one warning each. Ignore: nothing."""
    if not problems:
        return
    validation = field_validation(options)
    if validation == "Strict":
        text = "strict decoding error: " + ", ".join(problems)
        raise _cannot_handle(kind, name, version, text)
    if validation == "Warn":
        request.warnings.extend(problems)


def _cannot_handle(kind: Kind, name: str, version: str, why: str) -> errors.ApiError:
    return errors.bad_request(
        f"{name} in version {go_quote(version)} cannot be handled as a {kind.resource.kind}: {why}"
    )


def _unrecognized(kind: Kind, why: str, raw: bytes) -> errors.ApiError:
    return errors.bad_request(
        f"the object provided is unrecognized (must be of type {kind.resource.kind}): {why} ({summary(raw)})"
    )


def summary(raw: bytes) -> str:
    """The beginning of a body as error texts show it: text if it looks like JSON, hexadecimal otherwise."""
    if not raw:
        return "<empty>"
    if raw[:1] == b"{":
        head = raw[:_SUMMARY_LENGTH].decode("utf-8", "replace")
        return head + " ..." if len(raw) > _SUMMARY_LENGTH else head
    head = raw[:_SUMMARY_LENGTH].hex()
    return head + " ..." if len(raw) > _SUMMARY_LENGTH else head
