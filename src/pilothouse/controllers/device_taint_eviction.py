"""Device taint eviction controller: pods leave devices whose NoExecute taints their claims do not tolerate, at once or
after their tolerationSeconds (k8s.io/kubernetes/pkg/controller/devicetainteviction, KEP-5055). Taints stand in
ResourceSlices, and come from DeviceTaintRules where these are on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import ClassVar

from pilothouse.api import device_taints
from pilothouse.api import resource_claims as claims_api
from pilothouse.api.errors import ApiError
from pilothouse.api.resources import DEVICE_TAINT_RULES, PODS, RESOURCE_CLAIMS, RESOURCE_SLICES
from pilothouse.api.taints import NO_EXECUTE, tolerates
from pilothouse.api.types import Obj
from pilothouse.client.informer import Informer, key_of, split_key
from pilothouse.client.pod_conditions import condition_patch, disruption_target
from pilothouse.client.reconciler import Controller, Environment
from pilothouse.controllers.pods import is_terminal, is_terminating
from pilothouse.kit.world import parse_timestamp

_BY_POOL, _BY_USER = "pool", "user"


class DeviceTaintEvictionController(Controller):
    """Keys are pods'. `rules`: DeviceTaintRules are served, and count."""

    name: ClassVar[str] = "device-taint-eviction-controller"
    queue_name: ClassVar[str] = "device_taint_eviction"

    def __init__(self, env: Environment, *, rules: bool = False) -> None:
        self._with_rules = rules
        self._rules: Informer | None = None
        super().__init__(env)

    def setup(self) -> None:
        self._pods = self.watch(PODS, changed=_placed, keys=_with_claims)
        self._claims = self.watch(RESOURCE_CLAIMS, keys=users)
        self._claims.add_index(_BY_USER, users)
        self._claims.add_index(_BY_POOL, _pools)
        self._slices = self.watch(RESOURCE_SLICES, keys=self._users_of)
        self._slices.add_index(
            _BY_POOL, lambda each: (_pool(each["spec"]["driver"], each["spec"]["pool"]["name"]),)
        )
        if self._with_rules:
            self._rules = self.watch(DEVICE_TAINT_RULES, keys=self._users_under)

    def _users_of(self, found: Obj) -> Iterable[str]:
        """Pods with a device of a slice's pool."""
        pool = _pool(found["spec"]["driver"], found["spec"]["pool"]["name"])
        return {key for claim in self._claims.by_index(_BY_POOL, pool) for key in users(claim)}

    def _users_under(self, rule: Obj) -> Iterable[str]:
        """Pods with a device of a pool that a rule may be about."""
        for claim in self._claims.list():
            if any(device_taints.concerns(rule, each["driver"], each["pool"]) for each in _results(claim)):
                yield from users(claim)

    async def reconcile(self, key: str) -> float | None:
        pod = self._pods.get(key)
        if pod is None or not pod["spec"].get("nodeName") or is_terminating(pod) or is_terminal(pod):
            return None
        due_s = min((t for claim in self._claims_of(key, pod) for t in self._due(claim)), default=None)
        if due_s is None:
            return None
        left_s = due_s - self.world.now()
        if left_s > 0:
            return left_s
        await self._evict(key, pod)
        return None

    def _claims_of(self, key: str, pod: Obj) -> Iterator[Obj]:
        for claim in self._claims.by_index(_BY_USER, key):
            if claims_api.is_reserved_for(pod, claim):
                yield claim

    def _due(self, claim: Obj) -> Iterator[float]:
        """When a claim's consumers must be gone, for each of its devices that says so."""
        for result in _results(claim):
            for taint in self._taints(result):
                until_s = tolerated_until_s(taint, result.get("tolerations") or ())
                if until_s is not None:
                    yield until_s

    def _taints(self, result: Obj) -> Iterator[Obj]:
        """Those of a device's newest entry, then those of the rules."""
        slices = self._slices.by_index(_BY_POOL, _pool(result["driver"], result["pool"]))
        newest = max((each["spec"]["pool"].get("generation", 0) for each in slices), default=0)
        for each in slices:
            if each["spec"]["pool"].get("generation", 0) != newest:
                continue
            for device in each["spec"].get("devices") or ():
                if device["name"] == result["device"]:
                    yield from (t for t in device.get("taints") or () if t["effect"] == NO_EXECUTE)
        if self._rules is not None:
            rules = [
                r for r in self._rules.list() if device_taints.concerns(r, result["driver"], result["pool"])
            ]
            for taint in device_taints.taints_by(rules, result["device"]):
                if taint["effect"] == NO_EXECUTE:
                    yield taint

    async def _evict(self, key: str, pod: Obj) -> None:
        namespace, name = split_key(key)
        regarding = {"kind": "Pod", "apiVersion": "v1", "namespace": namespace, "name": name}
        self.recorder.event(
            {**regarding, "uid": pod["metadata"]["uid"]},
            "Normal",
            "DeviceTaintManagerEviction",
            "Marking for deletion",
        )
        why = "Device Taint manager: deleting due to NoExecute taint"
        target = disruption_target(pod, "DeletionByDeviceTaintManager", why, self.world.timestamp())
        try:
            patch = condition_patch(pod, target)
            await self.client.patch(
                PODS, name, patch, namespace, patch_type="strategic", subresource="status"
            )
            uid = {"preconditions": {"uid": pod["metadata"]["uid"]}}
            await self.client.delete(PODS, name, namespace, uid)
        except ApiError as error:
            if error.code not in (404, 409):
                raise


def tolerated_until_s(taint: Obj, tolerations: Iterable[Obj]) -> float | None:
    """Unix seconds; None: for ever. Of several tolerations the one that ends first counts."""
    added_s = parse_timestamp(taint["timeAdded"]) if taint.get("timeAdded") else 0.0
    used = [each for each in tolerations if tolerates(each, taint)]
    if not used:
        return added_s
    limits = [float(t["tolerationSeconds"]) for t in used if t.get("tolerationSeconds") is not None]
    return added_s + max(min(limits), 0.0) if limits else None


def users(claim: Obj) -> list[str]:
    """The pods that a claim is reserved for."""
    namespace = claim["metadata"]["namespace"]
    return [
        f"{namespace}/{ref['name']}" for ref in claims_api.reserved_for(claim) if ref["resource"] == "pods"
    ]


def _results(claim: Obj) -> list[Obj]:
    found: list[Obj] = ((claims_api.allocation(claim) or {}).get("devices") or {}).get("results") or []
    return found


def _pools(claim: Obj) -> set[str]:
    return {_pool(each["driver"], each["pool"]) for each in _results(claim)}


def _pool(driver: str, name: str) -> str:
    return f"{driver}/{name}"


def _placed(old: Obj, new: Obj) -> bool:
    return bool(old["spec"].get("nodeName") != new["spec"].get("nodeName"))


def _with_claims(pod: Obj) -> list[str]:
    return [key_of(pod)] if pod["spec"].get("resourceClaims") else []
