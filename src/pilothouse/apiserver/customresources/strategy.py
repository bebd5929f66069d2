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
    """One version's. What is validated and compared is in that version: `sent` gives what was sent back its name
    there, `stored` is how an object in the store reads in it. `conform` is the last change before the store: it
    takes away what the storage version does not know, None where that is this one."""

    allow_unconditional_update = False
    generation = True
    known_finalizers = False

    def __init__(
        self,
        schema: ObjectSchema,
        sent: Callable[[Obj], Obj],
        stored: Callable[[Obj], Obj],
        conform: Callable[[Obj], None] | None,
        *,
        has_status: bool,
        scale: ScalePaths | None,
        selectable: tuple[str, ...],
    ) -> None:
        self.schema = schema
        self.scale = scale
        self.has_status = has_status  # type: ignore[misc]
        self.field_names = selectable  # type: ignore[misc]
        self._sent = sent
        self._stored = stored
        self._conform = conform

    def canonicalize(self, obj: Obj) -> None:
        if self._conform is not None:
            self._conform(obj)

    def prepare_for_create(self, ctx: Context, obj: Obj) -> None:
        if self.has_status:
            obj.pop("status", None)

    def changes_generation(self, obj: Obj, old: Obj) -> bool:
        """Anything but metadata."""
        return {**self._sent(obj), "metadata": None} != {**self._stored(old), "metadata": None}

    def validate(self, ctx: Context, obj: Obj) -> f.Errors:
        sent = self._sent(obj)
        schema = self.schema
        found = schema.value_errors(sent) + self._scale_errors(sent, whole=True)
        found += schema.embedded_errors(sent) + schema.list_errors(sent)
        return found + schema.rule_errors(sent, None, found).errors

    def validate_update(self, ctx: Context, obj: Obj, old: Obj) -> f.Errors:
        sent, before = self._sent(obj), self._stored(old)
        schema = self.schema
        found = schema.value_errors(sent, before) + self._scale_errors(sent, whole=True)
        found += schema.embedded_errors(sent) + schema.list_errors(sent, before)
        return found + self._rule_errors(ctx, sent, before, found)

    def _rule_errors(self, ctx: Context, sent: Obj, before: Obj, found: f.Errors) -> f.Errors:
        outcome = self.schema.rule_errors(sent, before, found)
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
        sent, before = self._sent(obj), self._stored(old)
        schema = self.schema
        found = schema.status_errors(sent, before) + self._scale_errors(sent, whole=False)
        found += schema.list_errors(sent, before)
        return found + self._rule_errors(ctx, sent, before, found)

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
        sent = self._stored(obj) if self.field_names else obj
        return {path: _selectable(sent, path) for path in self.field_names}


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
