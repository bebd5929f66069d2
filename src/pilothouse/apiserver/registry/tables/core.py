"""Table columns of the core kinds that are no workloads (pkg/printers/internalversion/printers.go)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pilothouse.api.types import Obj
from pilothouse.api.validation.persistent_volumes import CLASS_ANNOTATION
from pilothouse.apiserver.registry.tables.cells import age, name
from pilothouse.apiserver.registry.tables.column import AGE, NAME, Column, Table
from pilothouse.apiserver.registry.tables.workload_cells import NONE, formatted

UNSET = "<unset>"
UNKNOWN = "<unknown>"
LISTED_MAX = 3
_ROLE_PREFIX = "node-role.kubernetes.io/"
_ROLE_LABEL = "kubernetes.io/role"
_ACCESS_MODES = {
    "ReadWriteOnce": "RWO",
    "ReadOnlyMany": "ROX",
    "ReadWriteMany": "RWX",
    "ReadWriteOncePod": "RWOP",
}


def _config_map(obj: Obj, now_s: float) -> list[Any]:
    count = len(obj.get("data") or ()) + len(obj.get("binaryData") or ())
    return [name(obj), count, age(obj, now_s)]


def _secret(obj: Obj, now_s: float) -> list[Any]:
    return [name(obj), obj.get("type", ""), len(obj.get("data") or ()), age(obj, now_s)]


def _service(obj: Obj, now_s: float) -> list[Any]:
    spec = obj["spec"]
    return [
        name(obj),
        spec.get("type", ""),
        (spec.get("clusterIPs") or [NONE])[0],
        _external_ip(obj),
        ",".join(map(_port, spec.get("ports") or ())) or NONE,
        age(obj, now_s),
        formatted(spec.get("selector")),
    ]


def _port(port: Obj) -> str:
    node_port = f":{port['nodePort']}" if port.get("nodePort") else ""
    return f"{port.get('port', 0)}{node_port}/{port.get('protocol', '')}"


def _external_ip(obj: Obj) -> str:
    spec = obj["spec"]
    kind, external = spec.get("type"), spec.get("externalIPs") or []
    if kind in ("ClusterIP", "NodePort"):
        return ",".join(external) or NONE
    if kind == "LoadBalancer":
        return ",".join([*balancer_addresses(obj), *external]) or "<pending>"
    return str(spec.get("externalName", "")) if kind == "ExternalName" else UNKNOWN


def balancer_addresses(obj: Obj) -> list[str]:
    """status.loadBalancer: addresses, or names where there are none."""
    ingress = ((obj.get("status") or {}).get("loadBalancer") or {}).get("ingress") or ()
    return sorted({i.get("ip") or i.get("hostname") or "" for i in ingress} - {""})


def listed(items: Iterable[str], if_none: str) -> str:
    """The first three and how many more."""
    found = list(items)
    text = ",".join(found[:LISTED_MAX])
    if len(found) > LISTED_MAX:
        return f"{text} + {len(found) - LISTED_MAX} more..."
    return text or if_none


def _endpoints(obj: Obj, now_s: float) -> list[Any]:
    subsets = obj.get("subsets") or ()
    shown = listed(_subset_addresses(subsets), "") if subsets else NONE
    return [name(obj), shown, age(obj, now_s)]


def _subset_addresses(subsets: Iterable[Obj]) -> Iterable[str]:
    for subset in subsets:
        ips = [address.get("ip", "") for address in subset.get("addresses") or ()]
        ports = subset.get("ports")
        if not ports:
            yield from ips
        for port in ports or ():
            for ip in ips:
                yield f"[{ip}]:{port.get('port', 0)}" if ":" in ip else f"{ip}:{port.get('port', 0)}"


def _namespace(obj: Obj, now_s: float) -> list[Any]:
    return [name(obj), (obj.get("status") or {}).get("phase", ""), age(obj, now_s)]


def _node(obj: Obj, now_s: float) -> list[Any]:
    info = (obj.get("status") or {}).get("nodeInfo") or {}
    return [
        name(obj),
        _node_status(obj),
        _node_roles(obj["metadata"].get("labels") or {}),
        age(obj, now_s),
        info.get("kubeletVersion", ""),
        _node_address(obj, "InternalIP"),
        _node_address(obj, "ExternalIP"),
        info.get("osImage") or UNKNOWN,
        info.get("kernelVersion") or UNKNOWN,
        info.get("containerRuntimeVersion") or UNKNOWN,
    ]


def _node_status(obj: Obj) -> str:
    conditions = {c.get("type"): c.get("status") for c in (obj.get("status") or {}).get("conditions") or ()}
    status = "Unknown"
    if "Ready" in conditions:
        status = "Ready" if conditions["Ready"] == "True" else "NotReady"
    return f"{status},SchedulingDisabled" if (obj.get("spec") or {}).get("unschedulable") else status


def _node_roles(labels: dict[str, str]) -> str:
    roles = {key.removeprefix(_ROLE_PREFIX) for key in labels if key.startswith(_ROLE_PREFIX)}
    roles.add(labels.get(_ROLE_LABEL, ""))
    return ",".join(sorted(roles - {""})) or NONE


def _node_address(obj: Obj, kind: str) -> str:
    for address in (obj.get("status") or {}).get("addresses") or ():
        if address.get("type") == kind:
            return str(address.get("address", ""))
    return NONE


def _access_modes(modes: Iterable[str] | None) -> str:
    given = set(modes or ())
    return ",".join(short for mode, short in _ACCESS_MODES.items() if mode in given)


def _storage_class(obj: Obj) -> str:
    annotated = (obj["metadata"].get("annotations") or {}).get(CLASS_ANNOTATION)
    return str(annotated if annotated is not None else obj["spec"].get("storageClassName") or "")


def _phase(obj: Obj) -> str:
    if obj["metadata"].get("deletionTimestamp"):
        return "Terminating"
    return str((obj.get("status") or {}).get("phase", ""))


def _volume(obj: Obj, now_s: float) -> list[Any]:
    spec = obj["spec"]
    claim = spec.get("claimRef")
    return [
        name(obj),
        (spec.get("capacity") or {}).get("storage", "0"),
        _access_modes(spec.get("accessModes")),
        spec.get("persistentVolumeReclaimPolicy", ""),
        _phase(obj),
        f"{claim.get('namespace', '')}/{claim.get('name', '')}" if claim is not None else "",
        _storage_class(obj),
        spec.get("volumeAttributesClassName", UNSET),
        (obj.get("status") or {}).get("reason", ""),
        age(obj, now_s),
        spec.get("volumeMode", UNSET),
    ]


def _claim(obj: Obj, now_s: float) -> list[Any]:
    spec, status = obj["spec"], obj.get("status") or {}
    volume = spec.get("volumeName", "")
    return [
        name(obj),
        _phase(obj),
        volume,
        (status.get("capacity") or {}).get("storage", "0") if volume else "",
        _access_modes(status.get("accessModes")) if volume else "",
        _storage_class(obj),
        spec.get("volumeAttributesClassName", UNSET),
        age(obj, now_s),
        spec.get("volumeMode", UNSET),
    ]


def _service_account(obj: Obj, now_s: float) -> list[Any]:
    return [name(obj), age(obj, now_s)]


def _resource_quota(obj: Obj, now_s: float) -> list[Any]:
    status = obj.get("status") or {}
    used, hard = status.get("used") or {}, status.get("hard") or {}
    shown = {key: f"{key}: {used.get(key, '0')}/{hard[key]}" for key in sorted(hard)}
    limits = [text for key, text in shown.items() if key.startswith("limits.")]
    requests = [text for key, text in shown.items() if not key.startswith("limits.")]
    return [name(obj), ", ".join(requests), ", ".join(limits), age(obj, now_s)]


def _component_status(obj: Obj, now_s: float) -> list[Any]:
    row = [name(obj), "Unknown", "", ""]
    for condition in obj.get("conditions") or ():
        if condition.get("type") == "Healthy":
            healthy = "Healthy" if condition.get("status") == "True" else "Unhealthy"
            row = [name(obj), healthy, condition.get("message", ""), condition.get("error", "")]
    return row


_NODE_COLUMNS = (
    NAME,
    Column("Status", describe="The status of the node"),
    Column("Roles", describe="The roles of the node"),
    AGE,
    Column("Version", describe="@status.nodeInfo.kubeletVersion"),
    Column("Internal-IP", describe="@status.addresses", priority=1),
    Column("External-IP", describe="@status.addresses", priority=1),
    Column("OS-Image", describe="@status.nodeInfo.osImage", priority=1),
    Column("Kernel-Version", describe="@status.nodeInfo.kernelVersion", priority=1),
    Column("Container-Runtime", describe="@status.nodeInfo.containerRuntimeVersion", priority=1),
)
_VOLUME_COLUMNS = (
    NAME,
    Column("Capacity", describe="@spec.capacity"),
    Column("Access Modes", describe="@spec.accessModes"),
    Column("Reclaim Policy", describe="@spec.persistentVolumeReclaimPolicy"),
    Column("Status", describe="@status.phase"),
    Column("Claim", describe="@spec.claimRef"),
    Column("StorageClass", describe="StorageClass of the pv"),
    Column("VolumeAttributesClass", describe="VolumeAttributesClass of the pv"),
    Column("Reason", describe="@status.reason"),
    AGE,
    Column("VolumeMode", describe="@spec.volumeMode", priority=1),
)
_CLAIM_COLUMNS = (
    NAME,
    Column("Status", describe="@status.phase"),
    Column("Volume", describe="@spec.volumeName"),
    Column("Capacity", describe="@status.capacity"),
    Column("Access Modes", describe="@status.accessModes"),
    Column("StorageClass", describe="StorageClass of the pvc"),
    Column("VolumeAttributesClass", describe="VolumeAttributesClass of the pvc"),
    AGE,
    Column("VolumeMode", describe="@spec.volumeMode", priority=1),
)
_SERVICE_COLUMNS = (
    NAME,
    Column("Type", describe="@spec.type"),
    Column("Cluster-IP", describe="@spec.clusterIP"),
    Column("External-IP", describe="@spec.externalIPs"),
    Column("Port(s)", describe="@spec.ports"),
    AGE,
    Column("Selector", describe="@spec.selector", priority=1),
)
_QUOTA_COLUMNS = (
    NAME,
    Column(
        "Request",
        describe="Request represents a minimum amount of cpu/memory that a container may consume.",
    ),
    Column(
        "Limit",
        describe="Limits control the maximum amount of cpu/memory that a container may use independent of "
        "contention on the node.",
    ),
    AGE,
)
_COMPONENT_COLUMNS = (
    NAME,
    Column("Status", describe="Status of the component conditions"),
    Column("Message", describe="Message of the component conditions"),
    Column("Error", describe="Error of the component conditions"),
)

TABLES: dict[tuple[str, str], Table] = {
    ("", "ComponentStatus"): Table(_COMPONENT_COLUMNS, _component_status),
    ("", "ConfigMap"): Table((NAME, Column("Data", describe="@data"), AGE), _config_map),
    ("", "Endpoints"): Table((NAME, Column("Endpoints", describe="@subsets"), AGE), _endpoints),
    ("", "Namespace"): Table(
        (NAME, Column("Status", describe="The status of the namespace"), AGE), _namespace
    ),
    ("", "Node"): Table(_NODE_COLUMNS, _node),
    ("", "PersistentVolume"): Table(_VOLUME_COLUMNS, _volume),
    ("", "PersistentVolumeClaim"): Table(_CLAIM_COLUMNS, _claim),
    ("", "ResourceQuota"): Table(_QUOTA_COLUMNS, _resource_quota),
    ("", "Secret"): Table(
        (NAME, Column("Type", describe="@type"), Column("Data", describe="@data"), AGE), _secret
    ),
    ("", "Service"): Table(_SERVICE_COLUMNS, _service),
    ("", "ServiceAccount"): Table((NAME, AGE), _service_account),
}
