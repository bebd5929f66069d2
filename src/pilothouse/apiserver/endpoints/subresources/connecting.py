"""CONNECT: admission is asked before a connection into a pod, a service or a node is made
(k8s.io/apiserver/pkg/endpoints/handlers ConnectResource)."""

from __future__ import annotations

from typing import Any

from pilothouse.api import errors
from pilothouse.api.types import Obj
from pilothouse.apiserver.admission.plugin import ObjectKind
from pilothouse.apiserver.endpoints.scope import Scope
from pilothouse.apiserver.request import Request
from pilothouse.apiserver.request_info import is_true

_STREAMS = ("stdin", "stdout", "stderr", "tty")
_KINDS = {
    ("pods", "attach"): "PodAttachOptions",
    ("pods", "exec"): "PodExecOptions",
    ("pods", "portforward"): "PodPortForwardOptions",
    ("pods", "proxy"): "PodProxyOptions",
    ("services", "proxy"): "ServiceProxyOptions",
    ("nodes", "proxy"): "NodeProxyOptions",
}


async def admit(request: Request, scope: Scope) -> None:
    """Raises what a plugin refuses, and 400 for a dry run: a connection cannot be made half."""
    if request.query.get("dryRun"):
        raise errors.bad_request("dryRun is not supported")
    kind = _KINDS[scope.kind.resource.plural, request.info.subresource]
    ctx = scope.context(request)
    obj = {"kind": kind, "apiVersion": "v1", **_options(request)}
    await scope.rest.admission.ask(
        scope.rest.attributes(
            ctx, "CONNECT", obj, None, {}, name=request.info.name, kind=ObjectKind("", "v1", kind)
        )
    )


def _options(request: Request) -> Obj:
    """The query as the options object that it stands for, empty fields left out."""
    if request.info.subresource == "proxy":
        given: dict[str, Any] = {"path": "/".join(request.info.parts[3:])}
    elif request.info.subresource == "portforward":
        given = {"ports": [int(port) for port in request.query.get("ports") or () if port.isdigit()]}
    else:
        given = {key: is_true(request.query.get(key)) for key in _STREAMS}
        given["container"] = request.param("container")
        given["command"] = list(request.query.get("command") or ())
    return {key: value for key, value in given.items() if value}
