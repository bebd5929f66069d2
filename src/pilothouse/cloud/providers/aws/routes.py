"""Routes to nodes' pods in the route tables of the cluster: those of the configuration, or those that carry its tag."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from pilothouse.api.types import Obj
from pilothouse.cloud.provider import CloudError, NotFound, Route
from pilothouse.cloud.providers.aws.calls import Aws, cluster_tag
from pilothouse.cloud.providers.aws.instances import AwsInstances
from pilothouse.cloud.providers.aws.node_index import NodeIndex

_KINDS = ("DestinationCidrBlock", "DestinationIpv6CidrBlock")


class AwsRoutes:
    """A route's name is TABLE/NETWORK; EC2 knows no other."""

    def __init__(
        self, aws: Aws, cluster: str, tables: Sequence[str], instances: AwsInstances, nodes: NodeIndex
    ) -> None:
        self._aws = aws
        self._cluster = cluster
        self._configured = tables
        self._instances = instances
        self._nodes = nodes

    async def list(self) -> Sequence[Route]:
        """Routes to instances, of all the cluster's tables. One that is missing in some of them is left out, and so is
        made there."""
        tables = await self._tables()
        found: defaultdict[str, deque[Route]] = defaultdict(deque)
        for table in tables:
            for entry in table["Routes"]:
                route = self._route(table["RouteTableId"], entry)
                if route is not None:
                    found[route.destination].append(route)
        return [
            route
            for routes in found.values()
            for route in routes
            if len(routes) == len(tables) or route.blackhole
        ]

    def _route(self, table: str, entry: Mapping[str, Any]) -> Route | None:
        destination = next((entry[kind] for kind in _KINDS if entry.get(kind)), None)
        blackhole = entry.get("State") == "blackhole"
        if destination is None or not (entry.get("InstanceId") or blackhole):
            return None
        node = self._nodes.name(entry.get("InstanceId") or "")
        return Route(f"{table}/{destination}", node, destination, blackhole)

    async def _tables(self) -> Sequence[Any]:
        arguments: dict[str, Any]
        if self._configured:
            arguments = {"RouteTableIds": [*self._configured]}
        else:
            arguments = {"Filters": [{"Name": "tag-key", "Values": [cluster_tag(self._cluster)]}]}
        found = await self._aws.pages("ec2", "describe_route_tables", "RouteTables", **arguments)
        if not found:
            raise CloudError(
                f"no route table has the tag {cluster_tag(self._cluster)}; tag one, or name it in routeTables"
            )
        return found

    async def create(self, hint: str, route: Route, node: Obj) -> None:
        instance = await self._instances.find(node)
        if instance is None:
            raise NotFound(f"node {route.target_node} has no instance")
        identity = instance["InstanceId"]
        if instance.get("SourceDestCheck", True):
            # An instance that forwards for its pods answers for addresses that are not its own.
            await self._aws.call(
                "ec2",
                "modify_instance_attribute",
                InstanceId=identity,
                SourceDestCheck={"Value": False},
            )
        for table in await self._tables():
            await self._lead(table, route.destination, identity)

    async def _lead(self, table: Mapping[str, Any], destination: str, instance: str) -> None:
        kind = _KINDS[":" in destination]
        present = next((entry for entry in table["Routes"] if entry.get(kind) == destination), None)
        if present is not None and present.get("InstanceId") == instance and present.get("State") == "active":
            return
        method = "create_route" if present is None else "replace_route"
        target = {kind: destination, "InstanceId": instance}
        await self._aws.call("ec2", method, RouteTableId=table["RouteTableId"], **target)

    async def delete(self, route: Route) -> None:
        table, _, destination = route.name.partition("/")
        kind = _KINDS[":" in destination]
        with suppress(NotFound):  # somebody was faster
            await self._aws.call("ec2", "delete_route", RouteTableId=table, **{kind: destination})
