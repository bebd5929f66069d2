"""All that a schema does to a whole object, in the order in which the API server does it
(pkg/apiserver/customresource_handler.go, pkg/registry/customresource/strategy.go).

    decode     metadata, pruning, nulls, embedded metadata → what is known, and what was not
    default    defaults
    validate   values → embedded objects → sets and maps → rules

Everything is compiled when it is first needed.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

from pilothouse.api import field as f
from pilothouse.api.schema.decode import Decoder, Decoders
from pilothouse.api.structural import defaulting, embedded, lists, pruning, values
from pilothouse.api.structural.correlation import MISSING
from pilothouse.api.structural.rules import Outcome, Rules
from pilothouse.api.structural.schema import JsonSchema, Structural, structural
from pilothouse.api.structural.types import object_type
from pilothouse.api.structure import Type
from pilothouse.api.types import Obj

_BLOCKING = frozenset(
    (
        f.ErrorType.NOT_SUPPORTED,
        f.ErrorType.REQUIRED,
        f.ErrorType.TOO_LONG,
        f.ErrorType.TOO_MANY,
        f.ErrorType.TYPE_INVALID,
    )
)
_NOT_CHECKED = f.invalid(
    values.NOWHERE,
    None,
    "some validation rules were not checked because the object was invalid; correct the existing errors to "
    "complete validation",
)


class ObjectSchema:
    """`raw` is an openAPIV3Schema, `metadata` the type of ObjectMeta."""

    def __init__(self, raw: JsonSchema, metadata: Type, kind: str) -> None:
        self.raw = raw
        self._metadata = metadata
        self._kind = kind

    @cached_property
    def spine(self) -> Structural:
        return structural(self.raw)

    @cached_property
    def type(self) -> Type:
        return object_type(self.spine, self._metadata, self._kind)

    # -- decoding ---------------------------------------------------------------------------------------

    @cached_property
    def _decode_metadata(self) -> Decoder:
        return Decoders().of(self._metadata)

    @cached_property
    def _prune(self) -> pruning.Pruner:
        return pruning.pruner(self.spine)

    @cached_property
    def _drop_nulls(self) -> defaulting.Change:
        return defaulting.null_pruner(self.spine)

    @cached_property
    def _coerce_embedded(self) -> embedded.Coerce:
        return embedded.coercer(self.spine, self._decode_metadata)

    def decode(self, value: Obj) -> tuple[Obj, list[str]]:
        """An object (new, nothing of `value` is shared) as the schema knows it, and the paths that it does not
        know. ValueError in Go's words for metadata that is none."""
        unknown: list[str] = []
        meta = self._decode_metadata(value.get("metadata") or {}, unknown)
        unknown = [f"metadata.{path}" for path in unknown]
        body = {key: _copied(inner) for key, inner in value.items() if key not in ("metadata", "kind")}
        unknown += self._prune(body)
        self._drop_nulls(body)
        self._coerce_embedded(body, "", unknown)
        obj: Obj = {"apiVersion": body.pop("apiVersion", ""), "kind": value.get("kind", ""), "metadata": meta}
        obj.update(body)
        return obj, unknown

    @cached_property
    def default(self) -> defaulting.Change:
        """Fills in the defaults of an object that the caller owns."""
        return defaulting.defaulter(self.spine)

    def prune(self, obj: Obj) -> None:
        """Take from an object (owned) what this schema does not know."""
        self._prune(obj)
        self._drop_nulls(obj)

    def conform(self, obj: Obj) -> None:
        """Bring an object (owned) that was stored under another schema into this one's form: what it does not
        know goes, what it has defaults for comes."""
        self.prune(obj)
        self.default(obj)

    # -- validation -------------------------------------------------------------------------------------

    @cached_property
    def _validate(self) -> values.Validator:
        return values.validator(self.raw)

    @cached_property
    def _validate_status(self) -> values.Validator | None:
        status = (self.raw.get("properties") or {}).get("status")
        return values.validator(status) if status is not None else None

    @cached_property
    def _check_embedded(self) -> embedded.Check:
        return embedded.checker(self.spine)

    @cached_property
    def _check_lists(self) -> lists.Check:
        return lists.list_checker(self.spine)

    @cached_property
    def rules(self) -> Rules:
        return Rules(self.spine)

    def value_errors(self, obj: Obj, old: Obj | None = None) -> f.Errors:
        """What is wrong with an object's values; of an update, with those that changed."""
        errors: f.Errors = []
        self._validate(obj, errors, MISSING if old is None else old)
        return errors

    def status_errors(self, obj: Obj, old: Obj) -> f.Errors:
        """The same for the status alone."""
        errors: f.Errors = []
        if self._validate_status is not None and "status" in obj:
            self._validate_status(obj["status"], errors, old.get("status", MISSING), "status")
        return errors

    def embedded_errors(self, obj: Obj) -> f.Errors:
        errors: f.Errors = []
        self._check_embedded(obj, "", errors)
        return errors

    def list_errors(self, obj: Obj, old: Obj | None = None) -> f.Errors:
        """Duplicates in sets and maps; none are told when the old object had some."""
        errors: f.Errors = []
        self._check_lists(obj, "", errors)
        if errors and old is not None:
            before: f.Errors = []
            self._check_lists(old, "", before)
            if before:
                return []
        return errors

    def rule_errors(self, obj: Obj, old: Obj | None, found: f.Errors) -> Outcome:
        """The rules' errors and warnings. An object whose shape is wrong (`found`) is not asked further."""
        if self.rules.empty:
            return Outcome()
        if any(error.type in _BLOCKING for error in found):
            return Outcome([_NOT_CHECKED])
        return self.rules.run(obj, old)


def _copied(value: Any) -> Any:
    """A deep copy of JSON."""
    if type(value) is dict:
        return {k: _copied(v) if type(v) is dict or type(v) is list else v for k, v in value.items()}
    if type(value) is list:
        return [_copied(v) if type(v) is dict or type(v) is list else v for v in value]
    return value
