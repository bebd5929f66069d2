"""Addresses and ranges: what is one, in which form, and which an endpoint may not have
(k8s.io/apimachinery/pkg/util/validation/ip.go, KEP-4858: strict forms, old values stay)."""

from __future__ import annotations

import ipaddress
from collections.abc import Collection

from pilothouse.api import field as f
from pilothouse.kit.caching import cached_texts

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

NOT_AN_IP = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"
NOT_A_CIDR = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"
MAPPED = "must not be an IPv4-mapped IPv6 address"


@cached_texts(4096)
def parse(value: str) -> Address | None:
    """An address in any form Go once took: leading zeros in IPv4 too, no zones (netutils.ParseIPSloppy)."""
    if "%" in value:
        return None
    text = value
    if "." in value:
        head, colon, tail = value.rpartition(":")
        text = head + colon + ".".join([octet.lstrip("0") or octet[:1] for octet in tail.split(".")])
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def is_mapped(value: str) -> bool:
    """An IPv4 address written as IPv6."""
    return ":" in value and isinstance(parse(value), ipaddress.IPv4Address)


def has_leading_zeros(value: str) -> bool:
    octets = value.rpartition(":")[2].split(".") if "." in value else ()
    return any(len(octet) > 1 and octet[0] == "0" for octet in octets)


@cached_texts(4096)
def parse_range(value: str) -> tuple[Address, int] | None:
    """The address as written and the prefix length (netutils.ParseCIDRSloppy)."""
    text, slash, length = value.partition("/")
    address = parse(text)
    if address is None or not slash or not length.isascii() or not length.isdigit() or len(length) > 3:
        return None
    bits = int(length) - (96 if is_mapped(text) else 0)
    return (address, bits) if 0 <= bits <= address.max_prefixlen else None


def network(value: str) -> Network | None:
    """The range that a CIDR value means, whatever bits stand beyond its prefix."""
    found = parse_range(value)
    return None if found is None else ipaddress.ip_network(f"{found[0]}/{found[1]}", strict=False)


def ip(value: str, path: str, known: Collection[str] = ()) -> f.Errors:
    """A field that once took sloppy forms: those in `known`, the old object's, stay allowed
    (IsValidIPForLegacyField)."""
    if value in known:
        return []
    return [f.invalid(path, value, why) for why in _ip_faults(value)]


@cached_texts(4096)
def _ip_faults(value: str) -> tuple[str, ...]:
    if parse(value) is None:
        return (NOT_AN_IP,)
    if has_leading_zeros(value):
        return ("must not have leading 0s",)
    return (MAPPED,) if is_mapped(value) else ()


def ip_faults_canonical(value: str) -> list[str]:
    """What is wrong with an address that must be in its one canonical form (IsValidIP)."""
    found = list(_ip_faults(value))
    if not found and value != str(parse(value)):
        found.append(f'must be in canonical form ("{parse(value)}")')
    return found


def cidr(value: str, path: str, known: Collection[str] = ()) -> f.Errors:
    """IsValidCIDRForLegacyField."""
    if value in known:
        return []
    return [f.invalid(path, value, why) for why in _cidr_faults(value)]


@cached_texts(4096)
def _cidr_faults(value: str) -> tuple[str, ...]:
    found = parse_range(value)
    if found is None:
        return (NOT_A_CIDR,)
    text, _, length = value.partition("/")
    if has_leading_zeros(text) or (length.startswith("0") and length != "0"):
        return ("must not have leading 0s in IP or prefix length",)
    if is_mapped(text):
        return ("must not have an IPv4-mapped IPv6 address",)
    if network_address(found) != found[0]:
        return ("must not have bits set beyond the prefix length",)
    return ()


def cidr_canonical(value: str, path: str) -> f.Errors:
    """IsValidCIDR."""
    faults = list(_cidr_faults(value))
    if not faults and value != str(network(value)):
        faults.append(f'must be in canonical form ("{network(value)}")')
    return [f.invalid(path, value, why) for why in faults]


def network_address(found: tuple[Address, int]) -> Address:
    made: Network = ipaddress.ip_network(f"{found[0]}/{found[1]}", strict=False)
    return made.network_address


def non_special(value: str, path: str) -> f.Errors:
    """Addresses that mean something else on every machine, so no endpoint has them (ValidateNonSpecialIP)."""
    return [f.invalid(path, value, why) for why in _special(value)]


@cached_texts(4096)
def _special(value: str) -> tuple[str, ...]:
    address = parse(value)
    if address is None:
        return ("must be a valid IP address",)
    found = []
    if address.is_unspecified:
        found.append(f"may not be unspecified ({value})")
    if address.is_loopback:
        found.append("may not be in the loopback range (127.0.0.0/8, ::1/128)")
    if address.is_link_local:
        found.append("may not be in the link-local range (169.254.0.0/16, fe80::/10)")
    if _is_link_local_multicast(address):
        found.append("may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)")
    return tuple(found)


_MULTICAST = ipaddress.ip_network("224.0.0.0/24")


def _is_link_local_multicast(address: Address) -> bool:
    if isinstance(address, ipaddress.IPv4Address):
        return address in _MULTICAST
    packed = address.packed
    return packed[0] == 0xFF and packed[1] & 0x0F == 0x02


def ip_warnings(value: str, path: str) -> list[str]:
    """GetWarningsForIP: forms that will not always be taken."""
    address = parse(value)
    if address is None or value == str(address):
        return []
    if has_leading_zeros(value) or is_mapped(value):
        return [
            f"{path}: non-standard IP address {f.go_quote(value)} will be considered invalid in a future "
            f'Kubernetes release: use "{address}"'
        ]
    return [f'{path}: IPv6 address {f.go_quote(value)} should be in RFC 5952 canonical format ("{address}")']


def cidr_warnings(value: str, path: str) -> list[str]:
    """GetWarningsForCIDR."""
    found = parse_range(value)
    if found is None or value == str(network(value)):
        return []
    shown, means = f.go_quote(value), f.go_quote(str(network(value)))
    warnings = []
    if network_address(found) != found[0]:
        alone = f.go_quote(f"{found[0]}/{found[0].max_prefixlen}")
        warnings.append(
            f"{path}: CIDR value {shown} is ambiguous in this context (should be {means} or {alone}?)"
        )
    text, _, length = value.partition("/")
    if has_leading_zeros(text) or is_mapped(text) or (length.startswith("0") and length != "0"):
        warnings.append(
            f"{path}: non-standard CIDR value {shown} will be considered invalid in a future Kubernetes "
            f"release: use {means}"
        )
    return warnings or [f"{path}: IPv6 CIDR value {shown} should be in RFC 5952 canonical format ({means})"]
