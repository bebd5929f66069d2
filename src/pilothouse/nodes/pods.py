"""The pods of the fleet: one queue and a few workers for the pods of all nodes.

A worker looks at a pod, lets `pod_lifecycle` decide, writes the status if it says something new, and comes back when
something is next. One write takes a pod from bound to Running and Ready. A pod to which nothing is to come leaves
nothing in memory but its resources in the books.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from pilothouse.api.errors import ApiError
from pilothouse.api.resources import PODS
from pilothouse.api.types import Obj
from pilothouse.client.client import Client
from pilothouse.client.informer import Informer, key_of, split_key
from pilothouse.kit.work_queue import RateLimitedQueue, work
from pilothouse.kit.world import World
from pilothouse.nodes import (
    addresses,
    admission,
    attaching,
    pod_lifecycle,
    pod_status,
    references,
    requests,
    resize,
)
from pilothouse.nodes.admission import Books
from pilothouse.nodes.attaching import Attachments
from pilothouse.nodes.kubelet_events import KubeletEvents
from pilothouse.nodes.life import TERMINAL, Life, Note, resume
from pilothouse.nodes.machines import Machines

log = logging.getLogger(__name__)

_WORKERS = 64
_STALE_S = 0.005
"""How long to wait for the informer to see our own write."""
_MOUNT_RETRY_S_MIN = 0.5
_MOUNT_RETRY_S_MAX = 122.0
_SHORTEST_S = 0.001
_NODE_RETRY_S = 0.5


class Pods:
    """`attachments` is an informer of VolumeAttachments; `is_staged` says which pods stage files drive."""

    def __init__(
        self,
        client: Client,
        informer: Informer,
        attachments: Informer,
        machines: Machines,
        world: World,
        events: KubeletEvents,
        is_staged: Callable[[str, Obj], bool],
    ) -> None:
        self._client = client
        self._informer = informer
        self._machines = machines
        self._world = world
        self._events = events
        self._is_staged = is_staged
        self._queue: RateLimitedQueue[str] = RateLimitedQueue("simulated-nodes", world)
        self._lives: dict[str, Life] = {}
        self._staged: dict[str, str] = {}
        """By UID: the address that stages were given for a pod."""
        self._written: dict[str, int] = {}
        """By UID: the revision of our last write, until the informer has seen it."""
        self._attachments = Attachments(client, attachments, self._volume_attached)
        self._attaching: dict[str, set[str]] = {}
        """Pods that wait for volumes, by their node."""
        self.addresses = addresses.PodAddresses()
        self.books = Books()
        informer.add_handler(self)

    # -- handler of pods --------------------------------------------------------------------------------

    def on_add(self, obj: Obj) -> None:
        node = obj["spec"].get("nodeName")
        if node in self._machines:
            self._mark_address(obj, node)
            self._queue.add(key_of(obj))

    def on_update(self, old: Obj, new: Obj) -> None:
        node = new["spec"].get("nodeName")
        if node not in self._machines:
            return
        meta = new["metadata"]
        written = self._written.get(meta["uid"])
        if written is not None and written == int(meta["resourceVersion"]):
            del self._written[meta["uid"]]
            return
        self._queue.add(key_of(new))

    def on_delete(self, obj: Obj) -> None:
        node, uid = obj["spec"].get("nodeName"), obj["metadata"]["uid"]
        if node not in self._machines:
            return
        self._written.pop(uid, None)
        self._forget(obj)

    def _mark_address(self, pod: Obj, node: str) -> None:
        address = (pod.get("status") or {}).get("podIP")
        if address and not pod["spec"].get("hostNetwork"):
            self.addresses.mark(self._machines.index(node), address)

    def _forget(self, pod: Obj) -> None:
        uid, node = pod["metadata"]["uid"], pod["spec"]["nodeName"]
        self._attaching.get(node, set()).discard(key_of(pod))
        life, staged = self._lives.pop(uid, None), self._staged.pop(uid, None)
        if uid in self.books:
            self.books.release(uid)
            address = life.ip if life is not None else (pod.get("status") or {}).get("podIP") or staged
            if address and not pod["spec"].get("hostNetwork"):
                self.addresses.release(self._machines.index(node), address)

    def _volume_attached(self, node: str) -> None:
        for key in self._attaching.pop(node, ()):
            self._queue.add(key)

    def node_back(self, name: str) -> None:
        for pod in self.of_node(name):
            self.on_add(pod)

    def of_node(self, name: str) -> list[Obj]:
        return [pod for pod in self._informer.list() if pod["spec"].get("nodeName") == name]

    # -- places, for the templates of stages --------------------------------------------------------------

    def node_address(self, node: str) -> str:
        found = self._machines.node(node)
        for address in ((found or {}).get("status") or {}).get("addresses") or ():
            if address["type"] == "InternalIP":
                return str(address["address"])
        return addresses.node_address(self._machines.index(node)) if node in self._machines else ""

    def pod_address(self, node: str, uid: str, *, host_network: bool) -> str:
        """The same for a pod whenever it is asked for."""
        if host_network or node not in self._machines:
            return self.node_address(node)
        if uid not in self._staged:
            self._staged[uid] = self.addresses.take(self._machines.index(node))
        return self._staged[uid]

    def find(self, key: str) -> Obj | None:
        return self._informer.get(key)

    # -- work -------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Until cancelled."""
        await work(self._queue, self._handle, workers=_WORKERS, name="kubelet worker")

    async def _handle(self, key: str) -> None:
        try:
            again_s = await self._sync(key)
        except ApiError as error:
            if error.code != 409:
                log.warning("pod %s: %s; trying again", key, error)
            self._queue.add_rate_limited(key)
        except ConnectionError as error:
            log.warning("pod %s: %s; trying again", key, error)
            self._queue.add_rate_limited(key)
        else:
            self._queue.forget(key)
            if again_s is not None:
                self._queue.add_after(key, again_s)

    async def _sync(self, key: str) -> float | None:
        """Seconds until the pod is to be looked at again, None for not before it changes."""
        pod = self._informer.get(key)
        if pod is None or pod["spec"].get("nodeName") not in self._machines:
            return None
        uid, node = pod["metadata"]["uid"], pod["spec"]["nodeName"]
        if self._is_staged(PODS.kind, pod):
            self._let_stages(pod)
            return None
        written = self._written.get(uid)
        if written is not None:
            if int(pod["metadata"]["resourceVersion"]) < written:
                return _STALE_S
            del self._written[uid]
        if self._machines.is_stopped(node):
            return None
        now_s = self._world.now()
        if pod["metadata"].get("deletionTimestamp"):
            return await self._end(pod, now_s)
        if (pod.get("status") or {}).get("phase") in TERMINAL:
            self._forget(pod)
            return None
        return await self._advance(pod, now_s)

    def _let_stages(self, pod: Obj) -> None:
        """A pod that stages drive takes its place without being asked whether it fits (kwok admits all)."""
        uid = pod["metadata"]["uid"]
        self._lives.pop(uid, None)
        if (pod.get("status") or {}).get("phase") in TERMINAL:
            self._forget(pod)
        elif uid not in self.books:
            self.books.book(uid, pod["spec"]["nodeName"], requests.of_pod(pod))

    async def _advance(self, pod: Obj, now_s: float) -> float | None:
        uid = pod["metadata"]["uid"]
        life = self._lives.get(uid)
        if life is None:
            if not (pod.get("status") or {}).get("startTime") and not self._is_up(pod):
                return _NODE_RETRY_S
            life = self._begin(pod, now_s)
            self._lives[uid] = life
        life.plans.clear()
        if life.rejected is None:
            await self._look_up(pod, life, now_s)
        wake_s = pod_lifecycle.advance(pod, life, now_s)
        if life.sandbox and life.kill_s is None and resize.asks(pod, life):
            wake_s = self._resize(pod, life, now_s, wake_s)
        elif life.resize is not None:
            life.resize = None
        await self._report(pod, life, pod_status.status(pod, life, now_s))
        if wake_s is None and not life.config_errors and life.resize is None:
            if pod_lifecycle.outcome(pod, life):
                self._forget(pod)
            else:
                self._lives.pop(uid, None)
        return None if wake_s is None else max(wake_s - now_s, _SHORTEST_S)

    def _is_up(self, pod: Obj) -> bool:
        return self._machines.has_reported(pod["spec"]["nodeName"])

    def _begin(self, pod: Obj, now_s: float) -> Life:
        """Take a pod in: as a new one through admission, or as one that was here before."""
        uid, name = pod["metadata"]["uid"], pod["spec"]["nodeName"]
        if (pod.get("status") or {}).get("startTime"):
            life = self._resume(pod)
            if uid not in self.books:
                given = {n: r.resources for n, r in life.runs.items() if r.resources is not None}
                self.books.book(uid, name, requests.of_pod(pod, given))
            return life
        index = self._machines.index(name)
        host = addresses.node_address(index)
        asked = requests.of_pod(pod)
        node = self._machines.node(name)
        refusal = admission.refuse(pod, node, self.books.usage(name), asked) if node is not None else None
        if refusal is not None:
            life = Life("", host, now_s, rejected=(refusal.reason, refusal.message))
            life.note("Warning", refusal.reason, refusal.message)
            return life
        self.books.book(uid, name, asked)
        address = host if pod["spec"].get("hostNetwork") else self.addresses.take(index)
        return Life(address, host, now_s)

    def _resume(self, pod: Obj) -> Life:
        index = self._machines.index(pod["spec"]["nodeName"])
        host = addresses.node_address(index)
        address = (pod.get("status") or {}).get("podIP")
        if not address:
            address = host if pod["spec"].get("hostNetwork") else self.addresses.take(index)
        return resume(pod, address, host, self._world.now())

    async def _look_up(self, pod: Obj, life: Life, now_s: float) -> None:
        """Whether what the pod refers to is there; not again before the last look's time has passed."""
        waits = life.unattached and key_of(pod) not in self._attaching.get(pod["spec"]["nodeName"], ())
        if life.checked or (now_s < life.retry_s and not waits):
            return
        if not references.needs_look(pod):
            life.checked = True
            return
        missing = await references.look(self._client, pod)
        life.mount_error, life.config_errors = missing.mount, missing.config
        if not missing.mount and not life.sandbox and await self._is_attaching(pod, life, now_s):
            return
        life.unattached, life.mounting_s = False, None
        if not missing:
            life.checked, life.retry_s = True, 0.0
            return
        if missing.mount:
            life.note("Warning", "FailedMount", missing.mount)
        life.retry_s = now_s + min(_MOUNT_RETRY_S_MIN * 2.0**life.mount_tries, _MOUNT_RETRY_S_MAX)
        life.mount_tries = min(life.mount_tries + 1, 16)

    async def _is_attaching(self, pod: Obj, life: Life, now_s: float) -> bool:
        """Whether volumes are not attached yet: then the pod waits without a word, and says so every two minutes."""
        waiting = self._attaching.setdefault(pod["spec"]["nodeName"], set())
        waiting.add(key_of(pod))  # BEFORE looking: what is attached meanwhile wakes it
        missing = await self._attachments.missing(pod)
        if not missing:
            waiting.discard(key_of(pod))
            return False
        if life.mounting_s is None:
            life.mounting_s = now_s
        text = attaching.waited_too_long(missing)
        if now_s >= life.mounting_s + attaching.PATIENCE_S:
            life.note("Warning", "FailedMount", text)
            life.mounting_s = now_s
        life.mount_error, life.unattached = text, True
        life.retry_s = life.mounting_s + attaching.PATIENCE_S
        return True

    def _resize(self, pod: Obj, life: Life, now_s: float, wake_s: float | None) -> float | None:
        uid, name = pod["metadata"]["uid"], pod["spec"]["nodeName"]
        node = self._machines.node(name)
        if node is None:
            return wake_s
        resize.apply(pod, life, node, self.books.without(uid, name), now_s)
        if life.resize is None:
            self.books.book(uid, name, requests.of_pod(pod))
            return wake_s
        if life.resize[0] == "Infeasible":
            return wake_s
        again_s = now_s + resize.RETRY_S
        return again_s if wake_s is None else min(wake_s, again_s)

    async def _end(self, pod: Obj, now_s: float) -> float | None:
        """The pod is told to end: bring its containers down, say so, and let the object go."""
        meta = pod["metadata"]
        over = (pod.get("status") or {}).get("phase") in TERMINAL
        if not over and (pod.get("status") or {}).get("startTime"):
            life = self._lives.get(meta["uid"])
            if life is None:
                life = self._lives[meta["uid"]] = self._begin(pod, now_s)
            wake_s = pod_lifecycle.end(pod, life, now_s)
            await self._report(pod, life, pod_status.status(pod, life, now_s, final=wake_s is None))
            if wake_s is not None:
                return max(wake_s - now_s, _SHORTEST_S)
        self._forget(pod)
        if over and not meta.get("deletionGracePeriodSeconds"):
            # It was let go before; finalizers of others hold it.
            return None
        await self._delete(pod)
        return None

    async def _delete(self, pod: Obj) -> None:
        namespace, name = split_key(key_of(pod))
        options: Obj = {"gracePeriodSeconds": 0, "preconditions": {"uid": pod["metadata"]["uid"]}}
        try:
            await self._client.delete(PODS, name, namespace, options)
        except ApiError as error:
            if error.code not in (404, 409):
                raise

    async def _report(self, pod: Obj, life: Life, status: Obj) -> None:
        """Write the status if it says something new, and tell what has happened."""
        if not _same(status, pod.get("status") or {}):
            await self._write(pod, status)
        notes: list[Note] = life.notes
        if notes:
            life.notes = []
            self._events.of_pod(pod, notes)

    async def _write(self, pod: Obj, status: Obj) -> None:
        """The revision goes along: a status that was made from an old one would undo what others wrote since."""
        meta = pod["metadata"]
        patch = {
            "metadata": {"uid": meta["uid"], "resourceVersion": meta["resourceVersion"]},
            "status": status,
        }
        try:
            answer = await self._client.patch(
                PODS, meta["name"], patch, meta["namespace"], patch_type="merge", subresource="status"
            )
        except ApiError as error:
            if error.code != 404:
                raise
            return
        revision = int(answer["metadata"]["resourceVersion"])
        seen = self._informer.get(key_of(pod))
        if seen is not None and int(seen["metadata"]["resourceVersion"]) < revision:
            self._written[meta["uid"]] = revision


def _same(wanted: Obj, present: Obj) -> bool:
    return all(present.get(k) == v for k, v in wanted.items())
