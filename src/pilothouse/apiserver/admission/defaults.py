"""Which of the classes marked as default is it (storage/util.go GetDefaultClass, defaultingressclass)."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from pilothouse.api.types import Obj
from pilothouse.kit.world import parse_timestamp


def default_class(classes: Iterable[Obj], annotations: Collection[str]) -> Obj | None:
    """The newest that one of the annotations calls the default; of those made at once, the first by name."""
    marked = [c for c in classes if _is_default(c, annotations)]
    return min(marked, key=_newest_first) if marked else None


def _is_default(obj: Obj, annotations: Collection[str]) -> bool:
    given = obj["metadata"].get("annotations") or {}
    return any(given.get(key) == "true" for key in annotations)


def _newest_first(obj: Obj) -> tuple[float, str]:
    meta = obj["metadata"]
    return -parse_timestamp(meta["creationTimestamp"]), meta["name"]
