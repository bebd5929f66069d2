"""Where a set of pods would go, and which nodes would have to be added so that all find a place."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from pilothouse.api import errors
from pilothouse.api.errors import ApiError
from pilothouse.api.resources import PERSISTENT_VOLUME_CLAIMS, PODS
from pilothouse.api.types import Obj
from pilothouse.scheduler.build import Factory
from pilothouse.whatif import device_claims, growing, volumes
from pilothouse.whatif.admission import Admission
from pilothouse.whatif.growing import Added, Template, waits
from pilothouse.whatif.kinds import BadObject, kinds
from pilothouse.whatif.snapshot import Snapshot, flat
from pilothouse.whatif.stage import Outcome, Setting, Stage
from pilothouse.whatif.workloads import expand

GATED = "Scheduling is blocked due to non-empty scheduling gates"
"""Upstream's words (pkg/registry/core/pod strategy, applySchedulingGatedCondition)."""


class Placement(msgspec.Struct, frozen=True, rename="camel"):
    """One pod. `owner` is KIND/NAME, "" for a pod of its own. `state`: bound (then `node` says where), unschedulable,
    gated, refused (the API server would not take it), preempted (another one took its place), ignored (its scheduler is
    not one of the configuration's). `message` says why it is not bound, in upstream's words. `added` for a node that
    was added."""

    namespace: str
    name: str
    owner: str
    state: str
    node: str = ""
    message: str = ""
    added: bool = False


class Preempted(msgspec.Struct, frozen=True, rename="camel"):
    """A pod of the snapshot that would have to go."""

    namespace: str
    name: str
    node: str


class Simulation(msgspec.Struct, frozen=True, rename="camel"):
    """`placements` are the new pods, in the order in which they came, then those that waited in the snapshot. `cost` is
    that of all nodes that were added."""

    placements: tuple[Placement, ...]
    preempted: tuple[Preempted, ...] = ()
    added: tuple[Added, ...] = ()
    cost: float = 0.0
    foreign: Mapping[str, int] = {}
    """Objects of kinds that are not built in, which were left out."""

    @property
    def unplaced(self) -> tuple[Placement, ...]:
        return tuple(each for each in self.placements if each.state != "bound")


def simulate(
    snapshot: Snapshot,
    pods: Iterable[Obj] = (),
    *,
    config: Obj | None = None,
    templates: Sequence[Template] = (),
    seed: int = 0,
    plugins: Mapping[str, Factory] | None = None,
) -> Simulation:
    """Let the scheduler place pods on a snapshot, which stays as it is.

    `pods` are pods and workloads, which become their pods; anything else among them (claims, classes, services) joins
    the snapshot first. `config` is a complete KubeSchedulerConfiguration (`scheduler.config.load`); its extenders are
    not asked. With `templates` nodes are added until no pod is left that more of them would help.

    It runs an event loop of its own: from a coroutine call it in a thread. BadObject for what is no object,
    ProfileError for a configuration that is not valid."""
    setting = Setting(config, seed, plugins)
    intake = _Intake(list(flat(pods)))
    stage = Stage(snapshot, setting)
    outcome = stage.until_quiet(intake.put_in)
    grown = growing.grow(outcome, setting, templates)
    return _told(intake, grown, outcome)


def _told(intake: _Intake, grown: growing.Grown, first: Outcome) -> Simulation:
    last = grown.outcome
    gone = {pod["metadata"]["uid"]: pod for pod in (*first.deleted, *grown.deleted)}
    teller = _Teller(last, gone, grown.nodes)
    placements = [each if isinstance(each, Placement) else teller.placement(*each) for each in intake.seen]
    new = {each[1] for each in intake.seen if not isinstance(each, Placement)}
    preempted = [
        Preempted(pod["metadata"]["namespace"], pod["metadata"]["name"], pod["spec"].get("nodeName", ""))
        for uid, pod in gone.items()
        if uid not in new
    ]
    return Simulation(
        tuple(placements),
        tuple(preempted),
        grown.added,
        sum(each.cost for each in grown.added),
        first.snapshot.foreign,
    )


class _Teller:
    """What became of pods."""

    def __init__(self, outcome: Outcome, gone: Mapping[str, Obj], nodes: frozenset[str]) -> None:
        self._outcome = outcome
        self._gone = gone
        self._nodes = nodes

    def placement(self, pod: Obj, uid: str, owner: str) -> Placement:
        meta = pod["metadata"]
        namespace, name = meta["namespace"], meta["name"]
        now = self._outcome.snapshot.get(PODS, name, namespace)
        if uid in self._gone or now is None:
            return Placement(namespace, name, owner, "preempted", message="Preempted by a more important pod")
        node = now["spec"].get("nodeName", "")
        if node:
            return Placement(namespace, name, owner, "bound", node, added=node in self._nodes)
        state, message = self._waiting(now, uid)
        return Placement(namespace, name, owner, state, message=message)

    def _waiting(self, pod: Obj, uid: str) -> tuple[str, str]:
        scheduler = pod["spec"].get("schedulerName", "")
        if scheduler not in self._outcome.names:
            return "ignored", f"no profile has the scheduler name {scheduler}"
        gate = self._outcome.gates.get(uid)
        if gate:
            return "gated", GATED if gate == "SchedulingGates" else f"held back by {gate}"
        return "unschedulable", message_of(pod)


def message_of(pod: Obj) -> str:
    """What its PodScheduled condition says."""
    conditions: list[Obj] = (pod.get("status") or {}).get("conditions") or []
    return next((str(c.get("message", "")) for c in conditions if c["type"] == "PodScheduled"), "")


_Seen = Placement | tuple[Obj, str, str]
"""A pod that was refused; or one that was taken, with its UID and its owner."""


class _Intake:
    """What comes in beside the snapshot."""

    def __init__(self, objects: Sequence[Obj]) -> None:
        self._objects = objects
        self.seen: list[_Seen] = []

    async def put_in(self, stage: Stage) -> None:
        """Everything else before pods, as pods may ask for it; then what already waits there is counted too."""
        snapshot, world = stage.snapshot, stage.world
        admission = Admission(snapshot, world)
        await admission.complete(snapshot)
        volumes.settle(stage.api)
        waiting = [pod for pod in snapshot.list(PODS) if waits(pod)]
        for pod in waiting:
            await self._with_claims(stage, admission, pod)
        pods: list[Obj] = []
        claims: list[Obj] = []
        workloads = []
        for obj in self._objects:
            resource = kinds().resource(obj)
            if resource is None:
                raise BadObject(f"{obj.get('kind')} ({obj.get('apiVersion')}) is no built-in kind")
            if resource == PODS:
                pods.append(obj)
            elif resource.plural == PERSISTENT_VOLUME_CLAIMS.plural:
                claims.append(obj)
            else:
                workloads.append(snapshot.put(resource, kinds().complete(obj)))
        volumes.settle(stage.api)
        for claim in claims:  # behind their classes and volumes
            _add_claim(stage, await admission.claim(claim))
        owned = [(pod, _called(pod)) for pod in pods]
        for workload in workloads:
            owned += await self._expanded(stage, admission, workload)
        for pod, owner in owned:
            await self._admit(stage, admission, pod, owner)
        self.seen += [(pod, pod["metadata"]["uid"], _called(pod)) for pod in waiting]

    async def _expanded(self, stage: Stage, admission: Admission, workload: Obj) -> list[tuple[Obj, str]]:
        found = expand(workload, stage.snapshot, stage.world)
        if found is None:
            return []
        for owner in found.owners:
            stage.snapshot.add(owner)
        for claim in found.claims:
            meta = claim["metadata"]
            if stage.snapshot.get(PERSISTENT_VOLUME_CLAIMS, meta["name"], meta["namespace"]) is None:
                _add_claim(stage, await admission.claim(claim))
        called = f"{workload['kind']}/{workload['metadata']['name']}"
        return [(pod, called) for pod in found.pods]

    async def _admit(self, stage: Stage, admission: Admission, pod: Obj, owner: str) -> None:
        try:
            admitted = await admission.pod(pod)
            meta = admitted["metadata"]
            _name(stage, meta)
        except ApiError as error:
            self.seen.append(_refused(pod, owner, str(error)))
            return
        meta["uid"], meta["creationTimestamp"] = stage.world.uid(), stage.world.timestamp()
        admitted.pop("status", None)
        stored = await self._with_claims(stage, admission, admitted)
        self.seen.append((stored, meta["uid"], owner))

    async def _with_claims(self, stage: Stage, admission: Admission, pod: Obj) -> Obj:
        """A pod in the snapshot, with the claims that controllers make for it."""
        stored = stage.snapshot.put(PODS, device_claims.make(pod, stage.snapshot, stage.world))
        for claim in volumes.ephemeral_claims(stored, stage.api):
            _add_claim(stage, await admission.claim(claim))
        return stored


def _name(stage: Stage, meta: Obj) -> None:
    """A generated name, if it has none; one that is free. ApiError 409."""
    given = meta.get("name", "")
    while not meta.get("name") or stage.snapshot.get(PODS, meta["name"], meta["namespace"]) is not None:
        if given:
            raise errors.already_exists("", "pods", given)
        meta["name"] = f"{meta['generateName']}{stage.world.suffix()}"


def _refused(pod: Obj, owner: str, why: str) -> Placement:
    meta = pod["metadata"]
    return Placement(meta.get("namespace") or "default", meta.get("name", ""), owner, "refused", message=why)


def _add_claim(stage: Stage, claim: Obj) -> None:
    stored = stage.snapshot.put(PERSISTENT_VOLUME_CLAIMS, claim)
    volumes.claim_written(stage.api, stored)


def _called(pod: Obj) -> str:
    """KIND/NAME of who made it."""
    refs: list[Obj] = pod["metadata"].get("ownerReferences") or []
    return next((f"{ref['kind']}/{ref['name']}" for ref in refs if ref.get("controller")), "")
