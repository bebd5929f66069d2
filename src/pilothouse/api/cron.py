"""Cron schedules: read and refused with the words of upstream's library, and when they are due
(github.com/robfig/cron v3, ParseStandard and SpecSchedule.Next).

    parse("*/15 8-17 * * 1-5")      minute, hour, day of month, month, day of week
    parse("TZ=Asia/Tokyo 0 6 * * *")
    parse("@daily"), parse("@every 1h30m")

Days match by month or by week when both are restricted, by both when one is `*`. Wall-clock times that a change to
summer time skips are not due that day; those that it repeats are due at each hour's turn.
"""

from __future__ import annotations

import re
import zoneinfo
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from typing import NamedTuple, Protocol

from pilothouse.api.field import go_quote
from pilothouse.kit.caching import cached_texts

_MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
_DAYS = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"]
_YEARS_AHEAD = 5
"""How far a schedule is looked through: the 31st of February never comes."""


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
_DESCRIPTORS = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_EVERY = "@every "
_DURATION = re.compile(r"([0-9]+\.?[0-9]*|\.[0-9]+)([^0-9.]*)")
_UNITS_S = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


class Schedule(Protocol):
    def next(self, after_s: float) -> float | None:
        """The first time due after `after_s` (seconds since 1970); None when there is none within five years."""


class Field(NamedTuple):
    """The values of one field; `star` when it is `*` or `?` without a step."""

    values: frozenset[int]
    star: bool


@dataclass(frozen=True, slots=True)
class Every:
    """A fixed distance from the last time, whole seconds, one at least."""

    delay_s: int

    def next(self, after_s: float) -> float:
        return int(after_s) + self.delay_s


@dataclass(frozen=True, slots=True)
class Calendar:
    """Times by the wall clock of `zone`."""

    minute: Field
    hour: Field
    day: Field
    month: Field
    weekday: Field
    zone: tzinfo

    def next(self, after_s: float) -> float | None:
        start = int(after_s) + 1
        local = datetime.fromtimestamp(start, self.zone)
        day = local.date()
        limit = day.year + _YEARS_AHEAD
        while day.year <= limit:
            if day.month not in self.month.values:
                day = (day.replace(day=1) + timedelta(days=31)).replace(day=1)
                continue
            if self._day_matches(day.day, day.isoweekday() % 7):
                found = self._in_day(datetime(day.year, day.month, day.day), start)
                if found is not None:
                    return found
            day += timedelta(days=1)
        return None

    def _day_matches(self, day: int, weekday: int) -> bool:
        by_month, by_week = day in self.day.values, weekday in self.weekday.values
        return by_month and by_week if self.day.star or self.weekday.star else by_month or by_week

    def _in_day(self, midnight: datetime, start: int) -> float | None:
        """The first due time of a day from `start` on. It steps through real time: an hour may come twice, or not."""
        moment = int(midnight.replace(tzinfo=self.zone).timestamp())
        moment = max(moment, start)
        moment += -moment % 60
        while True:
            local = datetime.fromtimestamp(moment, self.zone)
            if local.date() != midnight.date():
                if local.date() < midnight.date():
                    moment += 60
                    continue
                return None
            if local.hour not in self.hour.values:
                moment += 3600 - local.minute * 60
            elif local.minute not in self.minute.values:
                moment += 60
            else:
                return float(moment)


@cached_texts(1024)
def parse(text: str) -> Schedule:
    """The schedule that `text` means. ValueError in the library's words."""
    if not text:
        raise ValueError("empty spec string")
    zone: tzinfo = UTC
    if text.startswith(("TZ=", "CRON_TZ=")):
        head, _, rest = text.partition(" ")
        name = head.partition("=")[2]
        if not is_zone(name):
            raise ValueError(f"provided bad location {name}: unknown time zone {name}")
        zone = location(name)
        text = rest.strip()
    if text.startswith(_EVERY):
        return _every(text)
    if text.startswith("@"):
        if text not in _DESCRIPTORS:
            raise ValueError(f"unrecognized descriptor: {text}")
        text = _DESCRIPTORS[text]
    fields = text.split()
    if len(fields) != len(_FIELDS):
        shown = " ".join(fields)
        raise ValueError(f"expected exactly {len(_FIELDS)} fields, found {len(fields)}: [{shown}]")
    minute, hour, day, month, weekday = (
        _field(value, bounds) for value, bounds in zip(fields, _FIELDS, strict=True)
    )
    return Calendar(minute, hour, day, month, weekday, zone)


def _every(text: str) -> Every:
    duration = text[len(_EVERY) :]
    problem = duration_error(duration)
    if problem:
        raise ValueError(f"failed to parse duration {text}: {problem}")
    return Every(max(int(_duration_s(duration)), 1))


def duration_error(text: str) -> str:
    """What Go's time.ParseDuration says, "" for a duration."""
    rest = text[1:] if text[:1] in ("+", "-") else text
    quoted = go_quote(text)
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
        if match[2] not in _UNITS_S:
            return f"time: unknown unit {go_quote(match[2])} in duration {quoted}"
        rest = rest[match.end() :]
    return ""


def _duration_s(text: str) -> float:
    """Seconds of a duration that is one."""
    total = sum(float(m[1]) * _UNITS_S[m[2]] for m in _DURATION.finditer(text) if m[2])
    return -total if text.startswith("-") else total


def _field(text: str, bounds: _Bounds) -> Field:
    values: set[int] = set()
    star = False
    for part in text.split(","):
        if part:
            found, is_star = _range(part, bounds)
            values.update(found)
            star |= is_star
    return Field(frozenset(values), star)


def _range(text: str, bounds: _Bounds) -> tuple[range, bool]:
    """`*`, `5`, `1-5`, `*/5`, `1-5/2`, `5/10` (from 5 on): the values, and whether it is a bare star."""
    span, *steps = text.split("/")
    ends = span.split("-")
    star = ends[0] in ("*", "?")
    if star:
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
    return range(low, high + 1, step), star and step == 1


def _number_or_name(text: str, bounds: _Bounds) -> int:
    found = bounds.names.get(text.lower())
    return _number(text) if found is None else found


def _number(text: str) -> int:
    digits = text[1:] if text[:1] in ("+", "-") else text
    if not (digits.isascii() and digits.isdigit()):
        quoted = go_quote(text)
        raise ValueError(f"failed to parse int from {text}: strconv.Atoi: parsing {quoted}: invalid syntax")
    number = int(text)
    if number < 0:
        raise ValueError(f"negative number ({number}) not allowed: {text}")
    return number


def location(name: str) -> tzinfo:
    """A time zone by name; UTC for the names that mean the machine's own."""
    return UTC if name in ("", "UTC", "Local") else zoneinfo.ZoneInfo(name)


@cached_texts(256)
def is_zone(name: str) -> bool:
    """Whether the time zone database has this name."""
    try:
        location(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        return False
    return True
