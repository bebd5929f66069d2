"""The provider aws against an emulated account: a real HTTP endpoint, the real controllers, real time."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pilothouse.api.resources import (
    NODES,
    PERSISTENT_VOLUME_CLAIMS,
    PERSISTENT_VOLUMES,
    PODS,
    SERVICES,
    STORAGE_CLASSES,
    VOLUME_ATTACHMENTS,
)
from pilothouse.api.types import Obj
from pilothouse.cloud.manager import Settings
from pilothouse.cloud.provider import CloudError, NotFound, Provider, VolumeRequest
from pilothouse.cloud.providers import aws
from pilothouse.cluster import Cluster, ClusterOptions
from pilothouse.components.cloud_controller_manager import CloudControllerManager
from pilothouse.kit.metrics import new_registry
from pilothouse.kit.tasks import Tasks
from pilothouse.kit.world import World
from tests.unit.cloud.aws_account import CLUSTER, REGION, Account, account
from tests.unit.cloud.conftest import Cloud, Lab

GIB = 2**30
_SETTINGS = Settings(
    cluster_name=CLUSTER,
    cluster_cidrs=("10.244.0.0/16",),
    node_monitor_s=0.2,
    node_status_s=5.0,
    route_s=0.2,
)


class AwsLab(Lab):
    def __init__(self, cluster: Cluster, provider: Provider, world: World, account: Account) -> None:
        super().__init__(cluster, Cloud(), world)
        self.account = account
        self.provider = provider

    async def joined(self, subnet: int = 0, network: str = "") -> tuple[str, str]:
        """Start an instance, whose kubelet registers: (node, instance)."""
        instance = await asyncio.to_thread(self.account.instance, subnet)
        name = instance["PrivateDnsName"]
        await self.node(name)
        if network:
            await self.client.patch(NODES, name, {"spec": {"podCIDR": network, "podCIDRs": [network]}})
        await self.until(lambda node: bool(node["spec"].get("providerID")), NODES, name)
        return name, instance["InstanceId"]

    async def until(self, holds: Callable[[Obj], bool], resource: Any, name: str) -> Obj:
        await _soon(self._holds(holds, resource, name))
        return await self.get(resource, name)

    def _holds(self, holds: Callable[[Obj], bool], resource: Any, name: str) -> Callable[[], Awaitable[bool]]:
        async def check() -> bool:
            return holds(await self.get(resource, name))

        return check

    async def eventually(self, ask: Callable[[], Any], wanted: Any) -> None:
        """Until the account answers so."""

        async def check() -> bool:
            return bool(await asyncio.to_thread(ask) == wanted)

        try:
            await _soon(check)
        except TimeoutError:
            assert ask() == wanted

    async def gone(self, resource: Any, name: str) -> None:
        async def check() -> bool:
            return not await self.exists(resource, name)

        await _soon(check)


async def _soon(check: Callable[[], Awaitable[bool]]) -> None:
    """Until it holds: a real server tells nobody when."""
    async with asyncio.timeout(20):
        while not await check():  # noqa: ASYNC110
            await asyncio.sleep(0.05)


@pytest.fixture
def emulated(monkeypatch: pytest.MonkeyPatch) -> Iterator[Account]:
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    with account(monkeypatch) as found:
        yield found


@pytest.fixture
async def lab(emulated: Account, tmp_path: Path) -> AsyncIterator[AwsLab]:
    world = World()
    options = ClusterOptions(secure_port=None, nodes=0, controllers=("*", "-node-lifecycle-controller"))
    async with Cluster(options, world) as cluster:
        client = cluster.client()
        metrics = new_registry()
        manager = CloudControllerManager(
            client,
            lambda account: client,
            world,
            metrics,
            _SETTINGS,
            open_provider=aws.open_provider,
            config=None,
            directory=tmp_path,
        )
        async with Tasks("test") as tasks:
            running = tasks.start("cloud", manager.run())
            found = AwsLab(cluster, manager.provider, world, emulated)
            found.metrics = metrics
            yield found
            running.cancel()


async def test_a_node_is_its_instance(lab: AwsLab) -> None:
    name, instance = await lab.joined()
    node = await lab.until(lambda n: bool((n["status"] or {}).get("addresses")), NODES, name)
    assert node["spec"]["providerID"] == f"aws:///{REGION}a/{instance}"
    labels = node["metadata"]["labels"]
    assert labels["topology.kubernetes.io/zone"] == f"{REGION}a"
    assert labels["node.kubernetes.io/instance-type"] == "m5.large"
    kinds = {a["type"]: a["address"] for a in node["status"]["addresses"]}
    assert kinds["InternalIP"].startswith("10.0.0.")
    assert kinds["InternalDNS"] == kinds["Hostname"] == name

    took = "cloudprovider_aws_api_request_duration_seconds_count"
    assert (lab.metric(took, request="DescribeInstances") or 0) > 0

    await asyncio.to_thread(lab.account.ec2.stop_instances, InstanceIds=[instance])
    await lab.set_ready(name, "Unknown")
    await lab.until(
        lambda n: any(t["key"].endswith("/shutdown") for t in n["spec"].get("taints") or ()), NODES, name
    )
    await asyncio.to_thread(lab.account.ec2.terminate_instances, InstanceIds=[instance])
    await lab.gone(NODES, name)


async def test_another_clouds_node_is_left_alone(lab: AwsLab) -> None:
    instances = lab.provider.instances
    assert instances is not None
    with pytest.raises(CloudError, match="node n1 is no EC2 instance: its provider ID is gce://x/y/z"):
        await instances.exists({"metadata": {"name": "n1"}, "spec": {"providerID": "gce://x/y/z"}})


async def test_a_service_is_a_network_load_balancer_until_it_goes(lab: AwsLab) -> None:
    account = lab.account
    _, first = await lab.joined()
    spec: Obj = {
        "type": "LoadBalancer",
        "ports": [
            {"name": "a", "port": 80, "nodePort": 30080},
            {"name": "b", "port": 53, "protocol": "UDP", "nodePort": 30053},
        ],
        "loadBalancerSourceRanges": ["192.0.2.0/24"],
    }
    await lab.create(SERVICES, {"metadata": {"name": "web"}, "spec": spec})
    found = await lab.until(lambda s: bool(s["status"]["loadBalancer"].get("ingress")), SERVICES, "web")
    assert found["status"]["loadBalancer"]["ingress"][0]["hostname"].endswith(".elb.amazonaws.com")
    await lab.eventually(account.targets, {80: {first}, 53: {first}})
    (balancer,) = account.balancers()
    assert (balancer["Type"], balancer["Scheme"]) == ("network", "internet-facing")
    assert len(balancer["AvailabilityZones"]) == 2
    assert account.node_ports() == {("tcp", 30080), ("udp", 30053), ("tcp", 30053)}
    (rule, other) = _rules_of(account, balancer["SecurityGroups"][0])
    assert {(r["FromPort"], r["IpRanges"][0]["CidrIp"]) for r in (rule, other)} == {
        (80, "192.0.2.0/24"),
        (53, "192.0.2.0/24"),
    }

    name, second = await lab.joined(1)
    await lab.eventually(account.targets, {80: {first, second}, 53: {first, second}})
    await lab.client.delete(NODES, name)
    await lab.eventually(account.targets, {80: {first}, 53: {first}})

    ports = [{"name": "a", "port": 8080, "nodePort": 30080}]
    await lab.client.patch(SERVICES, "web", {"spec": {"ports": ports}}, "default")
    await lab.eventually(account.targets, {8080: {first}})
    await lab.eventually(account.node_ports, {("tcp", 30080)})
    assert len(account.elb.describe_target_groups()["TargetGroups"]) == 1
    note = {"metadata": {"annotations": {"service.beta.kubernetes.io/aws-load-balancer-scheme": "internal"}}}
    await lab.client.patch(SERVICES, "web", note, "default")
    await lab.eventually(lambda: [b["Scheme"] for b in account.balancers()], ["internal"])

    await lab.client.delete(SERVICES, "web", "default")
    await lab.gone(SERVICES, "web")
    assert account.left() == {}


def _rules_of(account: Account, group: str) -> list[Any]:
    (found,) = account.ec2.describe_security_groups(GroupIds=[group])["SecurityGroups"]
    rules: list[Any] = found["IpPermissions"]
    return rules


async def test_what_a_load_balancer_cannot_do_is_told(lab: AwsLab) -> None:
    spec = {"type": "LoadBalancer", "ports": [{"port": 80, "protocol": "SCTP"}]}
    await lab.create(SERVICES, {"metadata": {"name": "web"}, "spec": spec})

    async def told() -> bool:
        return any("protocol SCTP of port 80" in event[2] for event in await lab.events("web"))

    await _soon(told)
    await lab.client.delete(SERVICES, "web", "default")
    await lab.gone(SERVICES, "web")
    assert lab.account.left() == {}


async def test_routes_follow_nodes(lab: AwsLab) -> None:
    name, instance = await lab.joined(network="10.244.7.0/24")
    await lab.eventually(lab.account.routes, {"10.244.7.0/24": instance})
    found = lab.account.ec2.describe_instance_attribute(InstanceId=instance, Attribute="sourceDestCheck")
    assert found["SourceDestCheck"]["Value"] is False
    await lab.client.delete(NODES, name)
    await lab.eventually(lab.account.routes, {})
    assert lab.account.left() == {}


async def test_a_volume_lives_as_csi_asks(lab: AwsLab) -> None:
    volumes = lab.provider.volumes
    assert volumes is not None
    names = [(await lab.joined())[0] for _ in range(2)]
    one, other = [await lab.get(NODES, name) for name in names]
    zone = {"topology.kubernetes.io/zone": f"{REGION}a"}
    request = VolumeRequest("pvc-1", 2 * GIB, parameters={"type": "gp3", "iops": "4000"}, places=(zone,))
    volume = await volumes.create(request)
    assert volume.places == (zone,) and volume.size_bytes == 2 * GIB
    assert (await volumes.create(request)).id == volume.id, "the same name is the same volume"
    (found,) = lab.account.ec2.describe_volumes(VolumeIds=[volume.id])["Volumes"]
    assert (found["VolumeType"], found["Iops"]) == ("gp3", 4000)

    device = (await volumes.attach(volume.id, one, read_only=False))["devicePath"]
    assert device == "/dev/xvdba"
    assert (await volumes.attach(volume.id, one, read_only=False))["devicePath"] == device
    with pytest.raises(CloudError, match=r"is attached to instance i-[0-9a-f]+ already"):
        await volumes.attach(volume.id, other, read_only=False)
    second = await volumes.create(VolumeRequest("pvc-2", GIB, places=(zone,)))
    assert (await volumes.attach(second.id, one, read_only=False))["devicePath"] == "/dev/xvdbb"
    assert await volumes.expand(volume.id, 3 * GIB) == 3 * GIB

    snapshot = await volumes.snapshot(volume.id, "snap-1")
    assert (await volumes.snapshot(volume.id, "snap-1")).id == snapshot.id
    for each in (volume.id, second.id):
        await volumes.detach(each, one)
        await volumes.detach(each, one)
        await volumes.delete(each)
        await volumes.delete(each)
    await volumes.delete_snapshot(snapshot.id)
    with pytest.raises(NotFound):
        await volumes.attach(volume.id, one, read_only=False)
    assert lab.account.left() == {}


async def test_a_claim_is_a_volume_at_its_pods_node_until_it_goes(lab: AwsLab) -> None:
    """A claim that waits for its pod: made in the pod's zone, attached, grown, detached and deleted."""
    claims, ec2 = PERSISTENT_VOLUME_CLAIMS, lab.account.ec2
    name, instance = await lab.joined(1)
    managed = {"volumes.kubernetes.io/controller-managed-attach-detach": "true"}
    await lab.client.patch(NODES, name, {"metadata": {"annotations": managed}})
    room = {"cpu": "4", "memory": "8Gi", "pods": "10"}
    status = {"status": {"capacity": room, "allocatable": room}}
    await lab.client.patch(NODES, name, status, patch_type="strategic", subresource="status")
    await lab.create(
        STORAGE_CLASSES,
        {
            "metadata": {"name": "gp3"},
            "provisioner": "ebs.csi.aws.com",
            "volumeBindingMode": "WaitForFirstConsumer",
            "allowVolumeExpansion": True,
        },
    )
    size = {"requests": {"storage": "1Gi"}}
    spec: Obj = {"accessModes": ["ReadWriteOnce"], "storageClassName": "gp3", "resources": size}
    await lab.create(claims, {"metadata": {"name": "data"}, "spec": spec})
    pod: Obj = {
        "containers": [{"name": "c", "image": "i"}],
        "volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "data"}}],
        "tolerations": [{"operator": "Exists"}],
    }
    await lab.create(PODS, {"metadata": {"name": "db"}, "spec": pod})

    def disks() -> list[Any]:
        found: list[Any] = [v for v in ec2.describe_volumes()["Volumes"] if v["VolumeType"] == "gp3"]
        return found

    def attached() -> list[list[str]]:
        return [[a["InstanceId"] for a in disk["Attachments"]] for disk in disks()]

    async def unattached() -> bool:
        return not (await lab.client.list(VOLUME_ATTACHMENTS))["items"]

    await lab.eventually(attached, [[instance]])
    assert disks()[0]["AvailabilityZone"] == f"{REGION}b"
    assert {t["Key"]: t["Value"] for t in disks()[0]["Tags"]}["kubernetes.io/created-for/pvc/name"] == "data"
    claim = await lab.until(lambda c: (c.get("status") or {}).get("phase") == "Bound", claims, "data")
    volume = claim["spec"]["volumeName"]

    grown = {"spec": {"resources": {"requests": {"storage": "3Gi"}}}}
    await lab.client.patch(claims, "data", grown, "default")
    await lab.eventually(lambda: [disk["Size"] for disk in disks()], [3])
    await lab.until(lambda v: v["spec"]["capacity"] == {"storage": "3Gi"}, PERSISTENT_VOLUMES, volume)
    grows = await lab.until(lambda c: bool(c["status"].get("conditions")), claims, "data")
    assert grows["status"]["conditions"][0]["type"] in ("Resizing", "FileSystemResizePending")

    await lab.client.delete(PODS, "db", "default", {"gracePeriodSeconds": 0})
    await lab.eventually(attached, [[]])
    await _soon(unattached)
    await lab.client.delete(claims, "data", "default")
    await lab.gone(PERSISTENT_VOLUMES, volume)
    assert lab.account.left() == {}


async def test_what_somebody_else_made_is_not_touched(lab: AwsLab) -> None:
    volumes = lab.provider.volumes
    assert volumes is not None
    zone = f"{REGION}a"
    theirs = lab.account.ec2.create_volume(AvailabilityZone=zone, Size=1)["VolumeId"]
    with pytest.raises(CloudError, match=f"{theirs} was not made by this cluster"):
        await volumes.delete(theirs)
    for parameters, why in (
        ({"type": "gp9"}, "gp9 is unknown"),
        ({"iops": "many"}, "whole number"),
        ({"x": "y"}, "x"),
    ):
        with pytest.raises(CloudError, match=why):
            await volumes.create(VolumeRequest("v", GIB, parameters=parameters))


async def test_a_hundred_nodes_are_one_question(lab: AwsLab, monkeypatch: pytest.MonkeyPatch) -> None:
    instances = lab.provider.instances
    assert instances is not None
    calls: list[Any] = []
    real = aws_calls(lab)

    async def counted(service: str, method: str, key: str, **arguments: Any) -> Any:
        calls.append(method)
        return await real(service, method, key, **arguments)

    monkeypatch.setattr(instances._aws, "pages", counted)  # type: ignore[attr-defined]
    nodes = [
        {"metadata": {"name": f"n{n}"}, "spec": {"providerID": f"aws:///{REGION}a/i-{n:017x}"}}
        for n in range(100)
    ]
    assert await asyncio.gather(*(instances.exists(node) for node in nodes)) == [False] * 100
    assert calls.count("describe_instances") == 1


def aws_calls(lab: AwsLab) -> Any:
    return lab.provider.instances._aws.pages  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("regions: x", "regions: unknown"),
        ("callsPerSecond: 0", "more than 0"),
        ("- a", "a mapping is needed"),
    ],
)
def test_a_wrong_configuration_says_where(tmp_path: Path, text: str, why: str) -> None:
    file = tmp_path / "aws.yaml"
    file.write_text(text)
    with pytest.raises(ValueError, match=rf"aws.yaml: .*{why}"):
        aws.config.read(file)  # type: ignore[attr-defined]
