"""Routes that are written down: simulated nodes have no network between them that would follow them."""

from __future__ import annotations

from collections.abc import Sequence

from pilothouse.api.types import Obj
from pilothouse.cloud.provider import Route


class LocalRoutes:
    def __init__(self) -> None:
        self._routes: dict[str, Route] = {}

    async def list(self) -> Sequence[Route]:
        return list(self._routes.values())

    async def create(self, hint: str, route: Route, node: Obj) -> None:
        name = f"{hint}-{route.destination}"
        self._routes[route.destination] = Route(name, route.target_node, route.destination)

    async def delete(self, route: Route) -> None:
        self._routes.pop(route.destination, None)
