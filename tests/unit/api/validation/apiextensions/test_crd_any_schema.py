"""Whatever a schema looks like, validation has an answer: it says what is wrong, and fails at nothing."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
from crd_definitions import crd, texts, update_errors, version

from pilothouse.api.validation.apiextensions import definition, formats

Obj = dict[str, Any]

NAMES = ("a", "b", "k", "metadata", "kind", "apiVersion", "status", "a-b", "namespace")
RULES = (
    "self > 1", "self.a == 'x'", "self.all(x, x == 'a')", "self == oldSelf", "", "self.size() < 3", "has(self.b)",
    "self.", "true", "self.b.c.d", "self['a']", "self[0] == 1",
)  # fmt: skip


class Maker:
    """Schemas by chance: most of them wrong, in many ways at once."""

    def __init__(self, seed: int) -> None:
        self._random = Random(seed)
        self._pick = self._random.choice

    def value(self, depth: int = 2) -> Any:
        simple = (None, 0, 2.5, 10**12, "", "a", "2020-01-01", True)
        if depth == 0 or self._random.random() < 0.5:
            return self._pick(simple)
        inner = [self.value(depth - 1) for _ in range(self._random.randrange(3))]
        return inner if self._random.random() < 0.5 else dict(zip("abk", inner, strict=False))

    def rule(self) -> Obj:
        return {
            "rule": self._pick(RULES),
            "message": self._pick(("", "m", " ", "a\nb")),
            "messageExpression": self._pick(("", "self", "'a'", " ")),
            "fieldPath": self._pick(("", ".a", ".a.b", "x", "['a']", ".")),
            "optionalOldSelf": self._pick((None, True, False)),
        }

    def schema(self, depth: int) -> Obj:
        def some(make: Any) -> list[Any]:
            return [make() for _ in range(self._random.randrange(3))]

        def inner() -> Obj:
            return self.schema(depth - 1)

        plain: dict[str, Any] = {
            "type": lambda: self._pick(("object", "object", "array", "string", "integer", "odd")),
            "required": lambda: self._pick(([], ["a"], ["k"])),
            "default": self.value,
            "enum": lambda: some(self.value),
            "pattern": lambda: self._pick(("^a", "(", "[a")),
            "format": lambda: self._pick(("date", "int32", "byte", "odd", "duration")),
            "minimum": lambda: self._pick((0, 1.5)),
            "maxLength": lambda: self._pick((0, -1, 5)),
            "maxItems": lambda: self._pick((0, -1, 5)),
            "nullable": lambda: True,
            "x-kubernetes-preserve-unknown-fields": lambda: self._pick((True, False)),
            "x-kubernetes-embedded-resource": lambda: True,
            "x-kubernetes-int-or-string": lambda: True,
            "x-kubernetes-list-type": lambda: self._pick(("set", "map", "atomic", "bag")),
            "x-kubernetes-list-map-keys": lambda: self._pick((["k"], ["a", "a"], [])),
            "x-kubernetes-map-type": lambda: self._pick(("atomic", "odd")),
            "x-kubernetes-validations": lambda: some(self.rule),
        }
        nested: dict[str, Any] = {
            "properties": lambda: {self._pick(NAMES): inner() for _ in range(3)},
            "items": lambda: self._pick((inner(), inner(), [inner()], "x", None)),
            "additionalProperties": lambda: self._pick((inner(), True, False, None)),
            "allOf": lambda: some(inner),
            "anyOf": lambda: some(inner),
            "oneOf": lambda: some(inner),
            "not": inner,
            "definitions": lambda: {"x": inner()},
            "dependencies": lambda: {"x": self._pick((inner(), ["a"], "x"))},
        }
        made = {key: make() for key, make in plain.items() if self._random.random() < 0.2 or key == "type"}
        if depth:
            made |= {key: make() for key, make in nested.items() if self._random.random() < 0.3}
        return made


@pytest.mark.parametrize("seed", range(8))
def test_every_schema_gets_an_answer(seed: int) -> None:
    maker = Maker(seed)
    for _ in range(40):
        status = {"subresources": {"status": {}}} if seed % 2 else {}
        obj = crd(version("v1", maker.schema(3), **status), version("v2", maker.schema(2)))
        assert all(": " in text for text in texts(definition.validate(obj)))
        update_errors(obj, obj)
        formats.warnings(obj, None)
