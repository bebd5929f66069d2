"""All plugins, in upstream's order (pkg/kubeapiserver/options/plugins.go AllOrderedPlugins)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import NamedTuple

from pilothouse.api.resources import POD_GROUPS, Resource
from pilothouse.apiserver.admission.always_pull_images import AlwaysPullImages
from pilothouse.apiserver.admission.certificate_approval import CertificateApproval
from pilothouse.apiserver.admission.certificate_signing import CertificateSigning
from pilothouse.apiserver.admission.certificate_subject_restriction import CertificateSubjectRestriction
from pilothouse.apiserver.admission.cluster_trust_bundle_attest import ClusterTrustBundleAttest
from pilothouse.apiserver.admission.default_ingress_class import DefaultIngressClass
from pilothouse.apiserver.admission.default_storage_class import DefaultStorageClass
from pilothouse.apiserver.admission.default_toleration_seconds import DefaultTolerationSeconds
from pilothouse.apiserver.admission.deny_external_ips import DenyServiceExternalIPs
from pilothouse.apiserver.admission.event_rate_limit import EventRateLimit
from pilothouse.apiserver.admission.extended_resource_toleration import ExtendedResourceToleration
from pilothouse.apiserver.admission.hard_anti_affinity import LimitPodHardAntiAffinityTopology
from pilothouse.apiserver.admission.limit_ranger import LimitRanger
from pilothouse.apiserver.admission.metrics import AdmissionMetrics, Latencies
from pilothouse.apiserver.admission.mutating_policy import MutatingAdmissionPolicy
from pilothouse.apiserver.admission.mutating_webhook import MutatingAdmissionWebhook
from pilothouse.apiserver.admission.namespace_autoprovision import NamespaceAutoProvision
from pilothouse.apiserver.admission.namespace_exists import NamespaceExists
from pilothouse.apiserver.admission.namespace_lifecycle import NamespaceLifecycle
from pilothouse.apiserver.admission.node_restriction import NodeRestriction
from pilothouse.apiserver.admission.owner_references import OwnerReferencesPermissionEnforcement
from pilothouse.apiserver.admission.plugin import Attributes, Environment, Operation, Plugin
from pilothouse.apiserver.admission.pod_group_protection import PodGroupProtection
from pilothouse.apiserver.admission.pod_node_selector import PodNodeSelector
from pilothouse.apiserver.admission.pod_security.plugin import PodSecurity
from pilothouse.apiserver.admission.pod_toleration_restriction import PodTolerationRestriction
from pilothouse.apiserver.admission.pod_topology_labels import PodTopologyLabels
from pilothouse.apiserver.admission.priority import Priority
from pilothouse.apiserver.admission.resource_quota import ResourceQuota
from pilothouse.apiserver.admission.runtime_class import RuntimeClass
from pilothouse.apiserver.admission.service_account import ServiceAccount
from pilothouse.apiserver.admission.simple import AlwaysAdmit, AlwaysDeny
from pilothouse.apiserver.admission.storage_protection import StorageObjectInUseProtection
from pilothouse.apiserver.admission.taint_nodes import TaintNodesByCondition
from pilothouse.apiserver.admission.validating_policy import ValidatingAdmissionPolicy
from pilothouse.apiserver.admission.validating_webhook import ValidatingAdmissionWebhook
from pilothouse.apiserver.admission.volume_claim_resize import PersistentVolumeClaimResize
from pilothouse.kit.world import Clock

Factory = Callable[[Environment], Plugin]


class Entry(NamedTuple):
    make: Factory
    on: bool
    """By default."""


ON, OFF = True, False

ORDERED: dict[str, Entry] = {
    AlwaysAdmit.name: Entry(lambda env: AlwaysAdmit(), OFF),
    NamespaceAutoProvision.name: Entry(NamespaceAutoProvision, OFF),
    NamespaceLifecycle.name: Entry(NamespaceLifecycle, ON),
    NamespaceExists.name: Entry(NamespaceExists, OFF),
    LimitPodHardAntiAffinityTopology.name: Entry(lambda env: LimitPodHardAntiAffinityTopology(), OFF),
    LimitRanger.name: Entry(LimitRanger, ON),
    ServiceAccount.name: Entry(ServiceAccount, ON),
    NodeRestriction.name: Entry(NodeRestriction, OFF),
    TaintNodesByCondition.name: Entry(lambda env: TaintNodesByCondition(), ON),
    AlwaysPullImages.name: Entry(lambda env: AlwaysPullImages(), OFF),
    PodSecurity.name: Entry(PodSecurity, ON),
    PodNodeSelector.name: Entry(PodNodeSelector, OFF),
    Priority.name: Entry(Priority, ON),
    DefaultTolerationSeconds.name: Entry(lambda env: DefaultTolerationSeconds(), ON),
    PodTolerationRestriction.name: Entry(PodTolerationRestriction, OFF),
    EventRateLimit.name: Entry(EventRateLimit, OFF),
    ExtendedResourceToleration.name: Entry(lambda env: ExtendedResourceToleration(), OFF),
    DefaultStorageClass.name: Entry(DefaultStorageClass, ON),
    StorageObjectInUseProtection.name: Entry(lambda env: StorageObjectInUseProtection(), ON),
    PodGroupProtection.name: Entry(lambda env: PodGroupProtection(), OFF),
    OwnerReferencesPermissionEnforcement.name: Entry(OwnerReferencesPermissionEnforcement, OFF),
    PersistentVolumeClaimResize.name: Entry(PersistentVolumeClaimResize, ON),
    RuntimeClass.name: Entry(RuntimeClass, ON),
    CertificateApproval.name: Entry(CertificateApproval, ON),
    CertificateSigning.name: Entry(CertificateSigning, ON),
    ClusterTrustBundleAttest.name: Entry(ClusterTrustBundleAttest, ON),
    CertificateSubjectRestriction.name: Entry(lambda env: CertificateSubjectRestriction(), ON),
    DefaultIngressClass.name: Entry(DefaultIngressClass, ON),
    DenyServiceExternalIPs.name: Entry(lambda env: DenyServiceExternalIPs(), OFF),
    PodTopologyLabels.name: Entry(PodTopologyLabels, ON),
    MutatingAdmissionPolicy.name: Entry(MutatingAdmissionPolicy, ON),
    MutatingAdmissionWebhook.name: Entry(MutatingAdmissionWebhook, ON),
    ValidatingAdmissionPolicy.name: Entry(ValidatingAdmissionPolicy, ON),
    ValidatingAdmissionWebhook.name: Entry(ValidatingAdmissionWebhook, ON),
    ResourceQuota.name: Entry(ResourceQuota, ON),
    AlwaysDeny.name: Entry(lambda env: AlwaysDeny(), OFF),
}
"""By name, in the order in which they run."""

_WITH_API = {PodGroupProtection.name: POD_GROUPS}
"""Plugins that are on where an API is served, as upstream's are by its feature gate."""

NOT_SERVED = frozenset(
    (
        "ImagePolicyWebhook",
        "JobValidation",
        "NodeDeclaredFeatureValidator",
        "PodGroupWorkloadExists",
        "PodResizeValidator",
    )
)
"""Upstream's, but not here yet: they may be left out, not asked for."""


_Ask = Callable[[Attributes], Awaitable[None]]


class _Call(NamedTuple):
    """A plugin's admit or validate, and how long it took so far."""

    plugin: str
    ask: _Ask
    latencies: Latencies
    idle: Callable[[], bool] | None = None


class _Step(NamedTuple):
    """Whom one kind of write asks in one step, and how long that took so far."""

    name: str
    calls: list[_Call]
    latencies: Latencies


class _Chosen(NamedTuple):
    """What one kind of write asks."""

    mutating: _Step
    validating: _Step


class Chain:
    """The plugins of one server."""

    def __init__(self, plugins: Sequence[Plugin], clock: Clock, metrics: AdmissionMetrics) -> None:
        self._plugins = plugins
        self._clock = clock
        self._latencies = metrics.latencies
        self._chosen: dict[tuple[Operation, str, str, str, str], _Chosen] = {}

    @property
    def names(self) -> list[str]:
        return [plugin.name for plugin in self._plugins]

    async def admit(self, a: Attributes) -> None:
        step = self._of(a).mutating
        await self._run(a, step)
        if a.rounds is not None and a.rounds.wanted:
            a.rounds.again = True
            await self._run(a, step)

    async def validate(self, a: Attributes) -> None:
        await self._run(a, self._of(a).validating)

    async def _run(self, a: Attributes, step: _Step) -> None:
        monotonic = self._clock.monotonic
        began_s = started_s = monotonic()
        plugin = ""
        try:
            for plugin, ask, latencies, idle in step.calls:  # noqa: B007 - who refused is told below
                if idle is not None and idle():
                    continue
                await ask(a)
                ended_s = monotonic()
                latencies.add(ended_s - started_s)
                started_s = ended_s
        except BaseException:
            ended_s = monotonic()
            self._latencies(plugin, step.name, a.operation, rejected=True).add(ended_s - started_s)
            self._latencies("", step.name, a.operation, rejected=True).add(ended_s - began_s)
            raise
        step.latencies.add(started_s - began_s)

    async def ask(self, a: Attributes) -> None:
        """Both at once, for operations that nothing comes between."""
        await self.admit(a)
        await self.validate(a)

    def _of(self, a: Attributes) -> _Chosen:
        r = a.resource
        key = (a.operation, r.group, r.version, r.plural, a.subresource)
        chosen = self._chosen.get(key)
        if chosen is None:
            asked = [
                p
                for p in self._plugins
                if a.operation in p.operations and p.concerns(a.resource, a.subresource)
            ]
            chosen = self._chosen[key] = _Chosen(
                self._step(
                    "admit",
                    a,
                    [(p.name, p.admit, p.idle) for p in asked if type(p).admit is not Plugin.admit],
                ),
                self._step(
                    "validate",
                    a,
                    [(p.name, p.validate, p.idle) for p in asked if type(p).validate is not Plugin.validate],
                ),
            )
        return chosen

    def _step(
        self, name: str, a: Attributes, asked: Iterable[tuple[str, _Ask, Callable[[], bool] | None]]
    ) -> _Step:
        calls = [
            _Call(plugin, ask, self._latencies(plugin, name, a.operation), idle)
            for plugin, ask, idle in asked
        ]
        return _Step(name, calls, self._latencies("", name, a.operation))


def chain(
    env: Environment,
    enable: Iterable[str] = (),
    disable: Iterable[str] = (),
    metrics: AdmissionMetrics | None = None,
    is_served: Callable[[Resource], bool] = lambda resource: False,
) -> Chain:
    """The default plugins, with those of APIs that are served and those enabled, less those disabled. ValueError for a
    name that is no plugin, for one that is not served, and for one that is both enabled and disabled."""
    more, less = set(enable), set(disable)
    for name in sorted(more | (less - NOT_SERVED)):
        if name in NOT_SERVED:
            raise ValueError(f"admission plugin {name!r} is not served yet: leave it out")
        if name not in ORDERED:
            raise ValueError(f"admission plugin {name!r} is not known; known are {', '.join(ORDERED)}")
    both = sorted(more & less)
    if both:
        raise ValueError(
            f"{', '.join(both)} in enable-admission-plugins and disable-admission-plugins overlapped"
        )
    more |= {name for name, api in _WITH_API.items() if is_served(api)}
    on = [name for name, entry in ORDERED.items() if (entry.on or name in more) and name not in less]
    return Chain([ORDERED[name].make(env) for name in on], env.world.clock, metrics or AdmissionMetrics())
