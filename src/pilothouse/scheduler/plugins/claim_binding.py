"""Writing what DynamicResources decided: allocations and reservations into claims, and taking them back
(pkg/scheduler/framework/plugins/dynamicresources, bindClaim).

    finalizer ──▶ status: allocation, reservedFor ──▶ binding conditions of its devices, if any (KEP-5007)
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import Any

from pilothouse.api import resource_claims as claims_api
from pilothouse.api.errors import ApiError
from pilothouse.api.resource_claims import FINALIZER, allocation
from pilothouse.api.resources import PODS, RESOURCE_CLAIMS
from pilothouse.api.types import Obj
from pilothouse.client.informer import key_of
from pilothouse.kit.tasks import Tasks
from pilothouse.kit.world import parse_timestamp
from pilothouse.scheduler.binding import BindingRefused
from pilothouse.scheduler.dra import extended
from pilothouse.scheduler.dra.ledger import Ledger
from pilothouse.scheduler.handle import Handle
from pilothouse.scheduler.pod_info import PodInfo

log = logging.getLogger(__name__)

_ATTEMPTS_MAX = 5
_POLL_S = 5.0


class BindingFailed(ValueError):
    """A device could not be prepared."""


@dataclass(eq=False, slots=True)
class Binding:
    """A pod on its way to a node. `claims` are replaced by what the API server answers; `allocations` by the claim's
    UID are still to be written; `mappings` which container gets which device for its extended resources."""

    info: PodInfo
    node: str
    claims: list[Obj]
    allocations: dict[str, Obj] = field(default_factory=dict)
    mappings: list[Obj] = field(default_factory=list)


class Binder:
    def __init__(self, handle: Handle, ledger: Ledger, limit_s: float) -> None:
        self._handle = handle
        self._ledger = ledger
        self._limit_s = limit_s
        self._tasks = Tasks("dynamic resources")

    async def bind(self, binding: Binding) -> None:
        """BindingRefused without a plugin's name for what went wrong: it is an error, and no reason to wait for a
        change in the cluster."""
        try:
            for index, claim in enumerate(binding.claims):
                if not claims_api.is_reserved_for(binding.info.pod, claim):
                    await self._bind_claim(binding, index)
            if any(_waits(claim) for claim in binding.claims):
                await self._until_ready(binding)
        except ApiError as error:
            raise BindingRefused("", str(error)) from error
        except BindingFailed as error:
            raise BindingRefused("", str(error)) from error

    async def _bind_claim(self, binding: Binding, index: int) -> None:
        claim = binding.claims[index]
        uid = claim["metadata"]["uid"]
        found = binding.allocations.get(uid)
        if extended.is_in_memory(claim):
            claim = binding.claims[index] = await self._create(claim)
        written = await self._write(claim, binding.info.pod, found)
        binding.claims[index] = written
        self._ledger.written(written, uid if uid != written["metadata"]["uid"] else "")
        if extended.is_for_extended(written) and binding.mappings:
            await self._tell_pod(binding, written)

    async def _create(self, claim: Obj) -> Obj:
        meta = {k: v for k, v in claim["metadata"].items() if k not in ("name", "uid")}
        namespace = meta["namespace"]
        try:
            return await self._handle.client.create(RESOURCE_CLAIMS, {**claim, "metadata": meta}, namespace)
        except ApiError as error:
            raise BindingFailed(f"create claim for extended resources {namespace}/: {error}") from error

    async def _write(self, claim: Obj, pod: Obj, found: Obj | None) -> Obj:
        """Again with the claim as it is now, when somebody changed it meanwhile."""
        for attempt in range(_ATTEMPTS_MAX):
            try:
                if attempt:
                    meta = claim["metadata"]
                    claim = await self._handle.client.get(RESOURCE_CLAIMS, meta["name"], meta["namespace"])
                return await self._write_once(claim, pod, found)
            except ApiError as error:
                if error.code != 409 or attempt == _ATTEMPTS_MAX - 1:
                    what = "add reservation" if found is None else "add allocation and reservation"
                    raise BindingFailed(f"{what} to claim {key_of(claim)}: {error}") from error
        raise AssertionError("unreachable")

    async def _write_once(self, claim: Obj, pod: Obj, found: Obj | None) -> Obj:
        meta = claim["metadata"]
        if meta.get("deletionTimestamp"):
            raise BindingFailed(f"claim {key_of(claim)} got deleted in the meantime")
        present = allocation(claim)
        if found is not None:
            if present is not None:
                raise BindingFailed(f"claim {key_of(claim)} got allocated elsewhere in the meantime")
            finalizers = meta.get("finalizers") or []
            if FINALIZER not in finalizers:
                claim = await self._update(claim, metadata={**meta, "finalizers": [*finalizers, FINALIZER]})
        elif present is None:
            raise BindingFailed(f"claim {key_of(claim)} got deallocated elsewhere in the meantime")
        allocated = found if found is not None else present
        assert allocated is not None
        status = {
            **(claim.get("status") or {}),
            "allocation": {"allocationTimestamp": self._handle.world.timestamp(), **allocated},
            "reservedFor": [*claims_api.reserved_for(claim), claims_api.reference(pod)],
        }
        return await self._update(claim, "status", status=status)

    async def _update(self, claim: Obj, subresource: str = "", **fields: Any) -> Obj:
        typed = {"apiVersion": RESOURCE_CLAIMS.group_version, "kind": RESOURCE_CLAIMS.kind}
        return await self._handle.client.update(
            RESOURCE_CLAIMS, {**claim, **typed, **fields}, subresource=subresource
        )

    async def _tell_pod(self, binding: Binding, claim: Obj) -> None:
        info = binding.info
        said = {"requestMappings": binding.mappings, "resourceClaimName": claim["metadata"]["name"]}
        patch = {"metadata": {"uid": info.uid}, "status": {"extendedResourceClaimStatus": said}}
        try:
            await self._handle.client.patch(
                PODS, info.name, patch, info.namespace, patch_type="strategic", subresource="status"
            )
        except ApiError as error:
            raise BindingFailed(f"update pod {info.key} ExtendedResourceClaimStatus: {error}") from error

    # -- binding conditions -----------------------------------------------------------------------------

    async def _until_ready(self, binding: Binding) -> None:
        info = binding.info
        self._handle.recorder.event(
            {**info.pod, "kind": "Pod", "apiVersion": "v1"},
            "Normal",
            "BindingConditionsPending",
            f"waiting for binding conditions for device on node {binding.node}",
            action="Scheduling",
            component=info.pod["spec"].get("schedulerName", ""),
        )
        clock = self._handle.world.clock
        until_s = clock.monotonic() + self._limit_s
        while not self._all_ready(binding):
            if clock.monotonic() >= until_s:
                raise BindingFailed("device binding timeout")
            await clock.sleep(min(_POLL_S, max(until_s - clock.monotonic(), 0.0)))

    def _all_ready(self, binding: Binding) -> bool:
        for index, old in enumerate(binding.claims):
            claim = self._ledger.get(key_of(old))
            if claim is None:
                raise BindingFailed(f'could not find ResourceClaim "{key_of(old)}"')
            binding.claims[index] = claim
            if not is_ready(claim):
                since = (allocation(claim) or {}).get("allocationTimestamp")
                late_s = self._handle.world.now() - self._limit_s
                if since is not None and parse_timestamp(since) < late_s:
                    raise BindingFailed(f"claim {claim['metadata']['name']} binding timeout")
                return False
        return True

    # -- taking back ------------------------------------------------------------------------------------

    def give_up(self, binding: Binding) -> None:
        """The pod does not go to the node: its devices are free again, and so are claims that it had reserved."""
        for uid in binding.allocations:
            self._ledger.release(uid)
        for claim in binding.claims:
            if extended.is_in_memory(claim):
                continue
            if extended.is_for_extended(claim):
                self._tasks.start("delete", self.delete(claim))
            elif allocation(claim) is not None and claims_api.is_reserved_for(binding.info.pod, claim):
                self._tasks.start("unreserve", self._unreserve(claim, binding.info))

    async def _unreserve(self, claim: Obj, info: PodInfo) -> None:
        meta = claim["metadata"]
        without = {"reservedFor": [{"$patch": "delete", "uid": info.uid}]}
        patch = {"metadata": {"uid": meta["uid"]}, "status": without}
        try:
            await self._handle.client.patch(
                RESOURCE_CLAIMS,
                meta["name"],
                patch,
                meta["namespace"],
                patch_type="strategic",
                subresource="status",
            )
        except (ApiError, ConnectionError) as error:
            log.warning("reservation of claim %s for pod %s stays: %s", key_of(claim), info.key, error)

    async def deallocate(self, claim: Obj) -> None:
        """So that it can be allocated again, elsewhere."""
        status = dict(claim.get("status") or {})
        for key in ("reservedFor", "allocation", "devices"):
            status.pop(key, None)
        try:
            await self._update(claim, "status", status=status)
        except (ApiError, ConnectionError) as error:
            log.warning("claim %s not deallocated: %s", key_of(claim), error)

    async def delete(self, claim: Obj) -> None:
        """A claim for extended resources that came to nothing."""
        meta = claim["metadata"]
        client = self._handle.client
        try:
            now = await client.get(RESOURCE_CLAIMS, meta["name"], meta["namespace"])
            kept = [each for each in now["metadata"].get("finalizers") or () if each != FINALIZER]
            await self._update(now, metadata={**now["metadata"], "finalizers": kept})
            await client.delete(RESOURCE_CLAIMS, meta["name"], meta["namespace"])
        except (ApiError, ConnectionError) as error:
            if not (isinstance(error, ApiError) and error.code == 404):
                log.warning("claim %s not deleted: %s", key_of(claim), error)


def _results(claim: Obj) -> list[Obj]:
    found: list[Obj] = ((allocation(claim) or {}).get("devices") or {}).get("results") or []
    return found


def _waits(claim: Obj) -> bool:
    return any(each.get("bindingConditions") for each in _results(claim))


def is_ready(claim: Obj) -> bool:
    """Whether all binding conditions of a claim's devices are true, which includes that there are none. BindingFailed
    when one that says that it failed is."""
    if allocation(claim) is None:
        return False
    devices = (claim.get("status") or {}).get("devices") or ()
    for each in _results(claim):
        wanted = each.get("bindingConditions")
        if not wanted:
            continue
        same = (d for d in devices if all(d[key] == each[key] for key in ("driver", "pool", "device")))
        said = next(same, None)
        if said is None:
            return False
        true = {c["type"]: c for c in said.get("conditions") or () if c["status"] == "True"}
        for kind in each.get("bindingFailureConditions") or ():
            if kind in true:
                raise BindingFailed(
                    f"claim {claim['metadata']['name']} binding failed: reason={true[kind].get('reason', '')}, "
                    f'message="{true[kind].get("message", "")}"'
                )
        if any(kind not in true for kind in wanted):
            return False
    return True
