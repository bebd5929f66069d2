"""An emulated AWS account behind a real HTTP endpoint (moto's server), and what a cluster's administrator prepares."""

from __future__ import annotations

import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import boto3
from moto.server import ThreadedMotoServer

CLUSTER = "blue"
TAG = f"kubernetes.io/cluster/{CLUSTER}"
REGION = "eu-west-1"
_ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_REGION": REGION,
    "AWS_DEFAULT_REGION": REGION,
}


class Account:
    """A VPC of two zones with what carries the cluster's tag, and calls to it as anybody else would make them."""

    def __init__(self, url: str) -> None:
        self.url = url
        arguments = {"endpoint_url": url, "region_name": REGION}
        self.ec2: Any = boto3.client("ec2", **arguments)
        self.elb: Any = boto3.client("elbv2", **arguments)
        mark = [{"Key": TAG, "Value": "shared"}]
        self.vpc = self.ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
        self.subnets = [
            self.ec2.create_subnet(
                VpcId=self.vpc, CidrBlock=f"10.0.{n}.0/24", AvailabilityZone=f"{REGION}{zone}"
            )["Subnet"]["SubnetId"]
            for n, zone in enumerate("ab")
        ]
        self.table = self.ec2.create_route_table(VpcId=self.vpc)["RouteTable"]["RouteTableId"]
        self.group = self.ec2.create_security_group(GroupName="nodes", Description="nodes", VpcId=self.vpc)[
            "GroupId"
        ]
        self.ec2.create_tags(Resources=[*self.subnets, self.table, self.group], Tags=mark)
        self._before = self.inventory()

    def instance(self, subnet: int = 0) -> Any:
        """Start one; what EC2 says of it."""
        found = self.ec2.run_instances(
            ImageId="ami-12c6146b",
            InstanceType="m5.large",
            MinCount=1,
            MaxCount=1,
            SubnetId=self.subnets[subnet],
            SecurityGroupIds=[self.group],
        )["Instances"][0]
        self.ec2.get_waiter("instance_running").wait(InstanceIds=[found["InstanceId"]])
        return self.ec2.describe_instances(InstanceIds=[found["InstanceId"]])["Reservations"][0]["Instances"][
            0
        ]

    def routes(self) -> dict[str, str]:
        """Networks that lead to instances."""
        found = self.ec2.describe_route_tables(RouteTableIds=[self.table])["RouteTables"][0]["Routes"]
        return {r["DestinationCidrBlock"]: r["InstanceId"] for r in found if r.get("InstanceId")}

    def targets(self) -> dict[int, set[str]]:
        """Instances behind each port of the only load balancer."""
        found: dict[int, set[str]] = {}
        for listener in self.elb.describe_listeners(LoadBalancerArn=self.balancers()[0]["LoadBalancerArn"])[
            "Listeners"
        ]:
            group = listener["DefaultActions"][0]["TargetGroupArn"]
            health = self.elb.describe_target_health(TargetGroupArn=group)["TargetHealthDescriptions"]
            found[listener["Port"]] = {one["Target"]["Id"] for one in health}
        return found

    def balancers(self) -> list[Any]:
        found: list[Any] = self.elb.describe_load_balancers()["LoadBalancers"]
        return found

    def node_ports(self) -> set[tuple[str, int]]:
        """What the nodes' security group lets in."""
        (group,) = self.ec2.describe_security_groups(GroupIds=[self.group])["SecurityGroups"]
        return {(rule["IpProtocol"], rule["FromPort"]) for rule in group["IpPermissions"]}

    def inventory(self) -> dict[str, set[str]]:
        """Everything in the account that somebody could have made, by kind."""
        ec2, elb = self.ec2, self.elb
        groups = ec2.describe_security_groups()["SecurityGroups"]
        tables = ec2.describe_route_tables()["RouteTables"]
        return {
            "volumes": {v["VolumeId"] for v in ec2.describe_volumes()["Volumes"] if not _is_root(v)},
            "snapshots": {s["SnapshotId"] for s in ec2.describe_snapshots(OwnerIds=["self"])["Snapshots"]},
            "security groups": {g["GroupId"] for g in groups},
            "rules": {f"{g['GroupId']} {rule}" for g in groups for rule in g["IpPermissions"]},
            "routes": {f"{t['RouteTableId']} {r}" for t in tables for r in t["Routes"]},
            "load balancers": {b["LoadBalancerArn"] for b in elb.describe_load_balancers()["LoadBalancers"]},
            "target groups": {g["TargetGroupArn"] for g in elb.describe_target_groups()["TargetGroups"]},
        }

    def left(self) -> dict[str, set[str]]:
        """What is there now and was not at the beginning, and what is missing."""
        now = self.inventory()
        return {kind: now[kind] ^ self._before[kind] for kind in now if now[kind] != self._before[kind]}


def _is_root(volume: Any) -> bool:
    return any(a["Device"] == "/dev/sda1" for a in volume["Attachments"])


@contextmanager
def account(monkeypatch: Any) -> Iterator[Account]:
    """An account of its own; boto3 finds it by the environment."""
    for name, value in _ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        url = f"http://{host}:{port}"
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        urllib.request.urlopen(urllib.request.Request(f"{url}/moto-api/reset", method="POST")).close()
        yield Account(url)
    finally:
        server.stop()
