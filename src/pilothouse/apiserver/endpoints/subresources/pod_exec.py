"""pods/exec, attach and portforward: a connection into a container, over WebSocket.

The streams are multiplexed as kubelets do it (v4 and v5.channel.k8s.io: each message's first byte is its channel);
how the command ended goes over the error channel as a Status. A refusal is a plain Status before any upgrade, which
every kubectl prints; so is the answer to those who can only speak SPDY.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import msgspec

from pilothouse.api import errors
from pilothouse.api.kubelet import Kubelets, Outcome
from pilothouse.api.types import Obj
from pilothouse.apiserver.endpoints.scope import Scope
from pilothouse.apiserver.endpoints.subresources import connecting, pod_containers
from pilothouse.apiserver.request import Request, Response

if TYPE_CHECKING:
    from pilothouse.apiserver.server import ApiServer

_PROTOCOLS = ("v5.channel.k8s.io", "v4.channel.k8s.io")
_STDOUT, _ERROR = b"\x01", b"\x03"


class Connector:
    def __init__(self, server: ApiServer) -> None:
        self._server = server

    async def exec(self, request: Request, scope: Scope) -> Response:
        await connecting.admit(request, scope)
        pod, container, kubelet = await self._locate(request, scope, "exec")
        command = list(request.query.get("command") or ())
        if not command:
            raise errors.bad_request("you must specify at least 1 container, command")
        outcome = kubelet.execute(pod, container, command)
        await _upgrade(request, _refusal_of_old(outcome))
        passed_s = 0.0
        for after_s, data in (*outcome.printed, (outcome.run_s, b"")):
            if after_s > passed_s:
                await self._server.world.clock.sleep(after_s - passed_s)
                passed_s = after_s
            if data:
                await request.upgrade.send(_STDOUT + data)
        return await _finish(request, _ended(outcome.exit_code))

    async def attach(self, request: Request, scope: Scope) -> Response:
        await connecting.admit(request, scope)
        pod, container, kubelet = await self._locate(request, scope, "attach")
        text = f"pod {pod['metadata']['name']} is simulated: its containers read no input"
        await _upgrade(request, errors.bad_request(text))
        lines: AsyncIterator[bytes] = kubelet.attach(pod, container)
        async for line in lines:
            await request.upgrade.send(_STDOUT + line)
        return await _finish(request, _ended(0))

    async def port_forward(self, request: Request, scope: Scope) -> Response:
        await connecting.admit(request, scope)
        pod, _, _ = await self._locate(request, scope, "portForward", needs_container=False)
        node = pod["spec"]["nodeName"]
        raise errors.bad_request(
            f"pod {pod['metadata']['name']} is on the simulated node {node}: simulated containers listen on no port"
        )

    async def _locate(
        self, request: Request, scope: Scope, what: str, *, needs_container: bool = True
    ) -> tuple[Obj, str, Kubelets]:
        pod = (await scope.rest.newest(scope.namespace(request), request.info.name)).obj
        name = pod["metadata"]["name"]
        container = ""
        if needs_container:
            container = pod_containers.container_of(pod, request.param("container"))
        node = pod["spec"].get("nodeName", "")
        if not node:
            raise errors.bad_request(f"pod {name} does not have a host assigned")
        path = f"/{what}/{pod['metadata']['namespace']}/{name}" + (f"/{container}" if container else "")
        return (
            pod,
            container,
            pod_containers.kubelet_of(self._server.kubelets, self._server.lister, node, path),
        )


def _refusal_of_old(outcome: Outcome) -> errors.ApiError:
    """What a client without WebSocket is told: at least how it went."""
    printed = b"".join(part.data for part in outcome.printed).decode().strip()
    said = f"; it prints {printed!r}" if printed else ""
    return errors.bad_request(
        f"simulated containers run no commands: this one would end with exit code {outcome.exit_code}{said} "
        "(its streams need a client that speaks WebSocket, such as kubectl 1.31)"
    )


async def _upgrade(request: Request, otherwise: errors.ApiError) -> None:
    """Take the connection over, or raise `otherwise`."""
    kinds = {word.strip().lower() for word in request.headers.get("upgrade", "").split(",")}
    if request.upgrade is None:
        raise errors.bad_request("Upgrade request required")
    if "websocket" not in kinds:
        raise otherwise
    await request.upgrade.websocket(_PROTOCOLS)
    # Tells the client that the connection stands before anything is printed.
    await request.upgrade.send(_STDOUT)


async def _finish(request: Request, status: Obj) -> Response:
    await request.upgrade.send(_ERROR + msgspec.json.encode(status))
    await request.upgrade.close()
    return Response(101)


def _ended(exit_code: int) -> Obj:
    if not exit_code:
        return {"metadata": {}, "status": "Success"}
    return {
        "metadata": {},
        "status": "Failure",
        "message": f"command terminated with non-zero exit code: exit status {exit_code}",
        "reason": "NonZeroExitCode",
        "details": {"causes": [{"reason": "ExitCode", "message": str(exit_code)}]},
    }
