"""Which objects a server makes sure of when it starts."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from importlib import resources
from typing import NamedTuple

import msgspec

from pilothouse.api.catalog import Catalog
from pilothouse.api.resources import POD_GROUPS
from pilothouse.api.types import Obj
from pilothouse.apiserver.authn.request_header import RequestHeaders
from pilothouse.apiserver.bootstrap.gated_roles import gated_roles

NAMESPACES = ("default", "kube-node-lease", "kube-public", "kube-system")
_GROUP_PRIORITY = {
    "": 18000,
    "apiregistration.k8s.io": 18000,
    "apps": 17800,
    "events.k8s.io": 17750,
    "authentication.k8s.io": 17700,
    "authorization.k8s.io": 17600,
    "autoscaling": 17500,
    "batch": 17400,
    "certificates.k8s.io": 17300,
    "networking.k8s.io": 17200,
    "policy": 17100,
    "rbac.authorization.k8s.io": 17000,
    "storage.k8s.io": 16800,
    "admissionregistration.k8s.io": 16700,
    "apiextensions.k8s.io": 16700,
    "scheduling.k8s.io": 16600,
    "coordination.k8s.io": 16500,
    "node.k8s.io": 16300,
    "discovery.k8s.io": 16200,
    "resource.k8s.io": 16200,
    "flowcontrol.apiserver.k8s.io": 16100,
}
_VERSION_PRIORITY = {
    "v1.": 1,
    "v2.autoscaling": 30,
    "v1.flowcontrol.apiserver.k8s.io": 21,
}


class Facts(NamedTuple):
    """What the objects of one cluster depend on."""

    service_range: str
    advertise_address: str
    secure_port: int
    client_ca: str
    requestheader_ca: str
    now: str
    requestheader: RequestHeaders = RequestHeaders()


class Made(NamedTuple):
    """An object as its maker sends it, and what becomes of it: `filled` is what the registry puts in beside, which
    no manager owns; `applied` is the status that its controller applies under the name `applier`."""

    obj: Obj
    filled: Obj = {}
    applied: Obj = {}
    applier: str = ""

    @property
    def maker(self) -> str:
        """The field manager of its creation."""
        return _FLOW_PRODUCER if self.obj["apiVersion"].startswith("flowcontrol.") else "kube-apiserver"


_FLOW_PRODUCER = "api-priority-and-fairness-config-producer-v1"
_FLOW_CONSUMER = "api-priority-and-fairness-config-consumer-v1"


def first_service_ip(service_range: str) -> str:
    """The address of the `kubernetes` service: the first of the (first) range."""
    return str(next(ipaddress.ip_network(service_range.partition(",")[0]).hosts()))


def objects(facts: Facts, catalog: Catalog) -> list[Made]:
    """Everything, namespaces first."""
    found = [_namespace(name) for name in NAMESPACES]
    found += _fixed(facts, catalog)
    found += [
        Made(_api_service(group, version, facts))
        for group, versions in catalog.groups().items()
        for version in versions
        if group != _AGGREGATOR
    ]
    found += [Made(_service_cidr(facts)), Made(_ip_address(facts)), _service(facts)]
    found += [Made(_authentication_config(facts))]
    return found


def _read() -> list[Obj]:
    data = resources.files("pilothouse.apiserver.bootstrap").joinpath("objects.json").read_bytes()
    found: list[Obj] = msgspec.json.decode(data)
    return found


def bootstrap_rules(role: str) -> list[Obj]:
    """The rules of a cluster role as it is made; KeyError for a role that is not made here."""
    roles = {obj["metadata"]["name"]: obj["rules"] for obj in _read() if obj["kind"] == "ClusterRole"}
    found: list[Obj] = roles[role]
    return found


def _fixed(facts: Facts, catalog: Catalog) -> list[Made]:
    found = _read()
    if catalog.find(POD_GROUPS.group, POD_GROUPS.version, POD_GROUPS.plural) is not None:
        found += _POD_GROUP_ROLE
    found += gated_roles(catalog)
    return [
        Made(obj, applied=_flow_status(obj, facts.now), applier=_FLOW_CONSUMER)
        if obj["kind"] == "FlowSchema"
        else Made(obj)
        for obj in found
    ]


_RBAC = "rbac.authorization.k8s.io"
_POD_GROUP_META = {
    "name": "system:kube-scheduler:pod-groups",
    "labels": {"kubernetes.io/bootstrapping": "rbac-defaults"},
    "annotations": {"rbac.authorization.kubernetes.io/autoupdate": "true"},
}
_POD_GROUP_ROLE: list[Obj] = [
    {
        "kind": "ClusterRole",
        "apiVersion": f"{_RBAC}/v1",
        "metadata": _POD_GROUP_META,
        "rules": [
            {
                "verbs": ["get", "list", "watch"],
                "apiGroups": [POD_GROUPS.group],
                "resources": ["podgroups", "workloads"],
            },
            {
                "verbs": ["patch", "update"],
                "apiGroups": [POD_GROUPS.group],
                "resources": ["podgroups/status"],
            },
        ],
    },
    {
        "kind": "ClusterRoleBinding",
        "apiVersion": f"{_RBAC}/v1",
        "metadata": _POD_GROUP_META,
        "roleRef": {"apiGroup": _RBAC, "kind": "ClusterRole", "name": _POD_GROUP_META["name"]},
        "subjects": [{"apiGroup": _RBAC, "kind": "User", "name": "system:kube-scheduler"}],
    },
]
"""What the scheduler may do besides where PodGroups are served. Upstream adds these rules to system:kube-scheduler
(bootstrappolicy, gate GenericWorkload); a role of their own comes into clusters that have that one already."""


def _flow_status(obj: Obj, now: str) -> Obj:
    level = obj["spec"]["priorityLevelConfiguration"]["name"]
    message = (
        f'This FlowSchema references the PriorityLevelConfiguration object named "{level}" and it exists'
    )
    return {
        "conditions": [
            {
                "type": "Dangling",
                "status": "False",
                "lastTransitionTime": now,
                "reason": "Found",
                "message": message,
            }
        ]
    }


def _namespace(name: str) -> Made:
    obj = {
        "kind": "Namespace",
        "apiVersion": "v1",
        "metadata": {"name": name, "labels": {"kubernetes.io/metadata.name": name}},
        "status": {"phase": "Active"},
    }
    return Made(obj, filled={"spec": {"finalizers": ["kubernetes"]}})


_AGGREGATOR = "apiregistration.k8s.io"
"""Serves APIServices, and none for its own group."""


def _api_service(group: str, version: str, facts: Facts) -> Obj:
    name = f"{version}.{group}"
    spec: Obj = {"group": group} if group else {}
    spec |= {
        "version": version,
        "groupPriorityMinimum": _GROUP_PRIORITY.get(group, 1000),
        "versionPriority": _VERSION_PRIORITY.get(name, 15),
    }
    available = {
        "type": "Available",
        "status": "True",
        "lastTransitionTime": facts.now,
        "reason": "Local",
        "message": "Local APIServices are always available",
    }
    return {
        "kind": "APIService",
        "apiVersion": "apiregistration.k8s.io/v1",
        "metadata": {"name": name, "labels": {"kube-aggregator.kubernetes.io/automanaged": "onstart"}},
        "spec": spec,
        "status": {"conditions": [available]},
    }


def _service_cidr(facts: Facts) -> Obj:
    ready = {
        "type": "Ready",
        "status": "True",
        "lastTransitionTime": facts.now,
        "reason": "",
        "message": "Kubernetes Service CIDR is ready",
    }
    return {
        "kind": "ServiceCIDR",
        "apiVersion": "networking.k8s.io/v1",
        "metadata": {"name": "kubernetes", "finalizers": ["networking.k8s.io/service-cidr-finalizer"]},
        "spec": {"cidrs": facts.service_range.split(",")},
        "status": {"conditions": [ready]},
    }


def _ip_address(facts: Facts) -> Obj:
    parent = {"resource": "services", "namespace": "default", "name": "kubernetes"}
    address = first_service_ip(facts.service_range)
    family = "IPv6" if ":" in address else "IPv4"
    return {
        "kind": "IPAddress",
        "apiVersion": "networking.k8s.io/v1",
        "metadata": {
            "name": address,
            "labels": {
                "ipaddress.kubernetes.io/ip-family": family,
                "ipaddress.kubernetes.io/managed-by": "ipallocator.k8s.io",
            },
        },
        "spec": {"parentRef": parent},
    }


def _service(facts: Facts) -> Made:
    address = first_service_ip(facts.service_range)
    families = ["IPv6" if ":" in address else "IPv4"]
    obj = {
        "kind": "Service",
        "apiVersion": "v1",
        "metadata": {
            "name": "kubernetes",
            "namespace": "default",
            "labels": {"component": "apiserver", "provider": "kubernetes"},
        },
        "spec": {
            "ports": [{"name": "https", "protocol": "TCP", "port": 443, "targetPort": facts.secure_port}],
            "clusterIP": address,
            "type": "ClusterIP",
            "sessionAffinity": "None",
            "ipFamilyPolicy": "SingleStack",
            "internalTrafficPolicy": "Cluster",
        },
        "status": {"loadBalancer": {}},
    }
    return Made(obj, filled={"spec": {"clusterIPs": [address], "ipFamilies": families}})


def kubernetes_endpoints(facts: Facts, addresses: Sequence[str]) -> Obj:
    """Of the service `kubernetes`."""
    return {
        "kind": "Endpoints",
        "apiVersion": "v1",
        "metadata": {
            "name": "kubernetes",
            "namespace": "default",
            "labels": {"endpointslice.kubernetes.io/skip-mirror": "true"},
        },
        "subsets": [
            {
                "addresses": [{"ip": address} for address in addresses],
                "ports": [{"name": "https", "port": facts.secure_port, "protocol": "TCP"}],
            }
        ],
    }


def kubernetes_slice(facts: Facts, addresses: Sequence[str]) -> Obj:
    """The same as an EndpointSlice."""
    return {
        "kind": "EndpointSlice",
        "apiVersion": "discovery.k8s.io/v1",
        "metadata": {
            "name": "kubernetes",
            "namespace": "default",
            "labels": {"kubernetes.io/service-name": "kubernetes"},
        },
        "addressType": "IPv6" if ":" in facts.advertise_address else "IPv4",
        "endpoints": [{"addresses": [address], "conditions": {"ready": True}} for address in addresses],
        "ports": [{"name": "https", "protocol": "TCP", "port": facts.secure_port}],
    }


def authentication_data(facts: Facts) -> Obj:
    """How this server knows clients, for extension API servers (kube-apiserver's clusterauthenticationtrust). Nothing
    about front proxies where none is trusted."""
    data = {"client-ca-file": facts.client_ca} if facts.client_ca else {}
    if not facts.requestheader_ca:
        return data
    names = facts.requestheader
    return data | {
        "requestheader-allowed-names": _list(names.allowed_names),
        "requestheader-client-ca-file": facts.requestheader_ca,
        "requestheader-extra-headers-prefix": _list(names.extra_prefixes),
        "requestheader-group-headers": _list(names.group),
        "requestheader-uid-headers": _list(names.uid),
        "requestheader-username-headers": _list(names.username),
    }


def joined_data(known: Obj, own: Obj) -> Obj:
    """What is published already, and what this server says about front proxies. Client CAs stay as they are: servers
    that differ in those are not one cluster's."""
    joined = dict(known)
    for key, value in own.items():
        old = known.get(key, "")
        if not key.startswith("requestheader-"):
            joined.setdefault(key, value)
        elif key.endswith("-ca-file"):
            missing = [block for block in _BLOCK.findall(value) if block not in old]
            joined[key] = old + "".join(f"{block}\n" for block in missing)
        else:
            names = msgspec.json.decode(old) if old else []
            joined[key] = _list([*names, *(n for n in msgspec.json.decode(value) if n not in names)])
    return joined


_BLOCK = re.compile(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.S)


def _list(names: Sequence[str]) -> str:
    return msgspec.json.encode(names).decode()


def _authentication_config(facts: Facts) -> Obj:
    return {
        "kind": "ConfigMap",
        "apiVersion": "v1",
        "metadata": {"name": "extension-apiserver-authentication", "namespace": "kube-system"},
        "data": authentication_data(facts),
    }
