"""What a flag's value can be, with the conventions of Go's pflag: each kind parses one argument and may add it to
what came before (lists and maps)."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from pilothouse.kit.durations import duration_s, show_duration

_BOOLS = {
    **dict.fromkeys(("1", "t", "T", "true", "TRUE", "True"), True),
    **dict.fromkeys(("0", "f", "F", "false", "FALSE", "False"), False),
}


class Kind(NamedTuple):
    """`parse(text)` raises ValueError with what is wrong; `add(before, value)` joins repeated flags."""

    label: str
    """As it stands in the help, behind the flag's name; "" for booleans."""
    parse: Callable[[str], Any]
    show: Callable[[Any], str] = str
    """A default value for the help."""
    add: Callable[[Any, Any], Any] | None = None


def _bool(text: str) -> bool:
    try:
        return _BOOLS[text]
    except KeyError:
        raise ValueError("neither true nor false") from None


def _int(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ValueError("no whole number") from None


def _float(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError("no number") from None


def _port(text: str) -> int:
    number = _int(text)
    if not 0 <= number <= 65535:
        raise ValueError("no port between 0 and 65535")
    return number


def _count(text: str) -> int:
    number = _int(text)
    if number < 0:
        raise ValueError("must not be negative")
    return number


def _ip(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        raise ValueError("no IP address such as 127.0.0.1 or ::1") from None


def _port_range(text: str) -> tuple[int, int]:
    first, separator, second = text.partition("+") if "+" in text else text.partition("-")
    if not separator or not first.isdigit() or not second.isdigit():
        raise ValueError("no range of ports such as 30000-32767")
    low, high = int(first), int(second)
    if separator == "+":
        high += low
    if not 0 < low <= high <= 65535:
        raise ValueError("no range of ports such as 30000-32767")
    return low, high


def _networks(text: str) -> str:
    """One network, or one of each family with a comma; told in their canonical form."""
    try:
        found = [ipaddress.ip_network(part.strip()) for part in text.split(",")]
    except ValueError:
        raise ValueError("no network such as 10.96.0.0/16") from None
    if len(found) > 2 or len({network.version for network in found}) != len(found):
        raise ValueError("at most one network of each IP family")
    return ",".join(str(network) for network in found)


def _file(text: str) -> Path:
    path = Path(text).expanduser()
    if not path.is_file():
        raise ValueError("no such file")
    return path


def _path(text: str) -> Path:
    if not text:
        raise ValueError("empty")
    return Path(text).expanduser()


def _strings(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _map(text: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for part in _strings(text):
        key, equals, value = part.partition("=")
        if not equals:
            raise ValueError(f"{part}: no KEY=VALUE")
        found[key.strip()] = value.strip()
    return found


def _bool_map(text: str) -> dict[str, bool]:
    found = {}
    for key, value in _map(text).items():
        try:
            found[key] = _BOOLS[value]
        except KeyError:
            raise ValueError(f"invalid value of {key}={value}: neither true nor false") from None
    return found


def _merge(before: dict[str, Any], value: dict[str, Any]) -> dict[str, Any]:
    return {**before, **value}


def _extend(before: tuple[Any, ...], value: tuple[Any, ...]) -> tuple[Any, ...]:
    return (*before, *value)


def _show_list(values: tuple[Any, ...]) -> str:
    return "[" + ",".join(str(v) for v in values) + "]" if values else ""


STRING = Kind("string", str, lambda v: f'"{v}"' if v else "")
BOOL = Kind("", _bool, lambda v: "true" if v else "")
INT = Kind("int", _int)
COUNT = Kind("int", _count)
INT = Kind("int", _int)
FLOAT = Kind("float", _float, lambda v: f"{v:g}")
PORT = Kind("port", _port)
IP = Kind("ip", _ip)
DURATION = Kind("duration", duration_s, show_duration)
PORT_RANGE = Kind("portRange", _port_range, lambda v: f"{v[0]}-{v[1]}")
NETWORKS = Kind("networks", _networks)
FILE = Kind("file", _file, lambda v: str(v) if v else "")
PATH = Kind("path", _path, lambda v: str(v) if v else "")
STRINGS = Kind("strings", _strings, _show_list, _extend)
FILES = Kind("files", lambda text: tuple(_file(part) for part in _strings(text)), _show_list, _extend)
MAP = Kind("mapStringString", _map, lambda v: "", _merge)
BOOL_MAP = Kind("mapStringBool", _bool_map, lambda v: "", _merge)
