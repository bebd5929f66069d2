"""From bytes to JSON values: JSON and YAML bodies, duplicate keys, Go's words for what is wrong.

The fast path is msgspec. Duplicate keys, which msgspec does not see, are looked for only when somebody wants
to know, and then only when the text may have some (see `_may_have_duplicates`).
"""

from __future__ import annotations

import json
import re
from typing import Any

import msgspec

from pilothouse.api.field import go_quote
from pilothouse.api.schema import nesting, yaml_text
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
    value, wrong = json_value(raw)
    if wrong:
        raise ValueError(f"couldn't get version/kind; json parse error: {wrong}")
    if not isinstance(value, dict) and value is not None:
        raise ValueError(type_meta_error(value))
    if not (duplicates or typed) or not _may_have_duplicates(raw, value):
        return value, []
    pairs = json.loads(raw, object_pairs_hook=_Pairs)
    found: list[str] = []
    _walk(pairs, "", found)
    return _merge(pairs, None) if typed and found else value, found if duplicates else []


def _yaml(raw: bytes) -> tuple[Any, list[str]]:
    """Most YAML bodies are JSON (every apply patch of kubectl's), which is read a hundred times faster as such. What
    may repeat keys, or is wrong, is left to the reader whose words upstream uses."""
    if raw.lstrip()[:1] == b"{":
        value, wrong = json_value(raw)
        if not wrong and not _may_have_duplicates(raw, value):
            return value, []
    return yaml_text.read(raw)


def json_value(raw: bytes | bytearray) -> tuple[Any, str]:
    """The value of a JSON text, and what is wrong with it in Go's words ("": nothing)."""
    try:
        value = _decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        wrong = json_error(bytes(raw))
        if wrong:
            return None, wrong
        try:
            value = _lenient(bytes(raw))
        except (ValueError, RecursionError):
            return None, "unexpected end of JSON input"
    return value, nesting.exceeded(value) if nesting.may_exceed(raw) else ""


_DIGITS_MAX = 400
"""More than any float64 has; Python refuses to read some thousands."""


def _lenient(raw: bytes) -> Any:
    """A JSON text that Go reads and msgspec does not: bytes that are no UTF-8 and lone surrogates become U+FFFD,
    numbers may be of any size."""
    text = raw.decode("utf-8", "replace")
    return _without_surrogates(json.loads(text, parse_int=lambda digits: int(digits[:_DIGITS_MAX])))


def _without_surrogates(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    if isinstance(value, dict):
        return {_without_surrogates(k): _without_surrogates(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_without_surrogates(v) for v in value]
    return value


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


_NUMBER_START = "-0123456789"


def json_error(raw: bytes) -> str:
    """encoding/json's text for the first thing that is wrong in a JSON text; "" for one that Go accepts."""
    text = raw.decode("utf-8", "surrogateescape")
    try:
        return _Scanner(text).run()
    except IndexError:
        return "unexpected end of JSON input"


_SPACE = re.compile(r"[ \t\r\n]*")
_PLAIN = re.compile(r'[^"\\\x00-\x1f]*')
_NUMBER = re.compile(r"[0-9.eE+-]*")


_STEPS_MAX = 200_000
"""How far the scanner looks: megabytes of tiny values would hold up everybody for seconds."""


class _Scanner:
    """Go's scanner, for its error texts alone. IndexError means that the text ended too early, or that what is wrong
    lies too far behind."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._depth = 0
        self._steps = 0

    def _step(self) -> None:
        self._steps += 1
        if self._steps > _STEPS_MAX:
            raise IndexError

    def run(self) -> str:
        found = self._value("looking for beginning of value")
        if found:
            return found
        self._space()
        if self._at < len(self._text):
            return self._bad("after top-level value")
        return ""

    def _bad(self, context: str) -> str:
        return f"invalid character {quote_char(self._text[self._at])} {context}"

    def _space(self) -> None:
        self._at = _SPACE.match(self._text, self._at).end()  # type: ignore[union-attr]

    def _value(self, context: str) -> str:
        self._step()
        self._space()
        char = self._text[self._at]
        if char in "{[":
            return self._nested(char)
        if char == '"':
            return self._string()
        if char in _NUMBER_START:
            return self._number()
        for literal in ("true", "false", "null"):
            if char == literal[0]:
                return self._literal(literal)
        return self._bad(context)

    def _nested(self, char: str) -> str:
        self._depth += 1
        if self._depth > nesting.NESTING_MAX:
            return self._bad(nesting.EXCEEDED)
        found = self._object() if char == "{" else self._array()
        self._depth -= 1
        return found

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
        while True:
            self._at = _PLAIN.match(self._text, self._at).end()  # type: ignore[union-attr]
            char = self._text[self._at]
            if char == '"':
                self._at += 1
                return ""
            if char < " ":
                return self._bad("in string literal")
            self._step()
            self._at += 1
            if self._text[self._at] not in 'bfnrt\\/"u':
                return self._bad("in string escape code")
            self._at += 1

    def _number(self) -> str:
        if self._text[self._at] == "-":
            self._at += 1
            if not self._text[self._at].isdigit():
                return self._bad("in numeric literal")
        self._at = _NUMBER.match(self._text, self._at).end()  # type: ignore[union-attr]
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
