"""Validation of the kinds in storage.k8s.io (pkg/apis/storage/validation)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pilothouse.api import field as f
from pilothouse.api.types import Obj
from pilothouse.api.validation import fields, gotext, meta, names

PARAMETERS_BYTES_MAX = 256 * 1024
PARAMETERS_MAX = 512
ATTACHMENT_METADATA_BYTES_MAX = 256 * 1024
VOLUME_ERROR_BYTES_MAX = 1024
DRIVER_NAME_BYTES_MAX = 63
NODE_ID_BYTES_MAX = 192
TOKEN_SECONDS_MIN = 10 * 60
TOKEN_SECONDS_MAX = 1 << 32
UPDATE_PERIOD_SECONDS_MIN = 10

RECLAIM_POLICIES = ("Delete", "Retain")
BINDING_MODES = ("Immediate", "WaitForFirstConsumer")
FS_GROUP_POLICIES = ("File", "None", "ReadWriteOnceWithFSType")
LIFECYCLE_MODES = ("Persistent", "Ephemeral")


def storage_class(obj: Obj) -> f.Errors:
    errors = _provisioner(obj.get("provisioner", ""), "provisioner")
    errors += _parameters(obj.get("parameters") or {}, "parameters")
    policy, mode = obj.get("reclaimPolicy", ""), obj.get("volumeBindingMode", "")
    if policy and policy not in RECLAIM_POLICIES:
        errors.append(f.not_supported("reclaimPolicy", policy, RECLAIM_POLICIES))
    if mode not in BINDING_MODES:
        errors.append(f.not_supported("volumeBindingMode", mode, BINDING_MODES))
    return errors + _topologies(obj.get("allowedTopologies") or [], "allowedTopologies")


def storage_class_update(obj: Obj, old: Obj) -> f.Errors:
    errors: f.Errors = []
    for key in ("parameters", "provisioner", "reclaimPolicy", "volumeBindingMode"):
        errors += fields.immutable(obj.get(key), old.get(key), key)
    return errors


def _provisioner(name: str, path: str) -> f.Errors:
    if not name:
        return [f.required(path)]
    lower = name.lower()
    return [f.invalid(path, lower, text) for text in names.is_qualified_name(lower)]


def _parameters(parameters: Mapping[str, str], path: str, may_be_empty: bool = True) -> f.Errors:
    if len(parameters) > PARAMETERS_MAX:
        return [f.too_long(path, "", PARAMETERS_MAX)]
    errors = [f.invalid(path, key, "field can not be empty.") for key in parameters if not key]
    if _size(parameters) > PARAMETERS_BYTES_MAX:
        errors.append(f.too_long(path, "", PARAMETERS_BYTES_MAX))
    if not may_be_empty and not parameters:
        errors.append(f.required(path, "must contain at least one key/value pair"))
    return errors


def _size(texts: Mapping[str, str]) -> int:
    return sum(len(key.encode()) + len(value.encode()) for key, value in texts.items())


def _topologies(terms: list[Obj], path: str) -> f.Errors:
    errors: f.Errors = []
    # Upstream starts from one empty term for each of the list, so an empty term counts as seen.
    seen: list[dict[str, frozenset[str]]] = [{} for _ in terms]
    for i, term in enumerate(terms):
        at = f"{path}[{i}].matchLabelExpressions"
        expressions: dict[str, frozenset[str]] = {}
        for j, expression in enumerate(term.get("matchLabelExpressions") or ()):
            key = expression.get("key", "")
            errors += _topology_expression(expression, f"{at}[{j}]")
            if key in expressions:
                errors.append(f.duplicate(f"{at}[{j}].key", key))
            expressions[key] = frozenset(expression.get("values") or ())
        errors += [f.duplicate(at, "") for other in seen if other == expressions]
        seen.append(expressions)
    return errors


def _topology_expression(expression: Obj, path: str) -> f.Errors:
    errors: f.Errors = []
    values = expression.get("values") or []
    if not values:
        errors.append(f.required(f"{path}.values"))
    errors += [
        f.duplicate(f"{path}.values[{i}]", value) for i, value in enumerate(values) if value in values[:i]
    ]
    return errors + fields.label_name(expression.get("key", ""), f"{path}.key")


def csi_driver(obj: Obj) -> f.Errors:
    spec = obj["spec"]
    errors: f.Errors = []
    for key, shown in (
        ("attachRequired", "attachedRequired"),
        ("podInfoOnMount", "podInfoOnMount"),
        ("storageCapacity", "storageCapacity"),
    ):
        if spec.get(key) is None:
            errors.append(f.required(f"spec.{shown}"))
    policy = spec.get("fsGroupPolicy")
    if policy is not None and policy not in FS_GROUP_POLICIES:
        errors.append(f.not_supported("spec.fsGroupPolicy", policy, FS_GROUP_POLICIES))
    errors += _token_requests(spec.get("tokenRequests") or [], "spec.tokenRequests")
    errors += [
        f.not_supported("spec.volumeLifecycleModes", mode, LIFECYCLE_MODES)
        for mode in spec.get("volumeLifecycleModes") or ()
        if mode not in LIFECYCLE_MODES
    ]
    if spec.get("seLinuxMount") is None:
        errors.append(f.required("spec.seLinuxMount"))
    period = spec.get("nodeAllocatableUpdatePeriodSeconds")
    if period is not None and period < UPDATE_PERIOD_SECONDS_MIN:
        why = f"must be greater than or equal to {UPDATE_PERIOD_SECONDS_MIN} seconds"
        errors.append(f.invalid("spec.nodeAllocatableUpdatePeriodSeconds", period, why))
    return errors + _secret_tokens(spec)


def _secret_tokens(spec: Obj) -> f.Errors:
    """Tokens go to secrets only where there are tokens."""
    if spec.get("serviceAccountTokenInSecrets") is None or spec.get("tokenRequests"):
        return []
    value = spec["serviceAccountTokenInSecrets"]
    return [
        f.invalid("spec.serviceAccountTokenInSecrets", value, "must be unset when tokenRequests is empty")
    ]


def _token_requests(requests: list[Obj], path: str) -> f.Errors:
    errors: f.Errors = []
    audiences: set[str] = set()
    for i, request in enumerate(requests):
        audience, seconds = request.get("audience", ""), request.get("expirationSeconds")
        if audience in audiences:
            errors.append(f.duplicate(f"{path}[{i}].audience", audience))
            continue
        audiences.add(audience)
        if seconds is None:
            continue
        at = f"{path}[{i}].expirationSeconds"
        if seconds < TOKEN_SECONDS_MIN:
            errors.append(f.invalid(at, seconds, "may not specify a duration less than 10 minutes"))
        if seconds > TOKEN_SECONDS_MAX:
            errors.append(f.invalid(at, seconds, "may not specify a duration larger than 2^32 seconds"))
    return errors


def csi_driver_update(obj: Obj, old: Obj) -> f.Errors:
    new_spec, old_spec = obj["spec"], old["spec"]
    return fields.immutable(
        new_spec.get("attachRequired"), old_spec.get("attachRequired"), "spec.attachedRequired"
    ) + fields.immutable(
        new_spec.get("volumeLifecycleModes"),
        old_spec.get("volumeLifecycleModes"),
        "spec.volumeLifecycleModes",
    )


def csi_driver_name(name: str, path: str) -> f.Errors:
    """A driver's name where it is a field of something else (core validation's ValidateCSIDriverName)."""
    if not name:
        return [f.required(path)]
    errors: f.Errors = []
    if len(name) > DRIVER_NAME_BYTES_MAX:
        errors.append(f.too_long(path, name, DRIVER_NAME_BYTES_MAX))
    return errors + [f.invalid(path, name, text) for text in names.is_dns1123_subdomain(name.lower())]


def csi_node(obj: Obj) -> f.Errors:
    errors: f.Errors = []
    seen: set[str] = set()
    for i, driver in enumerate(obj["spec"].get("drivers") or ()):
        errors += _csi_node_driver(driver, f"spec.drivers[{i}]", seen)
    return errors


def _csi_node_driver(driver: Obj, path: str, seen: set[str]) -> f.Errors:
    name, node_id = driver.get("name", ""), driver.get("nodeID", "")
    errors = csi_driver_name(name, f"{path}.name")
    if not node_id:
        errors.append(f.required(f"{path}.nodeID"))
    if len(node_id.encode()) > NODE_ID_BYTES_MAX:
        why = f"must be {NODE_ID_BYTES_MAX} characters or less"
        errors.append(f.invalid(f"{path}.nodeID", node_id, why))
    count = (driver.get("allocatable") or {}).get("count")
    if count is not None and count < 0:
        errors.append(f.invalid(f"{path}.allocatable.count", count, "must be greater than or equal to 0"))
    if name in seen:
        errors.append(f.duplicate(f"{path}.name", name))
    seen.add(name)
    keys: set[str] = set()
    for key in driver.get("topologyKeys") or ():
        if not key:
            errors.append(f.required(path))
        if key in keys:
            errors.append(f.duplicate(path, key))
        keys.add(key)
        errors += [f.invalid(path, key, text) for text in names.is_qualified_name(key)]
    return errors


_NODE_DRIVER = gotext.struct(Name="", NodeID="", TopologyKeys=None, Allocatable=None)


def csi_node_update(obj: Obj, old: Obj) -> f.Errors:
    """A driver that stays may change nothing but how much it can take."""
    errors: f.Errors = []
    for before in old["spec"].get("drivers") or ():
        for now in obj["spec"].get("drivers") or ():
            if before.get("name") != now.get("name"):
                continue
            old_rest, new_rest = ({**driver, "allocatable": None} for driver in (before, now))
            if new_rest != old_rest:
                shown = gotext.text(new_rest, _NODE_DRIVER)
                errors.append(f.invalid("spec.drivers", shown, "field is immutable"))
    return errors


def csi_storage_capacity(obj: Obj, old: Obj | None = None) -> f.Errors:
    errors: f.Errors = []
    topology, name = obj.get("nodeTopology"), obj.get("storageClassName", "")
    if topology is not None:
        before = (old or {}).get("nodeTopology")
        tolerant = before is not None and bool(meta.validate_label_selector(before, ""))
        errors += meta.validate_label_selector(topology, "nodeTopology", allow_invalid_values=tolerant)
    errors += [f.invalid("storageClassName", name, text) for text in names.is_dns1123_subdomain(name)]
    return errors + _non_negative(obj.get("capacity"), "capacity")


def _non_negative(quantity: Any, path: str) -> f.Errors:
    """A quantity in canonical form, as decoding leaves it, shows its sign."""
    if str(quantity or "").startswith("-"):
        return [f.invalid(path, quantity, "must be greater than or equal to 0")]
    return []


def csi_storage_capacity_update(obj: Obj, old: Obj) -> f.Errors:
    errors: f.Errors = []
    for key in ("nodeTopology", "storageClassName"):
        if obj.get(key) != old.get(key):
            value: Any = gotext.NULL if obj.get(key) is None else obj[key]
            errors.append(f.invalid(key, value, "field is immutable"))
    return errors


def volume_attachment(obj: Obj) -> f.Errors:
    """What holds for every attachment, new or changed."""
    spec, status = obj["spec"], obj["status"]
    errors: f.Errors = []
    if not spec.get("attacher"):
        errors.append(f.required("spec.attacher"))
    errors += _attachment_source(spec["source"], "spec.source")
    node = spec.get("nodeName", "")
    errors += [f.invalid("spec.nodeName", node, text) for text in names.is_dns1123_subdomain(node)]
    if _size(status.get("attachmentMetadata") or {}) > ATTACHMENT_METADATA_BYTES_MAX:
        errors.append(f.too_long("status.attachmentMetadata", "", ATTACHMENT_METADATA_BYTES_MAX))
    errors += _volume_error(status.get("attachError"), "status.attachError")
    return errors + _volume_error(status.get("detachError"), "status.detachError")


def volume_attachment_create(obj: Obj) -> f.Errors:
    """A new one is held to more: the attacher is a driver's name, the volume's name is one."""
    spec = obj["spec"]
    errors = volume_attachment(obj)
    if spec.get("attacher"):
        errors += csi_driver_name(spec["attacher"], "spec.attacher")
    volume = spec["source"].get("persistentVolumeName")
    if volume is not None:
        at = "spec.source.persistentVolumeName"
        errors += [f.invalid(at, volume, text) for text in names.is_dns1123_subdomain(volume)]
    return errors


def _attachment_source(source: Obj, path: str) -> f.Errors:
    name, inline = source.get("persistentVolumeName"), source.get("inlineVolumeSpec")
    why = "must specify exactly one of inlineVolumeSpec and persistentVolumeName"
    if inline is None and name is None:
        return [f.required(path, why)]
    if inline is not None and name is not None:
        return [f.forbidden(path, why)]
    if inline is not None:
        return _inline_volume(inline, f"{path}.inlineVolumeSpec")
    if not name:
        return [f.required(f"{path}.persistentVolumeName", "must specify non empty persistentVolumeName")]
    return []


ACCESS_MODES = ("ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod")
NOT_INLINE = (
    "claimRef",
    "capacity",
    "persistentVolumeReclaimPolicy",
    "nodeAffinity",
    "storageClassName",
    "volumeMode",
)
"""What makes sense for a PersistentVolume object only."""
CSI_SECRETS = (
    "controllerPublishSecretRef",
    "nodeStageSecretRef",
    "nodePublishSecretRef",
    "controllerExpandSecretRef",
    "nodeExpandSecretRef",
)


def _inline_volume(spec: Obj, path: str) -> f.Errors:
    """A volume given in place: only CSI drivers can be asked for one."""
    why = "may not be specified in the context of inline volumes"
    errors = [f.forbidden(f"{path}.{key}", why) for key in NOT_INLINE if spec.get(key)]
    if spec.get("csi") is None:
        errors.append(f.required(f"{path}.csi", "has to be specified in the context of inline volumes"))
    modes = spec.get("accessModes") or []
    if not modes:
        errors.append(f.required(f"{path}.accessModes"))
    errors += [
        f.not_supported(f"{path}.accessModes", mode, ACCESS_MODES)
        for mode in modes
        if mode not in ACCESS_MODES
    ]
    if "ReadWriteOncePod" in modes and len(set(modes)) > 1:
        why = "may not use ReadWriteOncePod with other access modes"
        errors.append(f.forbidden(f"{path}.accessModes", why))
    return errors + (_csi_source(spec["csi"], f"{path}.csi") if spec.get("csi") is not None else [])


def _csi_source(csi: Obj, path: str) -> f.Errors:
    errors = csi_driver_name(csi.get("driver", ""), f"{path}.driver")
    if not csi.get("volumeHandle"):
        errors.append(f.required(f"{path}.volumeHandle"))
    for key in CSI_SECRETS:
        ref = csi.get(key)
        if ref is None:
            continue
        for part in ("name", "namespace"):
            if not ref.get(part):
                errors.append(f.required(f"{path}.{key}.{part}"))
    return errors


def _volume_error(error: Obj | None, path: str) -> f.Errors:
    if error is None:
        return []
    errors: f.Errors = []
    if len(error.get("message", "").encode()) > VOLUME_ERROR_BYTES_MAX:
        # The limit that upstream names is another one than it applies.
        errors.append(f.too_long(f"{path}.message", "", ATTACHMENT_METADATA_BYTES_MAX))
    code = error.get("errorCode")
    if code is not None and code < 0:
        why = f"must be between 0 and {2**31 - 1}, inclusive"
        errors.append(f.invalid(f"{path}.errorCode", code, why))
    return errors


def volume_attachment_update(obj: Obj, old: Obj) -> f.Errors:
    if obj["spec"] == old["spec"]:
        return []
    return [f.invalid("spec", gotext.text(obj["spec"], _ATTACHMENT_SPEC), "field is immutable")]


def volume_attributes_class(obj: Obj) -> f.Errors:
    errors = _provisioner(obj.get("driverName", ""), "driverName")
    return errors + _parameters(obj.get("parameters") or {}, "parameters", may_be_empty=False)


def volume_attributes_class_update(obj: Obj, old: Obj) -> f.Errors:
    errors: f.Errors = []
    for key in ("driverName", "parameters"):
        if (obj.get(key) or None) != (old.get(key) or None):
            errors.append(f.forbidden(key, f"updates to {key} are forbidden."))
    return errors + volume_attributes_class(obj)


_SECRET_REF = gotext.Maybe(gotext.struct(Name="", Namespace=""))
_CSI = gotext.struct(
    Driver="",
    VolumeHandle="",
    ReadOnly=False,
    FSType="",
    VolumeAttributes=None,
    ControllerPublishSecretRef=_SECRET_REF,
    NodeStageSecretRef=_SECRET_REF,
    NodePublishSecretRef=_SECRET_REF,
    ControllerExpandSecretRef=_SECRET_REF,
    NodeExpandSecretRef=_SECRET_REF,
)
_VOLUME_SPEC = gotext.struct(
    json={"CephFS": "cephfs", "StorageOS": "storageos"},
    Capacity=None,
    GCEPersistentDisk=None,
    AWSElasticBlockStore=None,
    HostPath=gotext.Maybe(gotext.struct(Path="", Type=None)),
    Glusterfs=None,
    NFS=gotext.Maybe(gotext.struct(Server="", Path="", ReadOnly=False)),
    RBD=None,
    Quobyte=None,
    ISCSI=None,
    FlexVolume=None,
    Cinder=None,
    CephFS=None,
    FC=None,
    Flocker=None,
    AzureFile=None,
    VsphereVolume=None,
    AzureDisk=None,
    PhotonPersistentDisk=None,
    PortworxVolume=None,
    ScaleIO=None,
    Local=gotext.Maybe(gotext.struct(Path="", FSType=None)),
    StorageOS=None,
    CSI=gotext.Maybe(_CSI),
    AccessModes=None,
    ClaimRef=None,
    PersistentVolumeReclaimPolicy="",
    StorageClassName="",
    MountOptions=None,
    VolumeMode=None,
    NodeAffinity=None,
    VolumeAttributesClassName=None,
)
_ATTACHMENT_SPEC = gotext.struct(
    Attacher="",
    Source=gotext.struct(PersistentVolumeName=None, InlineVolumeSpec=gotext.Maybe(_VOLUME_SPEC)),
    NodeName="",
)
