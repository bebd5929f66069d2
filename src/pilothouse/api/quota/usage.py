"""How much of a quota is used (k8s.io/apiserver/pkg/quota/v1 CalculateUsage, pkg/controller/resourcequota)."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from pilothouse.api import amounts
from pilothouse.api.amounts import Amounts
from pilothouse.api.quantity import ZERO
from pilothouse.api.quota import scopes
from pilothouse.api.quota.evaluator import Evaluator
from pilothouse.api.types import Obj

Objects = Callable[[Evaluator], Iterable[Obj]]
"""An evaluator's objects in the quota's namespace."""


def calculate(quota: Obj, evaluators: Iterable[Evaluator], objects: Objects, now_s: float) -> Amounts:
    """By each of the quota's resources that an evaluator knows."""
    hard = tuple((quota.get("spec") or {}).get("hard") or ())
    used: Amounts = {}
    known: set[str] = set()
    for evaluator in evaluators:
        names = evaluator.matching(hard)
        if names:
            known.update(names)
            amounts.add_to(used, _of(evaluator, names, quota, objects(evaluator), now_s))
    return amounts.mask(used, known)


def _of(evaluator: Evaluator, names: list[str], quota: Obj, objects: Iterable[Obj], now_s: float) -> Amounts:
    used: Amounts = dict.fromkeys(names, ZERO)
    selectors = list(scopes.counted_selectors(quota))
    for obj in objects:
        try:
            if not all(evaluator.in_scope(selector, obj) for selector in selectors):
                continue
        except ValueError:
            # Upstream gives up counting at a selector that it cannot read, and keeps what it has.
            return used
        amounts.add_to(used, evaluator.usage(obj, now_s))
    return used


def status(quota: Obj, counted: Amounts) -> Obj | None:
    """The quota's new status; None when it says so already. What nobody could count stays as it was."""
    hard = amounts.read((quota.get("spec") or {}).get("hard"))
    present = quota.get("status") or {}
    before = amounts.read(present.get("used"))
    used = amounts.mask({**before, **counted}, hard)
    same = (
        present.get("hard") is not None
        and present.get("used") is not None
        and amounts.equal(amounts.read(present["hard"]), hard)
        and amounts.equal(used, before)
    )
    return None if same else {"hard": amounts.texts(hard), "used": amounts.texts(used)}
