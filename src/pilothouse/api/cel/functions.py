"""What CEL's functions do: the standard ones, and Kubernetes' libraries, by name.

One function serves all overloads of a name; the checker has already refused most wrong arguments, and
`TypeError` becomes `no such overload`. Sources: cel-go's common/stdlib and ext, and
k8s.io/apiserver/pkg/cel/library.
"""

from __future__ import annotations

import ipaddress
import math
import operator
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from itertools import pairwise
from typing import Any, NamedTuple
from urllib.parse import SplitResult, parse_qs, urlsplit
from zoneinfo import ZoneInfo

from pilothouse.api import quantity
from pilothouse.api.cel import named_formats
from pilothouse.api.cel.evaluate import (
    NONE,
    Associative,
    EvalError,
    Function,
    Optional,
    TypeValue,
    WithDefault,
    equal,
    type_name,
    whole,
)
from pilothouse.api.cel.nodes import Unsigned
from pilothouse.api.go_regex import compile_go

# Arithmetic and comparison


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _kind(a: Any, b: Any) -> type:
    if type_name(a) != type_name(b) or isinstance(a, bool):
        raise TypeError
    return Unsigned if isinstance(a, Unsigned) else type(a)


def _add(a: Any, b: Any) -> Any:
    if isinstance(a, Associative):
        return a.merged(b)
    if isinstance(a, (datetime, timedelta)) or isinstance(b, datetime):
        return a + b
    kind = _kind(a, b)
    return whole(a + b, kind) if issubclass(kind, int) else a + b


def _subtract(a: Any, b: Any) -> Any:
    if isinstance(a, (datetime, timedelta)):
        return a - b
    kind = _kind(a, b)
    return whole(int(a) - int(b), kind) if issubclass(kind, int) else a - b


def _multiply(a: Any, b: Any) -> Any:
    kind = _kind(a, b)
    return whole(int(a) * int(b), kind) if issubclass(kind, int) else a * b


def _divide(a: Any, b: Any) -> Any:
    kind = _kind(a, b)
    if kind is float:
        if b == 0:
            return math.nan if a == 0 else math.copysign(math.inf, a)
        return a / b
    if b == 0:
        raise EvalError("division by zero")
    magnitude = abs(int(a)) // abs(int(b))
    return whole(magnitude if (a < 0) == (b < 0) else -magnitude, kind)


def _modulus(a: Any, b: Any) -> Any:
    kind = _kind(a, b)
    if b == 0:
        raise EvalError("modulus by zero")
    magnitude = abs(int(a)) % abs(int(b))
    return whole(magnitude if a >= 0 else -magnitude, kind)


def _negate(a: Any) -> Any:
    if not _is_number(a) or isinstance(a, Unsigned):
        raise TypeError
    return whole(-a) if isinstance(a, int) else -a


def _comparison(compare: Callable[[Any, Any], bool]) -> Function:
    def run(a: Any, b: Any) -> bool:
        if not (_is_number(a) and _is_number(b)) and type_name(a) != type_name(b):
            raise TypeError
        return compare(a, b)

    return run


def _not(a: Any) -> bool:
    if not isinstance(a, bool):
        raise TypeError
    return not a


def _in(item: Any, holder: Any) -> bool:
    if isinstance(holder, dict):
        return item in holder
    if not isinstance(holder, list):
        raise TypeError
    return any(equal(item, other) for other in holder)


def _index(holder: Any, key: Any) -> Any:
    if isinstance(holder, Optional):
        return Optional(True, _index(holder.value, key)) if holder.has_value else NONE
    if isinstance(holder, dict):
        if key not in holder and not isinstance(holder, WithDefault):
            raise EvalError(f"no such key: {key}")
        return holder[key]
    if not isinstance(holder, list) or isinstance(key, bool):
        raise TypeError
    if not 0 <= key < len(holder):
        raise EvalError(f"index out of bounds: {key}")
    return holder[int(key)]


# Conversions


def _to_int(value: Any) -> int:
    if isinstance(value, datetime):
        return int(value.timestamp())
    if isinstance(value, timedelta):
        return value // timedelta(microseconds=1) * 1000
    if isinstance(value, float) and not -(2.0**63) < value < 2.0**63:
        raise EvalError("integer overflow")
    try:
        return whole(int(value))
    except ValueError:
        raise EvalError(f'strconv.ParseInt: parsing "{value}": invalid syntax') from None


def _to_uint(value: Any) -> int:
    try:
        return whole(int(value), Unsigned)
    except ValueError as error:
        if isinstance(error, EvalError):
            raise
        raise EvalError(f'strconv.ParseUint: parsing "{value}": invalid syntax') from None


def _to_double(value: Any) -> float:
    try:
        return float(value)
    except ValueError:
        raise EvalError(f'strconv.ParseFloat: parsing "{value}": invalid syntax') from None


def _to_bool(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    for wanted, spellings in (
        (True, ("1", "t", "true", "TRUE", "True")),
        (False, ("0", "f", "false", "FALSE", "False")),
    ):
        if value in spellings:
            return wanted
    raise EvalError(f'strconv.ParseBool: parsing "{value}": invalid syntax')


def _to_string(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, float):
        return repr(int(value)) if value.is_integer() and abs(value) < 1e21 else repr(value)
    if isinstance(value, datetime):
        return _rfc3339(value)
    if isinstance(value, timedelta):
        seconds = value / timedelta(seconds=1)
        return f"{int(seconds) if seconds.is_integer() else seconds}s"
    return str(value)


def _rfc3339(value: datetime) -> str:
    text = value.astimezone(UTC).replace(tzinfo=None).isoformat()
    return (text.rstrip("0") if "." in text else text) + "Z"


def _to_bytes(value: Any) -> bytes:
    return value if isinstance(value, bytes) else value.encode()


_DURATION = re.compile(r"[-+]?(?:0|(?:\d+(?:\.\d*)?|\.\d+)(?:h|ms|us|µs|ns|m|s))+")
_PART = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(h|ms|us|µs|ns|m|s)")
_UNITS_S = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}


def _to_duration(value: Any) -> timedelta:
    if isinstance(value, timedelta):
        return value
    if isinstance(value, int):
        return timedelta(microseconds=value / 1000)
    if not _DURATION.fullmatch(value):
        raise EvalError(f'time: invalid duration "{value}"')
    seconds = sum(float(amount) * _UNITS_S[unit] for amount, unit in _PART.findall(value))
    return timedelta(seconds=-seconds if value.startswith("-") else seconds)


def _to_timestamp(value: Any) -> datetime:
    if isinstance(value, datetime):
        return value
    if isinstance(value, int):
        return datetime.fromtimestamp(value, UTC)
    try:
        made = datetime.fromisoformat(value)
    except ValueError:
        raise EvalError(f'parsing time "{value}": not an RFC 3339 timestamp') from None
    return made if made.tzinfo else made.replace(tzinfo=UTC)


# Times


def _zone(name: str) -> tzinfo:
    match = re.fullmatch(r"([+-]?)(\d\d):(\d\d)", name)
    if match:
        offset = timedelta(hours=int(match[2]), minutes=int(match[3]))
        return timezone(-offset if match[1] == "-" else offset)
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError):
        raise EvalError(f"unknown time zone {name}") from None


def _calendar(part: Callable[[datetime], int]) -> Function:
    def run(value: datetime, zone: str = "UTC") -> int:
        return part(value.astimezone(_zone(zone)))

    return run


def _clock(part: Callable[[datetime], int], unit: timedelta, within: int = 0) -> Function:
    def run(value: Any, zone: str = "UTC") -> int:
        if isinstance(value, timedelta):
            whole_units = int(value / unit)
            return whole_units % within if within else whole_units
        return part(value.astimezone(_zone(zone)))

    return run


# Strings


def _find_text(value: Any, wanted: Any, start: int = 0) -> int:
    if isinstance(value, list):
        return next((i for i, item in enumerate(value) if equal(item, wanted)), -1)
    return int(value.find(wanted, start))


def _find_last(value: Any, wanted: Any, end: int | None = None) -> int:
    if isinstance(value, list):
        return next((i for i in reversed(range(len(value))) if equal(value[i], wanted)), -1)
    return int(value.rfind(wanted) if end is None else value.rfind(wanted, 0, end + len(wanted)))


def _substring(value: str, start: int, end: int | None = None) -> str:
    last = len(value) if end is None else end
    if not 0 <= start <= len(value):
        raise EvalError(f"index out of range: {start}")
    if not 0 <= last <= len(value):
        raise EvalError(f"index out of range: {last}")
    if start > last:
        raise EvalError(f"invalid substring range. start: {start}, end: {last}")
    return value[start:last]


def _char_at(value: str, index: int) -> str:
    if not 0 <= index <= len(value):
        raise EvalError(f"index out of range: {index}")
    return value[index : index + 1]


def _split(value: str, separator: str, most: int = -1) -> list[str]:
    if most == 0:
        return []
    if not separator:
        return list(value) if most < 0 else [*value[: most - 1], value[most - 1 :]]
    return value.split(separator, most - 1 if most > 0 else -1)


def _replace(value: str, old: str, new: str, most: int = -1) -> str:
    return value.replace(old, new, most)


def _lower_ascii(value: str) -> str:
    return "".join(ch.lower() if ch.isascii() else ch for ch in value)


def _upper_ascii(value: str) -> str:
    return "".join(ch.upper() if ch.isascii() else ch for ch in value)


def _pattern(pattern: str) -> re.Pattern[str]:
    try:
        return compile_go(pattern)
    except re.error as error:
        raise EvalError(f"error parsing regexp: {error}") from None


def _matches(value: str, pattern: str) -> bool:
    return _pattern(pattern).search(value) is not None


def _find(value: str, pattern: str) -> str:
    match = _pattern(pattern).search(value)
    return match[0] if match else ""


def _find_all(value: str, pattern: str, most: int = -1) -> list[str]:
    found = [match[0] for match in _pattern(pattern).finditer(value)]
    return found if most < 0 else found[:most]


_VERBS: dict[str, Callable[[Any], str]] = {
    "s": lambda value: _shown(value),
    "d": lambda value: str(int(value)),
    "x": lambda value: value.encode().hex() if isinstance(value, str) else _hex(value),
    "X": lambda value: _VERBS["x"](value).upper(),
    "o": lambda value: f"{int(value):o}",
    "b": lambda value: f"{int(value):b}",
}


def _hex(value: Any) -> str:
    return str(value.hex()) if isinstance(value, bytes) else f"{int(value):x}"


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(_shown(item) for item in value)}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_shown(key)}: {_shown(value[key])}" for key in sorted(value)) + "}"
    return "null" if value is None else _to_string(value)


def _format(template: str, arguments: list[Any]) -> str:
    """ "%s and %.2f".format([…])."""
    position = iter(range(len(arguments)))

    def one(match: re.Match[str]) -> str:
        if match[2] == "%":
            return "%"
        index = next(position, None)
        if index is None:
            raise EvalError(f"index {len(arguments)} out of range")
        if match[2] in "fe":
            return f"%{match[1] or '.6'}{match[2]}" % float(arguments[index])
        return _VERBS[match[2]](arguments[index])

    return re.sub(r"%(\.\d+)?([sdfexXob%])", one, template)


# Lists


def _is_sorted(items: list[Any]) -> bool:
    return all(not b < a for a, b in pairwise(items))


def _extreme(pick: Callable[[list[Any]], Any], name: str) -> Function:
    def run(items: list[Any]) -> Any:
        if not items:
            raise EvalError(f"{name} called on empty list")
        return pick(items)

    return run


def _sum(items: list[Any]) -> Any:
    total: Any = 0
    for i, item in enumerate(items):
        total = item if i == 0 else _add(total, item)
    return total


# Sets


def _contains_all(outer: list[Any], inner: list[Any]) -> bool:
    return all(_in(item, outer) for item in inner)


# URLs, quantities, addresses, versions


class Url(NamedTuple):
    text: str
    parts: SplitResult


def _url(text: str) -> Url:
    try:
        parts = urlsplit(text)
    except ValueError as error:
        raise EvalError(f'URL parse error during conversion from string: parse "{text}": {error}') from None
    if not (parts.scheme and (parts.netloc or parts.path)) and not text.startswith("/"):
        why = f'parse "{text}": invalid URI for request'
        raise EvalError(f"URL parse error during conversion from string: {why}")
    return Url(text, parts)


def _host(url: Url) -> str:
    return url.parts.netloc.rpartition("@")[2]


def _hostname(url: Url) -> str:
    return (url.parts.hostname or "").strip("[]")


def _succeeds(convert: Function) -> Function:
    """isQuantity, isURL, …: whether the conversion works."""

    def run(*arguments: Any) -> bool:
        try:
            convert(*arguments)
        except EvalError:
            return False
        return True

    return run


class Amount(NamedTuple):
    """A resource.Quantity; ordered by what it is, not by how it is written."""

    of: quantity.Quantity


def _quantity(text: str) -> Amount:
    try:
        return Amount(quantity.parse(text))
    except ValueError as error:
        raise EvalError(str(error)) from None


def _amount(value: Any) -> Amount:
    return _quantity(str(value)) if isinstance(value, int) else value


def _order(a: Any, b: Any) -> int:
    first, second = (x.of.nano if isinstance(x, Amount) else x.order for x in (a, b))
    return (first > second) - (first < second)


def _quantity_sum(a: Amount, b: Any) -> Amount:
    return Amount(quantity.add(a.of, _amount(b).of))


def _quantity_difference(a: Amount, b: Any) -> Amount:
    other = _amount(b).of
    return Amount(quantity.add(a.of, other._replace(nano=-other.nano)))


def _as_integer(amount: Amount) -> int:
    if amount.of.nano % 10**9:
        raise EvalError("cannot convert value to integer")
    return amount.of.nano // 10**9


class Version(NamedTuple):
    """A semantic version."""

    major: int
    minor: int
    patch: int
    before: tuple[str, ...] = ()

    @property
    def order(self) -> tuple[Any, ...]:
        """A pre-release comes before its release; numbers before words."""
        parts = tuple((0, int(p), "") if p.isdigit() else (1, 0, p) for p in self.before)
        return (self.major, self.minor, self.patch, not self.before, parts)


_VERSION = re.compile(
    r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(?:-([0-9A-Za-z.-]+))?(?:\+[0-9A-Za-z.-]+)?", re.ASCII
)


def semver(text: str, normalize: bool = False) -> Version:
    if normalize:
        head, mark, tail = text.removeprefix("v").partition("-")
        numbers = [number.lstrip("0") or "0" for number in head.split(".")]
        text = ".".join([*numbers, "0", "0"][: max(3, len(numbers))]) + mark + tail
    match = _VERSION.fullmatch(text)
    if match is None:
        raise EvalError("No Major.Minor.Patch elements found")
    return Version(
        int(match[1]), int(match[2]), int(match[3]), tuple(match[4].split(".")) if match[4] else ()
    )


def _ip(value: Any) -> Any:
    if isinstance(value, (ipaddress.IPv4Network, ipaddress.IPv6Network)):
        raise TypeError
    if isinstance(value, (ipaddress.IPv4Interface, ipaddress.IPv6Interface)):
        return value.ip
    try:
        return ipaddress.ip_address(value)
    except ValueError:
        raise EvalError(f'IP Address "{value}" parse error during conversion from string') from None


def _cidr(text: str) -> Any:
    try:
        if "/" not in text:
            raise ValueError(text)
        return ipaddress.ip_interface(text)
    except ValueError:
        raise EvalError("network address parse error during conversion from string") from None


def _is_canonical(text: str) -> bool:
    return str(_ip(text)) == text


def _contains_ip(outer: Any, inner: Any) -> bool:
    return (_ip(inner) if isinstance(inner, str) else inner) in outer.network


def _contains_cidr(outer: Any, inner: Any) -> bool:
    other = _cidr(inner) if isinstance(inner, str) else inner
    return other.version == outer.version and bool(other.network.subnet_of(outer.network))


def _masked(cidr: Any) -> Any:
    return ipaddress.ip_interface(str(cidr.network))


# Optionals


def _unwrap(holder: Any) -> Any:
    if not holder.has_value:
        raise EvalError("optional.none() dereference")
    return holder.value


def _of_non_zero(value: Any) -> Optional:
    return Optional(True, value) if value else NONE


FUNCTIONS: dict[str, Function] = {
    "_==_": equal,
    "_!=_": lambda a, b: not equal(a, b),
    "_<_": _comparison(operator.lt),
    "_<=_": _comparison(operator.le),
    "_>_": _comparison(operator.gt),
    "_>=_": _comparison(operator.ge),
    "_+_": _add,
    "_-_": _subtract,
    "_*_": _multiply,
    "_/_": _divide,
    "_%_": _modulus,
    "-_": _negate,
    "!_": _not,
    "@in": _in,
    "_[_]": _index,
    "size": len,
    "contains": lambda value, part: part in value,
    "startsWith": str.startswith,
    "endsWith": str.endswith,
    "matches": _matches,
    "bool": _to_bool,
    "bytes": _to_bytes,
    "double": _to_double,
    "duration": _to_duration,
    "dyn": lambda value: value,
    "int": _to_int,
    "string": _to_string,
    "timestamp": _to_timestamp,
    "type": lambda value: TypeValue(type_name(value)),
    "uint": _to_uint,
    "getFullYear": _calendar(lambda time: time.year),
    "getMonth": _calendar(lambda time: time.month - 1),
    "getDayOfYear": _calendar(lambda time: time.timetuple().tm_yday - 1),
    "getDate": _calendar(lambda time: time.day),
    "getDayOfMonth": _calendar(lambda time: time.day - 1),
    "getDayOfWeek": _calendar(lambda time: time.isoweekday() % 7),
    "getHours": _clock(lambda time: time.hour, timedelta(hours=1)),
    "getMinutes": _clock(lambda time: time.minute, timedelta(minutes=1)),
    "getSeconds": _clock(lambda time: time.second, timedelta(seconds=1)),
    "getMilliseconds": _clock(lambda time: time.microsecond // 1000, timedelta(milliseconds=1), 1000),
    "optional.of": lambda value: Optional(True, value),
    "optional.ofNonZeroValue": _of_non_zero,
    "optional.none": lambda: NONE,
    "hasValue": lambda holder: holder.has_value,
    "value": _unwrap,
    "or": lambda first, second: first if first.has_value else second,
    "orValue": lambda holder, other: holder.value if holder.has_value else other,
    "charAt": _char_at,
    "indexOf": _find_text,
    "lastIndexOf": _find_last,
    "join": lambda items, separator="": separator.join(items),
    "lowerAscii": _lower_ascii,
    "upperAscii": _upper_ascii,
    "replace": _replace,
    "split": _split,
    "substring": _substring,
    "trim": str.strip,
    "format": _format,
    "isSorted": _is_sorted,
    "min": _extreme(min, "min"),
    "max": _extreme(max, "max"),
    "sum": _sum,
    "find": _find,
    "findAll": _find_all,
    "url": _url,
    "isURL": _succeeds(_url),
    "getScheme": lambda url: url.parts.scheme,
    "getHost": _host,
    "getHostname": _hostname,
    "getPort": lambda url: str(url.parts.port or ""),
    "getEscapedPath": lambda url: url.parts.path,
    "getQuery": lambda url: parse_qs(url.parts.query, keep_blank_values=True),
    "quantity": _quantity,
    "isQuantity": _succeeds(_quantity),
    "sign": lambda amount: (amount.of.nano > 0) - (amount.of.nano < 0),
    "isInteger": lambda amount: amount.of.nano % 10**9 == 0,
    "asInteger": _as_integer,
    "asApproximateFloat": lambda amount: amount.of.nano / 10**9,
    "add": _quantity_sum,
    "sub": _quantity_difference,
    "isGreaterThan": lambda a, b: _order(a, b) > 0,
    "isLessThan": lambda a, b: _order(a, b) < 0,
    "compareTo": _order,
    "semver": semver,
    "isSemver": _succeeds(semver),
    "major": lambda version: version.major,
    "minor": lambda version: version.minor,
    "patch": lambda version: version.patch,
    "ip": _ip,
    "isIP": _succeeds(_ip),
    "ip.isCanonical": _is_canonical,
    "family": lambda address: address.version,
    "isUnspecified": lambda address: address.is_unspecified,
    "isLoopback": lambda address: address.is_loopback,
    "isLinkLocalMulticast": lambda address: address.is_multicast and address.is_link_local,
    "isLinkLocalUnicast": lambda address: address.is_link_local and not address.is_multicast,
    "isGlobalUnicast": lambda address: (
        not (address.is_multicast or address.is_loopback or address.is_link_local or address.is_unspecified)
    ),
    "cidr": _cidr,
    "isCIDR": _succeeds(_cidr),
    "containsIP": _contains_ip,
    "containsCIDR": _contains_cidr,
    "prefixLength": lambda cidr: cidr.network.prefixlen,
    "masked": _masked,
    "sets.contains": _contains_all,
    "sets.equivalent": lambda a, b: _contains_all(a, b) and _contains_all(b, a),
    "sets.intersects": lambda a, b: any(_in(item, b) for item in a),
    **named_formats.FUNCTIONS,
    "jsonpatch.escapeKey": lambda key: key.replace("~", "~0").replace("/", "~1"),
}
