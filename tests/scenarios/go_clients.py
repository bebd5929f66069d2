"""What Go programs do to an API server, in Python: client-go's Reflector, controller-runtime's leader election,
kubebuilder's retry on conflict. Only the way they talk; none of their comfort.

A Reflector's life (k8s.io/client-go/tools/cache/reflector.go):

    watch list ──bookmark with initial-events-end──▶ watch ──ended──▶ watch again, from the last revision seen
        │                                              │
        │ the server knows no sendInitialEvents        │ 410 Expired
        ▼                                              ▼
    list in pages, then watch ◀────────────────── begin anew
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import urlencode

from tests.scenarios.door import Door, Obj, Refused

INITIAL_EVENTS_END = "k8s.io/initial-events-end"
_PAGE = 2


@dataclass
class Reflector:
    """Keeps `store` (name → object) like a collection at the server. Runs in a thread of its own until `stop`."""

    door: Door
    path: str
    watch_list: bool = True
    timeout_s: int = 300
    """After which the server ends each watch; client-go asks for five to ten minutes."""
    store: dict[str, Obj] = field(default_factory=dict)
    revision: str = ""
    synced: threading.Event = field(default_factory=threading.Event)
    began: list[str] = field(default_factory=list)
    """How each attempt began: "watch list", "list" or "watch"."""
    revisions: list[int] = field(default_factory=list)
    """Of every event after the beginning, as they came."""
    _stopped: threading.Event = field(default_factory=threading.Event)
    failure: BaseException | None = None

    def start(self) -> Reflector:
        threading.Thread(target=self._run, daemon=True).start()
        return self

    def stop(self) -> None:
        self._stopped.set()

    def _run(self) -> None:
        try:
            while not self._stopped.is_set():
                self._begin()
                try:
                    self._watch_until_expired()
                except Refused as refused:
                    if refused.code != 410:
                        raise
        except BaseException as failure:
            self.failure = failure
            raise

    def _begin(self) -> None:
        self.revision = ""
        if self.watch_list:
            try:
                self._watch_list()
                return
            except Refused as refused:
                if refused.code != 422:
                    raise
        self._list()

    def _watch_list(self) -> None:
        self.began.append("watch list")
        fresh: dict[str, Obj] = {}
        query = {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "sendInitialEvents": "true",
            "resourceVersionMatch": "NotOlderThan",
            "timeoutSeconds": str(self.timeout_s),
        }
        with self.door.watching(f"{self.path}?{urlencode(query)}") as events:
            for event in events:
                obj = self._checked(event)
                if event["type"] == "BOOKMARK":
                    if obj["metadata"].get("annotations", {}).get(INITIAL_EVENTS_END) == "true":
                        break
                    continue
                _change(fresh, event["type"], obj)
        self._replace(fresh, obj["metadata"]["resourceVersion"])

    def _list(self) -> None:
        """In pages; a token that has expired begins anew, without pages, as client-go's pager does."""
        self.began.append("list")
        fresh: dict[str, Obj] = {}
        query = {"limit": str(_PAGE)}
        while True:
            page = self.door.ask("GET", f"{self.path}?{urlencode(query)}")
            fresh |= {item["metadata"]["name"]: item for item in page["items"]}
            if not page["metadata"].get("continue"):
                self._replace(fresh, page["metadata"]["resourceVersion"])
                return
            query["continue"] = page["metadata"]["continue"]

    def _replace(self, fresh: dict[str, Obj], revision: str) -> None:
        self.store = fresh
        self.revision = revision
        self.synced.set()

    def _watch_until_expired(self) -> None:
        while not self._stopped.is_set():
            self.began.append("watch")
            query = {
                "watch": "true",
                "allowWatchBookmarks": "true",
                "resourceVersion": self.revision,
                "timeoutSeconds": str(self.timeout_s),
            }
            with self.door.watching(f"{self.path}?{urlencode(query)}") as events:
                for event in events:
                    obj = self._checked(event)
                    self.revision = obj["metadata"]["resourceVersion"]
                    if event["type"] != "BOOKMARK":
                        self.revisions.append(int(self.revision))
                        _change(self.store, event["type"], obj)
                    if self._stopped.is_set():
                        return

    def _checked(self, event: Obj) -> Obj:
        obj: Obj = event["object"]
        if event["type"] == "ERROR":
            raise Refused(obj)
        return obj


def _change(store: dict[str, Obj], kind: str, obj: Obj) -> None:
    name = obj["metadata"]["name"]
    if kind == "DELETED":
        del store[name]
        return
    assert (kind == "ADDED") == (name not in store), f"{kind} of {name}, which is {store.get(name)}"
    store[name] = obj


class Elector:
    """A candidate for a Lease (k8s.io/client-go/tools/leaderelection with a LeaseLock).

    Others' clocks are not trusted: a lease is old when it was not seen to change for its duration.
    """

    def __init__(self, door: Door, namespace: str, name: str, identity: str, duration_s: int = 1) -> None:
        self._door = door
        self._leases = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"
        self._path = f"{self._leases}/{name}"
        self._name = name
        self._identity = identity
        self._duration_s = duration_s
        self._seen: tuple[str, float] = ("", 0.0)

    def try_to_lead(self) -> bool:
        """Acquire or renew; False when another one leads or was faster."""
        try:
            lease = self._door.ask("GET", self._path)
        except Refused as refused:
            if refused.reason != "NotFound":
                raise
            return self._written("POST", self._leases, {"metadata": {"name": self._name}, "spec": {}})
        version = lease["metadata"]["resourceVersion"]
        if version != self._seen[0]:
            self._seen = (version, time.monotonic())
        spec = lease["spec"]
        fresh = time.monotonic() < self._seen[1] + spec["leaseDurationSeconds"]
        if spec.get("holderIdentity") not in ("", None, self._identity) and fresh:
            return False
        return self._written("PUT", self._path, lease)

    def release(self) -> None:
        """Give up at once, so that the next one need not wait."""
        lease = self._door.ask("GET", self._path)
        spec = lease["spec"]
        if spec.get("holderIdentity") == self._identity:
            spec |= {
                "holderIdentity": "",
                "leaseDurationSeconds": 1,
                "renewTime": _now(),
                "acquireTime": _now(),
            }
            self._door.ask("PUT", self._path, lease)

    def _written(self, method: str, path: str, lease: Obj) -> bool:
        """The lock is the resourceVersion that comes with the object."""
        spec = lease["spec"]
        before = spec.get("holderIdentity")
        if before != self._identity:
            spec["leaseTransitions"] = spec.get("leaseTransitions", -1) + 1
            spec["acquireTime"] = _now()
        spec |= {
            "holderIdentity": self._identity,
            "leaseDurationSeconds": self._duration_s,
            "renewTime": _now(),
        }
        try:
            self._door.ask(method, path, lease)
        except Refused as refused:
            if refused.code != 409:
                raise
            return False
        return True


def _now() -> str:
    """RFC 3339 with microseconds, as metav1.MicroTime is written."""
    now = time.time()
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(now))}.{int(now % 1 * 1e6):06}Z"


def retry_on_conflict(change: Callable[[], None], attempts_max: int = 200) -> int:
    """Run `change` (get, change, update) until no other write came between; how often it had to be tried again
    (k8s.io/client-go/util/retry RetryOnConflict, with more patience)."""
    for attempt in range(attempts_max):
        try:
            change()
            return attempt
        except Refused as refused:
            if refused.reason != "Conflict":
                raise
    raise AssertionError(f"a conflict {attempts_max} times in a row")
