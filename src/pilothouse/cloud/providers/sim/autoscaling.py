"""The API that grows and shrinks node groups, over HTTP (the calls are those of cluster-autoscaler's external provider,
https://github.com/kubernetes/autoscaler/tree/master/cluster-autoscaler/cloudprovider/externalgrpc, as JSON):

    GET    /nodeGroups                              {"nodeGroups": [{"id", "minSize", "maxSize", "targetSize"}]}
    GET    /nodeGroups/NAME/nodes                   {"instances": [{"id", "node", "status"}]}
    POST   /nodeGroups/NAME/increaseSize            {"delta": 2}
    POST   /nodeGroups/NAME/deleteNodes             {"nodes": ["workers-00000001"]}
    GET    /nodeGroupForNode/NODE                   {"nodeGroup": {...}}, {} for a node of no group

Whoever reaches the address may use it: it listens where the configuration says, a loopback address as a rule.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from aiohttp import web

from pilothouse.cloud.provider import NotFound
from pilothouse.cloud.providers.sim.account import Machine
from pilothouse.cloud.providers.sim.config import NodeGroup
from pilothouse.cloud.providers.sim.faces import SCHEME
from pilothouse.cloud.providers.sim.machines import Machines


async def serve(machines: Machines, address: str) -> None:
    """Until cancelled. OSError when the address cannot be listened on."""
    host, _, port = address.rpartition(":")
    runner = web.AppRunner(application(machines), access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, host.strip("[]"), int(port)).start()
        await asyncio.Event().wait()
    finally:
        await runner.cleanup()


def application(machines: Machines) -> web.Application:
    api = _Api(machines)
    app = web.Application(client_max_size=1 << 20)
    app.add_routes(
        [
            web.get("/nodeGroups", api.groups),
            web.get("/nodeGroups/{name}/nodes", api.nodes),
            web.post("/nodeGroups/{name}/increaseSize", api.increase),
            web.post("/nodeGroups/{name}/deleteNodes", api.delete),
            web.get("/nodeGroupForNode/{node}", api.group_of),
        ]
    )
    return app


class _Api:
    def __init__(self, machines: Machines) -> None:
        self._machines = machines

    async def groups(self, request: web.Request) -> web.Response:
        return web.json_response({"nodeGroups": [self._group(group) for group in self._machines.groups()]})

    async def nodes(self, request: web.Request) -> web.Response:
        return self._answer(
            lambda: {"instances": [_instance(m) for m in self._machines.members(request.match_info["name"])]}
        )

    async def increase(self, request: web.Request) -> web.Response:
        delta = (await _body(request)).get("delta")
        if not isinstance(delta, int) or delta <= 0:
            raise web.HTTPBadRequest(text="delta: a whole number above 0 is needed\n")
        return self._answer(lambda: {"targetSize": self._machines.grow(request.match_info["name"], delta)})

    async def delete(self, request: web.Request) -> web.Response:
        nodes = (await _body(request)).get("nodes")
        if not isinstance(nodes, list) or not all(isinstance(node, str) for node in nodes):
            raise web.HTTPBadRequest(text="nodes: a list of names is needed\n")
        return self._answer(lambda: {"targetSize": self._machines.shrink(request.match_info["name"], nodes)})

    async def group_of(self, request: web.Request) -> web.Response:
        node = request.match_info["node"]
        for group in self._machines.groups():
            if any(machine.node == node for machine in self._machines.members(group.name)):
                return web.json_response({"nodeGroup": self._group(group)})
        return web.json_response({})

    def _group(self, group: NodeGroup) -> dict[str, Any]:
        return {
            "id": group.name,
            "minSize": group.min,
            "maxSize": group.max,
            "targetSize": self._machines.target(group.name),
        }

    def _answer(self, work: Callable[[], dict[str, Any]]) -> web.Response:
        try:
            return web.json_response(work())
        except NotFound as error:
            raise web.HTTPNotFound(text=f"{error}\n") from None
        except ValueError as error:
            raise web.HTTPConflict(text=f"{error}\n") from None


def _instance(machine: Machine) -> dict[str, Any]:
    return {"id": f"{SCHEME}/{machine.id}", "node": machine.node, "status": machine.state}


async def _body(request: web.Request) -> dict[str, Any]:
    try:
        found = await request.json()
    except ValueError as error:
        raise web.HTTPBadRequest(text=f"the body is no JSON: {error}\n") from None
    if not isinstance(found, dict):
        raise web.HTTPBadRequest(text="the body is no JSON object\n")
    return found
