"""Functions that an expression may call: CEL's standard ones, and Kubernetes' libraries.

Each overload is written as CEL prints it, `receiver.(arguments) -> result` for a method. Sources:
cel-go's common/stdlib and ext, k8s.io/apiserver/pkg/cel/library.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import cache
from typing import NamedTuple

from pilothouse.api.cel import types as t
from pilothouse.api.cel.types import CelType


class Overload(NamedTuple):
    """`arguments` begins with the receiver of a method."""

    is_method: bool
    arguments: tuple[CelType, ...]
    result: CelType


_NAMED = {
    "bool": t.BOOL,
    "int": t.INT,
    "uint": t.UINT,
    "double": t.DOUBLE,
    "string": t.STRING,
    "bytes": t.BYTES,
    "duration": t.DURATION,
    "timestamp": t.TIMESTAMP,
    "null": t.NULL,
    "dyn": t.DYN,
    "any": t.ANY,
    "URL": t.opaque("kubernetes.URL"),
    "Quantity": t.opaque("kubernetes.Quantity"),
    "IP": t.opaque("net.IP"),
    "CIDR": t.opaque("net.CIDR"),
    "Semver": t.opaque("kubernetes.Semver"),
    "Format": t.opaque("kubernetes.NamedFormat"),
    "Authorizer": t.opaque("kubernetes.authorization.Authorizer"),
    "PathCheck": t.opaque("kubernetes.authorization.PathCheck"),
    "GroupCheck": t.opaque("kubernetes.authorization.GroupCheck"),
    "ResourceCheck": t.opaque("kubernetes.authorization.ResourceCheck"),
    "Decision": t.opaque("kubernetes.authorization.Decision"),
}
_GENERIC = {"list": t.list_of, "optional": t.optional_of, "type": t.type_of}

URL, QUANTITY, SEMVER = _NAMED["URL"], _NAMED["Quantity"], _NAMED["Semver"]
AUTHORIZER, RESOURCE_CHECK = _NAMED["Authorizer"], _NAMED["ResourceCheck"]


def _split(text: str) -> list[str]:
    """Comma-separated types; commas inside parentheses don't count."""
    parts, depth, start = [], 0, 0
    for i, ch in enumerate(text):
        depth += (ch == "(") - (ch == ")")
        if ch == "," and depth == 0:
            parts.append(text[start:i].strip())
            start = i + 1
    last = text[start:].strip()
    return [*parts, last] if last else parts


@cache
def parse_type(text: str) -> CelType:
    match = re.fullmatch(r"(\w+)\((.*)\)", text)
    if match:
        inner = [parse_type(part) for part in _split(match[2])]
        return t.map_of(*inner) if match[1] == "map" else _GENERIC[match[1]](inner[0])
    return _NAMED[text] if text in _NAMED else t.param(text)


def _overload(signature: str) -> Overload:
    head, _, result = signature.rpartition(" -> ")
    match = re.fullmatch(r"(?:(.*)\.)?\((.*)\)", head)
    if match is None:
        raise ValueError(signature)
    receiver = [parse_type(match[1])] if match[1] else []
    arguments = (*receiver, *(parse_type(part) for part in _split(match[2])))
    return Overload(bool(receiver), arguments, parse_type(result))


def _table(declared: Mapping[str, str]) -> dict[str, tuple[Overload, ...]]:
    return {
        name: tuple(_overload(signature.strip()) for signature in signatures.split(";"))
        for name, signatures in declared.items()
    }


def _ordered() -> str:
    """Comparison: within a type, and across the numeric ones."""
    same = ["bool", "int", "uint", "double", "string", "bytes", "timestamp", "duration"]
    numbers = [(a, b) for a in ("int", "uint", "double") for b in ("int", "uint", "double") if a != b]
    pairs = [(name, name) for name in same] + numbers
    return "; ".join(f"({a}, {b}) -> bool" for a, b in pairs)


_NUMERIC = "(int, int) -> int; (uint, uint) -> uint; (double, double) -> double"

STANDARD = _table(
    {
        "_?_:_": "(bool, A, A) -> A",
        "_&&_": "(bool, bool) -> bool",
        "_||_": "(bool, bool) -> bool",
        "!_": "(bool) -> bool",
        "@not_strictly_false": "(bool) -> bool",
        "__not_strictly_false__": "(bool) -> bool",
        "_==_": "(A, A) -> bool",
        "_!=_": "(A, A) -> bool",
        "_<_": _ordered(),
        "_<=_": _ordered(),
        "_>_": _ordered(),
        "_>=_": _ordered(),
        "_+_": _NUMERIC
        + "; (string, string) -> string; (bytes, bytes) -> bytes; (list(A), list(A)) -> list(A)"
        "; (timestamp, duration) -> timestamp; (duration, timestamp) -> timestamp"
        "; (duration, duration) -> duration",
        "_-_": _NUMERIC
        + "; (timestamp, timestamp) -> duration; (timestamp, duration) -> timestamp"
        "; (duration, duration) -> duration",
        "_*_": _NUMERIC,
        "_/_": _NUMERIC,
        "_%_": "(int, int) -> int; (uint, uint) -> uint",
        "-_": "(int) -> int; (double) -> double",
        "_[_]": "(list(A), int) -> A; (map(A, B), A) -> B; (optional(list(A)), int) -> optional(A)"
        "; (optional(map(A, B)), A) -> optional(B)",
        "_[?_]": "(list(A), int) -> optional(A); (map(A, B), A) -> optional(B)"
        "; (optional(list(A)), int) -> optional(A); (optional(map(A, B)), A) -> optional(B)",
        "@in": "(A, list(A)) -> bool; (A, map(A, B)) -> bool",
        "size": "(string) -> int; (bytes) -> int; (list(A)) -> int; (map(A, B)) -> int"
        "; string.() -> int; bytes.() -> int; list(A).() -> int; map(A, B).() -> int",
        "contains": "string.(string) -> bool",
        "startsWith": "string.(string) -> bool",
        "endsWith": "string.(string) -> bool",
        "matches": "(string, string) -> bool; string.(string) -> bool",
        "bool": "(bool) -> bool; (string) -> bool",
        "bytes": "(bytes) -> bytes; (string) -> bytes",
        "double": "(double) -> double; (int) -> double; (uint) -> double; (string) -> double",
        "duration": "(duration) -> duration; (int) -> duration; (string) -> duration",
        "dyn": "(A) -> dyn",
        "int": "(int) -> int; (uint) -> int; (double) -> int; (string) -> int; (duration) -> int"
        "; (timestamp) -> int",
        "string": "(string) -> string; (bool) -> string; (bytes) -> string; (double) -> string"
        "; (duration) -> string; (int) -> string; (timestamp) -> string; (uint) -> string"
        "; (IP) -> string; (CIDR) -> string",
        "timestamp": "(timestamp) -> timestamp; (int) -> timestamp; (string) -> timestamp",
        "type": "(A) -> type(A)",
        "uint": "(uint) -> uint; (int) -> uint; (double) -> uint; (string) -> uint",
        **{
            name: "timestamp.() -> int; timestamp.(string) -> int"
            for name in (
                "getFullYear", "getMonth", "getDayOfYear", "getDate", "getDayOfMonth", "getDayOfWeek",
            )
        },
        **{
            name: "timestamp.() -> int; timestamp.(string) -> int; duration.() -> int"
            for name in ("getHours", "getMinutes", "getSeconds", "getMilliseconds")
        },
        "optional.of": "(A) -> optional(A)",
        "optional.ofNonZeroValue": "(A) -> optional(A)",
        "optional.none": "() -> optional(A)",
        "hasValue": "optional(A).() -> bool",
        "value": "optional(A).() -> A; Quantity.() -> any",
        "or": "optional(A).(optional(A)) -> optional(A)",
        "orValue": "optional(A).(A) -> A",
    }
)  # fmt: skip

_COMPARABLE = ("int", "uint", "double", "bool", "duration", "timestamp", "string", "bytes")
_SUMMABLE = ("int", "uint", "double", "duration")


def _lists(elements: Iterable[str], result: str) -> str:
    return "; ".join(f"list({e}).() -> {result or e}" for e in elements)


KUBERNETES = _table(
    {
        # cel-go ext.Strings, version 2
        "charAt": "string.(int) -> string",
        "indexOf": "string.(string) -> int; string.(string, int) -> int; list(A).(A) -> int",
        "lastIndexOf": "string.(string) -> int; string.(string, int) -> int; list(A).(A) -> int",
        "join": "list(string).() -> string; list(string).(string) -> string",
        "lowerAscii": "string.() -> string",
        "upperAscii": "string.() -> string",
        "replace": "string.(string, string) -> string; string.(string, string, int) -> string",
        "split": "string.(string) -> list(string); string.(string, int) -> list(string)",
        "substring": "string.(int) -> string; string.(int, int) -> string",
        "trim": "string.() -> string",
        "format": "string.(list(dyn)) -> string",
        "strings.quote": "(string) -> string",
        # lists
        "isSorted": _lists(_COMPARABLE, "bool"),
        "min": _lists(_COMPARABLE, ""),
        "max": _lists(_COMPARABLE, ""),
        "sum": _lists(_SUMMABLE, ""),
        # regex
        "find": "string.(string) -> string",
        "findAll": "string.(string) -> list(string); string.(string, int) -> list(string)",
        # urls
        "url": "(string) -> URL",
        "isURL": "(string) -> bool",
        "getScheme": "URL.() -> string",
        "getHost": "URL.() -> string",
        "getHostname": "URL.() -> string",
        "getPort": "URL.() -> string",
        "getEscapedPath": "URL.() -> string",
        "getQuery": "URL.() -> map(string, list(string))",
        # quantities
        "quantity": "(string) -> Quantity",
        "isQuantity": "(string) -> bool",
        "sign": "Quantity.() -> int",
        "isInteger": "Quantity.() -> bool",
        "asInteger": "Quantity.() -> int",
        "asApproximateFloat": "Quantity.() -> double",
        "add": "Quantity.(Quantity) -> Quantity; Quantity.(int) -> Quantity",
        "sub": "Quantity.(Quantity) -> Quantity; Quantity.(int) -> Quantity",
        "isGreaterThan": "Quantity.(Quantity) -> bool; Semver.(Semver) -> bool",
        "isLessThan": "Quantity.(Quantity) -> bool; Semver.(Semver) -> bool",
        "compareTo": "Quantity.(Quantity) -> int; Semver.(Semver) -> int",
        # semantic versions
        "semver": "(string) -> Semver; (string, bool) -> Semver",
        "isSemver": "(string) -> bool; (string, bool) -> bool",
        "major": "Semver.() -> int",
        "minor": "Semver.() -> int",
        "patch": "Semver.() -> int",
        # addresses
        "ip": "(string) -> IP; CIDR.() -> IP",
        "isIP": "(string) -> bool",
        "ip.isCanonical": "(string) -> bool",
        "family": "IP.() -> int",
        "isUnspecified": "IP.() -> bool",
        "isLoopback": "IP.() -> bool",
        "isLinkLocalMulticast": "IP.() -> bool",
        "isLinkLocalUnicast": "IP.() -> bool",
        "isGlobalUnicast": "IP.() -> bool",
        "cidr": "(string) -> CIDR",
        "isCIDR": "(string) -> bool",
        "containsIP": "CIDR.(string) -> bool; CIDR.(IP) -> bool",
        "containsCIDR": "CIDR.(string) -> bool; CIDR.(CIDR) -> bool",
        "prefixLength": "CIDR.() -> int",
        "masked": "CIDR.() -> CIDR",
        # named formats
        "format.named": "(string) -> optional(Format)",
        "validate": "Format.(string) -> optional(list(string))",
        **{
            f"format.{name}": "() -> Format"
            for name in (
                "dns1123Label", "dns1123Subdomain", "dns1035Label", "qualifiedName", "dns1123LabelPrefix",
                "dns1123SubdomainPrefix", "dns1035LabelPrefix", "labelValue", "uri", "uuid", "byte", "date",
                "datetime",
            )
        },
        # sets
        "sets.contains": "(list(A), list(A)) -> bool",
        "sets.equivalent": "(list(A), list(A)) -> bool",
        "sets.intersects": "(list(A), list(A)) -> bool",
        # the authorizer
        "path": "Authorizer.(string) -> PathCheck",
        "group": "Authorizer.(string) -> GroupCheck",
        "serviceAccount": "Authorizer.(string, string) -> Authorizer",
        "resource": "GroupCheck.(string) -> ResourceCheck",
        "subresource": "ResourceCheck.(string) -> ResourceCheck",
        "namespace": "ResourceCheck.(string) -> ResourceCheck",
        "name": "ResourceCheck.(string) -> ResourceCheck",
        "fieldSelector": "ResourceCheck.(string) -> ResourceCheck",
        "labelSelector": "ResourceCheck.(string) -> ResourceCheck",
        "check": "PathCheck.(string) -> Decision; ResourceCheck.(string) -> Decision",
        "errored": "Decision.() -> bool",
        "error": "Decision.() -> string",
        "allowed": "Decision.() -> bool",
        "reason": "Decision.() -> string",
    }
)  # fmt: skip

FUNCTIONS: dict[str, tuple[Overload, ...]] = {**STANDARD, **KUBERNETES}

JSON_PATCH = _table({"jsonpatch.escapeKey": "(string) -> string"})
"""What mutating admission policies have besides."""
