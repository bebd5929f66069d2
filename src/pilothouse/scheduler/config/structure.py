"""The fields of a KubeSchedulerConfiguration and of the arguments of plugins (k8s.io/kube-scheduler/config/v1).

What plugins' arguments borrow from core/v1 comes from the published definitions.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from pilothouse.api.catalog import DEFAULT_VERSION
from pilothouse.api.schema.definitions import Definitions
from pilothouse.api.schema.types import Types
from pilothouse.api.structure import Field, Type

GROUP = "kubescheduler.config.k8s.io"
API_VERSION = f"{GROUP}/v1"
KIND = "KubeSchedulerConfiguration"

POINTS = (
    "preEnqueue",
    "queueSort",
    "preFilter",
    "filter",
    "postFilter",
    "preScore",
    "score",
    "reserve",
    "permit",
    "preBind",
    "bind",
    "postBind",
)
"""The extension points that plugins can be enabled at."""
MULTI = "multiPoint"
PLACEMENT = ("placementGenerate", "placementScore")
"""Taken, but nothing runs there: upstream's own use is behind a gate that is off (KEP-5732)."""

_STRING = Type("string", "string")
_BOOL = Type("boolean", "bool")
_INT32 = Type("integer", "int32", bits=32)
_INT64 = Type("integer", "int64")
_FLOAT = Type("number", "float32")
_DURATION = Type("duration", "v1.Duration")
_BYTES = Type("bytes", "[]uint8")


def _optional(type_: Type) -> Field:
    """Left out when it is zero."""
    return Field(type_)


def _pointer(type_: Type) -> Field:
    """A zero is told from nothing."""
    return Field(type_, pointer=True)


def _always(type_: Type) -> Field:
    """Written even when it is zero."""
    return Field(type_, required=True)


def _list(element: Type) -> Type:
    return Type("list", f"[]{element.name}", element=element)


def _struct(go_name: str, /, **fields: Field) -> Type:
    return Type("struct", f"v1.{go_name}", fields)


_PLUGIN = _struct("Plugin", name=_always(_STRING), weight=_pointer(_INT32))
_PLUGIN_SET = _struct("PluginSet", enabled=_optional(_list(_PLUGIN)), disabled=_optional(_list(_PLUGIN)))
_PLUGINS = _struct("Plugins", **{point: _always(_PLUGIN_SET) for point in (*POINTS, MULTI, *PLACEMENT)})
_PLUGIN_CONFIG = _struct(
    "PluginConfig", name=_always(_STRING), args=_optional(Type("raw", "runtime.RawExtension"))
)
_PROFILE = _struct(
    "KubeSchedulerProfile",
    schedulerName=_pointer(_STRING),
    percentageOfNodesToScore=_pointer(_INT32),
    plugins=_pointer(_PLUGINS),
    pluginConfig=_optional(_list(_PLUGIN_CONFIG)),
)
_TLS = _struct(
    "ExtenderTLSConfig",
    insecure=_optional(_BOOL),
    serverName=_optional(_STRING),
    certFile=_optional(_STRING),
    keyFile=_optional(_STRING),
    caFile=_optional(_STRING),
    certData=_optional(_BYTES),
    keyData=_optional(_BYTES),
    caData=_optional(_BYTES),
)
_MANAGED_RESOURCE = _struct(
    "ExtenderManagedResource", name=_always(_STRING), ignoredByScheduler=_optional(_BOOL)
)
_EXTENDER = _struct(
    "Extender",
    urlPrefix=_always(_STRING),
    filterVerb=_optional(_STRING),
    preemptVerb=_optional(_STRING),
    prioritizeVerb=_optional(_STRING),
    weight=_optional(_INT64),
    bindVerb=_optional(_STRING),
    enableHTTPS=_optional(_BOOL),
    tlsConfig=_pointer(_TLS),
    httpTimeout=_optional(_DURATION),
    nodeCacheCapable=_optional(_BOOL),
    managedResources=_optional(_list(_MANAGED_RESOURCE)),
    ignorable=_optional(_BOOL),
)
_LEADER_ELECTION = Type(
    "struct",
    "v1alpha1.LeaderElectionConfiguration",
    {
        "leaderElect": _pointer(_BOOL),
        "leaseDuration": _always(_DURATION),
        "renewDeadline": _always(_DURATION),
        "retryPeriod": _always(_DURATION),
        "resourceLock": _always(_STRING),
        "resourceName": _always(_STRING),
        "resourceNamespace": _always(_STRING),
    },
)
_CLIENT_CONNECTION = Type(
    "struct",
    "v1alpha1.ClientConnectionConfiguration",
    {
        "kubeconfig": _always(_STRING),
        "acceptContentTypes": _always(_STRING),
        "contentType": _always(_STRING),
        "qps": _always(_FLOAT),
        "burst": _always(_INT32),
    },
)
CONFIGURATION = _struct(
    KIND,
    apiVersion=_optional(_STRING),
    kind=_optional(_STRING),
    parallelism=_pointer(_INT32),
    leaderElection=_always(_LEADER_ELECTION),
    clientConnection=_always(_CLIENT_CONNECTION),
    enableProfiling=_pointer(_BOOL),
    enableContentionProfiling=_pointer(_BOOL),
    percentageOfNodesToScore=_pointer(_INT32),
    podInitialBackoffSeconds=_pointer(_INT64),
    podMaxBackoffSeconds=_pointer(_INT64),
    profiles=_optional(_list(_PROFILE)),
    extenders=_optional(_list(_EXTENDER)),
    delayCacheUntilActive=_optional(_BOOL),
)

_SHAPE = _list(_struct("UtilizationShapePoint", utilization=_always(_INT32), score=_always(_INT32)))
_RESOURCES = _list(_struct("ResourceSpec", name=_always(_STRING), weight=_optional(_INT64)))
_STRATEGY = _struct(
    "ScoringStrategy",
    type=_optional(_STRING),
    resources=_optional(_RESOURCES),
    requestedToCapacityRatio=_pointer(_struct("RequestedToCapacityRatioParam", shape=_optional(_SHAPE))),
)


def _args(plugin: str, /, **fields: Field) -> Type:
    return _struct(f"{plugin}Args", apiVersion=_optional(_STRING), kind=_optional(_STRING), **fields)


def _default_preemption() -> Type:
    return _args(
        "DefaultPreemption",
        minCandidateNodesPercentage=_pointer(_INT32),
        minCandidateNodesAbsolute=_pointer(_INT32),
    )


def _dynamic_resources() -> Type:
    return _args("DynamicResources", filterTimeout=_pointer(_DURATION), bindingTimeout=_pointer(_DURATION))


def _inter_pod_affinity() -> Type:
    return _args(
        "InterPodAffinity",
        hardPodAffinityWeight=_pointer(_INT32),
        ignorePreferredTermsOfExistingPods=_always(_BOOL),
    )


def _node_affinity() -> Type:
    return _args("NodeAffinity", addedAffinity=_pointer(_core("NodeAffinity")))


def _balanced_allocation() -> Type:
    return _args("NodeResourcesBalancedAllocation", resources=_optional(_RESOURCES))


def _fit() -> Type:
    return _args(
        "NodeResourcesFit",
        ignoredResources=_optional(_list(_STRING)),
        ignoredResourceGroups=_optional(_list(_STRING)),
        scoringStrategy=_pointer(_STRATEGY),
    )


def _spread() -> Type:
    return _args(
        "PodTopologySpread",
        defaultConstraints=_optional(_list(_core("TopologySpreadConstraint"))),
        defaultingType=_optional(_STRING),
    )


def _volume_binding() -> Type:
    return _args("VolumeBinding", bindTimeoutSeconds=_pointer(_INT64), shape=_optional(_SHAPE))


_ARGS: dict[str, Callable[[], Type]] = {
    "DefaultPreemption": _default_preemption,
    "DynamicResources": _dynamic_resources,
    "InterPodAffinity": _inter_pod_affinity,
    "NodeAffinity": _node_affinity,
    "NodeResourcesBalancedAllocation": _balanced_allocation,
    "NodeResourcesFit": _fit,
    "PodTopologySpread": _spread,
    "VolumeBinding": _volume_binding,
}


def has_args(plugin: str) -> bool:
    """Whether a plugin has arguments of upstream's."""
    return plugin in _ARGS


@cache
def args_of(plugin: str) -> Type | None:
    """The type of a plugin's arguments; None for plugins that have none of upstream's, whose arguments are taken as
    they are. Some need the published definitions, which takes a moment to read."""
    make = _ARGS.get(plugin)
    return make() if make is not None else None


def _core(name: str) -> Type:
    return _core_types().get(f"io.k8s.api.core.v1.{name}")


@cache
def _core_types() -> Types:
    return Types(Definitions.load(DEFAULT_VERSION))
