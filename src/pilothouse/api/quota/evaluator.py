"""What an evaluator is, and the one for all kinds that cost nothing but their number
(k8s.io/apiserver/pkg/quota/v1/generic)."""

from __future__ import annotations

from collections.abc import Iterable

from pilothouse.api.amounts import Amounts
from pilothouse.api.quantity import Quantity
from pilothouse.api.quota import scopes
from pilothouse.api.types import Obj

ONE = Quantity(10**9)


def units(count: int) -> Quantity:
    return Quantity(count * 10**9)


def count_name(group: str, plural: str) -> str:
    """`count/deployments.apps`, `count/pods`."""
    return f"count/{plural}.{group}" if group else f"count/{plural}"


class Evaluator:
    """Of one resource. `operation` is CREATE or UPDATE, `now_s` the time in seconds since 1970."""

    def __init__(self, group: str, plural: str) -> None:
        self.group = group
        self.plural = plural
        self.count_name = count_name(group, plural)

    def handles(self, operation: str, subresource: str, obj: Obj, old: Obj | None) -> bool:
        """Whether such a write can cost anything."""
        raise NotImplementedError

    def matching(self, names: Iterable[str]) -> list[str]:
        """Those of a quota's resource names that these objects cost."""
        raise NotImplementedError

    def usage(self, obj: Obj, now_s: float) -> Amounts:
        """What an object costs."""
        raise NotImplementedError

    def in_scope(self, selector: Obj, obj: Obj) -> bool:
        """Kinds that know no scopes never fall under a quota that has one. ValueError for a bad selector."""
        return False

    def missing(self, names: Iterable[str], obj: Obj) -> str:
        """What an object must say under a quota of these names and does not; "" when all is well."""
        return ""

    def replenishes(self, old: Obj, new: Obj, now_s: float) -> bool:
        """Whether an update may have given something back (pkg/quota/v1/install DefaultUpdateFilter)."""
        return False

    def falls_under(self, quota: Obj, hard: Iterable[str], obj: Obj) -> bool:
        if not self.matching(hard):
            return False
        return all(self.in_scope(selector, obj) for selector in scopes.selectors(quota))


class ObjectCount(Evaluator):
    """`alias` is the name from before count/ was."""

    def __init__(self, group: str, plural: str, alias: str = "") -> None:
        super().__init__(group, plural)
        self._names = (self.count_name, alias) if alias else (self.count_name,)

    def handles(self, operation: str, subresource: str, obj: Obj, old: Obj | None) -> bool:
        return operation == "CREATE" and not subresource

    def matching(self, names: Iterable[str]) -> list[str]:
        return [name for name in names if name in self._names]

    def usage(self, obj: Obj, now_s: float) -> Amounts:
        return dict.fromkeys(self._names, ONE)
