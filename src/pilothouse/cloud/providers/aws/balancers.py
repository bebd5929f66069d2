"""Network load balancers, one for each service:

    security group ──▶ load balancer ──▶ target groups ──▶ listeners ──▶ targets: the nodes' instances, on node ports

Each step finds what is there by name and changes what differs, so that a crash between two of them leaves nothing that
is not found again. Deleting goes the other way round.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from pilothouse.api.types import Obj
from pilothouse.cloud.provider import CloudError, Ingress, NotFound
from pilothouse.cloud.providers.aws import listening, subnets
from pilothouse.cloud.providers.aws.calls import Aws, tags
from pilothouse.cloud.providers.aws.firewall import Firewall
from pilothouse.cloud.providers.aws.instances import AwsInstances
from pilothouse.cloud.providers.aws.listening import Listening, Wanted

_ELB = "elbv2"
_TARGETS_MAX = 200
"""Of one call for targets."""


class AwsLoadBalancers:
    def __init__(self, aws: Aws, cluster: str, instances: AwsInstances) -> None:
        self._aws = aws
        self._cluster = cluster
        self._instances = instances
        self._firewall = Firewall(aws, cluster)

    def name(self, service: Obj) -> str:
        return listening.name_of(service)

    async def get(self, service: Obj) -> tuple[Ingress, ...] | None:
        """What was left of one that was only half made or deleted counts as one without a name."""
        found = await self._find(self.name(service))
        if found is not None:
            return (Ingress(hostname=found["DNSName"]),)
        if await self._groups(service) or await self._firewall.find(self.name(service)) is not None:
            return ()
        return None

    async def ensure(self, service: Obj, nodes: Sequence[Obj]) -> tuple[Ingress, ...]:
        wanted = listening.wanted(service)
        places = await subnets.find(self._aws, self._cluster, wanted.scheme, wanted.subnets)
        vpc, marks = places[0]["VpcId"], self._marks(service, wanted)
        present = await self._find(wanted.name)
        if present is not None and present["Scheme"] != wanted.scheme:
            await self.delete(service)
            present = None
        security = await self._firewall.ensure(wanted, vpc, marks)
        if present is None:
            present = await self._make(wanted, places, security, marks)
        await self._set_attributes(present["LoadBalancerArn"], wanted)
        groups = await self._ensure_groups(service, wanted, vpc, marks)
        await self._listen(present["LoadBalancerArn"], wanted, groups)
        await self._drop_groups(service, {one.group for one in wanted.listeners})
        await self._lead(wanted, groups, security, nodes)
        return (Ingress(hostname=present["DNSName"]),)

    async def update(self, service: Obj, nodes: Sequence[Obj]) -> None:
        wanted = listening.wanted(service)
        security = await self._firewall.find(wanted.name)
        if security is None or await self._find(wanted.name) is None:
            raise NotFound(f"load balancer {wanted.name} does not exist")
        await self._lead(wanted, await self._groups(service), security["GroupId"], nodes)

    async def delete(self, service: Obj) -> None:
        found = await self._find(self.name(service))
        if found is not None:
            await self._aws.call(_ELB, "delete_load_balancer", LoadBalancerArn=found["LoadBalancerArn"])
        await self._drop_groups(service, set())
        await self._firewall.delete(self.name(service))

    # -- the load balancer -----------------------------------------------------------------------------------

    def _marks(self, service: Obj, wanted: Wanted) -> dict[str, str]:
        meta = service["metadata"]
        return {**wanted.tags, "kubernetes.io/service-name": f"{meta['namespace']}/{meta['name']}"}

    async def _find(self, name: str) -> Mapping[str, Any] | None:
        try:
            found = await self._aws.call(_ELB, "describe_load_balancers", Names=[name])
        except NotFound:
            return None
        balancers = found["LoadBalancers"]
        return balancers[0] if balancers else None

    async def _make(
        self, wanted: Wanted, places: Sequence[Mapping[str, Any]], security: str, marks: Mapping[str, str]
    ) -> Mapping[str, Any]:
        made = await self._aws.call(
            _ELB,
            "create_load_balancer",
            Name=wanted.name,
            Type="network",
            Scheme=wanted.scheme,
            Subnets=[place["SubnetId"] for place in places],
            SecurityGroups=[security],
            Tags=tags(self._cluster, wanted.name, **marks),
        )
        found: Mapping[str, Any] = made["LoadBalancers"][0]
        return found

    async def _set_attributes(self, arn: str, wanted: Wanted) -> None:
        key, value = "load_balancing.cross_zone.enabled", "true" if wanted.cross_zone else "false"
        present = await self._aws.call(_ELB, "describe_load_balancer_attributes", LoadBalancerArn=arn)
        if {a["Key"]: a["Value"] for a in present["Attributes"]}.get(key, "false") != value:
            await self._aws.call(
                _ELB,
                "modify_load_balancer_attributes",
                LoadBalancerArn=arn,
                Attributes=[{"Key": key, "Value": value}],
            )

    # -- target groups ---------------------------------------------------------------------------------------

    async def _groups(self, service: Obj) -> dict[str, str]:
        """ARNs of the service's target groups by name."""
        prefix = listening.group_prefix(service)
        found = await self._aws.pages(_ELB, "describe_target_groups", "TargetGroups")
        return {
            group["TargetGroupName"]: group["TargetGroupArn"]
            for group in found
            if group["TargetGroupName"].startswith(prefix)
        }

    async def _ensure_groups(
        self, service: Obj, wanted: Wanted, vpc: str, marks: Mapping[str, str]
    ) -> dict[str, str]:
        present = await self._groups(service)
        for one in wanted.listeners:
            if one.group not in present:
                present[one.group] = await self._make_group(one, vpc, marks)
        return present

    async def _make_group(self, one: Listening, vpc: str, marks: Mapping[str, str]) -> str:
        health = {"HealthCheckProtocol": "TCP", "HealthCheckPort": "traffic-port"}
        if one.protocol == "UDP" or one.health_port:
            health["HealthCheckPort"] = str(one.health_port or one.node_port)
        if one.health_port:
            health.update(HealthCheckProtocol="HTTP", HealthCheckPath="/healthz")
        made = await self._aws.call(
            _ELB,
            "create_target_group",
            Name=one.group,
            Protocol=one.protocol,
            Port=one.node_port,
            VpcId=vpc,
            TargetType="instance",
            Tags=tags(self._cluster, one.group, **marks),
            **health,
        )
        return str(made["TargetGroups"][0]["TargetGroupArn"])

    async def _drop_groups(self, service: Obj, keep: set[str]) -> None:
        for name, arn in (await self._groups(service)).items():
            if name not in keep:
                await self._aws.call(_ELB, "delete_target_group", TargetGroupArn=arn)

    async def _listen(self, balancer: str, wanted: Wanted, groups: Mapping[str, str]) -> None:
        found = await self._aws.pages(_ELB, "describe_listeners", "Listeners", LoadBalancerArn=balancer)
        present = {(one["Protocol"], one["Port"]): one for one in found}
        needed = {(one.protocol, one.port): groups[one.group] for one in wanted.listeners}
        for key in present.keys() - needed.keys():
            await self._aws.call(_ELB, "delete_listener", ListenerArn=present[key]["ListenerArn"])
        for (protocol, port), group in needed.items():
            actions = [{"Type": "forward", "TargetGroupArn": group}]
            one = present.get((protocol, port))
            if one is None:
                await self._aws.call(
                    _ELB,
                    "create_listener",
                    LoadBalancerArn=balancer,
                    Protocol=protocol,
                    Port=port,
                    DefaultActions=actions,
                )
            elif one["DefaultActions"][0].get("TargetGroupArn") != group:
                await self._aws.call(
                    _ELB, "modify_listener", ListenerArn=one["ListenerArn"], DefaultActions=actions
                )

    # -- nodes -----------------------------------------------------------------------------------------------

    async def _lead(
        self, wanted: Wanted, groups: Mapping[str, str], security: str, nodes: Sequence[Obj]
    ) -> None:
        instances = await self._instances_of(nodes)
        await self._firewall.open_nodes(security, wanted.listeners, instances)
        ids = {instance["InstanceId"] for instance in instances}
        for one in wanted.listeners:
            await self._set_targets(groups[one.group], ids)

    async def _instances_of(self, nodes: Sequence[Obj]) -> list[Mapping[str, Any]]:
        """Nodes of other clouds and nodes whose instance is gone are no targets."""
        found = await asyncio.gather(*(self._instances.find(node) for node in nodes), return_exceptions=True)
        out: list[Mapping[str, Any]] = []
        for one in found:
            if isinstance(one, BaseException):
                # An answer of AWS, or none, is behind an error with a cause; another cloud's node has none.
                if one.__cause__ is not None or not isinstance(one, CloudError):
                    raise one
            elif one is not None and one["State"]["Name"] not in ("terminated", "shutting-down"):
                out.append(one)
        return out

    async def _set_targets(self, group: str, wanted: set[str]) -> None:
        health = await self._aws.call(_ELB, "describe_target_health", TargetGroupArn=group)
        present = {
            one["Target"]["Id"]
            for one in health["TargetHealthDescriptions"]
            if (one.get("TargetHealth") or {}).get("State") != "draining"
        }
        await self._change_targets("register_targets", group, wanted - present)
        await self._change_targets("deregister_targets", group, present - wanted)

    async def _change_targets(self, method: str, group: str, ids: set[str]) -> None:
        ordered = sorted(ids)
        for start in range(0, len(ordered), _TARGETS_MAX):
            targets = [{"Id": identity} for identity in ordered[start : start + _TARGETS_MAX]]
            await self._aws.call(_ELB, method, TargetGroupArn=group, Targets=targets)
