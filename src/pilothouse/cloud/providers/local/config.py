"""--cloud-config of the provider `local`, a YAML file; what is left out has a default:

loadBalancers:
  addresses: 127.42.0.0/16     # each service gets one; on Linux all of 127.0.0.0/8 is this machine
  sharedAddress: ""            # or one address for all: a service whose port is taken waits
volumes:
  capacity: 100Gi              # of all volumes together
zone: ""                       # a label of nodes that come without one
region: ""
routes: false                  # write down the routes to pods; nodes then say whether they have theirs
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import Any

from pilothouse.api import quantity
from pilothouse.cloud import config_file

_SECTIONS: dict[str, frozenset[str]] = {
    "loadBalancers": frozenset(("addresses", "sharedAddress")),
    "volumes": frozenset(("capacity",)),
}
_WORDS: dict[str, type] = {"zone": str, "region": str, "routes": bool}


_LOOPBACK = ip_network("127.42.0.0/16")


@dataclass(frozen=True, slots=True)
class Config:
    addresses: IPv4Network | IPv6Network = _LOOPBACK
    shared_address: str = ""
    """"" gives each service an address of its own."""
    capacity_bytes: int = 100 * 2**30
    zone: str = ""
    region: str = ""
    routes: bool = False


def read(path: Path | None) -> Config:
    """ValueError says what is wrong, and where."""
    return config_file.read(path, _config)


def _config(found: Any) -> Config:
    if not isinstance(found, dict):
        raise ValueError("a mapping is needed")
    for name, value in found.items():
        if name in _SECTIONS:
            _check_section(name, value)
        elif not isinstance(value, _WORDS.get(name, ())):
            known = ", ".join(sorted(_SECTIONS.keys() | _WORDS.keys()))
            raise ValueError(f"{name}: unknown, or not of the right type; there are {known}")
    balancers, volumes = found.get("loadBalancers") or {}, found.get("volumes") or {}
    default = Config()
    return Config(
        _network(balancers.get("addresses")) or default.addresses,
        _address(balancers.get("sharedAddress") or ""),
        _bytes(volumes["capacity"]) if "capacity" in volumes else default.capacity_bytes,
        found.get("zone", default.zone),
        found.get("region", default.region),
        found.get("routes", default.routes),
    )


def _check_section(name: str, value: Any) -> None:
    if value is not None and not isinstance(value, dict):
        raise ValueError(f"{name}: a mapping is needed")
    for field in value or ():
        if field not in _SECTIONS[name]:
            raise ValueError(f"{name}.{field}: unknown; there are {', '.join(sorted(_SECTIONS[name]))}")


def _network(text: str | None) -> IPv4Network | IPv6Network | None:
    if text is None:
        return None
    try:
        network = ip_network(text)
    except ValueError as error:
        raise ValueError(f"loadBalancers.addresses: {error}") from None
    if network.num_addresses < 4:
        raise ValueError(f"loadBalancers.addresses: {text} has too few addresses; four are needed")
    return network


def _address(text: str) -> str:
    try:
        return str(ip_address(text)) if text else ""
    except ValueError as error:
        raise ValueError(f"loadBalancers.sharedAddress: {error}") from None


def _bytes(text: Any) -> int:
    try:
        return quantity.parse(str(text)).value
    except ValueError as error:
        raise ValueError(f"volumes.capacity: {error}") from None
