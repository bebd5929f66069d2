"""From bytes to JSON values: JSON and YAML bodies, duplicate keys, Go's words for what is wrong.

The fast path is msgspec. Duplicate keys, which msgspec does not see, are looked for only when somebody wants
to know, and then only when the text may have some (see `_may_have_duplicates`).
"""

from __future__ import annotations

import json
from typing import Any

import msgspec
import yaml

from pilothouse.api.field import go_quote
from pilothouse.api.schema.decode import json_type

_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode
YAML = "application/yaml"


def body(
    raw: bytes, media_type: str, *, duplicates: bool = False, typed: bool = True
) -> tuple[Any, list[str]]:
    """The value of a body and its duplicate fields (texts). ValueError in upstream's words.

    `typed`: the body is read into a Go struct, where an object under a repeated key is merged into the one
    before; otherwise (custom resources) the last one stands."""
    if media_type == YAML:
        return _yaml(raw)
    try:
        value = _decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise ValueError(f"couldn't get version/kind; json parse error: {json_error(raw)}") from None
    if not isinstance(value, dict) and value is not None:
        raise ValueError(type_meta_error(value))
    if not (duplicates or typed) or not _may_have_duplicates(raw, value):
        return value, []
    pairs = json.loads(raw, object_pairs_hook=_Pairs)
    found: list[str] = []
    _walk(pairs, "", found)
    return _merge(pairs, None) if typed and found else value, found if duplicates else []


def duplicate_fields(raw: bytes, value: Any) -> list[str]:
    """Texts for the repeated keys of a JSON text that decodes to `value`."""
    if not _may_have_duplicates(raw, value):
        return []
    found: list[str] = []
    _walk(json.loads(raw, object_pairs_hook=_Pairs), "", found)
    return found


_TYPE_META = (
    'struct { APIVersion string "json:\\"apiVersion,omitempty\\""; Kind string "json:\\"kind,omitempty\\"" }'
)


def type_meta_error(value: Any) -> str:
    """What Go says when kind and version cannot be read from a JSON value."""
    prefix = "couldn't get version/kind; json parse error: json: cannot unmarshal"
    if isinstance(value, dict):
        for key in ("apiVersion", "kind"):
            given = value.get(key)
            if given is not None and not isinstance(given, str):
                return f"{prefix} {json_type(given)} into Go struct field .{key} of type string"
    return f"{prefix} {json_type(value)} into Go value of type {_TYPE_META}"


def _may_have_duplicates(raw: bytes, value: Any) -> bool:
    """Whether the careful parser must look. A repeated key is lost in `value`, so its text, written anew,
    holds fewer colons than `raw`; all other colons, those in strings too, appear in both, unless `raw` writes
    some as an escape."""
    if b"\\u003a" in raw or b"\\u003A" in raw:
        return True
    return raw.count(b":") != _encode(value).count(b":")


class _Pairs(list[tuple[str, Any]]):
    """An object with all its pairs, repeats included."""


def _merge(value: Any, before: Any) -> Any:
    """What Go's decoder makes of a value whose key had the value `before`."""
    if isinstance(value, _Pairs):
        out: dict[str, Any] = before if isinstance(before, dict) else {}
        for key, child in value:
            out[key] = _merge(child, out.get(key))
        return out
    if isinstance(value, list):
        return [_merge(child, None) for child in value]
    return before if value is None else value


def _walk(value: Any, path: str, found: list[str]) -> None:
    if isinstance(value, _Pairs):
        seen: set[str] = set()
        for key, child in value:
            here = f"{path}.{key}" if path else key
            if key in seen:
                found.append(f"duplicate field {go_quote(here)}")
            seen.add(key)
            _walk(child, here, found)
    elif isinstance(value, list):
        for index, child in enumerate(value):
            _walk(child, f"{path}[{index}]", found)


class _Loader(yaml.CSafeLoader):
    """YAML as sigs.k8s.io/yaml reads it for JSON: no dates, keys become strings, repeats are noted."""

    def __init__(self, stream: bytes) -> None:
        super().__init__(stream)
        self.repeated: list[str] = []


def _construct_mapping(loader: _Loader, node: yaml.MappingNode) -> dict[str, Any]:
    loader.flatten_mapping(node)
    out: dict[str, Any] = {}
    for key_node, value_node in node.value:
        key = loader.construct_object(key_node, deep=True)
        text = key if isinstance(key, str) else _key_text(key)
        if text in out:
            loader.repeated.append(f'line {key_node.start_mark.line + 1}: key "{text}" already set in map')
        out[text] = loader.construct_object(value_node, deep=True)
    return out


def _key_text(key: Any) -> str:
    if isinstance(key, bool):
        return "true" if key else "false"
    return "null" if key is None else str(key)


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _construct_mapping)
_Loader.yaml_implicit_resolvers = {
    first: [(tag, expression) for tag, expression in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.CSafeLoader.yaml_implicit_resolvers.items()
}


def _yaml(raw: bytes) -> tuple[Any, list[str]]:
    loader = _Loader(raw)
    try:
        value = loader.get_single_data()
    except yaml.YAMLError as error:
        raise ValueError(f"yaml: {_yaml_text(error)}") from None
    finally:
        loader.dispose()
    return value, [f"yaml: unmarshal errors:\n  {text}" for text in loader.repeated]


def _yaml_text(error: yaml.YAMLError) -> str:
    """go-yaml counts lines from 0, but for errors of its scanner, and leaves out a 0."""
    if isinstance(error, yaml.MarkedYAMLError):
        marks = (error.problem_mark, error.context_mark)
        line = next((mark.line for mark in marks if mark is not None and mark.line), 0)
        if line and isinstance(error, yaml.scanner.ScannerError):
            line += 1
        return (f"line {line}: " if line else "") + str(error.problem or error.context)
    return str(error).replace("\n", " ")


_NUMBER_START = "-0123456789"


def json_error(raw: bytes) -> str:
    """encoding/json's text for the first thing that is wrong in a JSON text."""
    text = raw.decode("utf-8", "surrogateescape")
    try:
        return _Scanner(text).run()
    except IndexError:
        return "unexpected end of JSON input"


class _Scanner:
    """Go's scanner, for its error texts alone. IndexError means that the text ended too early."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    def run(self) -> str:
        found = self._value("looking for beginning of value")
        if found:
            return found
        self._space()
        if self._at < len(self._text):
            return self._bad("after top-level value")
        return "unexpected end of JSON input"

    def _bad(self, context: str) -> str:
        return f"invalid character {quote_char(self._text[self._at])} {context}"

    def _space(self) -> None:
        while self._at < len(self._text) and self._text[self._at] in " \t\r\n":
            self._at += 1

    def _value(self, context: str) -> str:
        self._space()
        char = self._text[self._at]
        if char == "{":
            return self._object()
        if char == "[":
            return self._array()
        if char == '"':
            return self._string()
        if char in _NUMBER_START:
            return self._number()
        for literal in ("true", "false", "null"):
            if char == literal[0]:
                return self._literal(literal)
        return self._bad(context)

    def _object(self) -> str:
        self._at += 1
        self._space()
        if self._text[self._at] == "}":
            self._at += 1
            return ""
        while True:
            self._space()
            if self._text[self._at] != '"':
                return self._bad("looking for beginning of object key string")
            found = self._string()
            if found:
                return found
            self._space()
            if self._text[self._at] != ":":
                return self._bad("after object key")
            self._at += 1
            found = self._value("looking for beginning of value")
            if found:
                return found
            self._space()
            if self._text[self._at] == "}":
                self._at += 1
                return ""
            if self._text[self._at] != ",":
                return self._bad("after object key:value pair")
            self._at += 1

    def _array(self) -> str:
        self._at += 1
        self._space()
        if self._text[self._at] == "]":
            self._at += 1
            return ""
        while True:
            found = self._value("looking for beginning of value")
            if found:
                return found
            self._space()
            if self._text[self._at] == "]":
                self._at += 1
                return ""
            if self._text[self._at] != ",":
                return self._bad("after array element")
            self._at += 1

    def _string(self) -> str:
        self._at += 1
        while self._text[self._at] != '"':
            if self._text[self._at] == "\\":
                self._at += 1
                if self._text[self._at] not in 'bfnrt\\/"u':
                    return self._bad("in string escape code")
            elif self._text[self._at] < " ":
                return self._bad("in string literal")
            self._at += 1
        self._at += 1
        return ""

    def _number(self) -> str:
        if self._text[self._at] == "-":
            self._at += 1
            if not self._text[self._at].isdigit():
                return self._bad("in numeric literal")
        while self._at < len(self._text) and self._text[self._at] in "0123456789.eE+-":
            self._at += 1
        return ""

    def _literal(self, literal: str) -> str:
        for index, char in enumerate(literal[1:], 1):
            self._at += 1
            if self._text[self._at] != char:
                return self._bad(f"in literal {literal} (expecting {quote_char(literal[index])})")
        self._at += 1
        return ""


def quote_char(char: str) -> str:
    """Go's quoteChar: a character in single quotes."""
    if char == "'":
        return "'\\''"
    if char == '"':
        return "'\"'"
    code = ord(char)
    if 0xDC80 <= code <= 0xDCFF:
        char = chr(code - 0xDC00)
        code = ord(char)
    quoted = go_quote(char)[1:-1]
    if 0x80 <= code < 0x100 and not char.isprintable():
        quoted = f"\\u{code:04x}"
    return f"'{quoted}'"
