"""The base of every controller: informers → keys → work queue → reconcile, with rate-limited retries.

A controller in a few lines:

    class Greeter(Controller):
        name = "greeter"

        def setup(self) -> None:
            self.watch(CONFIG_MAPS)                     # its own key
            self.owned(PODS, owner=CONFIG_MAPS)         # the key of the owner

        async def reconcile(self, key: str) -> float | None:
            ...                                         # bring the world nearer to what the object asks
            return 30.0                                 # come again in 30 s; None: when something changes

`reconcile` runs for one key at most once at a time. ApiError, ConnectionError and TryAgain are retried with
back-off (a conflict means that somebody was faster: quietly); anything else is a bug, logged with its traceback and
retried too, so that one bad object does not stop the others.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import ClassVar

from prometheus_client import CollectorRegistry

from pilothouse.api.errors import ApiError
from pilothouse.api.resources import Resource
from pilothouse.api.types import Obj
from pilothouse.client.client import Client
from pilothouse.client.events import EventRecorder
from pilothouse.client.informer import Handler, Informer, Informers, key_of
from pilothouse.kit.work_queue import BASE_DELAY_S, MAX_DELAY_S, ExponentialLimiter, RateLimitedQueue, work
from pilothouse.kit.world import World

log = logging.getLogger(__name__)

Keys = Callable[[Obj], Iterable[str]]
Changed = Callable[[Obj, Obj], bool]
Failure = ApiError | ConnectionError
"""What a request may end with: a refusal, or nobody knows what became of it."""


class TryAgain(Exception):
    """What was to be done cannot be done on what is known now; it says why."""


@dataclass(slots=True)
class Environment:
    """What a controller is given. `client` acts as the controller's own account; informers are shared."""

    client: Client
    informers: Informers
    world: World
    recorder: EventRecorder
    metrics: CollectorRegistry


class Controller:
    """One control loop; see the module's docstring."""

    name: ClassVar[str]
    queue_name: ClassVar[str] = ""
    """The work queue's name in metrics (workqueue_*{name=...}), where it is not the controller's."""
    workers: ClassVar[int] = 5
    """How many keys are handled at once, unless the manager is told otherwise (`worker_count`)."""
    retry_s: ClassVar[tuple[float, float]] = (BASE_DELAY_S, MAX_DELAY_S)
    """How long a key waits after its first failure, and at most; doubled with each in between."""

    def __init__(self, env: Environment) -> None:
        self.env = env
        self.client = env.client
        self.world = env.world
        self.recorder = env.recorder
        limiter: ExponentialLimiter[str] = ExponentialLimiter(*self.retry_s)
        self.queue: RateLimitedQueue[str] = RateLimitedQueue(
            self.queue_name or self.name, env.world, env.metrics, limiter=limiter
        )
        self._sources: list[Informer] = []
        self.worker_count = self.workers

    def setup(self) -> None:
        """Declare what to watch. Called once, before `run`."""

    async def reconcile(self, key: str) -> float | None:
        """Handle one key; the seconds after which to look again, or None."""
        raise NotImplementedError

    def problem(self) -> str:
        """For the manager's health check: what is wrong, "" while all is well."""
        return ""

    def informer(self, resource: Resource, **params: str) -> Informer:
        """A shared informer that `run` waits for."""
        informer = self.env.informers.informer(resource, **params)
        if informer not in self._sources:
            self._sources.append(informer)
        return informer

    def watch(
        self,
        resource: Resource,
        *,
        keys: Keys | None = None,
        changed: Changed | None = None,
        delay_s: float = 0.0,
        **params: str,
    ) -> Informer:
        """Queue `keys(obj)` (default: the object's own key) whenever an object changes; `changed(old, new)`
        says which updates matter. `delay_s` gathers changes: the key is handled so long after the first of them."""
        informer = self.informer(resource, **params)
        informer.add_handler(Enqueue(self.queue, keys or _own_key, changed, delay_s))
        return informer

    def owned(self, resource: Resource, *, owner: Resource, changed: Changed | None = None) -> Informer:
        """Queue the controlling owner of an object that changes, and the former one when it changed hands."""

        def keys(obj: Obj) -> Iterable[str]:
            ref = controller_of(obj)
            if ref is None or ref["kind"] != owner.kind:
                return ()
            namespace = obj["metadata"].get("namespace", "")
            return (f"{namespace}/{ref['name']}" if namespace else ref["name"],)

        return self.watch(resource, keys=keys, changed=changed)

    # -- writing ----------------------------------------------------------------------------------------

    async def apply(self, resource: Resource, obj: Obj, *, owner: tuple[Resource, Obj] | None = None) -> Obj:
        """Server-side apply under the controller's name: `obj` has what is wanted and no more, and what others wrote
        beside it stays. `owner` becomes its controller. Applying the same again writes nothing."""
        meta = dict(obj["metadata"])
        if owner is not None:
            meta["ownerReferences"] = [controller_ref(owner[1], owner[0])]
            if resource.namespaced:
                meta.setdefault("namespace", owner[1]["metadata"].get("namespace"))
        body = {**obj, "apiVersion": resource.group_version, "kind": resource.kind, "metadata": meta}
        return await self.client.patch(
            resource,
            meta["name"],
            body,
            meta.get("namespace", ""),
            patch_type="apply",
            fieldManager=self.name,
            force="true",
        )

    async def set_status(self, resource: Resource, obj: Obj, status: Obj) -> None:
        """Merge into an object's status, if that changes it. Written only onto the revision that `obj` is: a conflict
        when somebody was faster."""
        before = obj.get("status") or {}
        if all(before.get(key) == value for key, value in status.items()):
            return
        meta = obj["metadata"]
        body = {"metadata": {"resourceVersion": meta["resourceVersion"]}, "status": status}
        await self.client.patch(resource, meta["name"], body, meta.get("namespace", ""), subresource="status")

    async def set_finalizer(self, resource: Resource, obj: Obj, finalizer: str, *, wanted: bool) -> None:
        """Put a finalizer on an object, or take it off, if that changes it."""
        meta = obj["metadata"]
        before = meta.get("finalizers") or []
        if (finalizer in before) == wanted:
            return
        after = [*before, finalizer] if wanted else [f for f in before if f != finalizer]
        body = {"metadata": {"resourceVersion": meta["resourceVersion"], "finalizers": after}}
        await self.client.patch(resource, meta["name"], body, meta.get("namespace", ""))

    def tell(self, resource: Resource, obj: Obj, type: str, reason: str, message: str) -> None:
        """Record an event about an object; `type` is Normal or Warning."""
        typed = {**obj, "apiVersion": resource.group_version, "kind": resource.kind}
        self.recorder.event(typed, type, reason, message)

    # -- working ----------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Work until cancelled."""
        await asyncio.gather(*(i.synced() for i in self._sources))
        await work(self.queue, self._handle, workers=self.worker_count, name=f"{self.name} worker")

    async def _handle(self, key: str) -> None:
        try:
            again_s = await self.reconcile(key)
        except ApiError as error:
            level = logging.DEBUG if error.code == 409 else logging.INFO
            log.log(level, "%s: %s: %s; trying again", self.name, key, error)
            self.queue.add_rate_limited(key)
        except TryAgain as error:
            log.info("%s: %s: %s; trying again", self.name, key, error)
            self.queue.add_rate_limited(key)
        except ConnectionError as error:
            log.warning("%s: %s: %s; trying again", self.name, key, error)
            self.queue.add_rate_limited(key)
        except Exception:
            log.exception("%s: %s: bug in the controller; trying again", self.name, key)
            self.queue.add_rate_limited(key)
        else:
            self.queue.forget(key)
            if again_s is not None:
                self.queue.add_after(key, again_s)


class Enqueue(Handler):
    """Turns an informer's changes into keys."""

    def __init__(
        self, queue: RateLimitedQueue[str], keys: Keys, changed: Changed | None, delay_s: float = 0.0
    ) -> None:
        self._queue = queue
        self._delay_s = delay_s
        self._keys = keys
        self._changed = changed

    def _add(self, keys: Iterable[str]) -> None:
        for key in keys:
            if self._delay_s > 0:
                self._queue.add_after(key, self._delay_s)
            else:
                self._queue.add(key)

    def on_add(self, obj: Obj) -> None:
        self._add(self._keys(obj))

    def on_update(self, old: Obj, new: Obj) -> None:
        if self._changed is not None and not self._changed(old, new):
            return
        self._add(dict.fromkeys((*self._keys(new), *self._keys(old))))  # in an order that a replay repeats

    def on_delete(self, obj: Obj) -> None:
        self._add(self._keys(obj))


def _own_key(obj: Obj) -> Iterable[str]:
    return (key_of(obj),)


def controller_of(obj: Obj) -> Obj | None:
    """The owner reference with controller: true (metav1.GetControllerOf)."""
    for ref in obj["metadata"].get("ownerReferences") or ():
        if ref.get("controller"):
            found: Obj = ref
            return found
    return None


def controller_ref(owner: Obj, resource: Resource) -> Obj:
    """The owner reference a controller writes into what it makes (metav1.NewControllerRef)."""
    return {
        "apiVersion": resource.group_version,
        "kind": resource.kind,
        "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }


def is_not_found(error: Failure) -> bool:
    return isinstance(error, ApiError) and error.code == 404


def is_terminating_namespace(error: Failure) -> bool:
    """The object's namespace is going: trying again leads nowhere."""
    causes = (error.details or {}).get("causes") or () if isinstance(error, ApiError) else ()
    return any(c.get("reason") == "NamespaceTerminating" for c in causes)
