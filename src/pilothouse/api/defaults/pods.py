"""Defaults of pods, and of the pod templates inside every workload (pkg/apis/core/v1/defaults.go)."""

from __future__ import annotations

from collections.abc import Callable

from pilothouse.api import quantity
from pilothouse.api.defaults.table import Defaulter
from pilothouse.api.quantity import Quantity
from pilothouse.api.types import Obj

FILE_MODE = 0o644
_TERMINATION_PATH = "/dev/termination-log"
_GRACE_S = 30
_MILLI_NANO = 10**6
_ISCSI_INTERFACE = "default"
_RBD = {"pool": "rbd", "user": "admin", "keyring": "/etc/ceph/keyring"}


def pod(obj: Obj) -> None:
    spec = obj.setdefault("spec", {})
    pod_spec(spec)
    if spec.get("enableServiceLinks") is None:
        spec["enableServiceLinks"] = True
    for container in _containers(spec):
        _requests_from_limits(container.get("resources"))
    _requests_from_limits(spec.get("resources"))
    if spec.get("hostNetwork"):
        _host_ports(spec)
    status = obj.get("status")
    if status:
        one_and_many(status, "podIP", "podIPs", lambda ip: {"ip": ip}, lambda entry: entry.get("ip", ""))


def one_and_many(
    holder: Obj, single: str, plural: str, entry: Callable[[str], object], value: Callable[..., str]
) -> None:
    """A field and its list form say the same; where they differ the single one is right, as older clients know
    only that (pkg/apis/core/v1/conversion.go, of PodStatus and NodeSpec)."""
    one, many = holder.get(single), holder.get(plural)
    if one and (not many or value(many[0]) != one):
        holder[plural] = [entry(one)]
    elif many and not one:
        holder[single] = value(many[0])


def template(obj: Obj | None) -> None:
    """A PodTemplateSpec."""
    if obj is not None:
        # On the node's network a template keeps its host ports open: its pods get theirs when they are made.
        pod_spec(obj.setdefault("spec", {}))


def pod_template(obj: Obj) -> None:
    template(obj.setdefault("template", {}))


def pod_spec(spec: Obj) -> None:
    """Everything that templates share with pods."""
    if not spec.get("dnsPolicy"):
        spec["dnsPolicy"] = "ClusterFirst"
    if not spec.get("restartPolicy"):
        spec["restartPolicy"] = "Always"
    if spec.get("securityContext") is None:
        spec["securityContext"] = {}
    if spec.get("terminationGracePeriodSeconds") is None:
        spec["terminationGracePeriodSeconds"] = _GRACE_S
    if not spec.get("schedulerName"):
        spec["schedulerName"] = "default-scheduler"
    account = spec.get("serviceAccountName")
    if account:
        spec["serviceAccount"] = account
    elif spec.get("serviceAccount"):
        spec["serviceAccountName"] = spec["serviceAccount"]
    for item in spec.get("volumes") or ():
        volume(item)
    for item in _containers(spec):
        container(item)
    for item in spec.get("ephemeralContainers") or ():
        container(item)


def _containers(spec: Obj) -> list[Obj]:
    return [*(spec.get("initContainers") or ()), *(spec.get("containers") or ())]


def container(c: Obj) -> None:
    if not c.get("imagePullPolicy"):
        c["imagePullPolicy"] = "Always" if _tag(c.get("image", "")) == "latest" else "IfNotPresent"
    if not c.get("terminationMessagePath"):
        c["terminationMessagePath"] = _TERMINATION_PATH
    if not c.get("terminationMessagePolicy"):
        c["terminationMessagePolicy"] = "File"
    for port in c.get("ports") or ():
        if not port.get("protocol"):
            port["protocol"] = "TCP"
    resources = c.get("resources")
    if resources:
        round_up(resources.get("limits"))
        round_up(resources.get("requests"))
    for variable in c.get("env") or ():
        field_ref((variable.get("valueFrom") or {}).get("fieldRef"))
    for name in ("livenessProbe", "readinessProbe", "startupProbe"):
        probe(c.get(name))
    lifecycle = c.get("lifecycle") or {}
    for name in ("postStart", "preStop"):
        http_get((lifecycle.get(name) or {}).get("httpGet"))


def _tag(image: str) -> str:
    """The tag of an image reference; latest when neither tag nor digest is given."""
    name, _, digest = image.partition("@")
    last = name.rpartition("/")[2]
    if ":" in last:
        return last.rpartition(":")[2]
    return "" if digest else "latest"


def round_up(amounts: Obj | None) -> None:
    """A resource list counts thousandths, no less (SetDefaults_ResourceList)."""
    if not amounts:
        return
    for name, amount in amounts.items():
        parsed = quantity.parse(amount)
        if parsed.nano % _MILLI_NANO:
            amounts[name] = str(Quantity(parsed.milli * _MILLI_NANO, parsed.family))


def field_ref(ref: Obj | None) -> None:
    if ref is not None and not ref.get("apiVersion"):
        ref["apiVersion"] = "v1"


def probe(p: Obj | None) -> None:
    if p is None:
        return
    for name, value in (
        ("timeoutSeconds", 1),
        ("periodSeconds", 10),
        ("successThreshold", 1),
        ("failureThreshold", 3),
    ):
        if not p.get(name):
            p[name] = value
    http_get(p.get("httpGet"))
    grpc = p.get("grpc")
    if grpc is not None and grpc.get("service") is None:
        grpc["service"] = ""


def http_get(action: Obj | None) -> None:
    if action is None:
        return
    if not action.get("path"):
        action["path"] = "/"
    if not action.get("scheme"):
        action["scheme"] = "HTTP"


def _requests_from_limits(resources: Obj | None) -> None:
    """A limit without a request is also the request."""
    limits = (resources or {}).get("limits")
    if not limits or resources is None:
        return
    requests = dict(resources.get("requests") or {})
    for name, amount in limits.items():
        requests.setdefault(name, amount)
    resources["requests"] = requests


def _host_ports(spec: Obj) -> None:
    for c in _containers(spec):
        for port in c.get("ports") or ():
            if not port.get("hostPort"):
                port["hostPort"] = port["containerPort"]


_SOURCES = frozenset(
    [
        "hostPath",
        "emptyDir",
        "gcePersistentDisk",
        "awsElasticBlockStore",
        "gitRepo",
        "secret",
        "nfs",
        "iscsi",
        "glusterfs",
        "persistentVolumeClaim",
        "rbd",
        "flexVolume",
        "cinder",
        "cephfs",
        "flocker",
        "downwardAPI",
        "fc",
        "azureFile",
        "configMap",
        "vsphereVolume",
        "quobyte",
        "azureDisk",
        "photonPersistentDisk",
        "projected",
        "portworxVolume",
        "scaleIO",
        "storageos",
        "csi",
        "ephemeral",
        "image",
    ]
)


def volume(v: Obj) -> None:
    if not any(source in v for source in _SOURCES):
        v["emptyDir"] = {}
    for name in ("secret", "configMap", "downwardAPI", "projected"):
        source = v.get(name)
        if source is not None and source.get("defaultMode") is None:
            source["defaultMode"] = FILE_MODE
    _files((v.get("downwardAPI") or {}).get("items"))
    for source in (v.get("projected") or {}).get("sources") or ():
        _files((source.get("downwardAPI") or {}).get("items"))
        token = source.get("serviceAccountToken")
        if token is not None and token.get("expirationSeconds") is None:
            token["expirationSeconds"] = 3600
    template_spec = ((v.get("ephemeral") or {}).get("volumeClaimTemplate") or {}).get("spec")
    if template_spec is not None and template_spec.get("volumeMode") is None:
        template_spec["volumeMode"] = "Filesystem"
    _image_pull_policy(v.get("image"))
    volume_source(v)


def _image_pull_policy(image: Obj | None) -> None:
    if image is not None and not image.get("pullPolicy"):
        image["pullPolicy"] = "Always" if _tag(image.get("reference", "")) == "latest" else "IfNotPresent"


def _files(items: list[Obj] | None) -> None:
    for item in items or ():
        field_ref(item.get("fieldRef"))


def volume_source(v: Obj) -> None:
    """Sources that inline and persistent volumes share."""
    host_path = v.get("hostPath")
    if host_path is not None and host_path.get("type") is None:
        host_path["type"] = ""
    iscsi = v.get("iscsi")
    if iscsi is not None and not iscsi.get("iscsiInterface"):
        iscsi["iscsiInterface"] = _ISCSI_INTERFACE
    rbd = v.get("rbd")
    if rbd is not None:
        for name, value in _RBD.items():
            if not rbd.get(name):
                rbd[name] = value
    azure = v.get("azureDisk")
    if azure is not None:
        for name, azure_value in (
            ("cachingMode", "ReadWrite"),
            ("kind", "Shared"),
            ("fsType", "ext4"),
            ("readOnly", False),
        ):
            if azure.get(name) is None:
                azure[name] = azure_value
    scale_io = v.get("scaleIO")
    if scale_io is not None:
        for name, value in (("storageMode", "ThinProvisioned"), ("fsType", "xfs")):
            if not scale_io.get(name):
                scale_io[name] = value


def replication_controller(obj: Obj) -> None:
    """Labels and selector come from the template when they are not given."""
    spec = obj.setdefault("spec", {})
    template(spec.get("template"))
    labels = ((spec.get("template") or {}).get("metadata") or {}).get("labels")
    if labels:
        if not spec.get("selector"):
            spec["selector"] = dict(labels)
        if not obj["metadata"].get("labels"):
            obj["metadata"]["labels"] = dict(labels)
    if spec.get("replicas") is None:
        spec["replicas"] = 1


DEFAULTS: dict[tuple[str, str, str], Defaulter] = {
    ("", "v1", "Pod"): pod,
    ("", "v1", "PodTemplate"): pod_template,
    ("", "v1", "ReplicationController"): replication_controller,
}
