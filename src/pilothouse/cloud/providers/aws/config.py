"""--cloud-config of the provider `aws`, a YAML file; all of it may be left out:

region: eu-west-1          # else as boto3 finds it
routeTables: [rtb-1]       # else those with the cluster's tag
callsPerSecond: 20         # to each service of AWS, with as many at once
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pilothouse.cloud import config_file

_KNOWN: dict[str, type | tuple[type, ...]] = {
    "region": str,
    "routeTables": list,
    "callsPerSecond": (int, float),
}


@dataclass(frozen=True, slots=True)
class Config:
    region: str = ""
    """"" as boto3 finds it."""
    route_tables: tuple[str, ...] = ()
    """() for those with the cluster's tag."""
    calls_per_s: float = 20.0


def read(path: Path | None) -> Config:
    """ValueError says what is wrong, and where."""
    return config_file.read(path, _config)


def _config(found: Any) -> Config:
    if not isinstance(found, dict):
        raise ValueError("a mapping is needed")
    for name, value in found.items():
        if name not in _KNOWN or not isinstance(value, _KNOWN[name]):
            raise ValueError(f"{name}: unknown, or not of the right type; there are {', '.join(_KNOWN)}")
    tables = tuple(str(table) for table in found.get("routeTables") or ())
    calls = float(found.get("callsPerSecond", Config().calls_per_s))
    if calls <= 0:
        raise ValueError("callsPerSecond: more than 0 is needed")
    return Config(found.get("region", ""), tables, calls)
