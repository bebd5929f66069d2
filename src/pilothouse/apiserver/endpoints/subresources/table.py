"""Which handler serves which subresource, on one screen."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from pilothouse.apiserver.endpoints.component_statuses import ComponentStatuses
from pilothouse.apiserver.endpoints.subresources import (
    binding,
    eviction,
    finalize,
    pod_exec,
    pod_log,
    proxying,
    reviews,
    scale,
    token,
)

if TYPE_CHECKING:
    from pilothouse.apiserver.router import ResourceHandler
    from pilothouse.apiserver.server import ApiServer


def handlers(server: ApiServer) -> Iterator[tuple[str, str, str, ResourceHandler]]:
    """(plural, subresource, verb, handler); plural "*" is any resource that has the subresource."""
    binder = binding.Binder(server)
    yield "pods", "binding", "create", binder.create
    yield "bindings", "", "create", binder.create
    evictor = eviction.Evictor(server)
    yield "pods", "eviction", "create", evictor.create
    yield "pods", "log", "get", pod_log.Logs(server).get
    connector = pod_exec.Connector(server)
    proxy = proxying.Proxy(server)
    for verb in ("get", "create"):
        yield "pods", "exec", verb, connector.exec
        yield "pods", "attach", verb, connector.attach
        yield "pods", "portforward", verb, connector.port_forward
    for verb in ("create", "delete", "get", "patch", "update"):
        yield "nodes", "proxy", verb, proxy.node
        yield "pods", "proxy", verb, proxy.pod
        yield "services", "proxy", verb, proxy.service
    scaler = scale.Scaler(server)
    yield "*", "scale", "get", scaler.get
    yield "*", "scale", "update", scaler.update
    yield "*", "scale", "patch", scaler.patch
    yield "namespaces", "finalize", "update", finalize.update
    issuer = token.Issuer(server)
    yield "serviceaccounts", "token", "create", issuer.create
    statuses = ComponentStatuses(server)
    yield "componentstatuses", "", "get", statuses.get
    yield "componentstatuses", "", "list", statuses.list
    reviewer = reviews.Reviewer(server)
    yield "subjectaccessreviews", "", "create", reviewer.subject_access
    yield "selfsubjectaccessreviews", "", "create", reviewer.self_subject_access
    yield "localsubjectaccessreviews", "", "create", reviewer.local_subject_access
    yield "selfsubjectrulesreviews", "", "create", reviewer.self_subject_rules
    yield "tokenreviews", "", "create", reviewer.token
    yield "selfsubjectreviews", "", "create", reviewer.self_subject
