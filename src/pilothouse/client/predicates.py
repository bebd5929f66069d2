"""Which updates of an object matter to a controller: for `changed=` of `watch` and `owned`
(what controller-runtime calls predicates; new and deleted objects always matter).

    self.watch(PODS, changed=any_of(generation_changed, labels_changed))
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pilothouse.api.types import Obj

Changed = Callable[[Obj, Obj], bool]


def generation_changed(old: Obj, new: Obj) -> bool:
    """The spec, for resources that count generations; and that an object is to go."""
    return _differs(old, new, "generation") or _differs(old, new, "deletionTimestamp")


def labels_changed(old: Obj, new: Obj) -> bool:
    return _differs(old, new, "labels")


def annotations_changed(old: Obj, new: Obj) -> bool:
    return _differs(old, new, "annotations")


def content_changed(old: Obj, new: Obj) -> bool:
    """Anything outside the metadata: for resources without generations, such as config maps."""
    return _content(old) != _content(new)


def never(old: Obj, new: Obj) -> bool:
    """Only that objects come and go."""
    return False


def any_of(*tests: Changed) -> Changed:
    return lambda old, new: any(test(old, new) for test in tests)


def all_of(*tests: Changed) -> Changed:
    return lambda old, new: all(test(old, new) for test in tests)


def _differs(old: Obj, new: Obj, field: str) -> bool:
    return bool(old["metadata"].get(field) != new["metadata"].get(field))


def _content(obj: Obj) -> dict[str, Any]:
    return {key: value for key, value in obj.items() if key != "metadata"}
