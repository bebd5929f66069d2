"""componentstatuses: whether the other components of the control plane are well, asked when somebody looks
(kubernetes pkg/registry/core/componentstatus; deprecated since 1.19, and served all the same).

Components of this process answer for themselves (`ApiServer.components`). Others are asked at the ports where upstream
expects them on this host."""

from __future__ import annotations

import asyncio
import ssl
from typing import TYPE_CHECKING

from pilothouse.api import errors
from pilothouse.api.types import Obj
from pilothouse.apiserver.endpoints import negotiation, render
from pilothouse.apiserver.endpoints.options import list_options
from pilothouse.apiserver.endpoints.scope import Scope
from pilothouse.apiserver.request import Request, Response

if TYPE_CHECKING:
    from pilothouse.apiserver.server import ApiServer

_PORTS = {"controller-manager": 10257, "scheduler": 10259}
_ETCD = "etcd-0"
_TIMEOUT_S = 20.0


class ComponentStatuses:
    def __init__(self, server: ApiServer) -> None:
        self._server = server

    async def get(self, request: Request, scope: Scope) -> Response:
        name = request.info.name
        if name != _ETCD and name not in _PORTS:
            raise errors.not_found("", "componentstatus", name)
        obj = {"kind": "ComponentStatus", "apiVersion": "v1", **await self._status(name)}
        return render.one(request, scope.kind, obj, None, negotiation.form_of(request))

    async def list(self, request: Request, scope: Scope) -> Response:
        form = negotiation.form_of(request)
        options = list_options(request, watch=False)
        names = [*_PORTS, _ETCD]
        if options.label_selector is not None and not options.label_selector.matches({}):
            names = []
        if options.field_selector is not None:
            names = [n for n in names if options.field_selector.matches({"metadata.name": n})]
        found = list(await asyncio.gather(*(self._status(name) for name in names)))
        if form.target == "Table":
            return render.document(render.table(request, scope.kind, found, {}, form), form)
        if form.target:
            items = [render.partial(obj, form.target_version) for obj in found]
            head: Obj = {"kind": form.target, "apiVersion": f"meta.k8s.io/{form.target_version}"}
            return render.document({**head, "metadata": {}, "items": items}, form)
        body = {"kind": "ComponentStatusList", "apiVersion": "v1", "metadata": {}}
        return render.document({**body, "items": found}, form)

    async def _status(self, name: str) -> Obj:
        problem = await self._problem(name)
        condition = {"type": "Healthy", "status": "False" if problem else "True", "message": problem or "ok"}
        return {"metadata": {"name": name}, "conditions": [condition]}

    async def _problem(self, name: str) -> str:
        if name == _ETCD:
            return await self._server.reads()
        own = self._server.components.get(name)
        return own() if own is not None else await _ask(_PORTS[name])


async def _ask(port: int) -> str:
    """What is wrong with /healthz at a port of this host; "" for nothing. Its certificate is its own."""
    import aiohttp

    url, where = f"https://127.0.0.1:{port}/healthz", f"127.0.0.1:{port}"
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    timeout = aiohttp.ClientTimeout(total=_TIMEOUT_S)
    try:
        async with (
            aiohttp.ClientSession() as session,
            session.get(url, ssl=context, timeout=timeout) as answer,
        ):
            body = (await answer.text()).strip()
            return "" if answer.status == 200 else body
    except aiohttp.ClientConnectorError:
        return f'Get "{url}": dial tcp {where}: connect: connection refused'
    except TimeoutError:
        return f'Get "{url}": context deadline exceeded'
    except aiohttp.ClientError as error:
        return f'Get "{url}": {error}'
