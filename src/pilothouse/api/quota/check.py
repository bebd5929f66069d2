"""May this object be made under these quotas, and what is used then
(k8s.io/apiserver/pkg/admission/plugin/resourcequota CheckRequest).

    status.hard, status.used ──evaluator──▶ missing, unknown, negative, exceeded: QuotaError
                                       └──▶ the usage of each quota that changes
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pilothouse.api import amounts
from pilothouse.api.amounts import Amounts
from pilothouse.api.quota.evaluator import Evaluator
from pilothouse.api.types import Obj


class QuotaError(Exception):
    """The text is what a Forbidden says after the object's name."""


@dataclass(frozen=True, slots=True)
class Cost:
    """One write: `usage` is what the object costs, `increase` what it costs more than before (the same for a
    create)."""

    evaluator: Evaluator
    subresource: str
    obj: Obj
    old: Obj | None
    usage: Amounts
    increase: Amounts

    @classmethod
    def of(cls, evaluator: Evaluator, subresource: str, obj: Obj, old: Obj | None, now_s: float) -> Cost:
        usage = evaluator.usage(obj, now_s)
        before = evaluator.usage(old, now_s) if old is not None else None
        return cls(
            evaluator,
            subresource,
            obj,
            old,
            usage,
            usage if before is None else amounts.increase(usage, before),
        )


@dataclass(slots=True)
class Account:
    """A quota as it runs along while writes are checked one after another. `used` is replaced, never changed."""

    quota: Obj
    hard: Amounts
    used: Amounts

    @classmethod
    def of(cls, quota: Obj) -> Account:
        status = quota.get("status") or {}
        return cls(quota, amounts.read(status.get("hard")), amounts.read(status.get("used")))

    @property
    def name(self) -> str:
        return str(self.quota["metadata"]["name"])


def check(accounts: Sequence[Account], cost: Cost) -> Mapping[int, Amounts]:
    """The new usage by the index of each account that changes. Raises QuotaError."""
    pertinent = [i for i, account in enumerate(accounts) if _is_pertinent(account, cost)]
    negative = amounts.negative(cost.usage)
    if negative:
        raise QuotaError(f"quota usage is negative for resource(s): {','.join(sorted(negative))}")
    changed: dict[int, Amounts] = {}
    for i in pertinent:
        account = accounts[i]
        delta = amounts.without_zeros(_delta(account, cost))
        if delta:
            changed[i] = _charged(account, delta, enforce=cost.subresource != "status")
    return changed


def _is_pertinent(account: Account, cost: Cost) -> bool:
    """Whether a quota is for this object; refuses what it cannot tell."""
    evaluator = cost.evaluator
    if not evaluator.falls_under(account.quota, account.hard, cost.obj):
        return False
    names = evaluator.matching(account.hard)
    missing = evaluator.missing(names, cost.obj)
    if missing:
        raise QuotaError(f"failed quota: {account.name}: {missing}")
    if any(name not in account.used for name in names):
        raise QuotaError(f"status unknown for quota: {account.name}, resources: {','.join(sorted(names))}")
    return True


def _delta(account: Account, cost: Cost) -> Amounts:
    """An object that this quota did not cover before its update is charged in full."""
    if cost.old is not None and cost.evaluator.falls_under(account.quota, account.hard, cost.old):
        return cost.increase
    return cost.usage


def _charged(account: Account, delta: Amounts, *, enforce: bool) -> Amounts:
    asked = amounts.mask(delta, account.hard)
    new = amounts.add(account.used, asked)
    over = amounts.exceeded(amounts.mask(new, asked), account.hard) if enforce else []
    if over:
        requested, used, limited = (
            amounts.pretty(amounts.mask(of, over)) for of in (asked, account.used, account.hard)
        )
        raise QuotaError(
            f"exceeded quota: {account.name}, requested: {requested}, used: {used}, limited: {limited}"
        )
    return new
