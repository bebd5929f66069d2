"""In which subnets a load balancer stands: those that carry the cluster's tag, one a zone
(https://docs.aws.amazon.com/eks/latest/userguide/network-load-balancing.html)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pilothouse.cloud.provider import CloudError
from pilothouse.cloud.providers.aws.calls import Aws, cluster_tag, tags_of

_ROLES = {"internet-facing": "kubernetes.io/role/elb", "internal": "kubernetes.io/role/internal-elb"}


async def find(aws: Aws, cluster: str, scheme: str, named: Sequence[str]) -> list[Mapping[str, Any]]:
    """The subnets that a service names, or those of the cluster. CloudError when there is none."""
    if named:
        return await aws.pages("ec2", "describe_subnets", "Subnets", SubnetIds=list(named))
    wanted = [{"Name": "tag-key", "Values": [cluster_tag(cluster)]}]
    found = chosen(await aws.pages("ec2", "describe_subnets", "Subnets", Filters=wanted), scheme)
    if not found:
        raise CloudError(
            f"no subnet has the tag {cluster_tag(cluster)}; tag the cluster's subnets, those for load balancers with "
            f"{_ROLES[scheme]}=1, too"
        )
    return found


def chosen(subnets: Sequence[Mapping[str, Any]], scheme: str) -> list[Mapping[str, Any]]:
    """Of each zone one: one with the role's tag if there is any, of equal ones the first by id."""
    by_zone: dict[str, Mapping[str, Any]] = {}
    role = _ROLES[scheme]
    for subnet in sorted(subnets, key=lambda s: (role not in tags_of(s), s["SubnetId"])):
        by_zone.setdefault(subnet["AvailabilityZone"], subnet)
    return [by_zone[zone] for zone in sorted(by_zone)]
