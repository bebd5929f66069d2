"""What custom resources do differently from all others (pkg/registry/customresource/strategy.go,
status_strategy.go, validator.go)."""

from __future__ import annotations

from collections.abc import Callable

from pilothouse.api import field as f
from pilothouse.api.structural.objects import ObjectSchema
from pilothouse.api.types import Obj
from pilothouse.api.validation import names
from pilothouse.apiserver.registry import paths
from pilothouse.apiserver.registry.kind import ScalePaths
from pilothouse.apiserver.registry.strategy import Context, Strategy

_INT32_MAX = (1 << 31) - 1
_STANDARD_FINALIZERS = ("kubernetes", "orphan", "foregroundDeletion")


class CustomStrategy(Strategy):
    """One version's. Objects are in that version, old ones too."""

    allow_unconditional_update = False
    generation = True
    known_finalizers = False

    def __init__(
        self,
        schema: ObjectSchema,
        seen: Callable[[Obj], Obj],
        *,
        has_status: bool,
        scale: ScalePaths | None,
        selectable: tuple[str, ...],
    ) -> None:
        self.schema = schema
        self.scale = scale
        self.has_status = has_status  # type: ignore[misc]
        self.field_names = selectable  # type: ignore[misc]
        self._seen = seen

    def prepare_for_create(self, ctx: Context, obj: Obj) -> None:
        if self.has_status:
            obj.pop("status", None)

    def changes_generation(self, obj: Obj, old: Obj) -> bool:
        """Anything but metadata."""
        return {**obj, "metadata": None} != {**old, "metadata": None}

    def validate(self, ctx: Context, obj: Obj) -> f.Errors:
        schema = self.schema
        found = schema.value_errors(obj) + self._scale_errors(obj, whole=True)
        found += schema.embedded_errors(obj) + schema.list_errors(obj)
        return found + schema.rule_errors(obj, None, found).errors

    def validate_update(self, ctx: Context, obj: Obj, old: Obj) -> f.Errors:
        schema = self.schema
        found = schema.value_errors(obj, old) + self._scale_errors(obj, whole=True)
        found += schema.embedded_errors(obj) + schema.list_errors(obj, old)
        return found + self._rule_errors(ctx, obj, old, found)

    def _rule_errors(self, ctx: Context, obj: Obj, old: Obj, found: f.Errors) -> f.Errors:
        outcome = self.schema.rule_errors(obj, old, found)
        ctx.warnings.extend(outcome.warnings)
        return outcome.errors

    def prepare_for_status_update(self, ctx: Context, obj: Obj, old: Obj) -> None:
        """A status write changes the status and who owns its fields, nothing else."""
        meta = {**old["metadata"]}
        managed = obj["metadata"].get("managedFields")
        if managed:
            meta["managedFields"] = managed
        else:
            meta.pop("managedFields", None)
        obj["metadata"] = meta

    def validate_status_update(self, ctx: Context, obj: Obj, old: Obj) -> f.Errors:
        schema = self.schema
        found = schema.status_errors(obj, old) + self._scale_errors(obj, whole=False)
        found += schema.list_errors(obj, old)
        return found + self._rule_errors(ctx, obj, old, found)

    def _scale_errors(self, obj: Obj, *, whole: bool) -> f.Errors:
        if self.scale is None:
            return []
        found = _replicas_errors(obj, self.scale.spec_replicas) if whole else []
        found += _replicas_errors(obj, self.scale.status_replicas)
        if self.scale.selector:
            try:
                paths.text(obj, self.scale.selector)
            except paths.WrongType as error:
                found.append(f.invalid(self.scale.selector, "", str(error)))
        return found

    def warnings(self, ctx: Context, obj: Obj, old: Obj | None) -> list[str]:
        before = old["metadata"].get("finalizers") or () if old is not None else ()
        added = set(obj["metadata"].get("finalizers") or ()).difference(before)
        return [warning for name in sorted(added) for warning in _finalizer_warnings(name)]

    def fields(self, obj: Obj) -> dict[str, str]:
        if not self.field_names:
            return {}
        seen = self._seen(obj)
        return {path: _selectable(seen, path) for path in self.field_names}


def _selectable(obj: Obj, path: str) -> str:
    """A selectable field's value as a selector compares it: texts as they are, numbers and booleans printed."""
    value: object = obj
    for name in path.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, (str, int)) else ""


def _replicas_errors(obj: Obj, path: str) -> f.Errors:
    try:
        replicas = paths.integer(obj, path) or 0
    except paths.WrongType as error:
        return [f.invalid(path, 0, str(error))]
    if replicas < 0:
        return [f.invalid(path, replicas, "should be a non-negative integer")]
    if replicas > _INT32_MAX:
        return [f.invalid(path, replicas, f"should be less than or equal to {_INT32_MAX}")]
    return []


def _finalizer_warnings(name: str) -> list[str]:
    where = f"metadata.finalizers: {f.go_quote(name)}"
    found = [f"{where}: {wrong}" for wrong in names.is_qualified_name(name)]
    if "/" not in name and name not in _STANDARD_FINALIZERS:
        found.append(
            f"{where}: prefer a domain-qualified finalizer name including a path (/) to avoid accidental "
            "conflicts with other finalizer writers"
        )
    return found
