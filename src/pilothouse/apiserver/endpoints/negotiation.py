"""Which form an answer takes: media type, and whether as the object, a Table or its metadata alone
(k8s.io/apiserver/pkg/endpoints/handlers/negotiation)."""

from __future__ import annotations

from typing import NamedTuple

from pilothouse.api import errors
from pilothouse.apiserver.request import Request
from pilothouse.kit.caching import cached_texts

JSON = "application/json"
YAML = "application/yaml"
PROTOBUF = "application/vnd.kubernetes.protobuf"
ACCEPTED = (JSON, YAML, PROTOBUF)
_ACCEPTED_TEXT = ", ".join(ACCEPTED)
_STREAMS_TEXT = f"{JSON};stream=watch, {PROTOBUF};stream=watch"
_WATCH_TEXT = f"{_ACCEPTED_TEXT}, {_STREAMS_TEXT}"


class Form(NamedTuple):
    """`target` is "" for the object itself, Table, PartialObjectMetadata or PartialObjectMetadataList.
    Protobuf is made of the JSON answer at the end (`protobuf_answers`), where there is a message for it."""

    media_type: str = JSON
    target: str = ""
    target_version: str = ""
    pretty: bool = False
    protobuf: bool = False


_TARGETS = {
    ("Table", "v1"),
    ("Table", "v1beta1"),
    ("PartialObjectMetadata", "v1"),
    ("PartialObjectMetadata", "v1beta1"),
    ("PartialObjectMetadataList", "v1"),
    ("PartialObjectMetadataList", "v1beta1"),
}


class _Clause(NamedTuple):
    type: str
    parameters: dict[str, str]
    quality: float


def _clauses(accept: str) -> list[_Clause]:
    out = []
    for text in accept.split(","):
        head, *rest = text.strip().split(";")
        parameters = dict(
            (k.strip().lower(), v.strip().strip('"')) for k, _, v in (part.partition("=") for part in rest)
        )
        try:
            quality = float(parameters.pop("q", "1"))
        except ValueError:
            quality = 0.0
        out.append(_Clause(head.strip().lower(), parameters, quality))
    return sorted(out, key=lambda c: -c.quality)


def _media_type(clause: str) -> str:
    """A clause's media type of ours; "" when there is none. `application/*` is not honoured, as upstream."""
    if clause in ACCEPTED:
        return clause
    return JSON if clause in ("*/*", "*") else ""


_PEOPLE = ("curl", "Wget", "Mozilla/5.0")
"""How the User-Agents begin of what people look at answers with: they get them indented."""
_TRUE = frozenset(("1", "t", "T", "TRUE", "true", "True"))


def form_of(request: Request, *, watch: bool = False) -> Form:
    """The form of a request's answer; raises 406 when nothing fits."""
    form = negotiate(request.headers.get("accept", ""), watch=watch)
    return form if form.pretty or not wants_pretty(request) else form._replace(pretty=True)


def wants_pretty(request: Request) -> bool:
    """Whether indented JSON is asked for: by the query, or by being read by a person."""
    asked = request.param("pretty")
    if asked:
        return asked in _TRUE
    return request.headers.get("user-agent", "").startswith(_PEOPLE)


@cached_texts(512)
def negotiate(accept: str, *, watch: bool = False, transforms: bool = True) -> Form:
    """The form for an Accept header; raises 406 when nothing fits. `transforms`: the endpoint can answer as
    Table or PartialObjectMetadata."""
    if not accept:
        return Form()
    clauses = _clauses(accept)
    known = False
    for clause in clauses:
        media_type = _media_type(clause.type)
        if not media_type:
            continue
        known = True
        form = _with_parameters(media_type, clause.parameters, transforms)
        if form:
            if watch and form.media_type == YAML:
                raise errors.not_acceptable(f"only the following media types are accepted: {_STREAMS_TEXT}")
            return form
    if known:
        raise errors.not_acceptable(f"only the following media types are accepted: {_ACCEPTED_TEXT}")
    text = _WATCH_TEXT if watch else _ACCEPTED_TEXT
    error = errors.not_acceptable(f"406: Not Acceptable\n\nAvailable representations: {text}")
    error.details = {}
    raise error


def _with_parameters(media_type: str, parameters: dict[str, str], transforms: bool) -> Form | None:
    target = parameters.get("as", "")
    version = parameters.get("v", "")
    group = parameters.get("g", "")
    stream = parameters.get("stream", "")
    if stream and (stream != "watch" or media_type == YAML):
        return None
    if parameters.get("sv", "") not in ("", "v1"):
        return None
    protobuf = media_type == PROTOBUF
    form = Form(
        JSON if protobuf else media_type, pretty=parameters.get("pretty", "") == "1", protobuf=protobuf
    )
    if not target:
        return None if version or group else form
    if not transforms or group != "meta.k8s.io" or (target, version) not in _TARGETS:
        return None
    if target == "Table" and protobuf:
        return None
    return form._replace(target=target, target_version=version)


@cached_texts(128)
def body_type(content_type: str) -> str:
    """The media type of a request body for POST, PUT and DELETE; JSON when none is named; 415 for others."""
    media_type = content_type.partition(";")[0].strip().lower()
    if not media_type:
        return JSON
    if media_type in ACCEPTED:
        return media_type
    raise errors.unsupported_media_type(
        f"the body of the request was in an unknown format - accepted media types include: {_ACCEPTED_TEXT}"
    )
