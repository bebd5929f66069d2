"""nodes/proxy, pods/proxy and services/proxy: requests on to a kubelet's own paths, or into the pod network.

Nothing listens in the pods of simulated nodes: those proxies answer as upstream does when nobody is there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pilothouse.api import errors
from pilothouse.api.resources import ENDPOINT_SLICES
from pilothouse.apiserver.endpoints.scope import Scope
from pilothouse.apiserver.endpoints.subresources import connecting, pod_containers
from pilothouse.apiserver.request import Request, Response

if TYPE_CHECKING:
    from pilothouse.apiserver.server import ApiServer


class Proxy:
    def __init__(self, server: ApiServer) -> None:
        self._server = server

    async def node(self, request: Request, scope: Scope) -> Response:
        await connecting.admit(request, scope)
        _, name, _ = _split(request.info.name)
        path = "/" + "/".join(request.info.parts[3:])
        kubelet = pod_containers.kubelet_of(self._server.kubelets, self._server.lister, name, path)
        if request.method not in ("GET", "HEAD"):
            return Response(405, b"405: Method Not Allowed", {"Content-Type": "text/plain"})
        answer = kubelet.answer(name, path)
        return Response(answer.status, answer.body, {"Content-Type": answer.content_type})

    async def pod(self, request: Request, scope: Scope) -> Response:
        await connecting.admit(request, scope)
        _, name, port = _split(request.info.name)
        pod = (await scope.rest.newest(scope.namespace(request), name)).obj
        address = (pod.get("status") or {}).get("podIP")
        if not address:
            raise errors.bad_request("address not allowed")
        first = next((p for c in pod["spec"]["containers"] for p in c.get("ports") or ()), None)
        number = port or (str(first["containerPort"]) if first else "80")
        raise _unreachable(f"{address}:{number}")

    async def service(self, request: Request, scope: Scope) -> Response:
        await connecting.admit(request, scope)
        _, name, _ = _split(request.info.name)
        service = (await scope.rest.newest(scope.namespace(request), name)).obj
        namespace = service["metadata"]["namespace"]
        for piece in self._server.lister.list(ENDPOINT_SLICES, namespace):
            labels = piece["metadata"].get("labels") or {}
            if labels.get("kubernetes.io/service-name") != name:
                continue
            for endpoint in piece.get("endpoints") or ():
                if (endpoint.get("conditions") or {}).get("ready") is not False and piece.get("ports"):
                    raise _unreachable(f"{endpoint['addresses'][0]}:{piece['ports'][0].get('port', 80)}")
        raise errors.service_unavailable(f'no endpoints available for service "{request.info.name}"')


def _split(name: str) -> tuple[str, str, str]:
    """[SCHEME:]NAME[:PORT] (apimachinery's SplitSchemeNamePort)."""
    parts = name.split(":")
    if len(parts) == 1:
        return "", parts[0], ""
    if len(parts) == 2:
        return "", parts[0], parts[1]
    return parts[0], parts[1], parts[2]


def _unreachable(where: str) -> errors.ApiError:
    return errors.service_unavailable(
        f"error trying to reach service: dial tcp {where}: connect: connection refused"
    )
