"""Cron schedules and time zones, refused with the words of upstream's libraries (github.com/robfig/cron v3
ParseStandard, Go's time package).

Only a schedule's form is looked at here; when it is due is the controller's business.
"""

from __future__ import annotations

import re
import zoneinfo
from functools import lru_cache
from typing import NamedTuple

from pilothouse.api import field as f

_MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
_DAYS = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"]


class _Bounds(NamedTuple):
    low: int
    high: int
    names: dict[str, int]


_FIELDS = (
    _Bounds(0, 59, {}),
    _Bounds(0, 23, {}),
    _Bounds(1, 31, {}),
    _Bounds(1, 12, {name: i for i, name in enumerate(_MONTHS, 1)}),
    _Bounds(0, 6, {name: i for i, name in enumerate(_DAYS)}),
)
_DESCRIPTORS = frozenset(["@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly"])
_EVERY = "@every "
_DURATION = re.compile(r"([0-9]+\.?[0-9]*|\.[0-9]+)([^0-9.]*)")
_UNITS = frozenset(("ns", "us", "µs", "μs", "ms", "s", "m", "h"))
_ZONE_PART = re.compile(r"[A-Za-z.\-_0-9+]{1,14}")


def schedule_error(text: str) -> str:
    """What ParseStandard says of a schedule, "" when it is good."""
    try:
        _check(text)
    except ValueError as error:
        return str(error)
    return ""


def _check(text: str) -> None:
    if not text:
        raise ValueError("empty spec string")
    if text.startswith(("TZ=", "CRON_TZ=")):
        name, _, rest = text.partition(" ")
        zone = name.partition("=")[2]
        if not is_zone(zone):
            raise ValueError(f"provided bad location {zone}: unknown time zone {zone}")
        text = rest.strip()
    if text.startswith("@"):
        _descriptor(text)
        return
    fields = text.split()
    if len(fields) != len(_FIELDS):
        shown = " ".join(fields)
        raise ValueError(f"expected exactly {len(_FIELDS)} fields, found {len(fields)}: [{shown}]")
    for value, bounds in zip(fields, _FIELDS, strict=True):
        for part in value.split(","):
            if part:
                _range(part, bounds)


def _descriptor(text: str) -> None:
    if text in _DESCRIPTORS:
        return
    if text.startswith(_EVERY):
        problem = duration_error(text[len(_EVERY) :])
        if problem:
            raise ValueError(f"failed to parse duration {text}: {problem}")
        return
    raise ValueError(f"unrecognized descriptor: {text}")


def duration_error(text: str) -> str:
    """What Go's time.ParseDuration says, "" for a duration."""
    rest = text[1:] if text[:1] in ("+", "-") else text
    quoted = f.go_quote(text)
    if rest == "0":
        return ""
    if not rest:
        return f"time: invalid duration {quoted}"
    while rest:
        match = _DURATION.match(rest)
        if match is None:
            return f"time: invalid duration {quoted}"
        if not match[2]:
            return f"time: missing unit in duration {quoted}"
        if match[2] not in _UNITS:
            return f"time: unknown unit {f.go_quote(match[2])} in duration {quoted}"
        rest = rest[match.end() :]
    return ""


def _range(text: str, bounds: _Bounds) -> None:
    """`*`, `5`, `1-5`, `*/5`, `1-5/2`."""
    span, *steps = text.split("/")
    ends = span.split("-")
    if ends[0] in ("*", "?"):
        low, high = bounds.low, bounds.high
    else:
        low = high = _number_or_name(ends[0], bounds)
        if len(ends) == 2:
            high = _number_or_name(ends[1], bounds)
        elif len(ends) > 2:
            raise ValueError(f"too many hyphens: {text}")
    step = 1
    if len(steps) == 1:
        step = _number(steps[0])
        if len(ends) == 1:
            high = bounds.high
    elif steps:
        raise ValueError(f"too many slashes: {text}")
    if low < bounds.low:
        raise ValueError(f"beginning of range ({low}) below minimum ({bounds.low}): {text}")
    if high > bounds.high:
        raise ValueError(f"end of range ({high}) above maximum ({bounds.high}): {text}")
    if low > high:
        raise ValueError(f"beginning of range ({low}) beyond end of range ({high}): {text}")
    if step == 0:
        raise ValueError(f"step of range should be a positive number: {text}")


def _number_or_name(text: str, bounds: _Bounds) -> int:
    found = bounds.names.get(text.lower())
    return _number(text) if found is None else found


def _number(text: str) -> int:
    digits = text[1:] if text[:1] in ("+", "-") else text
    if not (digits.isascii() and digits.isdigit()):
        quoted = f.go_quote(text)
        raise ValueError(f"failed to parse int from {text}: strconv.Atoi: parsing {quoted}: invalid syntax")
    number = int(text)
    if number < 0:
        raise ValueError(f"negative number ({number}) not allowed: {text}")
    return number


@lru_cache(maxsize=256)
def is_zone(name: str) -> bool:
    """Whether the time zone database has this name."""
    if name in ("UTC", "Local"):
        return True
    try:
        zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        return False
    return True


def time_zone(name: str | None, path: str, out: f.Errors) -> None:
    """A CronJob's timeZone (validateTimeZone)."""
    if name is None:
        return
    if not name:
        out.append(f.invalid(path, name, "timeZone must be nil or non-empty string"))
        return
    for part in name.split("/"):
        if part in (".", "..") or part.startswith("-") or not _ZONE_PART.fullmatch(part):
            out.append(f.invalid(path, name, f"unknown time zone {name}"))
            return
    if name.lower() == "local":
        why = "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones"
        out.append(f.invalid(path, name, why))
    if not is_zone(name):
        out.append(f.invalid(path, name, f"unknown time zone {name}"))
