"""The fleet: all simulated nodes, one informer and one queue for the pods of all of them."""

from __future__ import annotations

import asyncio
import ipaddress
import logging

from pilothouse.api.errors import ApiError
from pilothouse.api.resources import LEASES, NODES, PODS
from pilothouse.api.types import Obj
from pilothouse.client.client import Client
from pilothouse.client.events import EventRecorder
from pilothouse.client.informer import Informers, key_of, split_key
from pilothouse.kit.work_queue import RateLimitedQueue, ShutDown
from pilothouse.kit.world import World
from pilothouse.nodes import pod_lifecycle
from pilothouse.nodes.pod_lifecycle import Life

log = logging.getLogger(__name__)

CAPACITY = {"cpu": "16", "memory": "64Gi", "pods": "220", "ephemeral-storage": "256Gi"}
LEASE_S = 40
HEARTBEAT_S = 10.0
STATUS_S = 300.0
_WORKERS = 32
_POD_NETWORK = ipaddress.ip_network("10.244.0.0/16")
_NODE_NETWORK = ipaddress.ip_network("10.88.0.0/16")
_VERSION = "v1.36.1"
_CONDITIONS = (
    ("MemoryPressure", "False", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
    ("DiskPressure", "False", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
    ("PIDPressure", "False", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
    ("Ready", "True", "KubeletReady", "kubelet is posting ready status"),
)


class Fleet:
    """`count` nodes named node-0, node-1, …"""

    def __init__(
        self,
        client: Client,
        informers: Informers,
        world: World,
        recorder: EventRecorder,
        *,
        count: int = 3,
    ) -> None:
        self._client = client
        self._world = world
        self._recorder = recorder
        self._names = {f"node-{i}": i for i in range(count)}
        self._queue: RateLimitedQueue[str] = RateLimitedQueue("simulated-nodes", world)
        self._lives: dict[str, Life] = {}
        self._addresses = _Addresses()
        self._nodes = informers.informer(NODES)
        self._pods = informers.informer(PODS)
        self._pods.add_handler(_PodHandler(self))

    async def run(self) -> None:
        """Until cancelled."""
        await asyncio.gather(self._nodes.synced(), self._pods.synced())
        await asyncio.gather(*(self._register(name) for name in self._names))
        loop = asyncio.get_running_loop()
        tasks = [loop.create_task(self._heartbeats(), name="heartbeats")]
        tasks += [loop.create_task(self._work(), name=f"kubelet worker {n}") for n in range(_WORKERS)]
        try:
            await asyncio.gather(*tasks)
        finally:
            self._queue.shut_down()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    # -- nodes ------------------------------------------------------------------------------------------

    async def _register(self, name: str) -> None:
        try:
            await self._client.create(NODES, self._node(name))
        except ApiError as error:
            if error.reason != "AlreadyExists":
                raise
        await self._report(name)
        await self._renew(name)

    def _node(self, name: str) -> Obj:
        labels = {
            "beta.kubernetes.io/arch": "amd64",
            "beta.kubernetes.io/os": "linux",
            "kubernetes.io/arch": "amd64",
            "kubernetes.io/hostname": name,
            "kubernetes.io/os": "linux",
        }
        index = self._names[name]
        network = str(list(_POD_NETWORK.subnets(new_prefix=24))[index % 256])
        return {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": name, "labels": labels},
            "spec": {"podCIDR": network, "podCIDRs": [network]},
        }

    async def _report(self, name: str) -> None:
        """Write the node's status; what somebody else put there stays."""
        node = await self._client.get(NODES, name)
        old = node.get("status") or {}
        now = self._world.timestamp()
        present = {c["type"]: c for c in old.get("conditions") or ()}
        for kind, value, reason, message in _CONDITIONS:
            before = present.get(kind)
            same = before is not None and before["status"] == value
            present[kind] = {
                "type": kind,
                "status": value,
                "lastHeartbeatTime": now,
                "lastTransitionTime": before["lastTransitionTime"] if same and before else now,
                "reason": reason,
                "message": message,
            }
        address = str(_NODE_NETWORK.network_address + 2 + self._names[name])
        status = {
            **old,
            "capacity": {**CAPACITY, **(old.get("capacity") or {})},
            "allocatable": {**CAPACITY, **(old.get("capacity") or {}), **(old.get("allocatable") or {})},
            "conditions": list(present.values()),
            "addresses": [{"type": "InternalIP", "address": address}, {"type": "Hostname", "address": name}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": 10250}},
            "nodeInfo": _node_info(node),
        }
        wanted = {**node, "apiVersion": "v1", "kind": "Node", "status": status}
        await self._client.update(NODES, wanted, subresource="status")

    async def _heartbeats(self) -> None:
        reported = self._world.clock.monotonic()
        while True:
            await self._world.clock.sleep(HEARTBEAT_S)
            due = self._world.clock.monotonic() - reported >= STATUS_S
            if due:
                reported = self._world.clock.monotonic()
            for name in self._names:
                try:
                    if self._nodes.get(name) is None:
                        await self._register(name)
                        continue
                    await self._renew(name)
                    if due or not _is_ready(self._nodes.get(name)):
                        await self._report(name)
                except (ApiError, ConnectionError) as error:
                    log.warning("node %s: heartbeat failed: %s", name, error)

    async def _renew(self, name: str) -> None:
        spec = {
            "holderIdentity": name,
            "leaseDurationSeconds": LEASE_S,
            "renewTime": self._world.micro_timestamp(),
        }
        try:
            await self._client.patch(LEASES, name, {"spec": spec}, "kube-node-lease")
        except ApiError as error:
            if error.code != 404:
                raise
            node = await self._client.get(NODES, name)
            owner = {"apiVersion": "v1", "kind": "Node", "name": name, "uid": node["metadata"]["uid"]}
            lease = {
                "apiVersion": "coordination.k8s.io/v1",
                "kind": "Lease",
                "metadata": {"name": name, "namespace": "kube-node-lease", "ownerReferences": [owner]},
                "spec": spec,
            }
            await self._client.create(LEASES, lease, "kube-node-lease")

    # -- pods -------------------------------------------------------------------------------------------

    def pod_seen(self, pod: Obj) -> None:
        if pod["spec"].get("nodeName") in self._names:
            self._queue.add(key_of(pod))

    def pod_gone(self, pod: Obj) -> None:
        life = self._lives.pop(pod["metadata"]["uid"], None)
        if life is not None:
            self._addresses.release(life.ip)

    async def _work(self) -> None:
        while True:
            try:
                key = await self._queue.get()
            except ShutDown:
                return
            try:
                again_s = await self._sync(key)
            except (ApiError, ConnectionError) as error:
                log.info("pod %s: %s; trying again", key, error)
                self._queue.add_rate_limited(key)
            else:
                self._queue.forget(key)
                if again_s is not None:
                    self._queue.add_after(key, again_s)
            finally:
                self._queue.done(key)

    async def _sync(self, key: str) -> float | None:
        pod = self._pods.get(key)
        if pod is None or pod["spec"].get("nodeName") not in self._names:
            return None
        if pod["metadata"].get("deletionTimestamp"):
            await self._end(pod)
            return None
        if (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed"):
            return None
        now = self._world.now()
        life = self._life(pod, now)
        wake_s = pod_lifecycle.advance(pod, life, now)
        status = pod_lifecycle.status(pod, life, now)
        if not _same(status, pod.get("status") or {}):
            await self._write(pod, status)
        return max(wake_s - now, 0.001) if wake_s is not None else None

    def _life(self, pod: Obj, now: float) -> Life:
        uid = pod["metadata"]["uid"]
        life = self._lives.get(uid)
        if life is None:
            index = self._names[pod["spec"]["nodeName"]]
            host_ip = str(_NODE_NETWORK.network_address + 2 + index)
            ip = host_ip if pod["spec"].get("hostNetwork") else self._addresses.take(index)
            life = self._lives[uid] = Life(ip, host_ip, now)
        return life

    async def _write(self, pod: Obj, status: Obj) -> None:
        meta = pod["metadata"]
        patch = {"metadata": {"uid": meta["uid"]}, "status": status}
        try:
            await self._client.patch(
                PODS, meta["name"], patch, meta["namespace"], patch_type="merge", subresource="status"
            )
        except ApiError as error:
            if error.code != 404:
                raise

    async def _end(self, pod: Obj) -> None:
        """Its containers have ended: the object may go."""
        namespace, name = split_key(key_of(pod))
        options: Obj = {"gracePeriodSeconds": 0, "preconditions": {"uid": pod["metadata"]["uid"]}}
        try:
            await self._client.delete(PODS, name, namespace, options)
        except ApiError as error:
            if error.code not in (404, 409):
                raise


def _same(wanted: Obj, present: Obj) -> bool:
    return all(present.get(k) == v for k, v in wanted.items())


def _is_ready(node: Obj | None) -> bool:
    conditions = ((node or {}).get("status") or {}).get("conditions") or ()
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


def _node_info(node: Obj) -> Obj:
    uid = node["metadata"]["uid"]
    return {
        "machineID": uid.replace("-", ""),
        "systemUUID": uid,
        "bootID": uid,
        "kernelVersion": "6.1.0",
        "osImage": "Pilothouse simulated node",
        "containerRuntimeVersion": "simulated://1.0.0",
        "kubeletVersion": _VERSION,
        "kubeProxyVersion": "",
        "operatingSystem": "linux",
        "architecture": "amd64",
    }


class _Addresses:
    """Pod addresses, by node: 10.244.NODE.2 and up, freed ones again last."""

    def __init__(self) -> None:
        self._next: dict[int, int] = {}
        self._taken: set[str] = set()

    def take(self, index: int) -> str:
        base = int(_POD_NETWORK.network_address) + (index % 256) * 256
        while True:
            number = self._next.get(index, 2)
            self._next[index] = number + 1 if number < 254 else 2
            address = str(ipaddress.ip_address(base + number))
            if address not in self._taken:
                self._taken.add(address)
                return address

    def release(self, address: str) -> None:
        self._taken.discard(address)


class _PodHandler:
    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet

    def on_add(self, obj: Obj) -> None:
        self._fleet.pod_seen(obj)

    def on_update(self, old: Obj, new: Obj) -> None:
        self._fleet.pod_seen(new)

    def on_delete(self, obj: Obj) -> None:
        self._fleet.pod_gone(obj)
