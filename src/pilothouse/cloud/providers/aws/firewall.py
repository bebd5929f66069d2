"""Security groups: one for each load balancer, and a way from it to the nodes' ports.

The nodes' groups are those that carry the cluster's tag; of their rules we touch those alone that name a group of ours.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from ipaddress import ip_network
from typing import Any

from pilothouse.cloud.provider import CloudError, Later, NotFound
from pilothouse.cloud.providers.aws.calls import Aws, cluster_tag, code_of, filters, owned, tags
from pilothouse.cloud.providers.aws.listening import Listening, Wanted

_BUSY_S = 5.0
Rule = tuple[str, int, int, str]
"""(protocol, first port, last port, network or group)"""
_LAYERS = {"TCP": ("tcp",), "UDP": ("udp",), "TCP_UDP": ("tcp", "udp")}


class Firewall:
    def __init__(self, aws: Aws, cluster: str) -> None:
        self._aws = aws
        self._cluster = cluster

    async def find(self, balancer: str) -> Mapping[str, Any] | None:
        wanted = [*filters(group_name=_name(balancer)), owned(self._cluster)]
        found = await self._aws.pages("ec2", "describe_security_groups", "SecurityGroups", Filters=wanted)
        return found[0] if found else None

    async def ensure(self, wanted: Wanted, vpc: str, marks: Mapping[str, str]) -> str:
        """The load balancer's group, with the rules that its ports and sources ask for; its id."""
        group = await self.find(wanted.name)
        if group is None:
            name = _name(wanted.name)
            made = await self._aws.call(
                "ec2",
                "create_security_group",
                GroupName=name,
                Description=f"Load balancer of {marks['kubernetes.io/service-name']}",
                VpcId=vpc,
                TagSpecifications=[
                    {"ResourceType": "security-group", "Tags": tags(self._cluster, name, **marks)}
                ],
            )
            group = {"GroupId": made["GroupId"], "IpPermissions": []}
        rules = {
            (layer, one.port, one.port, network)
            for one in wanted.listeners
            for layer in _LAYERS[one.protocol]
            for network in wanted.sources
        }
        await self._bring(group, _rules(group), rules)
        return str(group["GroupId"])

    async def open_nodes(
        self, balancer_group: str, listeners: Sequence[Listening], instances: Iterable[Mapping[str, Any]]
    ) -> None:
        """Let the load balancer reach these instances' node ports, and no longer any others."""
        behind = {
            group["GroupId"] for instance in instances for group in instance.get("SecurityGroups") or ()
        }
        rules: set[Rule] = set()
        for one in listeners:
            rules |= {
                (layer, one.node_port, one.node_port, balancer_group) for layer in _LAYERS[one.protocol]
            }
            health = one.health_port or one.node_port
            rules.add(("tcp", health, health, balancer_group))
        for group in await self._nodes_groups():
            present = {rule for rule in _rules(group) if rule[3] == balancer_group}
            await self._bring(group, present, rules if group["GroupId"] in behind else set())

    async def delete(self, balancer: str) -> None:
        """The load balancer is gone, or going: its interfaces keep the group for a while. Later until then."""
        group = await self.find(balancer)
        if group is None:
            return
        await self.open_nodes(group["GroupId"], (), ())
        try:
            await self._aws.call("ec2", "delete_security_group", GroupId=group["GroupId"])
        except NotFound:
            return
        except CloudError as error:
            if code_of(error) == "DependencyViolation":
                raise Later(f"security group {group['GroupId']} is in use yet", _BUSY_S) from error
            raise

    async def _nodes_groups(self) -> list[Any]:
        wanted = [{"Name": "tag-key", "Values": [cluster_tag(self._cluster)]}]
        return await self._aws.pages("ec2", "describe_security_groups", "SecurityGroups", Filters=wanted)

    async def _bring(self, group: Mapping[str, Any], present: set[Rule], wanted: set[Rule]) -> None:
        more, less = wanted - present, present - wanted
        if more:
            await self._aws.call(
                "ec2",
                "authorize_security_group_ingress",
                GroupId=group["GroupId"],
                IpPermissions=[_permission(rule) for rule in sorted(more)],
            )
        if less:
            await self._aws.call(
                "ec2",
                "revoke_security_group_ingress",
                GroupId=group["GroupId"],
                IpPermissions=[_permission(rule) for rule in sorted(less)],
            )


def _name(balancer: str) -> str:
    return f"k8s-elb-{balancer}"


def _rules(group: Mapping[str, Any]) -> set[Rule]:
    found: set[Rule] = set()
    for entry in group.get("IpPermissions") or ():
        sources = [r["CidrIp"] for r in entry.get("IpRanges") or ()]
        sources += [r["CidrIpv6"] for r in entry.get("Ipv6Ranges") or ()]
        sources += [pair["GroupId"] for pair in entry.get("UserIdGroupPairs") or ()]
        span = entry["IpProtocol"], entry.get("FromPort", -1), entry.get("ToPort", -1)
        found |= {(*span, source) for source in sources}
    return found


def _permission(rule: Rule) -> dict[str, Any]:
    protocol, first, last, source = rule
    entry: dict[str, Any] = {"IpProtocol": protocol, "FromPort": first, "ToPort": last}
    if source.startswith("sg-"):
        entry["UserIdGroupPairs"] = [{"GroupId": source}]
    elif ip_network(source, strict=False).version == 6:
        entry["Ipv6Ranges"] = [{"CidrIpv6": source}]
    else:
        entry["IpRanges"] = [{"CidrIp": source}]
    return entry
