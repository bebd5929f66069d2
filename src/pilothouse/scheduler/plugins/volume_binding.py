"""VolumeBinding: a pod goes where its claims' volumes are, and claims that wait for a pod get theirs there
(pkg/scheduler/framework/plugins/volumebinding, KEP-490, KEP-1472). Which nodes will do is decided in
`scheduler.volume_binding`; here is the doing.

    Reserve   the chosen node's plan is taken for done, so that no other pod gets the same volume
    PreBind   volumes are reserved for their claims, claims get the name of the node; then the controller binds them,
              and a provisioner makes what is missing: the pod waits for both, up to bindTimeoutSeconds
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from pilothouse.api import volumes
from pilothouse.api.csi_migration import MIGRATED_PLUGINS
from pilothouse.api.resources import PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES, PODS, Resource
from pilothouse.api.types import Obj
from pilothouse.api.volumes import SELECTED_NODE, annotations_of
from pilothouse.client.informer import key_of
from pilothouse.scheduler import volume_binding
from pilothouse.scheduler.binding import BindingRefused
from pilothouse.scheduler.framework import (
    Cycle,
    FilterPlugin,
    PreBindPlugin,
    PreFilterPlugin,
    PreFilterResult,
    Rejection,
    ReservePlugin,
)
from pilothouse.scheduler.handle import Handle
from pilothouse.scheduler.hints import (
    CLAIM,
    CSI_DRIVER,
    CSI_NODE,
    CSI_STORAGE_CAPACITY,
    NODE,
    STORAGE_CLASS,
    VOLUME,
    Action,
    Event,
    Registration,
)
from pilothouse.scheduler.node_table import Mask
from pilothouse.scheduler.plugins.volume_hints import names_claim
from pilothouse.scheduler.pod_info import PodInfo
from pilothouse.scheduler.storage import Assumed, Storage
from pilothouse.scheduler.volume_binding import Claims, Plan, Search

TIMEOUT_S = 600.0
_RESERVED = "VolumeBinding/reserved"
_LOOK_S = 1.0
"""Time between two looks at what no volume's or claim's change tells: whether the pod is still there."""
_MOMENT_S = 0.001
"""Less than that is no time left: a clock may not be able to tell it from none."""


@dataclass(slots=True)
class _Reserved:
    """What was assumed for one pod, as it is to be written."""

    volumes: list[Obj] = field(default_factory=list)
    claims: list[Obj] = field(default_factory=list)
    for_claims: list[str] = field(default_factory=list)
    """Keys of the claims that `volumes` are for."""


class VolumeBinding(PreFilterPlugin, FilterPlugin, ReservePlugin, PreBindPlugin):
    """Without a handle it decides, and writes nothing."""

    name = "VolumeBinding"

    def __init__(self, storage: Storage, handle: Handle | None = None, timeout_s: float = TIMEOUT_S) -> None:
        self._storage = storage
        self._handle = handle
        self._timeout_s = timeout_s

    def registrations(self) -> Iterable[Registration]:
        return (
            Registration(STORAGE_CLASS, Action.ADD | Action.UPDATE, _changes_topology),
            Registration(CLAIM, Action.ADD | Action.UPDATE, names_claim),
            Registration(VOLUME, Action.ADD | Action.UPDATE),
            Registration(NODE, Action.ADD | Action.UPDATE_NODE_LABEL),
            Registration(CSI_NODE, Action.ADD | Action.UPDATE, _migrates),
            Registration(CSI_DRIVER, Action.UPDATE, _reports_no_capacity),
            Registration(CSI_STORAGE_CAPACITY, Action.ADD | Action.UPDATE, _has_more_room),
        )

    def counts_pods(self, cycle: Cycle) -> bool:
        return False

    # -- deciding ---------------------------------------------------------------------------------------

    def pre_filter(self, cycle: Cycle) -> PreFilterResult | None:
        if not cycle.info.volumes.claims:
            return None
        claims = volume_binding.sorted_out(cycle.info, self._storage)
        if isinstance(claims, str):
            return PreFilterResult(refusal=claims)
        cycle.state[self.name] = claims
        return None

    def filter(self, cycle: Cycle, left: Mask) -> Iterable[Rejection]:
        claims: Claims | None = cycle.state.get(self.name)
        if claims is None:
            return
        for reason, rows in Search(cycle.table, self._storage).reasons(claims, left).items():
            yield Rejection(rows, reason, resolvable=False)

    # -- doing ------------------------------------------------------------------------------------------

    def reserve(self, cycle: Cycle, node: str) -> str:
        claims: Claims | None = cycle.state.get(self.name)
        if claims is None or not claims.waiting:
            return ""
        row = cycle.table.row(node)
        if row is None:
            return f'node "{node}" not found'
        plan = volume_binding.on_node(claims, cycle.table.node(row), self._storage)
        if plan.reasons:
            return ", ".join(plan.reasons)
        cycle.state[_RESERVED] = self._assumed(plan, node)
        return ""

    def _assumed(self, plan: Plan, node: str) -> _Reserved:
        made = _Reserved()
        for volume, claim in plan.bindings:
            bound = volumes.bound_to(volume, claim)
            self._storage.volumes.assume(bound)
            made.volumes.append(bound)
            made.for_claims.append(key_of(claim))
        for claim in plan.provisions:
            chosen = volumes.with_annotations(claim, {SELECTED_NODE: node})
            self._storage.claims.assume(chosen)
            made.claims.append(chosen)
        return made

    def unreserve(self, cycle: Cycle, node: str) -> None:
        """What was written stays; the next attempt starts from there."""
        made: _Reserved | None = cycle.state.pop(_RESERVED, None)
        if made is None:
            return
        for volume in made.volumes:
            self._storage.volumes.restore(key_of(volume))
        for claim in made.claims:
            self._storage.claims.restore(key_of(claim))

    async def pre_bind(self, cycle: Cycle, node: str) -> None:
        """BindingRefused without a plugin's name when binding fails: an error, and not an answer to this pod."""
        made: _Reserved | None = cycle.state.get(_RESERVED)
        if made is None or self._handle is None:
            return
        made.volumes = await self._write(
            self._handle, PERSISTENT_VOLUMES, made.volumes, self._storage.volumes
        )
        made.claims = await self._write(
            self._handle, PERSISTENT_VOLUME_CLAIMS, made.claims, self._storage.claims
        )
        await self._until_bound(self._handle, cycle, made, node)

    async def _write(
        self, handle: Handle, resource: Resource, objects: Sequence[Obj], cache: Assumed
    ) -> list[Obj]:
        written = []
        for obj in objects:
            typed = {"apiVersion": resource.group_version, "kind": resource.kind, **obj}
            answer = await handle.client.update(resource, typed)
            cache.assume(answer)
            written.append(answer)
        return written

    async def _until_bound(self, handle: Handle, cycle: Cycle, made: _Reserved, node: str) -> None:
        clock = handle.world.clock
        end_s = clock.monotonic() + self._timeout_s
        pods = handle.informers.informer(PODS)
        keys = [*made.for_claims, *map(key_of, made.claims)]
        while True:
            if pods.get(cycle.info.key) is None:
                raise _failed(f'pod does not exist any more: pod "{cycle.info.name}" not found')
            row = cycle.table.row(node)
            if row is None:
                raise _failed(f'failed to get node "{node}": node "{node}" not found')
            if self._is_bound(made, cycle.table.node(row)):
                return
            left_s = end_s - clock.monotonic()
            if left_s < _MOMENT_S:
                raise _failed("context deadline exceeded")
            try:
                await handle.world.within(min(left_s, _LOOK_S), self._storage.news(keys))
            except TimeoutError:
                continue

    def _is_bound(self, made: _Reserved, node: Obj) -> bool:
        """Raises BindingRefused when it never will be."""
        pairs = zip(made.volumes, made.for_claims, strict=True)
        static = [self._is_volume_bound(volume, claim, node) for volume, claim in pairs]
        made_anew = [self._is_provisioned(claim, node) for claim in made.claims]
        return all(static) and all(made_anew)

    def _is_volume_bound(self, written: Obj, claim_key: str, node: Obj) -> bool:
        volume = self._storage.volumes.known(key_of(written))
        claim = self._storage.claims.known(claim_key)
        if volume is None:
            raise _failed(f'failed to check binding: could not find object "{key_of(written)}"')
        if claim is None:
            raise _failed(f'failed to check binding: could not find object "{claim_key}"')
        if _is_older(volume, written):
            return False
        _check_reach(volume, node)
        if not (volumes.claim_ref(volume) or {}).get("uid"):
            raise _failed(f'ClaimRef got reset for pv "{key_of(volume)}"')
        return volumes.is_fully_bound(claim)

    def _is_provisioned(self, written: Obj, node: Obj) -> bool:
        claim = self._storage.claims.known(key_of(written))
        if claim is None:
            raise _failed(f'failed to check provisioning pvc: could not find object "{key_of(written)}"')
        if _is_older(claim, written):
            return False
        if annotations_of(claim).get(SELECTED_NODE) != node["metadata"]["name"]:
            raise _failed(f'provisioning failed for PVC "{claim["metadata"]["name"]}"')
        volume = self._storage.volumes.known(claim["spec"].get("volumeName", ""))
        if volume is None:
            return False
        _check_reach(volume, node)
        return volumes.is_fully_bound(claim)


def _failed(why: str) -> BindingRefused:
    return BindingRefused("", f'running PreBind plugin "VolumeBinding": binding volumes: {why}')


def _check_reach(volume: Obj, node: Obj) -> None:
    if not volumes.reaches(volume, node):
        pair = f'pv "{key_of(volume)}" node affinity doesn\'t match node "{node["metadata"]["name"]}"'
        raise _failed(f"{pair}: no matching NodeSelectorTerms")


def _is_older(known: Obj, written: Obj) -> bool:
    return int(known["metadata"]["resourceVersion"]) < int(written["metadata"]["resourceVersion"])


# -- hints ------------------------------------------------------------------------------------------------


def _changes_topology(info: PodInfo, event: Event) -> bool:
    assert event.new is not None
    return event.old is None or event.old.get("allowedTopologies") != event.new.get("allowedTopologies")


def _migrates(info: PodInfo, event: Event) -> bool:
    assert event.new is not None
    if event.old is None:
        return True
    return annotations_of(event.old).get(MIGRATED_PLUGINS) != annotations_of(event.new).get(MIGRATED_PLUGINS)


def _reports_no_capacity(info: PodInfo, event: Event) -> bool:
    """A driver that one of the pod's own volumes is of stops to report how much room there is."""
    assert event.old is not None
    assert event.new is not None
    name = event.new["metadata"]["name"]
    named = any(
        (volume.get("csi") or {}).get("driver") == name for volume in info.pod["spec"].get("volumes") or ()
    )
    return named and bool(event.old["spec"].get("storageCapacity")) > bool(
        event.new["spec"].get("storageCapacity")
    )


def _has_more_room(info: PodInfo, event: Event) -> bool:
    assert event.new is not None
    if event.old is None:
        return True
    before, now = volumes.volume_limit(event.old), volumes.volume_limit(event.new)
    return now is not None and (before is None or now > before)
