"""Make src/pilothouse/api/data/protobuf.json: the fields of Kubernetes' protobuf messages under their JSON names.

    python tools/protobuf_table.py FIELDS.json

FIELDS.json maps a message's full name to its fields, each `name: [number, type, "o" or "r"]`. JSON names come from
the OpenAPI definitions: a message field that is no property there is either an embedded struct, whose own fields
are the properties ("="), or a name that protobuf cannot spell. The result maps a message to
`jsonName number code;…`, codes as in pilothouse.api.protobuf.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

from pilothouse.api.schema.definitions import Definitions
from pilothouse.api.schema.types import short_name

Fields = dict[str, list[Any]]
OUT = Path(__file__).parent.parent / "src/pilothouse/api/data/protobuf.json"
SPECIAL = {
    "k8s.io.apimachinery.pkg.api.resource.Quantity": "q",
    "k8s.io.apimachinery.pkg.util.intstr.IntOrString": "x",
    "k8s.io.apimachinery.pkg.apis.meta.v1.Time": "t",
    "k8s.io.apimachinery.pkg.apis.meta.v1.MicroTime": "u",
    "k8s.io.apimachinery.pkg.runtime.RawExtension": "r",
    "k8s.io.apimachinery.pkg.apis.meta.v1.FieldsV1": "r",
    "k8s.io.apiextensions_apiserver.pkg.apis.apiextensions.v1.JSON": "r",
    "k8s.io.apiextensions_apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrArray": "A",
    "k8s.io.apiextensions_apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrBool": "B",
    "k8s.io.apiextensions_apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrStringArray": "C",
}
SCALARS = {"string": "s", "bool": "b", "bytes": "y", "int32": "i", "int64": "i", "double": "d"}
META = "k8s.io.apimachinery.pkg.apis.meta.v1"
UNDOCUMENTED = (
    "CreateOptions", "GetOptions", "ListOptions", "PartialObjectMetadata", "PartialObjectMetadataList",
    "PatchOptions", "UpdateOptions",
)  # fmt: skip
"""Messages of kinds that have no OpenAPI definition."""
WRAPPERS = {"items": [1, "string", "r"]}


def definition(message: str) -> str:
    """The OpenAPI definition of a message."""
    name = message.replace("k8s.io.", "io.k8s.", 1)
    return name.replace("apiextensions_apiserver", "apiextensions-apiserver").replace(
        "kube_aggregator", "kube-aggregator"
    )


class Generator:
    def __init__(self, messages: dict[str, Fields], definitions: Definitions) -> None:
        self._messages = messages
        self._definitions = definitions
        self.table: dict[str, str] = {}

    def add(self, message: str) -> None:
        name = short_name(message)
        if name in self.table or message in SPECIAL:
            return
        self.table[name] = ""
        rows = []
        for field, (number, type_, label) in self._messages[message].items():
            json_name = self._json_name(message, field, type_)
            code = self._code(message, type_, label)
            rows.append(f"{json_name} {number} {code}")
        self.table[name] = ";".join(rows)

    def _json_name(self, message: str, field: str, type_: str) -> str:
        schema = self._definitions.schemas.get(definition(message))
        if schema is None or field in schema.properties:
            return field
        if not schema.properties:
            return field
        for candidate in schema.properties:
            if re.sub("[^a-z0-9]", "", candidate.lower()) == field.lower():
                return candidate
        target = self._full(message, type_)
        if target in self._messages and target not in SPECIAL:
            return "="
        print(f"no property for {message}.{field}", file=sys.stderr)
        return field

    def _full(self, message: str, type_: str) -> str:
        if type_.startswith("."):
            return type_[1:]
        package = message.rpartition(".")[0]
        return f"{package}.{type_}" if "." not in type_ else type_

    def _code(self, message: str, type_: str, label: str) -> str:
        match = re.fullmatch(r"map<string,(.*)>", type_)
        if match:
            return "%" + self._code(message, match[1], "o")
        prefix = "*" if label == "r" else ""
        if type_ in SCALARS:
            return prefix + SCALARS[type_]
        target = self._full(message, type_)
        if target in SPECIAL:
            return prefix + SPECIAL[target]
        if self._messages[target] == WRAPPERS:
            return prefix + "w"
        self.add(target)
        return prefix + short_name(target)


def main() -> None:
    messages: dict[str, Fields] = json.loads(Path(sys.argv[1]).read_text())
    definitions = Definitions.load("1.36")
    generator = Generator(messages, definitions)
    for message in messages:
        if definition(message) in definitions.schemas:
            generator.add(message)
    for name in UNDOCUMENTED:
        generator.add(f"{META}.{name}")
    OUT.write_text(json.dumps(generator.table, indent=0, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
