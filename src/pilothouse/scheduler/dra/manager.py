"""Claims, classes and devices of a cluster, for all profiles of a scheduler (framework.SharedDRAManager).

What a pod's claims would get on a node depends on the claims' specs, the node and the pools that it can reach. Pods of
one template ask the same, so the answer is remembered until the node or one of its pools changes.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

import msgspec

from pilothouse.api import resource_claims as claims_api
from pilothouse.api.resource_claims import ClaimError
from pilothouse.api.resources import DEVICE_CLASSES, DEVICE_TAINT_RULES, RESOURCE_CLAIMS, RESOURCE_SLICES
from pilothouse.api.types import Obj
from pilothouse.scheduler import features
from pilothouse.scheduler.dra import allocator, extended
from pilothouse.scheduler.dra.allocator import Grant, Late, NotOnThisNode, Reach, TimedOut
from pilothouse.scheduler.dra.inventory import Inventory, Nodes, Rules
from pilothouse.scheduler.dra.ledger import Ledger
from pilothouse.scheduler.dra.requests import Wanted, wanted
from pilothouse.scheduler.handle import Handle
from pilothouse.scheduler.node_table import NodeTable

NAME = "DynamicResources"
CANNOT = "cannot allocate all claims"
TIMED_OUT = "timed out trying to allocate devices"
_QUESTIONS_MAX = 64
_OWNER = "pod"
_encode = msgspec.json.Encoder(order="deterministic").encode


@dataclass(frozen=True, slots=True, eq=False)
class Question:
    """Claims that need devices; `key` is the same for claims that ask the same."""

    claims: tuple[Wanted, ...]
    key: Hashable


class Manager:
    def __init__(self, handle: Handle) -> None:
        self._answers: OrderedDict[Hashable, dict[str, tuple[Obj, str]]] = OrderedDict()
        """By question and node's name: the node as it was, and why not, "" when it goes."""
        self._stale: set[str] = set()
        """Nodes that changed for those who remember rows."""
        self._found: tuple[Question | None, dict[int, tuple[Reach, list[list[Grant]] | None]]] = (None, {})
        """What the question asked last got, by the identity of what a node reaches; until anything changes."""
        self._edition = 0
        """Counts changes that may concern any node."""
        self.inventory = Inventory(self._nodes_changed)
        self.classes = extended.Classes(lambda: self._nodes_changed(None))
        self._claims = handle.informers.informer(RESOURCE_CLAIMS)
        self._claims.add_index(_OWNER, _owner)
        self.ledger = Ledger(self._claims, self.inventory.devices_changed)
        handle.informers.informer(RESOURCE_SLICES).add_handler(self.inventory)
        if features.DEVICE_TAINT_RULES in handle.features:
            handle.informers.informer(DEVICE_TAINT_RULES).add_handler(Rules(self.inventory))
        handle.informers.informer(DEVICE_CLASSES).add_handler(self.classes)

    @staticmethod
    def of(handle: Handle) -> Manager:
        found = handle.shared.get(NAME)
        if found is None:
            found = handle.shared[NAME] = Manager(handle)
        assert isinstance(found, Manager)
        return found

    # -- claims -----------------------------------------------------------------------------------------

    def claims_of(self, pod: Obj) -> list[Obj]:
        """Those that spec.resourceClaims names. ClaimError when one is missing or not the pod's."""
        namespace = pod["metadata"]["namespace"]
        found = []
        for entry in pod["spec"].get("resourceClaims") or ():
            name, made_for_it = claims_api.name_of(pod, entry)
            if not name:
                continue
            claim = self.ledger.get(f"{namespace}/{name}")
            if claim is None:
                raise ClaimError(f'could not find ResourceClaim "{namespace}/{name}"')
            if claim["metadata"].get("deletionTimestamp"):
                raise ClaimError(f'resourceclaim "{name}" is being deleted')
            if made_for_it:
                claims_api.check_owner(pod, claim)
            found.append(claim)
        return found

    def claim_for_extended(self, pod: Obj) -> Obj | None:
        """One that an earlier attempt has left behind."""
        owned = self._claims.by_index(_OWNER, pod["metadata"]["uid"])
        return next((claim for claim in owned if extended.is_for_extended(claim)), None)

    # -- answers ----------------------------------------------------------------------------------------

    def question(self, claims: Sequence[Obj]) -> Question:
        """RequestError."""
        found = tuple(wanted(claim, self.classes.get) for claim in claims)
        return Question(found, (self._edition, *map(_asked, found)))

    def problem(self, question: Question, node: Obj, late: Callable[[], Late]) -> str:
        """Why a node has no devices for some claims; "" when it has. `late` starts the time that it may take.
        RequestError."""
        answers = self._answers.get(question.key)
        if answers is None:
            answers = self._answers[question.key] = {}
            if len(self._answers) > _QUESTIONS_MAX:
                self._answers.popitem(last=False)
        name = node["metadata"]["name"]
        known = answers.get(name)
        if known is not None and known[0] is node:
            return known[1]
        try:
            why = "" if self.grants(question, node, late()) is not None else CANNOT
        except NotOnThisNode as error:
            why = str(error)
        except TimedOut:
            return TIMED_OUT
        answers[name] = (node, why)
        return why

    def grants(self, question: Question, node: Obj, late: Late = lambda: False) -> list[list[Grant]] | None:
        """As `allocator.allocate`. Searched for once where nodes reach the same devices."""
        reach = self.inventory.on(node)
        if self._found[0] is not question:
            self._found = (question, {})
        answers = self._found[1]
        known = answers.get(id(reach))
        if known is None:
            found = allocator.allocate(question.claims, reach, self.ledger.taken, late)
            known = answers[id(reach)] = (reach, found)
        return known[1]

    def refresh(self, table: NodeTable) -> None:
        """Rows whose nodes have other devices now are not what they were."""
        for name in self._stale:
            row = table.row(name)
            if row is not None:
                table.remembered.changed(row)
        self._stale.clear()

    def _nodes_changed(self, nodes: Nodes) -> None:
        self._found = (None, {})
        if nodes is None:
            self._edition += 1
            self._answers.clear()
            return
        self._stale |= nodes
        for answers in self._answers.values():
            for name in nodes:
                answers.pop(name, None)


def _asked(claim: Wanted) -> Hashable:
    """All of a claim that decides which nodes have devices for it: not its name, nor those of its classes."""
    requests = tuple(
        tuple((request.key, request.count, bool(request.parent)) for request in alternatives)
        for alternatives in claim.requests
    )
    constraints = claim.claim["spec"]["devices"].get("constraints")
    if not constraints:
        return requests
    names = tuple(request.full_name for alternatives in claim.requests for request in alternatives)
    return requests, names, _encode(constraints)


def _owner(claim: Obj) -> list[str]:
    uid = claims_api.owner_uid(claim)
    return [uid] if uid else []
