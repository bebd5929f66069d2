"""Validation of the kinds in resource.k8s.io (pkg/apis/resource/validation), at v1.

Stored expressions and parameters are not looked at again when an update leaves them alone.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from pilothouse.api import field as f
from pilothouse.api.cel import types as cel
from pilothouse.api.cel.compiler import DEVICE, CompileError
from pilothouse.api.cel.cost import cost_max
from pilothouse.api.cel.devices import COST_MAX, device_sizes
from pilothouse.api.types import Obj
from pilothouse.api.validation import fields, gotext, names
from pilothouse.api.validation.storage import csi_driver_name as driver_name

REQUESTS_MAX = 32
ALTERNATIVES_MAX = 8
CONSTRAINTS_MAX = 32
CONFIGS_MAX = 32
SELECTORS_MAX = 32
TOLERATIONS_MAX = 16
RESULTS_MAX = 32
RESERVED_FOR_MAX = 256
EXPRESSION_BYTES_MAX = 10 * 1024
PARAMETERS_BYTES_MAX = 10 * 1024
POOL_NAME_BYTES_MAX = 253
DEVICES_MAX = 128
DEVICES_WITH_TAINTS_OR_COUNTERS_MAX = 64
ATTRIBUTES_AND_CAPACITIES_MAX = 32
ATTRIBUTE_BYTES_MAX = 64
IDENTIFIER_BYTES_MAX = 32
DOMAIN_BYTES_MAX = 63
TAINTS_MAX = 16
BINDING_CONDITIONS_MAX = 4
STATUS_CONDITIONS_MAX = 8
NETWORK_IPS_MAX = 16
INTERFACE_NAME_BYTES_MAX = 256
HARDWARE_ADDRESS_BYTES_MAX = 128
COUNTER_SETS_MAX = 8
COUNTERS_MAX = 32
COUNTER_CONSUMPTIONS_MAX = 2

ALLOCATION_MODES = ("All", "ExactCount")
CONFIG_SOURCES = ("FromClaim", "FromClass")
TOLERATION_OPERATORS = ("Equal", "Exists")
TAINT_EFFECTS = ("NoExecute", "NoSchedule", "None")

Rule = Callable[[Any, str], f.Errors]


# Lists, sets and maps


def _items(items: Sequence[Any], path: str, most: int, rule: Rule) -> f.Errors:
    """Each item's errors; too many are told without looking at any."""
    if len(items) > most:
        return [f.too_many(path, len(items), most)]
    return [error for i, item in enumerate(items) for error in rule(item, f"{path}[{i}]")]


def _unique(
    items: Sequence[Any], path: str, most: int, rule: Rule, key: Callable[[Any], Any] = lambda item: item
) -> f.Errors:
    if len(items) > most:
        return [f.too_many(path, len(items), most)]
    errors = _items(items, path, most, rule)
    seen: set[Any] = set()
    for i, item in enumerate(items):
        if key(item) in seen:
            errors.append(f.duplicate(f"{path}[{i}]", key(item)))
        seen.add(key(item))
    return errors


def _name(item: Obj) -> str:
    return str(item.get("name", ""))


def _entries(items: Mapping[str, Any], path: str, most: int, key_rule: Rule, rule: Rule) -> f.Errors:
    if len(items) > most:
        return [f.too_many(path, len(items), most)]
    errors: f.Errors = []
    for key, item in items.items():
        errors += key_rule(key, path)
        errors += rule(item, f"{path}[{_shortened(key)}]")
    return errors


def _shortened(key: str) -> str:
    """A long key with its middle left out."""
    most = DOMAIN_BYTES_MAX + 1 + IDENTIFIER_BYTES_MAX
    if len(key) <= most:
        return key
    kept = most - 3
    return f"{key[: (kept + 1) // 2]}...{key[len(key) - kept // 2 :]}"


UNLIMITED = 1 << 31


# Names


def _label(value: str, path: str) -> f.Errors:
    return [f.invalid(path, value, text) for text in names.is_dns1123_label(value)]


def _subdomain(value: str, path: str) -> f.Errors:
    return [f.invalid(path, value, text) for text in names.is_dns1123_subdomain(value)]


def _pool_name(name: str, path: str) -> f.Errors:
    if not name:
        return [f.required(path)]
    errors: f.Errors = []
    if len(name.encode()) > POOL_NAME_BYTES_MAX:
        errors.append(f.too_long(path, name, POOL_NAME_BYTES_MAX))
    for part in name.split("/"):
        errors += _subdomain(part, path)
    return errors


_C_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_C_IDENTIFIER_TEXT = (
    "a valid C identifier must start with alphabetic character or '_', followed by a string of alphanumeric "
    "characters or '_' (e.g. 'my_name',  or 'MY_NAME',  or 'MyName', regex used for validation is "
    "'[A-Za-z_][A-Za-z0-9_]*')"
)


def _identifier(value: str, path: str) -> f.Errors:
    errors: f.Errors = []
    if len(value.encode()) > IDENTIFIER_BYTES_MAX:
        errors.append(f.too_long(path, value, IDENTIFIER_BYTES_MAX))
    if not _C_IDENTIFIER.fullmatch(value):
        errors.append(f.invalid(path, value, _C_IDENTIFIER_TEXT))
    return errors


def _qualified(name: str, path: str) -> f.Errors:
    """[DOMAIN/]IDENTIFIER."""
    parts = name.split("/")
    if len(parts) == 1:
        return _identifier(name, path)
    if len(parts) > 2:
        return []
    domain, identifier = parts
    errors: f.Errors = []
    if not domain:
        errors.append(f.invalid(path, "", "the domain must not be empty"))
    else:
        errors += driver_name(domain, path)
    if not identifier:
        errors.append(f.invalid(path, "", "the name must not be empty"))
    else:
        errors += _identifier(identifier, path)
    return errors


def _fully_qualified(name: str, path: str) -> f.Errors:
    errors = _qualified(name, path)
    if "/" not in name:
        why = "a fully qualified name must be a domain and a name separated by a slash"
        errors.append(f.invalid(path, name, why))
    return errors


# Claims

RequestNames = Mapping[str, frozenset[str]]
"""Requests by name, with the names of their alternatives."""


def _request_names(devices: Obj) -> RequestNames:
    return {
        _name(request): frozenset(_name(sub) for sub in request.get("firstAvailable") or ())
        for request in devices.get("requests") or ()
    }


def resource_claim(obj: Obj) -> f.Errors:
    return _claim_spec(obj["spec"], "spec")


def resource_claim_update(obj: Obj, old: Obj) -> f.Errors:
    return _immutable(obj["spec"], old["spec"], "spec", _CLAIM_SPEC)


def _immutable(new: Any, old: Any, path: str, struct: gotext.Struct) -> f.Errors:
    if new == old:
        return []
    return [f.invalid(path, gotext.text(new, struct), "field is immutable")]


def resource_claim_template(obj: Obj) -> f.Errors:
    spec = obj["spec"]
    metadata = spec.get("metadata") or {}
    errors = fields.template_metadata(metadata, "spec.metadata")
    return errors + _claim_spec(spec["spec"], "spec.spec")


def resource_claim_template_update(obj: Obj, old: Obj) -> f.Errors:
    new_spec, old_spec = obj["spec"], old["spec"]
    if new_spec == old_spec:
        return []
    # Go prints the template's metadata, which is embedded, among the fields of the spec.
    shown = {
        **(new_spec.get("metadata") or {}),
        "Spec": gotext.plain(new_spec["spec"], _CLAIM_SPEC),
    }
    return [f.invalid("spec", shown, "field is immutable")]


def _claim_spec(spec: Obj, path: str) -> f.Errors:
    devices, path = spec["devices"], f"{path}.devices"
    known = _request_names(devices)
    requests = devices.get("requests") or []
    errors = _unique(requests, f"{path}.requests", REQUESTS_MAX, _request, _name)
    errors += _items(
        devices.get("constraints") or [],
        f"{path}.constraints",
        CONSTRAINTS_MAX,
        lambda constraint, at: _constraint(constraint, at, known),
    )
    return errors + _items(
        devices.get("config") or [],
        f"{path}.config",
        CONFIGS_MAX,
        lambda config, at: _claim_config(config, at, known),
    )


def _request(request: Obj, path: str) -> f.Errors:
    errors = _label(_name(request), f"{path}.name")
    exactly, alternatives = request.get("exactly"), request.get("firstAvailable") or []
    why = "exactly one of `exactly` or `firstAvailable` is required"
    if exactly is None and not alternatives:
        return [*errors, f.required(path, why)]
    if exactly is not None and alternatives:
        return [*errors, f.invalid(path, gotext.NULL, f"{why}, but multiple fields are set")]
    if exactly is not None:
        return errors + _exact(exactly, f"{path}.exactly")
    return errors + _unique(alternatives, f"{path}.firstAvailable", ALTERNATIVES_MAX, _alternative, _name)


def _alternative(request: Obj, path: str) -> f.Errors:
    return _label(_name(request), f"{path}.name") + _exact(request, path)


def _exact(request: Obj, path: str) -> f.Errors:
    name = request.get("deviceClassName", "")
    at = f"{path}.deviceClassName"
    errors = _subdomain(name, at) if name else [f.required(at)]
    errors += _items(request.get("selectors") or [], f"{path}.selectors", SELECTORS_MAX, _selector)
    errors += _allocation_mode(request, path)
    tolerations = request.get("tolerations") or []
    return errors + _items(tolerations, f"{path}.tolerations", TOLERATIONS_MAX, _toleration)


def _allocation_mode(request: Obj, path: str) -> f.Errors:
    mode, count = request.get("allocationMode", ""), request.get("count", 0)
    if mode == "All":
        if count:
            why = "must not be specified when allocationMode is 'All'"
            return [f.invalid(f"{path}.count", count, why)]
    elif mode == "ExactCount":
        if count <= 0:
            return [f.invalid(f"{path}.count", count, "must be greater than zero")]
    else:
        return [f.not_supported(f"{path}.allocationMode", mode, ALLOCATION_MODES)]
    return []


def _selector(selector: Obj, path: str) -> f.Errors:
    body = selector.get("cel")
    if body is None:
        return [f.required(f"{path}.cel")]
    return _expression(body.get("expression", ""), f"{path}.cel.expression")


def _expression(expression: str, path: str) -> f.Errors:
    if len(expression.encode()) > EXPRESSION_BYTES_MAX:
        return [f.too_long(path, expression, EXPRESSION_BYTES_MAX)]
    try:
        program = DEVICE.program(expression)
    except CompileError as error:
        return [f.invalid(path, expression, str(error))]
    if program.type not in (cel.BOOL, cel.ANY, cel.DYN):
        why = f"must evaluate to bool or the unknown type, not {program.type}"
        return [f.invalid(path, expression, why)]
    if cost_max(program, device_sizes) > COST_MAX:
        return [f.forbidden(path, "too complex, exceeds cost limit")]
    return []


def _constraint(constraint: Obj, path: str, known: RequestNames) -> f.Errors:
    errors = _request_references(constraint, path, known)
    match, distinct = constraint.get("matchAttribute"), constraint.get("distinctAttribute")
    if match is not None:
        return errors + _fully_qualified(match, f"{path}.matchAttribute")
    if distinct is not None:
        return errors + _fully_qualified(distinct, f"{path}.distinctAttribute")
    why = 'exactly one of "matchAttribute" or "distinctAttribute" is required, but multiple fields are set'
    return [*errors, f.required(path, why)]


def _request_references(holder: Obj, path: str, known: RequestNames) -> f.Errors:
    return _unique(
        holder.get("requests") or [],
        f"{path}.requests",
        REQUESTS_MAX,
        lambda name, at: _request_reference(name, at, known),
    )


def _request_reference(name: str, path: str, known: RequestNames) -> f.Errors:
    why = (
        "must be the name of a request in the claim or the name of a request and a subrequest "
        "separated by '/'"
    )
    segments = name.split("/")
    if len(segments) > 2:
        return [f.invalid(path, name, why)]
    errors = [error for segment in segments for error in _label(segment, path)]
    request, *sub = segments
    if request not in known or (sub and sub[0] not in known[request]):
        errors.append(f.invalid(path, name, why))
    return errors


def _claim_config(config: Obj, path: str, known: RequestNames) -> f.Errors:
    return _request_references(config, path, known) + _config(config, path)


def _config(config: Obj, path: str) -> f.Errors:
    opaque, path = config.get("opaque"), f"{path}.opaque"
    if opaque is None:
        return [f.required(path)]
    errors = driver_name(opaque.get("driver", ""), f"{path}.driver")
    return errors + _raw_object(opaque.get("parameters"), f"{path}.parameters")


def _raw_object(value: Any, path: str) -> f.Errors:
    if value is None:
        return [f.required(path)]
    if len(msgspec.json.encode(value)) > PARAMETERS_BYTES_MAX:
        return [f.too_long(path, "", PARAMETERS_BYTES_MAX)]
    if not isinstance(value, dict):
        return [f.invalid(path, "<value omitted>", "must be a valid JSON object")]
    return []


def _toleration(toleration: Obj, path: str) -> f.Errors:
    key, value = toleration.get("key", ""), toleration.get("value", "")
    operator, effect = toleration.get("operator", ""), toleration.get("effect", "")
    errors = fields.label_name(key, f"{path}.key") if key else []
    if operator == "Exists":
        if value:
            errors.append(f.invalid(f"{path}.value", value, "must be empty for operator `Exists`"))
    elif operator == "Equal":
        errors += _label_value(value, f"{path}.value")
    elif not operator:
        errors.append(f.required(f"{path}.operator"))
    else:
        errors.append(f.not_supported(f"{path}.operator", operator, TOLERATION_OPERATORS))
    if effect and effect not in TAINT_EFFECTS:
        errors.append(f.not_supported(f"{path}.effect", effect, TAINT_EFFECTS))
    return errors


def _label_value(value: str, path: str) -> f.Errors:
    return [f.invalid(path, value, text) for text in names.is_label_value(value)]


# A claim's status


def resource_claim_status_update(obj: Obj, old: Obj) -> f.Errors:
    status, before, path = obj["status"], old["status"], "status"
    known = _request_names(obj["spec"]["devices"])
    reserved = status.get("reservedFor") or []
    errors = _unique(
        reserved, f"{path}.reservedFor", RESERVED_FOR_MAX, _consumer, lambda ref: ref.get("uid", "")
    )
    allocation = status.get("allocation")
    results = ((allocation or {}).get("devices") or {}).get("results") or ()
    allocated = {_device_id(result) for result in results}
    errors += _unique(
        status.get("devices") or [],
        f"{path}.devices",
        UNLIMITED,
        lambda device, at: _device_status(device, at, allocated),
        _device_id,
    )
    is_new = any(ref not in (before.get("reservedFor") or ()) for ref in reserved)
    if reserved and allocation is None:
        why = "may not be specified when `allocated` is not set"
        errors.append(f.forbidden(f"{path}.reservedFor", why))
    elif is_new and obj["metadata"].get("deletionTimestamp"):
        why = "new entries may not be added while `deallocationRequested` or `deletionTimestamp` are set"
        errors.append(f.forbidden(f"{path}.reservedFor", why))
    if allocation is None:
        return errors
    if before.get("allocation") is not None:
        if allocation != before["allocation"]:
            errors.append(f.invalid(f"{path}.allocation", allocation, "field is immutable"))
        return errors
    return errors + _allocation(allocation, f"{path}.allocation", known)


def _device_id(device: Obj) -> str:
    """As upstream prints a SharedDeviceID."""
    parts = [str(device.get(key, "")) for key in ("driver", "pool", "device")]
    return "/".join([*parts, device["shareID"]] if device.get("shareID") else parts)


def _consumer(ref: Obj, path: str) -> f.Errors:
    return [f.required(f"{path}.{key}") for key in ("resource", "name", "uid") if not ref.get(key)]


def _allocation(allocation: Obj, path: str, known: RequestNames) -> f.Errors:
    devices = allocation["devices"]
    errors = _items(
        devices.get("results") or [],
        f"{path}.devices.results",
        RESULTS_MAX,
        lambda result, at: _result(result, at, known),
    )
    errors += _items(
        devices.get("config") or [],
        f"{path}.devices.config",
        2 * CONFIGS_MAX,
        lambda config, at: _allocation_config(config, at, known),
    )
    return errors + _node_selector(allocation.get("nodeSelector"), f"{path}.nodeSelector")


def _node_selector(selector: Obj | None, path: str) -> f.Errors:
    if selector is None:
        return []
    terms, at = selector.get("nodeSelectorTerms") or [], f"{path}.nodeSelectorTerms"
    if not terms:
        return [f.required(at, "must have at least one node selector term")]
    errors: f.Errors = []
    for i, term in enumerate(terms):
        for j, requirement in enumerate(term.get("matchExpressions") or ()):
            errors += _node_requirement(requirement, f"{at}[{i}].matchExpressions[{j}]")
    return errors


def _node_requirement(requirement: Obj, path: str) -> f.Errors:
    operator, values = requirement.get("operator", ""), requirement.get("values") or []
    at = f"{path}.values"
    errors: f.Errors = []
    if operator in ("In", "NotIn"):
        if not values:
            errors.append(f.required(at, "must be specified when `operator` is 'In' or 'NotIn'"))
    elif operator in ("Exists", "DoesNotExist"):
        if values:
            why = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
            errors.append(f.forbidden(at, why))
    elif operator in ("Gt", "Lt"):
        if len(values) != 1:
            errors.append(f.required(at, "must be specified single value when `operator` is 'Lt' or 'Gt'"))
    else:
        errors.append(f.invalid(f"{path}.operator", operator, "not a valid selector operator"))
    errors += fields.label_name(requirement.get("key", ""), f"{path}.key")
    return errors + [error for i, value in enumerate(values) for error in _label_value(value, f"{at}[{i}]")]


def _result(result: Obj, path: str, known: RequestNames) -> f.Errors:
    errors = _request_reference(result.get("request", ""), f"{path}.request", known)
    errors += _device_reference(result, path)
    errors += _binding_conditions(result, path)
    tolerations = result.get("tolerations") or []
    return errors + _items(tolerations, f"{path}.tolerations", TOLERATIONS_MAX, _toleration)


def _device_reference(holder: Obj, path: str) -> f.Errors:
    errors = driver_name(holder.get("driver", ""), f"{path}.driver")
    errors += _pool_name(holder.get("pool", ""), f"{path}.pool")
    errors += _label(holder.get("device", ""), f"{path}.device")
    share = holder.get("shareID")
    return errors if share is None else errors + _uuid(share, f"{path}.shareID")


_UUID = re.compile(r"[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}")


def _uuid(value: str, path: str) -> f.Errors:
    if len(value) != 36:
        why = f"error validating uid: invalid UUID length: {len(value)}"
        return [f.invalid(path, value, why)]
    if not _UUID.fullmatch(value):
        return [f.invalid(path, value, "error validating uid: invalid UUID format")]
    if value != value.lower():
        why = (
            "uid must be in RFC 4122 normalized form, `xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx` with lowercase "
            "hexadecimal characters"
        )
        return [f.invalid(path, value, why)]
    return []


def _allocation_config(config: Obj, path: str, known: RequestNames) -> f.Errors:
    source = config.get("source", "")
    errors: f.Errors = []
    if not source:
        errors.append(f.required(f"{path}.source"))
    elif source not in CONFIG_SOURCES:
        errors.append(f.not_supported(f"{path}.source", source, ("FromClaim", "FromClass")))
    return errors + _claim_config(config, path, known)


def _device_status(device: Obj, path: str, allocated: set[str]) -> f.Errors:
    errors = _device_reference(device, path)
    if _device_id(device) not in allocated:
        errors.append(f.invalid(path, _device_id(device), "must be an allocated device in the claim"))
    conditions = device.get("conditions") or []
    if len(conditions) > STATUS_CONDITIONS_MAX:
        errors.append(f.too_many(f"{path}.conditions", len(conditions), STATUS_CONDITIONS_MAX))
    errors += fields.conditions(conditions, f"{path}.conditions")
    if device.get("data") is not None:
        errors += _raw_object(device["data"], f"{path}.data")
    network = device.get("networkData")
    return errors if network is None else errors + _network(network, f"{path}.networkData")


def _network(network: Obj, path: str) -> f.Errors:
    errors: f.Errors = []
    for key, most in (
        ("interfaceName", INTERFACE_NAME_BYTES_MAX),
        ("hardwareAddress", HARDWARE_ADDRESS_BYTES_MAX),
    ):
        if len(network.get(key, "").encode()) > most:
            errors.append(f.too_long(f"{path}.{key}", network[key], most))
    return errors + _unique(network.get("ips") or [], f"{path}.ips", NETWORK_IPS_MAX, _interface_address)


def _interface_address(address: str, path: str) -> f.Errors:
    try:
        parsed = ipaddress.ip_interface(address)
    except ValueError:
        parsed = None
    if parsed is None or "/" not in address:
        why = "must be a valid address in CIDR form, (e.g. 10.9.8.7/24 or 2001:db8::1/64)"
        return [f.invalid(path, address, why)]
    if str(parsed) != address:
        return [f.invalid(path, address, f'must be in canonical form ("{parsed}")')]
    return []


# Device classes


def device_class(obj: Obj, old: Obj | None = None) -> f.Errors:
    spec = obj["spec"]
    before: Obj = old["spec"] if old is not None else {}
    errors: f.Errors = []
    selectors = spec.get("selectors") or []
    stored = old is not None and selectors == (before.get("selectors") or [])
    errors += _items(selectors, "spec.selectors", SELECTORS_MAX, _stored_selector if stored else _selector)
    errors += _items(spec.get("config") or [], "spec.config", CONFIGS_MAX, _config)
    extended = spec.get("extendedResourceName")
    if extended is not None and not _is_extended_resource(extended):
        why = "must be a valid extended resource name"
        errors.append(f.invalid("spec.extendedResourceName", extended, why))
    return errors


def _stored_selector(selector: Obj, path: str) -> f.Errors:
    return [f.required(f"{path}.cel")] if selector.get("cel") is None else []


def _is_extended_resource(name: str) -> bool:
    """A domain of its own, and still a name with the quota's prefix before it."""
    if "/" not in name or "kubernetes.io/" in name or name.startswith("requests."):
        return False
    return not names.is_qualified_name(f"requests.{name}")


# Slices


def resource_slice(obj: Obj, old: Obj | None = None) -> f.Errors:
    spec, path = obj["spec"], "spec"
    before = old["spec"] if old is not None else None
    errors = driver_name(spec.get("driver", ""), f"{path}.driver")
    errors += _pool(spec["pool"], f"{path}.pool")
    if before is not None:
        errors += fields.immutable(
            spec["pool"].get("name", ""), before["pool"].get("name", ""), f"{path}.pool.name"
        )
        for key in ("driver", "nodeName"):
            errors += fields.immutable(spec.get(key), before.get(key), f"{path}.{key}")
    errors += _slice_nodes(spec, path)
    devices, shared = spec.get("devices") or [], spec.get("sharedCounters") or []
    if devices and shared:
        errors.append(f.invalid(path, "", "only one of `sharedCounters` or `devices` is allowed"))
    heavy = any(device.get("taints") or device.get("consumesCounters") for device in devices)
    old_devices = {_name(device): device for device in (before or {}).get("devices") or ()}
    per_device = spec.get("perDeviceNodeSelection") is True
    errors += _unique(
        devices,
        f"{path}.devices",
        DEVICES_WITH_TAINTS_OR_COUNTERS_MAX if heavy else DEVICES_MAX,
        lambda device, at: _device(device, at, old_devices.get(_name(device)), per_device),
        _name,
    )
    return errors + _unique(shared, f"{path}.sharedCounters", COUNTER_SETS_MAX, _counter_set, _name)


def _pool(pool: Obj, path: str) -> f.Errors:
    count, generation = pool.get("resourceSliceCount", 0), pool.get("generation", 0)
    errors = _pool_name(_name(pool), f"{path}.name")
    if count <= 0:
        errors.append(f.invalid(f"{path}.resourceSliceCount", count, "must be greater than zero"))
    if generation < 0:
        why = "must be greater than or equal to zero"
        errors.append(f.invalid(f"{path}.generation", generation, why))
    return errors


def _slice_nodes(spec: Obj, path: str) -> f.Errors:
    errors: f.Errors = []
    chosen: list[str] = []
    name, selector = spec.get("nodeName"), spec.get("nodeSelector")
    if name is not None:
        if name:
            chosen.append("`nodeName`")
            errors += _subdomain(name, f"{path}.nodeName")
        else:
            why = "must be either unset or set to a non-empty string"
            errors.append(f.invalid(f"{path}.nodeName", name, why))
    if selector is not None:
        chosen.append("`nodeSelector`")
        errors += _node_selector(selector, f"{path}.nodeSelector")
        terms = selector.get("nodeSelectorTerms") or []
        if len(terms) != 1:
            why = "must have exactly one node selector term"
            errors.append(f.invalid(f"{path}.nodeSelector.nodeSelectorTerms", terms, why))
    for key in ("allNodes", "perDeviceNodeSelection"):
        errors += _true_or_unset(spec, key, path, chosen)
    why = "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required"
    if not chosen:
        errors.append(f.required(path, why))
    elif len(chosen) > 1:
        shown = f"{{{', '.join(chosen)}}}"
        errors.append(f.invalid(path, shown, f"{why}, but multiple fields are set"))
    return errors


def _true_or_unset(holder: Obj, key: str, path: str, chosen: list[str]) -> f.Errors:
    value = holder.get(key)
    if value:
        chosen.append(f"`{key}`")
    elif value is not None:
        return [f.invalid(f"{path}.{key}", value, "must be either unset or set to true")]
    return []


def _device(device: Obj, path: str, old: Obj | None, per_device: bool) -> f.Errors:
    errors = _label(_name(device), f"{path}.name")
    attributes, capacity = device.get("attributes") or {}, device.get("capacity") or {}
    count = len(attributes) + len(capacity)
    if count > ATTRIBUTES_AND_CAPACITIES_MAX:
        why = f"the total number of attributes and capacities must not exceed {ATTRIBUTES_AND_CAPACITIES_MAX}"
        errors.append(f.invalid(path, count, why))
    errors += _entries(attributes, f"{path}.attributes", UNLIMITED, _qualified, _attribute)
    if old is None or capacity != (old.get("capacity") or {}):
        shared = device.get("allowMultipleAllocations") is True
        errors += _entries(
            capacity, f"{path}.capacity", UNLIMITED, _qualified, _any if shared else _unshared_capacity
        )
    taints = device.get("taints") or []
    if old is None or taints != (old.get("taints") or []):
        errors += _items(taints, f"{path}.taints", TAINTS_MAX, _taint)
    errors += _unique(
        device.get("consumesCounters") or [],
        f"{path}.consumesCounters",
        COUNTER_CONSUMPTIONS_MAX,
        _counter_consumption,
        lambda consumption: consumption.get("counterSet", ""),
    )
    errors += _device_nodes(device, path, per_device)
    return errors + _binding_conditions(device, path)


def _any(_value: Any, _path: str) -> f.Errors:
    return []


def _unshared_capacity(capacity: Obj, path: str) -> f.Errors:
    if capacity.get("requestPolicy") is None:
        return []
    return [f.forbidden(f"{path}.requestPolicy", "allowMultipleAllocations must be true")]


_SEMVER = re.compile(
    r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)"
    r"(-(0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*)(\.(0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*))*)?"
    r"(\+[0-9a-zA-Z-]+(\.[0-9a-zA-Z-]+)*)?",
    re.ASCII,
)
_ATTRIBUTE = gotext.struct(
    json={"IntValue": "int", "BoolValue": "bool", "StringValue": "string", "VersionValue": "version"},
    IntValue=None,
    BoolValue=None,
    StringValue=None,
    VersionValue=None,
)


def _attribute(attribute: Obj, path: str) -> f.Errors:
    errors: f.Errors = []
    text, version = attribute.get("string"), attribute.get("version")
    if text is not None:
        errors += _short_enough(text, f"{path}.string")
    if version is not None:
        if not _SEMVER.fullmatch(version):
            why = "must be a string compatible with semver.org spec 2.0.0"
            errors.append(f.invalid(f"{path}.version", version, why))
        errors += _short_enough(version, f"{path}.version")
    values = sum(attribute.get(key) is not None for key in ("int", "bool", "string", "version"))
    if values == 0:
        errors.append(f.invalid(path, "", "exactly one value must be specified"))
    elif values > 1:
        shown = gotext.text(attribute, _ATTRIBUTE)
        errors.append(f.invalid(path, shown, "exactly one value must be specified"))
    return errors


def _short_enough(text: str, path: str) -> f.Errors:
    if len(text.encode()) <= ATTRIBUTE_BYTES_MAX:
        return []
    return [f.too_long(path, text, ATTRIBUTE_BYTES_MAX)]


def _taint(taint: Obj, path: str) -> f.Errors:
    value, effect = taint.get("value", ""), taint.get("effect", "")
    errors = fields.label_name(taint.get("key", ""), f"{path}.key")
    if value:
        errors += _label_value(value, f"{path}.value")
    if not effect:
        errors.append(f.required(f"{path}.effect"))
    elif effect not in TAINT_EFFECTS:
        errors.append(f.not_supported(f"{path}.effect", effect, TAINT_EFFECTS))
    return errors


def _counter_set(counters: Obj, path: str) -> f.Errors:
    return _counters(counters, path, "name")


def _counter_consumption(consumption: Obj, path: str) -> f.Errors:
    return _counters(consumption, path, "counterSet")


def _counters(holder: Obj, path: str, key: str) -> f.Errors:
    name, counters = holder.get(key, ""), holder.get("counters") or {}
    errors = _label(name, f"{path}.{key}") if name else [f.required(f"{path}.{key}")]
    if not counters:
        return [*errors, f.required(f"{path}.counters")]
    return errors + _entries(counters, f"{path}.counters", COUNTERS_MAX, _label, _any)


def _device_nodes(device: Obj, path: str, per_device: bool) -> f.Errors:
    name, selector = device.get("nodeName"), device.get("nodeSelector")
    if not per_device:
        if any(device.get(key) is not None for key in ("nodeName", "nodeSelector", "allNodes")):
            why = (
                "`nodeName`, `nodeSelector` and `allNodes` can only be set if `perDeviceNodeSelection` "
                "is set to true in the ResourceSlice spec"
            )
            return [f.invalid(path, gotext.NULL, why)]
        return []
    errors: f.Errors = []
    chosen: list[str] = []
    if name:
        chosen.append("`nodeName`")
        errors += _subdomain(name, f"{path}.nodeName")
    elif name is not None:
        errors.append(f.invalid(f"{path}.nodeName", name, "must not be empty"))
    if selector is not None:
        chosen.append("`nodeSelector`")
        errors += _node_selector(selector, f"{path}.nodeSelector")
    errors += _true_or_unset(device, "allNodes", path, chosen)
    why = (
        "exactly one of `nodeName`, `nodeSelector`, or `allNodes` is required when `perDeviceNodeSelection` "
        "is set to true in the ResourceSlice spec"
    )
    if not chosen:
        errors.append(f.required(path, why))
    elif len(chosen) > 1:
        errors.append(f.invalid(path, f"{{{', '.join(chosen)}}}", why))
    return errors


def _binding_conditions(holder: Obj, path: str) -> f.Errors:
    wanted, failed = holder.get("bindingConditions") or [], holder.get("bindingFailureConditions") or []
    at, failed_at = f"{path}.bindingConditions", f"{path}.bindingFailureConditions"
    errors = _items(wanted, at, BINDING_CONDITIONS_MAX, fields.label_name)
    errors += _items(failed, failed_at, BINDING_CONDITIONS_MAX, fields.label_name)
    errors += _repeated(wanted, at)
    for i, condition in enumerate(failed):
        if condition in failed[:i]:
            errors.append(f.duplicate(f"{failed_at}[{i}]", condition))
        if condition in wanted:
            why = "bindingFailureConditions must not overlap with bindingConditions"
            errors.append(f.invalid(f"{failed_at}[{i}]", condition, why))
    if failed and not wanted:
        why = "bindingConditions are required to use bindingFailureConditions"
        errors.append(f.invalid(at, gotext.NULL, why))
    if wanted and not failed:
        why = "bindingFailureConditions are required to use bindingConditions"
        errors.append(f.invalid(failed_at, gotext.NULL, why))
    return errors


def _repeated(items: Sequence[str], path: str) -> f.Errors:
    return [f.duplicate(f"{path}[{i}]", item) for i, item in enumerate(items) if item in items[:i]]


# Go's structs

_SELECTOR = gotext.struct(CEL=gotext.Maybe(gotext.struct(Expression="")))
_TOLERATION = gotext.struct(Key="", Operator="", Value="", Effect="", TolerationSeconds=None)
_CAPACITY = gotext.struct(Requests=None)
_EXACT = gotext.struct(
    DeviceClassName="",
    Selectors=gotext.Maybe(_SELECTOR),
    AllocationMode="",
    Count=0,
    AdminAccess=None,
    Tolerations=gotext.Maybe(_TOLERATION),
    Capacity=gotext.Maybe(_CAPACITY),
)
_ALTERNATIVE = gotext.struct(
    Name="",
    DeviceClassName="",
    Selectors=gotext.Maybe(_SELECTOR),
    AllocationMode="",
    Count=0,
    Tolerations=gotext.Maybe(_TOLERATION),
    Capacity=gotext.Maybe(_CAPACITY),
)
_REQUEST = gotext.struct(Name="", Exactly=gotext.Maybe(_EXACT), FirstAvailable=gotext.Maybe(_ALTERNATIVE))
_CONSTRAINT = gotext.struct(Requests=None, MatchAttribute=None, DistinctAttribute=None)
_CONFIG = gotext.struct(Requests=None, Opaque=gotext.Maybe(gotext.struct(Driver="", Parameters=None)))
_CLAIM_SPEC = gotext.struct(
    Devices=gotext.struct(
        Requests=gotext.Maybe(_REQUEST),
        Constraints=gotext.Maybe(_CONSTRAINT),
        Config=gotext.Maybe(_CONFIG),
    )
)
