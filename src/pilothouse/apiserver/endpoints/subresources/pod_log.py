"""pods/log: what a container printed, from its kubelet (pkg/registry/core/pod/rest/log.go)."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from pilothouse.api import errors
from pilothouse.api import field as f
from pilothouse.api.kubelet import LogOptions
from pilothouse.apiserver.endpoints.scope import Scope
from pilothouse.apiserver.endpoints.subresources import pod_containers
from pilothouse.apiserver.request import Request, Response
from pilothouse.apiserver.request_info import is_true
from pilothouse.kit.world import parse_timestamp

if TYPE_CHECKING:
    from pilothouse.apiserver.server import ApiServer

_TEXT = {"Content-Type": "text/plain"}
_INTEGER = re.compile(r"[+-]?[0-9]+")
_STREAMS = {"Stdout": ("stdout",), "Stderr": ("stderr",), "All": ("stdout", "stderr")}


class Logs:
    def __init__(self, server: ApiServer) -> None:
        self._server = server

    async def get(self, request: Request, scope: Scope) -> Response:
        name = request.info.name
        options = _options(request, name, self._server.world.now())
        pod = (await scope.rest.newest(scope.namespace(request), name)).obj
        container = pod_containers.container_of(pod, options.container)
        node = pod["spec"].get("nodeName", "")
        if not node:
            # Nothing has run anywhere: an empty log.
            return Response(200, b"", dict(_TEXT))
        meta = pod["metadata"]
        path = f"/containerLogs/{meta['namespace']}/{meta['name']}/{container}"
        kubelet = pod_containers.kubelet_of(self._server.kubelets, self._server.lister, node, path)
        lines = kubelet.logs(pod, options._replace(container=container))
        if not options.follow:
            return Response(200, b"".join([line async for line in lines]), dict(_TEXT))
        # Its first step tells whether it is refused, and is an empty line of nothing where it is not.
        first = await anext(lines)
        return Response(200, _and_then(first, lines), dict(_TEXT))


async def _and_then(first: bytes, lines: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for line in lines:
        yield line


def _options(request: Request, name: str, now_s: float) -> LogOptions:
    """PodLogOptions of the query. 400 for values that are no numbers, 422 for numbers that make no sense."""
    since_seconds = _integer(request, "sinceSeconds")
    since_time = _time(request.param("sinceTime"))
    tail, limit = _integer(request, "tailLines"), _integer(request, "limitBytes")
    stream = request.param("stream", "All")
    wrong: list[f.FieldError] = []
    if tail is not None and tail < 0:
        wrong.append(f.invalid("tailLines", tail, "must be greater than or equal to 0"))
    if limit is not None and limit < 1:
        wrong.append(f.invalid("limitBytes", limit, "must be greater than 0"))
    if since_seconds is not None and since_time is not None:
        text = "at most one of `sinceTime` or `sinceSeconds` may be specified"
        wrong.append(f.forbidden("", text))
    elif since_seconds is not None and since_seconds < 1:
        wrong.append(f.invalid("sinceSeconds", since_seconds, "must be greater than 0"))
    if stream not in _STREAMS:
        wrong.append(f.not_supported("stream", stream, ("All", "Stderr", "Stdout")))
    elif stream != "All" and tail is not None:
        wrong.append(f.forbidden("", "`tailLines` and specific `stream` are mutually exclusive for now"))
    if wrong:
        raise errors.invalid("", "PodLogOptions", name, wrong)
    return LogOptions(
        request.param("container"),
        is_true(request.query.get("follow")),
        is_true(request.query.get("previous")),
        now_s - since_seconds if since_seconds is not None else since_time,
        is_true(request.query.get("timestamps")),
        tail,
        limit,
        _STREAMS[stream],
    )


def _integer(request: Request, name: str) -> int | None:
    text = request.param(name)
    if not text:
        return None
    if not _INTEGER.fullmatch(text):
        raise errors.bad_request(f"strconv.ParseInt: parsing {f.go_quote(text)}: invalid syntax")
    return int(text)


def _time(text: str) -> float | None:
    if not text:
        return None
    try:
        return parse_timestamp(text)
    except ValueError:
        layout = '"2006-01-02T15:04:05Z07:00"'
        quoted = f.go_quote(text)
        raise errors.bad_request(
            f'parsing time {quoted} as {layout}: cannot parse {quoted} as "2006"'
        ) from None
