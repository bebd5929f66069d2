"""What a value must be (k8s.io/kube-openapi/pkg/validation/validate, with the field errors that
apiextensions-apiserver's kubeOpenAPIResultToFieldErrors makes of the results).

A validator is made once per schema, as nested functions that each know their checks:

    check(value, path, errors, old) → how many checks were made

The count is go-openapi's MatchCount: of the failed branches of `oneOf` and `anyOf`, the one with most of them
is the one whose errors are told. `old` is the value that an update replaces: errors of a part that did not
change are forgiven (KEP-4008, CRDValidationRatcheting).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Protocol

import msgspec

from pilothouse.api import field as f
from pilothouse.api import formats
from pilothouse.api.go_regex import compile_go
from pilothouse.api.structural.correlation import MISSING, Elements, same
from pilothouse.api.structural.schema import JsonSchema


class Validator(Protocol):
    """Appends to `errors`; `base` is the path that the value lies at, which no text names (a status that is
    checked alone is at `status`, but its texts speak of `phase`)."""

    def __call__(self, value: Any, errors: f.Errors, old: Any = MISSING, base: str = "") -> None: ...


_Check = Callable[[Any, str, f.Errors, Any], int]
_Own = Callable[[Any, str, f.Errors], int]
"""A check that looks at nothing below the value."""

NOWHERE = "<nil>"
"""How a nil field.Path reads."""


def validator(raw: JsonSchema) -> Validator:
    """A validator of values of an openAPIV3Schema."""
    check = _node(raw)

    def run(value: Any, errors: f.Errors, old: Any = MISSING, base: str = "") -> None:
        found: f.Errors = []
        check(value, "", found, old)
        errors += [_placed(error, base) for error in found]

    return run


def _placed(error: f.FieldError, base: str) -> f.FieldError:
    """Names become field paths: without the root's leading dot, below `base`."""
    name = "" if error.field == NOWHERE else error.field.removeprefix(".")
    if not base:
        return error._replace(field=name or NOWHERE)
    return error._replace(field=f"{base}.{name}" if name else base)


# -- one node -------------------------------------------------------------------------------------------


_PLAIN: dict[str, tuple[type, Any]] = {"string": (str, ""), "integer": (int, 0), "boolean": (bool, False)}
_UNCHECKED = frozenset(
    ("type", "description", "title", "default", "example", "nullable", "x-kubernetes-validations")
)


def _node(raw: JsonSchema) -> _Check:
    """The check of a schema. Most leaves want nothing but a type, and most values have it."""
    whole = _whole_node(raw)
    plain = _PLAIN.get(raw.get("type", ""))
    if plain is None or not _UNCHECKED.issuperset(raw):
        return whole
    wanted, sample = plain
    count = whole(sample, "", [], MISSING)

    def check(value: Any, path: str, errors: f.Errors, old: Any) -> int:
        if type(value) is wanted and (type(value) is not int or -_INT64_MAX <= value <= _INT64_MAX):
            return count
        return whole(value, path, errors, old)

    return check


def _whole_node(raw: JsonSchema) -> _Check:
    types = _types(raw)
    nullable = bool(raw.get("nullable"))
    known_format = formats.checker(raw.get("format", ""))
    format_name = raw["format"] if known_format is not None else ""
    of_type = _type(types, format_name)
    enum = _enum(raw["enum"]) if raw.get("enum") else None
    combined = _combined(raw)
    of_string = _string(raw)
    of_number = _number(raw, types[0] if len(types) == 1 else "")
    of_list, of_object = _list(raw), _object(raw)

    def check(value: Any, path: str, errors: f.Errors, old: Any) -> int:
        before = len(errors)
        if value is None:
            _null(types, nullable, enum, path, errors)
            if len(errors) > before and old is None:
                del errors[before:]
            return 0
        kind = type(value)
        count = 3  # the node itself, the combined and the common checks
        if of_type is not None:
            count += 1 + of_type(value, path, errors)
        if combined is not None:
            count += combined(value, path, errors, old)
        count += 1
        if kind is str:
            count += 1
            if of_string is not None:
                of_string(value, path, errors)
            if known_format is not None:
                count += 2
                if not known_format(value):
                    errors.append(_type_error(path, format_name, value))
        elif kind is int or kind is float:
            count += 1 + of_number(value, path, errors)
        elif kind is list:
            count += 1 + of_list(value, path, errors, old)
        if enum is not None:
            enum(value, path, errors)
        if kind is dict:
            count += 1 + of_object(value, path, errors, old)
        if len(errors) > before and old is not MISSING and same(value, old):
            del errors[before:]
        return count

    return check


def _types(raw: JsonSchema) -> tuple[str, ...]:
    if raw.get("x-kubernetes-int-or-string"):
        return ("integer", "string")
    return (raw["type"],) if raw.get("type") else ()


def _type_error(path: str, wanted: str, found: str) -> f.FieldError:
    return f.type_invalid(path, found, f"{path} in body must be of type {wanted}: {f.go_quote(found)}")


def _null(types: tuple[str, ...], nullable: bool, enum: _Own | None, path: str, errors: f.Errors) -> None:
    if types and not nullable:
        errors.append(_type_error(path, ",".join(types), "null"))
    if enum is not None:
        enum(None, path, errors)


_JSON_TYPES: dict[type, tuple[str, str]] = {
    str: ("string", ""),
    bool: ("boolean", ""),
    int: ("integer", "int64"),
    float: ("number", "float64"),
    list: ("array", ""),
    dict: ("object", ""),
}
"""JSON type and format of a decoded value."""


def _type(types: tuple[str, ...], format_name: str) -> _Own | None:
    if not types and not format_name:
        return None
    wanted = ",".join(types)
    numeric = "number" in types or "integer" in types

    def fits(value: Any, found: str) -> bool:
        if found in types:
            return True
        if found == "number":
            return "integer" in types and _is_whole(value)
        return found == "integer" and "number" in types

    def check(value: Any, path: str, errors: f.Errors) -> int:
        found, found_format = _JSON_TYPES[type(value)]
        if format_name:
            texts = found in ("string", "array")
            if not texts and not fits(value, found):
                errors.append(_type_error(path, format_name, found_format))
                return 0
            if texts and not numeric:
                # kube-openapi leaves these to the format's check, which looks at strings alone.
                return 1
        if fits(value, found):
            return 1
        errors.append(_type_error(path, wanted, found))
        return 0

    return check


_INT64_MAX = (1 << 63) - 1
_WHOLE_MAX = float(1 << 53) - 1


def _is_whole(value: float) -> bool:
    """swag.IsFloat64AJSONInteger: whole, give or take a rounding error."""
    if value != value or abs(value) == float("inf") or not -_WHOLE_MAX <= value <= _WHOLE_MAX:
        return False
    nearest = round(value)
    difference = abs(value - nearest)
    return value == nearest or difference / min(abs(value) + abs(nearest), 1.8e308) < 1e-9


def _enum(allowed: list[Any]) -> _Own:
    shown = [v if isinstance(v, str) else msgspec.json.encode(v).decode() for v in allowed]
    texts = frozenset(v for v in allowed if isinstance(v, str))

    def check(value: Any, path: str, errors: f.Errors) -> int:
        if type(value) is str:
            if value in texts:
                return 0
        elif any(same(value, v) or _converts(value, v) for v in allowed):
            return 0
        errors.append(f.not_supported(path, value, shown))
        return 0

    return check


def _converts(value: Any, allowed: Any) -> bool:
    """Numbers of either kind are compared by value."""
    return type(value) in (int, float) and type(allowed) in (int, float) and bool(value == allowed)


# -- strings and numbers --------------------------------------------------------------------------------


def _string(raw: JsonSchema) -> _Own | None:
    longest, shortest = raw.get("maxLength"), raw.get("minLength")
    pattern: str = raw.get("pattern") or ""
    if longest is None and shortest is None and not pattern:
        return None
    matches, pattern = _pattern(pattern)

    def check(value: str, path: str, errors: f.Errors) -> int:
        if longest is not None and len(value) > longest:
            errors.append(f.too_long(path, value, longest))
        elif shortest is not None and len(value) < shortest:
            text = f"{path} in body should be at least {shortest} chars long"
            errors.append(f.invalid(path, value, text))
        elif matches is not None and matches(value) is None:
            errors.append(f.invalid(path, value, f"{path} in body should match '{pattern}'"))
        return 0

    return check


def _pattern(pattern: str) -> tuple[Callable[[str], object] | None, str]:
    """A pattern's test, and how errors show it. One that is none fails for every value, as upstream."""
    if not pattern:
        return None, ""
    try:
        return compile_go(pattern).search, pattern
    except re.error as error:
        return lambda text: None, f"{pattern}, but pattern is invalid: {error}"


def _fits_integer(value: float) -> bool:
    return -_INT64_MAX - 1 <= value <= _INT64_MAX and (type(value) is int or value.is_integer())


class _Bound:
    """One numeric limit: `fails` compares, `text` is the error's verb phrase."""

    def __init__(self, name: str, limit: float, text: str, fails: Callable[[float, float], bool]) -> None:
        self.name = name
        self.limit = limit
        self._text = text
        self._fails = fails

    def check(self, value: float, path: str, errors: f.Errors, integer: bool) -> None:
        limit = self.limit
        if integer and not _fits_integer(limit):
            errors.append(_range_error(self.name, path))
        elif type(value) is int and (self.name != "MultipleOf" or limit >= 1):
            # Upstream compares an integer with the limit's whole part. (As a factor a fraction has none to divide by.)
            limit = int(limit)
        if self._fails(value, limit):
            errors.append(f.invalid(path, _shown(value), f"{path} in body {self._text} {_go_number(limit)}"))


def _range_error(what: str, path: str) -> f.FieldError:
    return f.invalid(NOWHERE, "", f"{what} value must be of type integer (default format) in {path}")


def _multiple_fails(value: float, factor: float) -> bool:
    if type(value) is int and type(factor) is int:
        return value % factor != 0
    return not _is_whole(1 / factor * value if factor < 1 else value / factor)


def _bounds(raw: JsonSchema) -> list[_Bound]:
    found = []
    factor, low, high = raw.get("multipleOf"), raw.get("minimum"), raw.get("maximum")
    if factor is not None:
        found.append(_Bound("MultipleOf", factor, "should be a multiple of", _multiple_fails))
    if low is not None:
        if raw.get("exclusiveMinimum"):
            found.append(_Bound("Minimum boundary", low, "should be greater than", lambda v, b: v <= b))
        else:
            text = "should be greater than or equal to"
            found.append(_Bound("Minimum boundary", low, text, lambda v, b: v < b))
    if high is not None:
        if raw.get("exclusiveMaximum"):
            found.append(_Bound("Maximum boundary", high, "should be less than", lambda v, b: v >= b))
        else:
            text = "should be less than or equal to"
            found.append(_Bound("Maximum boundary", high, text, lambda v, b: v > b))
    return found


def _number(raw: JsonSchema, type_name: str) -> _Own:
    bounds = _bounds(raw)
    integer = type_name == "integer"

    def check(value: float, path: str, errors: f.Errors) -> int:
        if integer and not _fits_integer(value):
            errors.append(_range_error("Checked", path))
        for bound in bounds:
            bound.check(value, path, errors, integer)
        return 1

    return check


def _shown(value: float) -> Any:
    return f.GoText(_go_number(value)) if type(value) is float else value


def _go_number(value: float) -> str:
    """%v: shortest, with an exponent from 1e+21 on and below 1e-04."""
    if type(value) is int:
        return str(value)
    if value == int(value) and abs(value) < 1e21:
        return str(int(value))
    return repr(value)


# -- lists and objects ----------------------------------------------------------------------------------


def _list(raw: JsonSchema) -> _Check:
    items = raw.get("items")
    element = _node(items) if isinstance(items, dict) else None
    shortest, longest = raw.get("minItems"), raw.get("maxItems")
    unique = bool(raw.get("uniqueItems"))

    def check(value: list[Any], path: str, errors: f.Errors, old: Any) -> int:
        count = 1
        if element is not None:
            before = Elements(raw, old)
            for index, item in enumerate(value):
                count += element(item, f"{path}[{index}]", errors, before.of(index, item))
        size = len(value)
        if shortest is not None and size < shortest:
            errors.append(f.invalid(path, size, f"{path} in body should have at least {shortest} items"))
        if longest is not None and size > longest:
            errors.append(f.too_many(path, size, longest))
        if unique and any(same(a, b) for i, a in enumerate(value) for b in value[:i]):
            errors.append(f.invalid(path, "", f"{path} in body shouldn't contain duplicates"))
        return count

    return check


def _object(raw: JsonSchema) -> _Check:
    properties = {name: _node(inner) for name, inner in (raw.get("properties") or {}).items()}
    additional = raw.get("additionalProperties")
    of_additional = _node(additional) if isinstance(additional, dict) else None
    required: list[str] = list(raw.get("required") or ())
    fewest, most = raw.get("minProperties"), raw.get("maxProperties")
    closed = additional is False

    def check(value: dict[str, Any], path: str, errors: f.Errors, old: Any) -> int:
        size = len(value)
        if fewest is not None and size < fewest:
            text = f"{path} in body should have at least {fewest} properties"
            errors.append(f.invalid(path, size, text))
            return 0
        if most is not None and size > most:
            errors.append(f.too_many(path, size, most))
            return 0
        before = old if type(old) is dict else {}
        count = 0
        if closed:
            for key in value:
                if key not in properties:
                    errors.append(f.invalid(path, key, f"{path}.{key} in body is a forbidden property"))
        elif of_additional is not None:
            for key, inner in value.items():
                if key not in properties:
                    count += of_additional(inner, f"{path}.{key}", errors, before.get(key, MISSING))
        for key, of_property in properties.items():
            if key in value:
                where = f"{path}.{key}" if path else key
                count += of_property(value[key], where, errors, before.get(key, MISSING))
        for key in required:
            if key not in value:
                errors.append(f.required(f"{path}.{key}"))
        return count

    return check


# -- alternatives ---------------------------------------------------------------------------------------


class _Outcome:
    """What one branch says of a value."""

    __slots__ = ("count", "errors")

    def __init__(self, check: _Check, value: Any, path: str, old: Any) -> None:
        self.errors: f.Errors = []
        self.count = check(value, path, self.errors, old)

    @property
    def valid(self) -> bool:
        return not self.errors


def _combined(raw: JsonSchema) -> _Check | None:
    any_of, one_of, all_of = (
        [_node(branch) for branch in raw.get(name) or ()] for name in ("anyOf", "oneOf", "allOf")
    )
    forbidden = _node(raw["not"]) if raw.get("not") else None
    if not (any_of or one_of or all_of or forbidden):
        return None

    def check(value: Any, path: str, errors: f.Errors, old: Any) -> int:
        count = 0
        if any_of:
            count += _any_of(any_of, value, path, errors, old)
        if one_of:
            count += _one_of(one_of, value, path, errors, old)
        if all_of:
            count += _all_of(all_of, value, path, errors, old)
        if forbidden is not None and _Outcome(forbidden, value, path, old).valid:
            errors.append(_composite(path, "must not validate the schema (not)"))
        return count

    return check


def _composite(path: str, text: str) -> f.FieldError:
    return f.invalid(NOWHERE, "", f"{f.go_quote(path)} {text}")


def _best(failed: list[_Outcome]) -> _Outcome:
    return max(failed, key=lambda outcome: outcome.count)


def _any_of(branches: list[_Check], value: Any, path: str, errors: f.Errors, old: Any) -> int:
    failed = []
    for branch in branches:
        outcome = _Outcome(branch, value, path, old)
        if outcome.valid:
            return outcome.count
        failed.append(outcome)
    best = _best(failed)
    errors.append(_composite(path, "must validate at least one schema (anyOf)"))
    errors += best.errors
    return best.count


def _one_of(branches: list[_Check], value: Any, path: str, errors: f.Errors, old: Any) -> int:
    outcomes = [_Outcome(branch, value, path, old) for branch in branches]
    valid = [outcome for outcome in outcomes if outcome.valid]
    if len(valid) == 1:
        return valid[0].count
    text = "must validate one and only one schema (oneOf). "
    if valid:
        errors.append(_composite(path, f"{text}Found {len(valid)} valid alternatives"))
        return 0
    best = _best(outcomes)
    errors.append(_composite(path, f"{text}Found none valid"))
    errors += best.errors
    return best.count


def _all_of(branches: list[_Check], value: Any, path: str, errors: f.Errors, old: Any) -> int:
    outcomes = [_Outcome(branch, value, path, old) for branch in branches]
    for outcome in outcomes:
        errors += outcome.errors
    valid = sum(outcome.valid for outcome in outcomes)
    if valid != len(outcomes):
        none = "" if valid else ". None validated"
        errors.append(_composite(path, f"must validate all the schemas (allOf){none}"))
    return sum(outcome.count for outcome in outcomes)
