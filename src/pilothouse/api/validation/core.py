"""Validation of config maps, secrets, namespaces and endpoints (pkg/apis/core/validation). Metadata is
validated before; services, nodes, volumes, claims and quotas have files of their own."""

from __future__ import annotations

import base64
import json
from collections.abc import Collection
from typing import Any

from pilothouse.api import field as f
from pilothouse.api.types import Obj
from pilothouse.api.validation import addresses, names, tls_pairs
from pilothouse.api.validation.gojson import unmarshal_object_error

DATA_BYTES_MAX = 1024 * 1024
PROTOCOLS = ("SCTP", "TCP", "UDP")
IMMUTABLE_SET = "field is immutable when `immutable` is set"
STANDARD_FINALIZERS = ("kubernetes", "orphan", "foregroundDeletion")
SERVICE_ACCOUNT_NAME = "kubernetes.io/service-account.name"


def config_map(obj: Obj) -> f.Errors:
    errors: f.Errors = []
    data, binary = obj.get("data") or {}, obj.get("binaryData") or {}
    size = 0
    for key, value in data.items():
        errors += [f.invalid(f"data[{key}]", key, why) for why in names.is_config_map_key(key)]
        if key in binary:
            errors.append(f.invalid(f"data[{key}]", key, "duplicate of key present in binaryData"))
        size += len(value) if value.isascii() else len(value.encode())
    for key, value in binary.items():
        errors += [f.invalid(f"binaryData[{key}]", key, why) for why in names.is_config_map_key(key)]
        size += decoded_length(value)
    if size > DATA_BYTES_MAX:
        # Upstream means the whole object with an empty name, which prints as brackets.
        errors.append(f.too_long("[]", "", DATA_BYTES_MAX))
    return errors


def config_map_update(obj: Obj, old: Obj) -> f.Errors:
    return _frozen(obj, old, ("data", "binaryData")) + config_map(obj)


def _frozen(obj: Obj, old: Obj, keys: tuple[str, ...]) -> f.Errors:
    if not old.get("immutable"):
        return []
    errors = [] if obj.get("immutable") else [f.forbidden("immutable", IMMUTABLE_SET)]
    errors += [
        f.forbidden(key, IMMUTABLE_SET) for key in keys if (obj.get(key) or {}) != (old.get(key) or {})
    ]
    return errors


def decoded_length(text: str | None) -> int:
    """Bytes that base64 text stands for."""
    return 0 if not text else len(text) // 4 * 3 - text.count("=", -2)


def secret(obj: Obj) -> f.Errors:
    errors: f.Errors = []
    data: dict[str, str] = obj.get("data") or {}
    size = 0
    for key, value in data.items():
        errors += [f.invalid(f"data[{key}]", key, why) for why in names.is_config_map_key(key)]
        size += decoded_length(value)
    if size > DATA_BYTES_MAX:
        errors.append(f.too_long("data", "", DATA_BYTES_MAX))
    return errors + _secret_type(obj, data)


_ANY_OF = {"kubernetes.io/basic-auth": ("username", "password")}
_NOT_EMPTY = {"kubernetes.io/ssh-auth": "ssh-privatekey"}
_ALL_OF = {"kubernetes.io/tls": ("tls.crt", "tls.key")}
_DOCKER = {
    "kubernetes.io/dockercfg": ".dockercfg",
    "kubernetes.io/dockerconfigjson": ".dockerconfigjson",
}


def _secret_type(obj: Obj, data: dict[str, str]) -> f.Errors:
    kind = obj.get("type", "")
    if kind == "kubernetes.io/service-account-token":
        annotations = obj["metadata"].get("annotations") or {}
        if not annotations.get(SERVICE_ACCOUNT_NAME):
            return [f.required(f"metadata.annotations[{SERVICE_ACCOUNT_NAME}]")]
    elif kind in _DOCKER:
        return _docker_config(data, _DOCKER[kind])
    elif kind in _ANY_OF and not any(key in data for key in _ANY_OF[kind]):
        return [f.required(f"data[{key}]") for key in _ANY_OF[kind]]
    elif kind in _NOT_EMPTY and not data.get(_NOT_EMPTY[kind]):
        return [f.required(f"data[{_NOT_EMPTY[kind]}]")]
    elif kind in _ALL_OF:
        return [f.required(f"data[{key}]") for key in _ALL_OF[kind] if key not in data]
    return []


def secret_warnings(obj: Obj) -> list[str]:
    """A TLS secret whose key is not its certificate's is stored, but told of."""
    if obj.get("type") != "kubernetes.io/tls":
        return []
    data = obj.get("data") or {}
    certificate, key = (base64.b64decode(data.get(name) or "") for name in _ALL_OF["kubernetes.io/tls"])
    found = tls_pairs.fault(certificate, key)
    return [found] if found else []


MOUNTABLE_SECRETS = "kubernetes.io/enforce-mountable-secrets"


def service_account_warnings(obj: Obj, old: Obj | None) -> list[str]:
    """The annotation is told of when it is new."""
    had = MOUNTABLE_SECRETS in ((old or {"metadata": {}})["metadata"].get("annotations") or {})
    if had or MOUNTABLE_SECRETS not in (obj["metadata"].get("annotations") or {}):
        return []
    return [
        f"metadata.annotations[{MOUNTABLE_SECRETS}]: deprecated in v1.32+; prefer separate namespaces to isolate "
        "access to mounted secrets"
    ]


def _docker_config(data: dict[str, str], key: str) -> f.Errors:
    if key not in data:
        return [f.required(f"data[{key}]")]
    raw = base64.b64decode(data[key] or "")
    try:
        value: Any = json.loads(raw)
    except ValueError:
        value = raw
    if value is None or isinstance(value, dict):
        return []
    return [f.invalid(f"data[{key}]", "<secret contents redacted>", unmarshal_object_error(raw))]


def secret_update(obj: Obj, old: Obj) -> f.Errors:
    errors: f.Errors = []
    if obj.get("type", "") != old.get("type", ""):
        errors.append(f.invalid("type", obj.get("type", ""), "field is immutable"))
    return errors + _frozen(obj, old, ("data",)) + secret(obj)


def namespace(obj: Obj) -> f.Errors:
    return _namespace_finalizers(obj, indexed=False)


def namespace_finalize(obj: Obj) -> f.Errors:
    return _namespace_finalizers(obj, indexed=True)


def _namespace_finalizers(obj: Obj, *, indexed: bool) -> f.Errors:
    errors: f.Errors = []
    for i, name in enumerate((obj.get("spec") or {}).get("finalizers") or ()):
        path = f"spec.finalizers[{i}]" if indexed else "spec.finalizers"
        errors += [f.invalid(path, name, why) for why in names.is_qualified_name(name)]
        if "/" not in name and name not in STANDARD_FINALIZERS:
            why = "name is neither a standard finalizer name nor is it fully qualified"
            errors.append(f.invalid(path, name, why))
    return errors


def namespace_status(obj: Obj) -> f.Errors:
    phase = (obj.get("status") or {}).get("phase", "")
    deleted = bool(obj["metadata"].get("deletionTimestamp"))
    wanted = "Terminating" if deleted else "Active"
    if phase == wanted:
        return []
    state = "not empty" if deleted else "empty"
    return [f.invalid("status.Phase", phase, f"may only be '{wanted}' if `deletionTimestamp` is {state}")]


def endpoints(obj: Obj, old: Obj | None = None) -> f.Errors:
    errors: f.Errors = []
    known = _endpoint_ips(old) if old is not None else ()
    for i, subset in enumerate(obj.get("subsets") or ()):
        ready, waiting = subset.get("addresses") or (), subset.get("notReadyAddresses") or ()
        if not ready and not waiting:
            why = "must specify `addresses` or `notReadyAddresses`"
            errors.append(f.required(f"subsets[{i}]", why))
        for key, group in (("addresses", ready), ("notReadyAddresses", waiting)):
            for j, address in enumerate(group):
                _endpoint_address(address, f"subsets[{i}].{key}[{j}]", known, errors)
        ports = subset.get("ports") or ()
        for j, port in enumerate(ports):
            _endpoint_port(port, f"subsets[{i}].ports[{j}]", len(ports) > 1, errors)
    return errors


def _endpoint_ips(obj: Obj) -> Collection[str]:
    return {
        address.get("ip", "")
        for subset in obj.get("subsets") or ()
        for key in ("addresses", "notReadyAddresses")
        for address in subset.get(key) or ()
    }


def _endpoint_address(address: Obj, path: str, known: Collection[str], out: f.Errors) -> None:
    ip = address.get("ip", "")
    out += addresses.ip(ip, f"{path}.ip", known)
    if address.get("hostname"):
        out += dns_label(address["hostname"], f"{path}.hostname")
    node = address.get("nodeName")
    if node is not None:
        out += [f.invalid(f"{path}.nodeName", node, why) for why in names.is_dns1123_subdomain(node)]
    out += addresses.non_special(ip, f"{path}.ip")


def _endpoint_port(port: Obj, path: str, name_needed: bool, out: f.Errors) -> None:
    name = port.get("name", "")
    if name:
        out += dns_label(name, f"{path}.name")
    elif name_needed:
        out.append(f.required(f"{path}.name"))
    number = port.get("port", 0)
    out += [f.invalid(f"{path}.port", number, why) for why in names.is_port_number(number)]
    protocol(port.get("protocol", ""), f"{path}.protocol", out)
    app_protocol(port, path, out)


def dns_label(value: str, path: str) -> f.Errors:
    return [f.invalid(path, value, why) for why in names.is_dns1123_label(value)]


def subdomain(value: str, path: str) -> f.Errors:
    return [f.invalid(path, value, why) for why in names.is_dns1123_subdomain(value)]


def protocol(value: str, path: str, out: f.Errors) -> None:
    if not value:
        out.append(f.required(path))
    elif value not in PROTOCOLS:
        out.append(f.not_supported(path, value, PROTOCOLS))


def app_protocol(port: Obj, path: str, out: f.Errors) -> None:
    value = port.get("appProtocol")
    if value is not None:
        out += [f.invalid(f"{path}.appProtocol", value, why) for why in names.is_qualified_name(value)]
