"""Programs that talk as Go's do (`go_clients`): informers, leader election, operators' loops, helm's releases."""

from __future__ import annotations

import base64
import gzip
import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest

from pilothouse.api.catalog import Catalog
from pilothouse.api.protobuf import MAGIC, Codec
from tests.conftest import Running, start, stop
from tests.scenarios.door import Door, Obj, Refused
from tests.scenarios.go_clients import Elector, Reflector, retry_on_conflict
from tests.scenarios.processes import eventually

PROTOBUF = "application/vnd.kubernetes.protobuf"
STRATEGIC = "application/strategic-merge-patch+json"
MERGE = "application/merge-patch+json"


@pytest.fixture
def maps(namespace: str) -> str:
    return f"/api/v1/namespaces/{namespace}/configmaps"


def config_map(name: str, **data: str) -> Obj:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


@contextmanager
def reflecting(*args: Any, **named: Any) -> Iterator[Reflector]:
    reflector = Reflector(*args, **named).start()
    try:
        assert reflector.synced.wait(10)
        yield reflector
        assert reflector.failure is None
    finally:
        reflector.stop()


def live(door: Door, path: str) -> dict[str, Obj]:
    """What a collection holds, as a Reflector's store would."""
    kind = {"kind": "ConfigMap", "apiVersion": "v1"}
    return {item["metadata"]["name"]: {**kind, **item} for item in door.ask("GET", path)["items"]}


def stored(reflector: Reflector) -> dict[str, Obj]:
    kind = {"kind": "ConfigMap", "apiVersion": "v1"}
    return {name: {**kind, **obj} for name, obj in dict(reflector.store).items()}


# -- informers ------------------------------------------------------------------------------------------


def test_a_watch_list_brings_the_present_then_its_mark_then_the_future(door: Door, maps: str) -> None:
    """KEP-3157: ADDED for what is there, a bookmark annotated k8s.io/initial-events-end, then changes."""
    door.ask("POST", maps, config_map("a"))
    query = "?watch=true&allowWatchBookmarks=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan"
    with door.watching(maps + query) as events:
        first = [next(events) for _ in range(3)]
        assert [(e["type"], e["object"]["metadata"].get("name")) for e in first] == [
            ("ADDED", "a"),
            ("ADDED", "kube-root-ca.crt"),
            ("BOOKMARK", None),
        ]
        mark = first[-1]["object"]
        assert (mark["kind"], mark["apiVersion"]) == ("ConfigMap", "v1")
        assert mark["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}
        assert int(mark["metadata"]["resourceVersion"]) >= int(
            first[0]["object"]["metadata"]["resourceVersion"]
        )
        door.ask("DELETE", f"{maps}/a")
        gone = next(events)
        assert gone["type"] == "DELETED"
        assert int(gone["object"]["metadata"]["resourceVersion"]) > int(mark["metadata"]["resourceVersion"])


def test_a_watch_list_without_its_match_is_refused_so_that_clients_fall_back(door: Door, maps: str) -> None:
    with pytest.raises(Refused) as refused, door.watching(f"{maps}?watch=true&sendInitialEvents=true"):
        pass
    assert (refused.value.code, refused.value.reason) == (422, "Invalid")


@pytest.mark.parametrize("watch_list", [True, False])
def test_a_reflector_misses_nothing_though_its_watches_end(door: Door, maps: str, watch_list: bool) -> None:
    """Watches of a second each, while others write: the store is the collection in the end, events came in order
    and once."""
    for n in range(5):
        door.ask("POST", maps, config_map(f"m{n}"))
    with reflecting(door, maps, watch_list=watch_list, timeout_s=1) as reflector:
        assert reflector.began[0] == ("watch list" if watch_list else "list")
        for n in range(40):
            name = f"m{n % 7}"
            if n % 5 == 4:
                door.ask("DELETE", f"{maps}/{name}", refused=True)
            elif door.ask("GET", f"{maps}/{name}", refused=True)["kind"] == "ConfigMap":
                door.ask("PATCH", f"{maps}/{name}", {"data": {"n": str(n)}}, content_type=MERGE)
            else:
                door.ask("POST", maps, config_map(name))
            if n == 20:
                eventually(lambda: reflector.began.count("watch") > 1)
        eventually(lambda: stored(reflector) == live(door, maps))
        assert reflector.revisions == sorted(set(reflector.revisions))
        assert set(reflector.began[1:]) == {"watch"}


@pytest.fixture(scope="module")
def forgetful(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A cluster without controllers that forgets the past after a moment."""
    flags = ("--ephemeral", "--nodes=0", "--etcd-compaction-interval=200ms")
    running = start(tmp_path_factory.mktemp("forgetful-go"), *flags)
    yield running
    assert stop(running) == 0


def test_a_reflector_that_was_away_for_too_long_begins_anew(forgetful: Running) -> None:
    door, maps = Door(forgetful.url), "/api/v1/namespaces/default/configmaps"
    door.ask("POST", maps, config_map("a"))
    with reflecting(door, maps, timeout_s=1) as reflector:
        back = threading.Event()
        watching = door.watching
        door.watching = lambda path: watching(path) if back.wait(20) else watching("")  # type: ignore[method-assign]
        eventually(lambda: reflector.began[-1] == "watch" and len(reflector.began) > 2)
        _make_past(Door(forgetful.url), maps)
        back.set()
        eventually(lambda: reflector.began.count("watch list") == 2)
        eventually(lambda: stored(reflector) == live(door, maps))


def _make_past(door: Door, maps: str) -> None:
    """More changes than a server keeps at hand, and a compaction."""
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda n: _touch(door, f"{maps}/a", n), range(4 * 300)))


def _touch(door: Door, path: str, n: int) -> None:
    door.ask("PATCH", path, {"data": {"n": str(n)}}, content_type=MERGE)


# -- leader election ------------------------------------------------------------------------------------


def test_of_many_candidates_one_leads(door: Door, namespace: str) -> None:
    electors = [Elector(door, namespace, "one", f"c{n}", duration_s=30) for n in range(8)]
    with ThreadPoolExecutor(8) as pool:
        for _ in range(3):
            assert sum(pool.map(lambda e: e.try_to_lead(), electors)) == 1


def test_leading_is_handed_on(door: Door, namespace: str) -> None:
    first, second = (Elector(door, namespace, "two", name) for name in ("first", "second"))
    assert first.try_to_lead()
    assert not second.try_to_lead()
    assert first.try_to_lead()
    first.release()
    assert second.try_to_lead()
    lease = door.ask("GET", f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases/two")
    assert lease["spec"]["holderIdentity"] == "second"
    assert lease["spec"]["leaseTransitions"] == 1


def test_who_renews_no_more_is_followed(door: Door, namespace: str) -> None:
    first, second = (Elector(door, namespace, "three", name, duration_s=1) for name in ("first", "second"))
    assert first.try_to_lead()
    assert not second.try_to_lead()
    eventually(second.try_to_lead)
    assert not first.try_to_lead()


# -- operators' loops -----------------------------------------------------------------------------------


def test_no_update_is_lost_when_all_retry_on_conflict(door: Door, maps: str) -> None:
    door.ask("POST", maps, config_map("count", n="0"))

    def increment() -> None:
        obj = door.ask("GET", f"{maps}/count")
        obj["data"]["n"] = str(int(obj["data"]["n"]) + 1)
        door.ask("PUT", f"{maps}/count", obj)

    with ThreadPoolExecutor(6) as pool:
        retries = sum(pool.map(lambda _: retry_on_conflict(increment), range(60)))
    assert door.ask("GET", f"{maps}/count")["data"] == {"n": "60"}
    assert retries > 0


def test_a_merge_patch_with_a_version_is_locked_and_one_without_is_not(door: Door, maps: str) -> None:
    """controller-runtime's MergeFromWithOptimisticLock."""
    old = door.ask("POST", maps, config_map("a"))["metadata"]["resourceVersion"]
    door.ask("PATCH", f"{maps}/a", {"data": {"k": "1"}}, content_type=MERGE)
    locked = {"metadata": {"resourceVersion": old}, "data": {"k": "2"}}
    with pytest.raises(Refused, match="the object has been modified"):
        door.ask("PATCH", f"{maps}/a", locked, content_type=MERGE)
    assert door.ask("PATCH", f"{maps}/a", {"data": {"k": "2"}}, content_type=MERGE)["data"] == {"k": "2"}


def test_status_and_spec_are_written_apart(door: Door, namespace: str) -> None:
    """A reconciler's pair: update of the object, update of its status; each leaves the other's part alone."""
    path = f"/apis/networking.k8s.io/v1/namespaces/{namespace}/ingresses"
    backend = {"service": {"name": "one", "port": {"number": 80}}}
    status = {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}}
    made = door.ask("POST", path, {"metadata": {"name": "i"}, "spec": {"defaultBackend": backend}})
    made["spec"]["ingressClassName"] = "none"
    made["status"] = status
    updated = door.ask("PUT", f"{path}/i", made)
    assert (updated["spec"]["ingressClassName"], updated["metadata"]["generation"]) == ("none", 2)
    assert updated["status"] == {"loadBalancer": {}}
    updated["spec"]["ingressClassName"] = "other"
    updated["status"] = status
    told = door.ask("PUT", f"{path}/i/status", updated)
    assert (told["spec"]["ingressClassName"], told["metadata"]["generation"]) == ("none", 2)
    assert told["status"] == status


def test_a_finalizer_is_worked_off(door: Door, maps: str) -> None:
    """Deleted → still there with a deletionTimestamp → cleaned up, finalizer taken away → gone."""
    held = config_map("held")
    held["metadata"]["finalizers"] = ["example.com/clean-up"]
    uid = door.ask("POST", maps, held)["metadata"]["uid"]
    with reflecting(door, maps) as reflector:
        door.ask("DELETE", f"{maps}/held")
        eventually(lambda: "deletionTimestamp" in reflector.store["held"]["metadata"])
        again = {"metadata": {"uid": uid, "finalizers": ["example.com/another"]}}
        with pytest.raises(Refused, match="no new finalizers can be added if the object is being deleted"):
            door.ask("PATCH", f"{maps}/held", again, content_type=MERGE)
        door.ask("PATCH", f"{maps}/held", {"metadata": {"finalizers": None}}, content_type=MERGE)
        eventually(lambda: "held" not in reflector.store)


def test_typed_clients_speak_protobuf(door: Door, maps: str) -> None:
    """Objects, lists, watches and errors, there and back; Go's typed clients ask for it first."""
    codec = Codec(Catalog("1.36", "").definitions)
    headers = {"Accept": f"{PROTOBUF},application/json", "Content-Type": PROTOBUF}
    status, answered, body = door.raw("POST", maps, codec.encode(config_map("p", k="v")), headers)
    assert (status, answered["Content-Type"]) == (201, PROTOBUF)
    made = codec.decode(body)
    assert made["data"] == {"k": "v"}
    made["data"]["k"] = "w"
    status, _, body = door.raw("PUT", f"{maps}/p", codec.encode(made), headers)
    assert (status, codec.decode(body)["data"]) == (200, {"k": "w"})
    status, _, body = door.raw("PUT", f"{maps}/p", codec.encode(made), headers)
    assert (status, codec.decode(body)["reason"]) == (409, "Conflict")
    _, _, body = door.raw("GET", maps, None, headers)
    assert [item["metadata"]["name"] for item in codec.decode(body)["items"]] == ["kube-root-ca.crt", "p"]
    query = "?watch=true&timeoutSeconds=1"
    status, answered, body = door.raw("GET", maps + query, None, {"Accept": f"{PROTOBUF};stream=watch"})
    assert status == 200
    if answered["Content-Type"].startswith(PROTOBUF):
        assert MAGIC in body


# -- helm -----------------------------------------------------------------------------------------------


class Helm:
    """Releases as Helm 3 keeps them: one Secret of type helm.sh/release.v1 per revision."""

    def __init__(self, door: Door, namespace: str, name: str) -> None:
        self._door, self._namespace, self._name = door, namespace, name
        self._secrets = f"/api/v1/namespaces/{namespace}/secrets"

    def _path(self, obj: Obj) -> str:
        group = f"/apis/{obj['apiVersion']}" if "/" in obj["apiVersion"] else f"/api/{obj['apiVersion']}"
        return f"{group}/namespaces/{self._namespace}/{obj['kind'].lower()}s"

    def history(self, status: str = "") -> list[Obj]:
        selector = f"owner=helm,name={self._name}" + (f",status={status}" if status else "")
        return sorted(
            self._door.ask("GET", f"{self._secrets}?labelSelector={selector}")["items"],
            key=lambda s: int(s["metadata"]["labels"]["version"]),
        )

    def manifest(self) -> list[Obj]:
        (current,) = self.history("deployed")
        packed = base64.b64decode(base64.b64decode(current["data"]["release"]))
        found: list[Obj] = json.loads(gzip.decompress(packed))["manifest"]
        return found

    def apply(self, wanted: list[Obj]) -> None:
        """Install or upgrade: objects in order, three-way patches, what is wanted no more deleted."""
        before = {(o["kind"], o["metadata"]["name"]): o for o in (self.manifest() if self.history() else [])}
        release = self._record(wanted, "pending-upgrade" if before else "pending-install")
        for obj in wanted:
            old = before.pop((obj["kind"], obj["metadata"]["name"]), None)
            if old is None:
                self._door.ask("POST", f"{self._path(obj)}?fieldManager=helm&fieldValidation=Strict", obj)
            else:
                path = f"{self._path(obj)}/{obj['metadata']['name']}?fieldManager=helm"
                self._door.ask("PATCH", path, obj, content_type=STRATEGIC)
        for obj in before.values():
            self._delete(obj)
        for done in self.history("deployed"):
            self._mark(done, "superseded")
        self._mark(release, "deployed")

    def uninstall(self) -> None:
        for obj in reversed(self.manifest()):
            self._delete(obj)
        self._door.ask("DELETE", f"{self._secrets}?labelSelector=owner=helm,name={self._name}")

    def _delete(self, obj: Obj) -> None:
        options = {"propagationPolicy": "Background"}
        self._door.ask("DELETE", f"{self._path(obj)}/{obj['metadata']['name']}", options)

    def _record(self, manifest: list[Obj], status: str) -> Obj:
        version = len(self.history()) + 1
        packed = gzip.compress(json.dumps({"manifest": manifest}).encode())
        labels = {"owner": "helm", "name": self._name, "status": status, "version": str(version)}
        return self._door.ask(
            "POST",
            self._secrets,
            {
                "metadata": {"name": f"sh.helm.release.v1.{self._name}.v{version}", "labels": labels},
                "type": "helm.sh/release.v1",
                "data": {"release": base64.b64encode(base64.b64encode(packed)).decode()},
            },
        )

    def _mark(self, release: Obj, status: str) -> None:
        release["metadata"]["labels"]["status"] = status
        self._door.ask("PUT", f"{self._secrets}/{release['metadata']['name']}", release)


def _chart(image: str, **data: str) -> list[Obj]:
    labels = {"app": "web"}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": image}]}}
    spec = {"replicas": 1, "selector": {"matchLabels": labels}, "template": template}
    web = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": spec}
    return [config_map("settings", **data), web]


def test_releases(door: Door, namespace: str, maps: str) -> None:
    helm, path = Helm(door, namespace, "site"), f"/apis/apps/v1/namespaces/{namespace}/deployments/web"
    helm.apply(_chart("nginx:1", a="1"))
    eventually(lambda: door.ask("GET", path)["status"].get("availableReplicas") == 1)
    # Somebody else's field survives an upgrade.
    other = {"spec": {"template": {"spec": {"containers": [{"name": "side", "image": "busybox"}]}}}}
    door.ask("PATCH", path, other, content_type=STRATEGIC)
    helm.apply([*_chart("nginx:2", a="2"), config_map("more")])
    containers = door.ask("GET", path)["spec"]["template"]["spec"]["containers"]
    assert {c["name"]: c["image"] for c in containers} == {"c": "nginx:2", "side": "busybox"}
    helm.apply(_chart("nginx:1", a="1"))
    assert set(live(door, maps)) == {"kube-root-ca.crt", "settings"}
    assert [s["metadata"]["labels"]["status"] for s in helm.history()] == [
        "superseded",
        "superseded",
        "deployed",
    ]
    with pytest.raises(Refused, match=r'unknown field "spec\.replica"'):
        wrong = _chart("nginx:1")
        wrong[1]["metadata"]["name"], wrong[1]["spec"]["replica"] = "other", 1
        Helm(door, namespace, "wrong").apply(wrong[1:])
    helm.uninstall()
    pods = f"/api/v1/namespaces/{namespace}/pods"
    eventually(lambda: not door.ask("GET", pods)["items"])
    assert helm.history() == []
