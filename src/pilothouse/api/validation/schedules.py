"""Validation of cron schedules and time zones (pkg/apis/batch/validation validateScheduleFormat, validateTimeZone)."""

from __future__ import annotations

import re

from pilothouse.api import cron
from pilothouse.api import field as f

_ZONE_PART = re.compile(r"[A-Za-z.\-_0-9+]{1,14}")


def schedule_error(text: str) -> str:
    """What ParseStandard says of a schedule, "" when it is good."""
    try:
        cron.parse(text)
    except ValueError as error:
        return str(error)
    return ""


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
    if not cron.is_zone(name):
        out.append(f.invalid(path, name, f"unknown time zone {name}"))
