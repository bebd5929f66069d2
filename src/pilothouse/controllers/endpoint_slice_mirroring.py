"""EndpointSlice mirroring controller: Endpoints that people write for services without a selector, as slices
(k8s.io/kubernetes/pkg/controller/endpointslicemirroring,
https://kubernetes.io/docs/concepts/services-networking/service/#endpointslice-mirroring)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

from pilothouse.api.errors import ApiError
from pilothouse.api.resources import ENDPOINT_SLICES, ENDPOINTS, SERVICES
from pilothouse.api.types import Obj
from pilothouse.client.informer import key_of, split_key
from pilothouse.client.reconciler import Controller, Environment, controller_ref, is_terminating_namespace
from pilothouse.controllers.endpoint_slice import MANAGED_BY, SERVICE_LABEL
from pilothouse.controllers.trigger_times import TRIGGER_TIME

CONTROLLER = "endpointslicemirroring-controller.k8s.io"
SUBSET_MAX = 1000
"""--mirroring-max-endpoints-per-subset"""
_SKIP = "endpointslice.kubernetes.io/skip-mirror"
_LEADER = "control-plane.alpha.kubernetes.io/leader"
_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"

Key = tuple[str, tuple[Any, ...]]
"""Address type and ports: what one slice has in common."""


class EndpointSliceMirroringController(Controller):
    name: ClassVar[str] = "endpointslice-mirroring-controller"
    queue_name: ClassVar[str] = "endpoint_slice_mirroring"

    def __init__(self, env: Environment, *, subset_max: int = SUBSET_MAX, batch_s: float = 0.0) -> None:
        """Changes of slices are gathered for `batch_s` (--mirroring-endpointslice-updates-batch-period)."""
        super().__init__(env)
        self._batch_s = batch_s
        self._subset_max = subset_max

    def setup(self) -> None:
        self._endpoints = self.watch(ENDPOINTS)
        self._services = self.watch(SERVICES)
        self._slices = self.watch(ENDPOINT_SLICES, keys=_mirrored_from, delay_s=self._batch_s)
        self._slices.add_index("mirrored from", _mirrored_from)

    async def reconcile(self, key: str) -> float | None:
        endpoints, service = self._endpoints.get(key), self._services.get(key)
        present = self._slices.by_index("mirrored from", key)
        if endpoints is None or service is None or not is_mirrored(endpoints, service):
            for found in present:
                await self._delete(found)
            return None
        await self._sync(endpoints, present)
        return None

    async def _sync(self, endpoints: Obj, present: list[Obj]) -> None:
        wanted, skipped = slices(endpoints, self._subset_max)
        left = sorted(present, key=lambda s: str(s["metadata"]["name"]))
        for key, entries in wanted.items():
            body = new_slice(endpoints, key, entries)
            match = next((s for s in left if _key(s["addressType"], s.get("ports")) == key), None)
            if match is None:
                await self._create(body)
            else:
                left.remove(match)
                await self._update(match, body)
        for found in left:
            await self._delete(found)
        if skipped:
            message = (
                f"A max of {self._subset_max} addresses can be mirrored to EndpointSlices per Endpoints subset. "
                f"{skipped} addresses were skipped"
            )
            typed = {**endpoints, "apiVersion": "v1", "kind": ENDPOINTS.kind}
            self.recorder.event(typed, "Warning", "TooManyAddressesToMirror", message)

    async def _create(self, body: Obj) -> None:
        try:
            await self.client.create(ENDPOINT_SLICES, body, body["metadata"]["namespace"])
        except ApiError as error:
            # A namespace on its way out takes nothing new, nor does one that is gone.
            if error.code != 404 and not is_terminating_namespace(error):
                raise

    async def _update(self, found: Obj, body: Obj) -> None:
        meta = {k: v for k, v in body["metadata"].items() if k in ("labels", "annotations")}
        same = (found.get("endpoints") or []) == body["endpoints"] and all(
            (found["metadata"].get(name) or {}) == meta.get(name, {}) for name in ("labels", "annotations")
        )
        if same:
            return
        kept = {k: v for k, v in found["metadata"].items() if k not in ("labels", "annotations")}
        await self.client.update(ENDPOINT_SLICES, {**body, "metadata": {**kept, **meta}})

    async def _delete(self, found: Obj) -> None:
        namespace, name = split_key(key_of(found))
        try:
            await self.client.delete(ENDPOINT_SLICES, name, namespace)
        except ApiError as error:
            if error.code != 404:
                raise


def is_mirrored(endpoints: Obj, service: Obj) -> bool:
    """Not for services with a selector, whose slices have a controller of their own, nor for old leader locks."""
    meta = endpoints["metadata"]
    if (meta.get("labels") or {}).get(_SKIP) == "true" or _LEADER in (meta.get("annotations") or {}):
        return False
    return not service["spec"].get("selector")


def slices(endpoints: Obj, subset_max: int = SUBSET_MAX) -> tuple[dict[Key, list[Obj]], int]:
    """The endpoints of each slice, and how many addresses were too many."""
    found: dict[Key, list[Obj]] = {}
    skipped = 0
    for subset in endpoints.get("subsets") or ():
        addresses = [
            *((a, True) for a in subset.get("addresses") or ()),
            *((a, False) for a in subset.get("notReadyAddresses") or ()),
        ]
        skipped += max(len(addresses) - subset_max, 0)
        for address, ready in addresses[:subset_max]:
            family = "IPv6" if ":" in address["ip"] else "IPv4"
            found.setdefault(_key(family, subset.get("ports")), []).append(_endpoint(address, ready))
    return found, skipped


def _endpoint(address: Obj, ready: bool) -> Obj:
    endpoint: Obj = {"addresses": [address["ip"]], "conditions": {"ready": ready}}
    for name in ("targetRef", "nodeName", "hostname"):
        if address.get(name):
            endpoint[name] = address[name]
    return endpoint


def new_slice(endpoints: Obj, key: Key, entries: list[Obj]) -> Obj:
    meta = endpoints["metadata"]
    family, ports = key
    labels = {k: v for k, v in (meta.get("labels") or {}).items() if k not in (SERVICE_LABEL, MANAGED_BY)}
    annotations = {
        k: v for k, v in (meta.get("annotations") or {}).items() if k not in (TRIGGER_TIME, _LAST_APPLIED)
    }
    slice_meta: Obj = {
        "generateName": f"{meta['name']}-",
        "namespace": meta["namespace"],
        "labels": {**labels, SERVICE_LABEL: meta["name"], MANAGED_BY: CONTROLLER},
        "ownerReferences": [controller_ref(endpoints, ENDPOINTS)],
    }
    if annotations:
        slice_meta["annotations"] = annotations
    return {
        "apiVersion": ENDPOINT_SLICES.group_version,
        "kind": ENDPOINT_SLICES.kind,
        "metadata": slice_meta,
        "addressType": family,
        "endpoints": entries,
        "ports": [dict(port) for port in ports] or None,
    }


def _key(family: str, ports: Iterable[Obj] | None) -> Key:
    with_names = ({"name": "", "protocol": "TCP", **port} for port in ports or ())
    return family, tuple(sorted(tuple(sorted(p.items())) for p in with_names))


def _mirrored_from(found: Obj) -> Iterable[str]:
    labels = found["metadata"].get("labels") or {}
    if labels.get(MANAGED_BY) != CONTROLLER or not labels.get(SERVICE_LABEL):
        return ()
    return (f"{found['metadata']['namespace']}/{labels[SERVICE_LABEL]}",)
