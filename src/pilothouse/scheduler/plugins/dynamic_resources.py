"""DynamicResources: devices by ResourceClaim (KEP-4381, pkg/scheduler/framework/plugins/dynamicresources).

PreEnqueue    the pod's claims are there
PreFilter     allocated claims can be used by one more pod; of the others, classes are there and nobody allocates
Filter        allocated claims can be used on the node; for the others it has devices (`scheduler.dra`)
PostFilter    gives up an allocation that keeps the pod from every node
Score         nodes where requests got what their author put first
Reserve       devices are taken, in memory
PreBind       allocation and reservation are written (`claim_binding`)
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from pilothouse.api import resource_claims as claims_api
from pilothouse.api.pod_requests import Amounts
from pilothouse.api.resource_claims import ClaimError, allocation
from pilothouse.api.types import Obj
from pilothouse.kit.durations import duration_s
from pilothouse.kit.world import World, parse_timestamp
from pilothouse.scheduler import selection
from pilothouse.scheduler.diagnosis import Diagnosis
from pilothouse.scheduler.dra import extended, result
from pilothouse.scheduler.dra.allocator import Grant, Late
from pilothouse.scheduler.dra.manager import NAME, Manager, Question
from pilothouse.scheduler.dra.requests import RequestError
from pilothouse.scheduler.framework import (
    Cycle,
    FilterPlugin,
    Nomination,
    PluginFailed,
    PostFilterPlugin,
    PreBindPlugin,
    PreEnqueuePlugin,
    PreFilterPlugin,
    PreFilterResult,
    PreScorePlugin,
    Rejection,
    ReservePlugin,
    Rows,
    ScorePlugin,
    normalized,
)
from pilothouse.scheduler.handle import Handle
from pilothouse.scheduler.hints import (
    DEVICE_CLASS,
    DEVICE_TAINT_RULE,
    NODE,
    RESOURCE_CLAIM,
    RESOURCE_SLICE,
    UNSCHEDULED_POD,
    Action,
    Event,
    Registration,
)
from pilothouse.scheduler.node_table import Column, Mask, NodeTable
from pilothouse.scheduler.plugins.claim_binding import Binder, Binding, BindingFailed, is_ready
from pilothouse.scheduler.pod_info import PodInfo

NO_CLAIMS = "no new claims to deallocate"
IN_USE = "resourceclaim in use"
NOT_ON_NODE = "resourceclaim not available on the node"
LEFT_OVER = "cannot schedule extended resource claim"
DEALLOCATED = "deallocation of ResourceClaim completed"
DELETED = "deletion of ResourceClaim completed"
STILL_NOT = "still not schedulable"
_NO_STATE = "not found"
_ALTERNATIVES_MAX = 8


@dataclass(eq=False, slots=True)
class _State:
    """Of one pod's cycle. `claims` are those that the pod names; `stale` one for extended resources from an earlier
    attempt; `delegated` the extended resources that classes stand for."""

    claims: list[Obj] = field(default_factory=list)
    stale: Obj | None = None
    delegated: Amounts = field(default_factory=dict)
    questions: dict[tuple[str, ...], Question] = field(default_factory=dict)
    """By the extended resources that are to come as devices."""
    unavailable: set[int] = field(default_factory=set)
    """Claims that are allocated, and kept the pod from some node."""
    binding: Binding | None = None

    @property
    def is_empty(self) -> bool:
        return not self.claims and not self.delegated

    @property
    def unallocated(self) -> list[Obj]:
        return [claim for claim in self.claims if allocation(claim) is None]


class DynamicResources(
    PreEnqueuePlugin,
    PreFilterPlugin,
    FilterPlugin,
    PostFilterPlugin,
    PreScorePlugin,
    ScorePlugin,
    ReservePlugin,
    PreBindPlugin,
):
    name = NAME

    def __init__(self, args: Obj, handle: Handle) -> None:
        self._world: World = handle.world
        self._filter_s = duration_s(args["filterTimeout"])
        self._binding_s = duration_s(args["bindingTimeout"])
        self._manager = Manager.of(handle)
        self._binder = Binder(handle, self._manager.ledger, self._binding_s)

    def registrations(self) -> Iterable[Registration]:
        return (
            Registration(NODE, Action.ADD | Action.UPDATE_NODE_LABEL | Action.UPDATE_NODE_ALLOCATABLE),
            Registration(RESOURCE_CLAIM, Action.ADD | Action.UPDATE, self._claim_helps),
            Registration(UNSCHEDULED_POD, Action.UPDATE_POD_GENERATED_RESOURCE_CLAIM, self._pod_helps),
            Registration(DEVICE_CLASS, Action.ADD | Action.UPDATE),
            Registration(RESOURCE_SLICE, Action.ADD | Action.UPDATE),
            Registration(DEVICE_TAINT_RULE, Action.UPDATE | Action.DELETE, _rule_helps),
        )

    def _claim_helps(self, info: PodInfo, event: Event) -> bool:
        """A claim that somebody gave up, or one of the pod's own with news."""
        assert event.new is not None
        try:
            own = self._manager.claims_of(info.pod)
        except ClaimError:
            return False
        if event.old is not None and allocation(event.old) is not None and allocation(event.new) is None:
            return True
        uid = event.new["metadata"]["uid"]
        if all(claim["metadata"]["uid"] != uid for claim in own):
            return False
        return event.old is None or event.old.get("status") != event.new.get("status")

    def _pod_helps(self, info: PodInfo, event: Event) -> bool:
        assert event.new is not None
        return not self._claim_problem(event.new)

    def _claim_problem(self, pod: Obj) -> str:
        if not pod["spec"].get("resourceClaims"):
            return ""
        try:
            self._manager.claims_of(pod)
        except ClaimError as error:
            return str(error)
        return ""

    def pre_enqueue(self, info: PodInfo) -> str:
        return self._claim_problem(info.pod)

    # -- which nodes ------------------------------------------------------------------------------------

    def pre_filter(self, cycle: Cycle) -> PreFilterResult | None:
        state = cycle.state[NAME] = _State()
        pod = cycle.info.pod
        try:
            claims = self._manager.claims_of(pod) if pod["spec"].get("resourceClaims") else []
        except ClaimError as error:
            return PreFilterResult(refusal=str(error))
        delegated = self._delegated(cycle.info)
        if not claims and not delegated:
            return None
        for claim in claims:
            refusal = self._refusal(pod, claim)
            if refusal:
                return PreFilterResult(refusal=refusal)
        state.claims, state.delegated = claims, delegated
        if delegated:
            state.stale = self._manager.claim_for_extended(pod)
        return None

    def _delegated(self, info: PodInfo) -> Amounts:
        classes = self._manager.classes
        return {
            name: value for name, value in info.requests.items() if "/" in name and classes.stands_for(name)
        }

    def _refusal(self, pod: Obj, claim: Obj) -> str:
        """Why no node will do for a claim; "" when one may."""
        if allocation(claim) is not None:
            usable = claims_api.can_be_reserved(claim) or claims_api.is_reserved_for(pod, claim)
            return "" if usable else IN_USE
        meta = claim["metadata"]
        if self._manager.ledger.is_pending(meta["uid"]):
            return f"resource claim {meta['namespace']}/{meta['name']} is in the process of being allocated"
        for name, class_name in _classes(claim):
            if self._manager.classes.get(class_name) is None:
                return f"request {name}: device class {class_name} does not exist"
        return ""

    def filter(self, cycle: Cycle, left: Mask) -> Iterable[Rejection]:
        """Nothing here can be cured by evicting pods: their devices come free only when they are gone."""
        state = _state(cycle)
        if state.is_empty:
            return ()
        if state.stale is not None:
            return (Rejection(left, LEFT_OVER, resolvable=False),)
        return self._rejections(cycle, state, left)

    def _rejections(self, cycle: Cycle, state: _State, left: Mask) -> Iterator[Rejection]:
        reasons: dict[str, Mask] = {}
        if state.unallocated or state.delegated:
            for row in np.flatnonzero(left):
                why = self._problem(cycle, state, int(row))
                if why:
                    reasons.setdefault(why, cycle.table.empty_mask())[row] = True
        for why, mask in reasons.items():
            yield Rejection(mask, why, resolvable=False)
            left = left & ~mask
        out = cycle.table.empty_mask()
        for index, usable in self._usable(cycle.table, state):
            bad = left & ~usable
            if bad.any():
                state.unavailable.add(index)
                out |= bad
        yield Rejection(out, NOT_ON_NODE, resolvable=False)

    def _usable(self, table: NodeTable, state: _State) -> Iterator[tuple[int, Mask]]:
        """For each claim that is allocated the nodes where it can be used."""
        for index, claim in enumerate(state.claims):
            found = allocation(claim)
            if found is None:
                continue
            if self._is_lost(claim, found):
                yield index, table.empty_mask()
            elif found.get("nodeSelector") is not None:
                yield index, selection.any_term(table, found["nodeSelector"].get("nodeSelectorTerms") or ())

    def _is_lost(self, claim: Obj, found: Obj) -> bool:
        """Its devices could not be prepared, or have not been for too long."""
        try:
            if is_ready(claim):
                return False
        except BindingFailed:
            return True
        since = found.get("allocationTimestamp")
        return since is not None and parse_timestamp(since) + self._binding_s < self._world.now()

    def filter_key(self, cycle: Cycle) -> Hashable | None:
        """Claims that have no devices yet: a node's answer depends on the node and its pools."""
        state = _state(cycle)
        if state.is_empty or state.stale is not None or len(state.unallocated) < len(state.claims):
            return None
        self._manager.refresh(cycle.table)
        delegated = tuple(sorted(state.delegated))
        return self._question(cycle, state, delegated).key, delegated

    def passes(self, cycle: Cycle, rows: Rows) -> Mask:
        state, table = _state(cycle), cycle.table
        return np.array(
            [bool(table.valid[row]) and not self._problem(cycle, state, int(row)) for row in rows], dtype=bool
        )

    def counts_pods(self, cycle: Cycle) -> bool:
        return False

    def _problem(self, cycle: Cycle, state: _State, row: int) -> str:
        question = self._question(cycle, state, _as_devices(cycle.table, state, row))
        if not question.claims:
            return ""
        try:
            return self._manager.problem(question, cycle.table.node(row), self._deadline)
        except RequestError as error:
            raise PluginFailed(f'running "{NAME}" filter plugin: {error}') from None

    def _deadline(self) -> Late:
        if not self._filter_s:
            return lambda: False
        clock = self._world.clock
        until_s = clock.monotonic() + self._filter_s
        return lambda: clock.monotonic() > until_s

    def _question(self, cycle: Cycle, state: _State, resources: tuple[str, ...]) -> Question:
        """The claims to allocate where some extended resources come as devices."""
        found = state.questions.get(resources)
        if found is None:
            claims = state.unallocated
            if resources:
                pod = cycle.info.pod
                made = extended.translated(pod, resources, self._manager.classes.of)
                claims = [*claims, extended.claim_for(pod, self._world.uid(), made.requests)]
            try:
                found = self._manager.question(claims)
            except RequestError as error:
                raise PluginFailed(f'running "{NAME}" filter plugin: {error}') from None
            state.questions[resources] = found
        return found

    # -- no node ----------------------------------------------------------------------------------------

    def post_filter(self, cycle: Cycle, diagnosis: Diagnosis) -> Nomination:
        """Where an earlier PreFilter has refused the pod, this one has left no state, and upstream's cycle state
        then answers "not found", which ends the round. No node will do for such a pod: unlike upstream's, which
        leaves it, its nomination is void, or room would be kept for it for as long as it waits."""
        state = cycle.state.get(NAME)
        if state is None:
            return Nomination("", _NO_STATE, final=True)
        assert isinstance(state, _State)
        if state.is_empty:
            return Nomination(message=NO_CLAIMS)
        for index in cycle.random.sample(sorted(state.unavailable), len(state.unavailable)):
            claim = state.claims[index]
            holders = {ref.get("uid") for ref in claims_api.reserved_for(claim)}
            if holders <= {cycle.info.uid}:
                return Nomination(message=DEALLOCATED, effect=partial(self._binder.deallocate, claim))
        stale = state.stale
        if stale is not None:
            return Nomination(message=DELETED, effect=partial(self._binder.delete, stale))
        return Nomination(message=STILL_NOT)

    # -- which node is best -----------------------------------------------------------------------------

    def pre_score(self, cycle: Cycle, rows: Rows) -> bool:
        return any(
            request.get("firstAvailable")
            for claim in _state(cycle).unallocated
            for request in claim["spec"]["devices"].get("requests") or ()
        )

    def score(self, cycle: Cycle, rows: Rows) -> Column:
        """The earlier the alternatives that requests got, the better."""
        state, table = _state(cycle), cycle.table
        scores = []
        for row in rows:
            question = self._question(cycle, state, _as_devices(table, state, int(row)))
            granted = self._manager.grants(question, table.node(int(row)))
            scores.append(0 if granted is None else _rank(question, granted))
        return normalized(np.array(scores, dtype=np.int64))

    # -- the node is chosen -----------------------------------------------------------------------------

    def reserve(self, cycle: Cycle, node: str) -> str:
        state = _state(cycle)
        row = cycle.table.row(node)
        if state.is_empty or row is None:
            return ""
        resources = _as_devices(cycle.table, state, row)
        question = self._question(cycle, state, resources)
        granted = self._manager.grants(question, cycle.table.node(row)) if question.claims else []
        if granted is None:
            return "claim allocation not found for node"
        binding = state.binding = Binding(cycle.info, node, list(state.claims))
        if resources:
            made = extended.translated(cycle.info.pod, resources, self._manager.classes.of)
            binding.claims.append(question.claims[-1].claim)
            binding.mappings = made.mappings
        for wanted, grants in zip(question.claims, granted, strict=True):
            found = result.allocation(wanted, grants, node, self._world.uid)
            binding.allocations[wanted.claim["metadata"]["uid"]] = found
            self._manager.ledger.reserve(wanted.claim, found)
        return ""

    def unreserve(self, cycle: Cycle, node: str) -> None:
        state = cycle.state.get(NAME)
        if isinstance(state, _State) and state.binding is not None:
            self._binder.give_up(state.binding)

    async def pre_bind(self, cycle: Cycle, node: str) -> None:
        binding = _state(cycle).binding
        if binding is not None:
            await self._binder.bind(binding)


def _state(cycle: Cycle) -> _State:
    found = cycle.state.get(NAME)
    return found if isinstance(found, _State) else _State()


def _as_devices(table: NodeTable, state: _State, row: int) -> tuple[str, ...]:
    """The pod's extended resources that a node does not have as such."""
    return tuple(sorted(name for name in state.delegated if not table.allocatable[name][row]))


def _rule_helps(info: PodInfo, event: Event) -> bool:
    """One that is gone, or is not what it was; what became of its pods is in its status and helps nobody."""
    return event.old is None or event.new is None or event.old["spec"] != event.new["spec"]


def _classes(claim: Obj) -> Iterator[tuple[str, str]]:
    """The full names of a claim's requests, with their classes."""
    for request in claim["spec"]["devices"].get("requests") or ():
        if request.get("exactly") is not None:
            yield request["name"], request["exactly"]["deviceClassName"]
        for sub in request.get("firstAvailable") or ():
            yield f"{request['name']}/{sub['name']}", sub["deviceClassName"]


def _rank(question: Question, granted: list[list[Grant]]) -> int:
    score = 0
    for wanted, grants in zip(question.claims, granted, strict=True):
        taken = {id(grant.request) for grant in grants}
        for alternatives in wanted.requests:
            for place, request in enumerate(alternatives):
                if request.parent and id(request) in taken:
                    score += _ALTERNATIVES_MAX - place
    return score
