"""Objects from template files: YAML after Go's templates, with `.Index`, `.Count`, the operation's templateParams
and upstream's functions (operations.go getTemplateFuncs)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import gotpl
import msgspec
import yaml

from benchmarks.scheduler_perf.read import WorkloadError
from pilothouse.api.catalog import DEFAULT_VERSION
from pilothouse.api.resources import Resource
from pilothouse.api.schema.definitions import Definitions, Schema
from pilothouse.api.types import Obj

_encode, _decode = msgspec.json.encode, msgspec.json.decode


def _divide(a: Any, b: Any) -> float:
    if not float(b):
        raise ValueError("division by zero")
    return float(a) / float(b)


def _sum(*numbers: Any) -> float:
    return sum(float(n) for n in numbers)


def _product(*numbers: Any) -> float:
    return math.prod(float(n) for n in numbers)


FUNCTIONS: Mapping[str, Callable[..., object]] = {
    "AddFloat": _sum,
    "AddInt": lambda *numbers: int(_sum(*numbers)),
    "DivideFloat": _divide,
    "DivideInt": lambda a, b: int(_divide(a, b)),
    "Mod": lambda a, b: int(math.fmod(int(float(a)), int(float(b)))),
    "MultiplyFloat": _product,
    "MultiplyInt": lambda *numbers: int(_product(*numbers)),
    "SubtractFloat": lambda a, b: float(a) - float(b),
    "SubtractInt": lambda a, b: int(float(a) - float(b)),
}


class Template:
    """One file. A file without actions is parsed once; every object is fresh all the same. `kind` is what the
    operation makes, for files that do not say it themselves (upstream decodes those into the kind's struct)."""

    def __init__(
        self, file: Path, params: Mapping[str, Any] | None = None, kind: Resource | None = None
    ) -> None:
        self._file = file
        self._kind = kind
        self._params = dict(params or {})
        source = file.read_text()
        self._template = None
        self._fixed = b""
        if "{{" in source:
            try:
                self._template = gotpl.Template(source, functions=FUNCTIONS)
            except gotpl.TemplateError as error:
                raise WorkloadError(f"{file}: {' '.join(str(error).split())}") from None
        else:
            self._fixed = _encode(self._parsed(source))

    def object(self, index: int = 0, count: int = 1) -> Obj:
        """The object with this number. WorkloadError when the file gives none."""
        if self._template is None:
            fresh: Obj = _decode(self._fixed)
            return fresh
        try:
            text = self._template.render({**self._params, "Index": index, "Count": count})
        except (gotpl.TemplateError, ValueError) as error:
            raise WorkloadError(f"{self._file}: {' '.join(str(error).split())}") from None
        return self._parsed(text)

    def _parsed(self, text: str) -> Obj:
        try:
            found = yaml.load(text, Loader=_Loader)
        except yaml.YAMLError as error:
            raise WorkloadError(f"{self._file}: {' '.join(str(error).split())}") from None
        if isinstance(found, dict) and self._kind is not None:
            typed = {"apiVersion": self._kind.group_version, "kind": self._kind.kind}
            found = {**typed, **{key: value for key, value in found.items() if value is not None}}
        if not isinstance(found, dict) or not found.get("kind"):
            raise WorkloadError(f"{self._file}: an object with a kind is expected")
        return go_names(found)


_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def go_names(obj: Obj) -> Obj:
    """The same object with the field names that its kind has. Go's decoder, which upstream reads templates with,
    does not mind their case; API servers do."""
    schema = _schema(str(obj.get("apiVersion", "")), str(obj["kind"]))
    named: Obj = obj if schema is None else _named(obj, schema)
    return named


@lru_cache
def _schema(api_version: str, kind: str) -> Schema | None:
    group, _, version = api_version.rpartition("/")
    name = Definitions.load(DEFAULT_VERSION).by_kind(group, version, kind)
    return None if name is None else _definitions()[name]


@cache
def _definitions() -> Mapping[str, Schema]:
    return Definitions.load(DEFAULT_VERSION).schemas


def _named(value: Any, schema: Schema) -> Any:
    schema = _definitions().get(schema.reference, schema)
    if isinstance(value, list) and schema.items is not None:
        return [_named(element, schema.items) for element in value]
    if not isinstance(value, dict):
        return value
    if not schema.properties:
        inner = schema.additional
        return {k: _named(v, inner) for k, v in value.items()} if isinstance(inner, Schema) else value
    names = {name.lower(): name for name in schema.properties}
    found = {}
    for key, element in value.items():
        name = key if key in schema.properties else names.get(key.lower(), key)
        found[name] = _named(element, schema.properties[name]) if name in schema.properties else element
    return found
