"""kube-controller-manager: which controllers there are, and running the chosen ones.

`--controllers` works as upstream's: `*` all that are on by default, `name` one more, `-name` one less.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

from pilothouse.api.device_taints import RULES_GATE
from pilothouse.client.reconciler import Controller, Environment
from pilothouse.controllers import names
from pilothouse.controllers.attach_detach import AttachDetachController
from pilothouse.controllers.bootstrap_signer import BootstrapSigner
from pilothouse.controllers.certificate_authority import CertificateAuthority
from pilothouse.controllers.certificatesigningrequest_approving import CertificateApprovingController
from pilothouse.controllers.certificatesigningrequest_cleaner import CertificateCleaner
from pilothouse.controllers.certificatesigningrequest_signing import CertificateSigningController
from pilothouse.controllers.clusterrole_aggregation import ClusterRoleAggregationController
from pilothouse.controllers.clustertrustbundle_publisher import ClusterTrustBundlePublisher
from pilothouse.controllers.cronjob import CronJobController
from pilothouse.controllers.daemonset import DaemonSetController
from pilothouse.controllers.deployment import DeploymentController
from pilothouse.controllers.device_taint_eviction import DeviceTaintEvictionController
from pilothouse.controllers.disruption import DisruptionController
from pilothouse.controllers.endpoint import EndpointsController
from pilothouse.controllers.endpoint_slice import SLICE_MAX, EndpointSliceController
from pilothouse.controllers.endpoint_slice_mirroring import SUBSET_MAX, EndpointSliceMirroringController
from pilothouse.controllers.ephemeral_volume import EphemeralVolumeController
from pilothouse.controllers.garbage_collector import GarbageCollector
from pilothouse.controllers.horizontal_pod_autoscaler import (
    Autoscaling,
    HorizontalPodAutoscalerController,
)
from pilothouse.controllers.job import JobController
from pilothouse.controllers.legacy_serviceaccount_token_cleaner import (
    CLEAN_UP_S as TOKEN_CLEAN_UP_S,
)
from pilothouse.controllers.legacy_serviceaccount_token_cleaner import LegacyTokenCleaner
from pilothouse.controllers.namespace import NamespaceController
from pilothouse.controllers.node_ipam import NodeIpamController, PodNetworks
from pilothouse.controllers.node_lifecycle import (
    DEFAULT_RATES,
    GRACE_PERIOD_S,
    STARTUP_GRACE_PERIOD_S,
    NodeLifecycleController,
)
from pilothouse.controllers.node_ttl import NodeTtlController
from pilothouse.controllers.node_zones import Rates
from pilothouse.controllers.persistent_volume import PersistentVolumeController
from pilothouse.controllers.pod_gc import TERMINATED_MAX, PodGarbageCollector
from pilothouse.controllers.pod_group_protection import PodGroupProtectionController
from pilothouse.controllers.podcertificaterequest_cleaner import PodCertificateCleaner
from pilothouse.controllers.pool_status import PoolStatusController
from pilothouse.controllers.replicaset import ReplicaSetController
from pilothouse.controllers.replication import ReplicationController
from pilothouse.controllers.resource_claim import ResourceClaimController
from pilothouse.controllers.resource_quota import RESYNC_S as QUOTA_RESYNC_S
from pilothouse.controllers.resource_quota import ResourceQuotaController
from pilothouse.controllers.root_ca_publisher import RootCaPublisher
from pilothouse.controllers.selinux_warning import SeLinuxWarningController
from pilothouse.controllers.service_account import ServiceAccountController
from pilothouse.controllers.service_account_token import MakeToken, TokenController
from pilothouse.controllers.service_cidr import ServiceCidrController
from pilothouse.controllers.simulated_provisioner import NAME as SIMULATED
from pilothouse.controllers.simulated_provisioner import SimulatedProvisioner
from pilothouse.controllers.statefulset import StatefulSetController
from pilothouse.controllers.storage_version_gc import StorageVersionGarbageCollector
from pilothouse.controllers.storage_version_migrator import StorageVersionMigrator
from pilothouse.controllers.taint_eviction import TaintEvictionController
from pilothouse.controllers.token_cleaner import TokenCleaner
from pilothouse.controllers.ttl_after_finished import TtlAfterFinishedController
from pilothouse.controllers.volume_expander import VolumeExpander
from pilothouse.controllers.volume_protection import (
    AttributesClassProtectionController,
    ClaimProtectionController,
    VolumeProtectionController,
)
from pilothouse.kit.metrics import gauge

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Settings:
    """What single controllers need beyond their environment."""

    root_ca: str
    make_token: MakeToken | None
    """None: nobody here holds the key, and the controller of token secrets does not run."""
    workers: Mapping[str, int] = field(default_factory=dict)
    """Reconciliations at once by controller, where they are not the default (--concurrent-*-syncs)."""
    node_grace_s: float = GRACE_PERIOD_S
    node_startup_grace_s: float = STARTUP_GRACE_PERIOD_S
    node_rates: Rates = DEFAULT_RATES
    quota_sync_s: float = QUOTA_RESYNC_S
    terminated_pods_max: int = TERMINATED_MAX
    mirrored_max: int = SUBSET_MAX
    autoscaling: Autoscaling = field(default_factory=Autoscaling)
    slice_max: int = SLICE_MAX
    endpoints_batch_s: float = 0.0
    slices_batch_s: float = 0.0
    mirrors_batch_s: float = 0.0
    """How long changes of endpoints are gathered before something is written (--*-updates-batch-period)."""
    force_detach: bool = True
    """Whether volumes of a dead node are detached after six minutes."""
    pod_networks: PodNetworks | None = None
    """What nodes get networks for their pods from; None: they bring their own (--allocate-node-cidrs)."""
    features: Mapping[str, bool] = field(default_factory=dict)
    """Feature gates that were set; the others stand as in Kubernetes 1.36."""
    token_clean_up_s: float = TOKEN_CLEAN_UP_S
    certificate_signers: Mapping[str, CertificateAuthority] = field(default_factory=dict)
    """The CA that signs for each signer of Kubernetes; a signer that is not named signs nothing."""


def _token_controller(env: Environment, settings: Settings) -> Controller:
    assert settings.make_token is not None
    return TokenController(env, settings.make_token, settings.root_ca)


def _node_ipam(env: Environment, settings: Settings) -> Controller:
    assert settings.pod_networks is not None
    return NodeIpamController(env, settings.pod_networks)


def _policy_status(env: Environment, settings: Settings) -> Controller:
    from pilothouse.controllers.policy_status import PolicyStatusController  # brings the CEL checker

    return PolicyStatusController(env)


_MANAGED_HELP = "Indicates where instances of a controller are currently running"
_TOKENS = "serviceaccount-token-controller"
_IPAM = "node-ipam-controller"
Factory = Callable[[Environment, Settings], Controller]


class Entry(NamedTuple):
    """One controller: the account it acts as in kube-system, how it is made, and the source component of its events
    where that is not the account's name."""

    account: str
    make: Factory
    component: str = ""


TABLE: dict[str, Entry] = {
    "serviceaccount-token-controller": Entry("tokens-controller", _token_controller),
    "endpoints-controller": Entry(
        "endpoint-controller", lambda env, s: EndpointsController(env, batch_s=s.endpoints_batch_s)
    ),
    "endpointslice-controller": Entry(
        "endpointslice-controller",
        lambda env, s: EndpointSliceController(env, slice_max=s.slice_max, batch_s=s.slices_batch_s),
    ),
    "endpointslice-mirroring-controller": Entry(
        "endpointslicemirroring-controller",
        lambda env, s: EndpointSliceMirroringController(
            env, subset_max=s.mirrored_max, batch_s=s.mirrors_batch_s
        ),
    ),
    "replicationcontroller-controller": Entry(
        "replication-controller", lambda env, s: ReplicationController(env)
    ),
    "pod-garbage-collector-controller": Entry(
        "pod-garbage-collector", lambda env, s: PodGarbageCollector(env, terminated_max=s.terminated_pods_max)
    ),
    "resourcequota-controller": Entry(
        "resourcequota-controller", lambda env, s: ResourceQuotaController(env, resync_s=s.quota_sync_s)
    ),
    "namespace-controller": Entry("namespace-controller", lambda env, s: NamespaceController(env)),
    "serviceaccount-controller": Entry(
        "service-account-controller", lambda env, s: ServiceAccountController(env)
    ),
    "garbage-collector-controller": Entry("generic-garbage-collector", lambda env, s: GarbageCollector(env)),
    "daemonset-controller": Entry(
        "daemon-set-controller", lambda env, s: DaemonSetController(env), "daemonset-controller"
    ),
    "job-controller": Entry("job-controller", lambda env, s: JobController(env)),
    "deployment-controller": Entry("deployment-controller", lambda env, s: DeploymentController(env)),
    "replicaset-controller": Entry("replicaset-controller", lambda env, s: ReplicaSetController(env)),
    "statefulset-controller": Entry("statefulset-controller", lambda env, s: StatefulSetController(env)),
    "cronjob-controller": Entry("cronjob-controller", lambda env, s: CronJobController(env)),
    "horizontal-pod-autoscaler-controller": Entry(
        "horizontal-pod-autoscaler",
        lambda env, s: HorizontalPodAutoscalerController(env, s.autoscaling),
    ),
    "disruption-controller": Entry(
        "disruption-controller", lambda env, s: DisruptionController(env), "controllermanager"
    ),
    "certificatesigningrequest-signing-controller": Entry(
        "certificate-controller", lambda env, s: CertificateSigningController(env, s.certificate_signers)
    ),
    "certificatesigningrequest-approving-controller": Entry(
        "certificate-controller", lambda env, s: CertificateApprovingController(env)
    ),
    "certificatesigningrequest-cleaner-controller": Entry(
        "certificate-controller", lambda env, s: CertificateCleaner(env)
    ),
    "podcertificaterequest-cleaner-controller": Entry(
        "podcertificaterequestcleaner", lambda env, s: PodCertificateCleaner(env)
    ),
    "ttl-controller": Entry("ttl-controller", lambda env, s: NodeTtlController(env)),
    _IPAM: Entry("node-controller", _node_ipam, "cidrAllocator"),
    "bootstrap-signer-controller": Entry("bootstrap-signer", lambda env, s: BootstrapSigner(env)),
    "token-cleaner-controller": Entry("token-cleaner", lambda env, s: TokenCleaner(env)),
    "node-lifecycle-controller": Entry(
        "node-controller",
        lambda env, s: NodeLifecycleController(
            env, grace_s=s.node_grace_s, startup_grace_s=s.node_startup_grace_s, rates=s.node_rates
        ),
    ),
    "taint-eviction-controller": Entry(
        "taint-eviction-controller", lambda env, s: TaintEvictionController(env)
    ),
    "persistentvolume-binder-controller": Entry(
        "persistent-volume-binder",
        lambda env, s: PersistentVolumeController(env),
        "persistentvolume-controller",
    ),
    "persistentvolume-attach-detach-controller": Entry(
        "attachdetach-controller", lambda env, s: AttachDetachController(env, force_detach=s.force_detach)
    ),
    "simulated-provisioner-controller": Entry(
        "persistent-volume-binder", lambda env, s: SimulatedProvisioner(env), SIMULATED
    ),
    "clusterrole-aggregation-controller": Entry(
        "clusterrole-aggregation-controller", lambda env, s: ClusterRoleAggregationController(env)
    ),
    "persistentvolumeclaim-protection-controller": Entry(
        "pvc-protection-controller", lambda env, s: ClaimProtectionController(env)
    ),
    "persistentvolume-protection-controller": Entry(
        "pv-protection-controller", lambda env, s: VolumeProtectionController(env)
    ),
    "persistentvolume-expander-controller": Entry(
        "expand-controller", lambda env, s: VolumeExpander(env), "volume_expand"
    ),
    "volumeattributesclass-protection-controller": Entry(
        "volumeattributesclass-protection-controller", lambda env, s: AttributesClassProtectionController(env)
    ),
    "validatingadmissionpolicy-status-controller": Entry(
        "validatingadmissionpolicy-status-controller", _policy_status
    ),
    "selinux-warning-controller": Entry(
        "selinux-warning-controller", lambda env, s: SeLinuxWarningController(env), "selinux_warning"
    ),
    "service-cidr-controller": Entry("service-cidrs-controller", lambda env, s: ServiceCidrController(env)),
    "ephemeral-volume-controller": Entry(
        "ephemeral-volume-controller",
        lambda env, s: EphemeralVolumeController(env),
        "ephemeral_volume",
    ),
    "ttl-after-finished-controller": Entry(
        "ttl-after-finished-controller", lambda env, s: TtlAfterFinishedController(env)
    ),
    "resourceclaim-controller": Entry(
        "resource-claim-controller", lambda env, s: ResourceClaimController(env), "resource_claim"
    ),
    "device-taint-eviction-controller": Entry(
        "device-taint-eviction-controller",
        lambda env, s: DeviceTaintEvictionController(env, rules=s.features.get(RULES_GATE, False)),
        "device_taint_eviction",
    ),
    "podgroup-protection-controller": Entry(
        "podgroup-protection-controller", lambda env, s: PodGroupProtectionController(env)
    ),
    "resourcepoolstatusrequest-controller": Entry(
        "resourcepoolstatusrequest-controller", lambda env, s: PoolStatusController(env)
    ),
    "storage-version-migrator-controller": Entry(
        "storage-version-migrator-controller", lambda env, s: StorageVersionMigrator(env)
    ),
    "storageversion-garbage-collector-controller": Entry(
        "storage-version-garbage-collector", lambda env, s: StorageVersionGarbageCollector(env)
    ),
    "legacy-serviceaccount-token-cleaner-controller": Entry(
        "legacy-service-account-token-cleaner",
        lambda env, s: LegacyTokenCleaner(env, clean_up_s=s.token_clean_up_s),
    ),
    "root-ca-certificate-publisher-controller": Entry(
        "root-ca-cert-publisher", lambda env, s: RootCaPublisher(env, s.root_ca)
    ),
    "kube-apiserver-serving-clustertrustbundle-publisher-controller": Entry(
        "kube-apiserver-serving-clustertrustbundle-publisher",
        lambda env, s: ClusterTrustBundlePublisher(env, s.root_ca),
    ),
}
"""By upstream's name, in the order they start."""


def chosen(spec: Iterable[str]) -> list[str]:
    """The names that --controllers selects. ValueError for a name that is none."""
    return names.selected(spec, TABLE)


def _missing(name: str, settings: Settings) -> str:
    """What a controller lacks that only flags can give; "" for nothing."""
    if name == _TOKENS and settings.make_token is None:
        return "it needs the key that signs tokens"
    if name == _IPAM and settings.pod_networks is None:
        return "nodes bring networks of their own without --allocate-node-cidrs"
    return ""


class Manager:
    """Runs controllers. `environment(account, component)` gives each its own identity, and the name its events
    come under."""

    def __init__(
        self,
        environment: Callable[[str, str], Environment],
        settings: Settings,
        wanted: Iterable[str] = ("*",),
    ) -> None:
        self.controllers: dict[str, Controller] = {}
        self._running: set[str] = set()
        selection = names.select(wanted, TABLE, settings.features)
        for line in selection.skipped:
            log.warning(line)
        for name in selection.names:
            missing = _missing(name, settings)
            if missing:
                log.log(
                    logging.WARNING if name == _TOKENS else logging.DEBUG,
                    "%s does not run: %s",
                    name,
                    missing,
                )
                continue
            entry = TABLE[name]
            environ = environment(entry.account, entry.component or entry.account)
            controller = entry.make(environ, settings)
            controller.worker_count = settings.workers.get(name, controller.workers)
            controller.setup()
            self.controllers[name] = controller
            managed = gauge(
                environ.metrics, "running_managed_controllers", _MANAGED_HELP, ["name", "manager"]
            )
            managed.labels(name, "kube-controller-manager").set_function(partial(self._is_running, name))

    def checks(self) -> dict[str, Callable[[], str]]:
        """A health check of each controller by its name: what is wrong with it, "" for nothing."""
        return {name: partial(self._problem, name) for name in self.controllers}

    def _is_running(self, name: str) -> float:
        return float(name in self._running)

    def _problem(self, name: str) -> str:
        return self.controllers[name].problem() if name in self._running else "it does not run"

    async def run(self) -> None:
        """Until cancelled; a controller that dies takes the manager with it, so that nobody misses it."""
        loop = asyncio.get_running_loop()
        tasks = [loop.create_task(self._run(name), name=name) for name in self.controllers]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self, name: str) -> None:
        self._running.add(name)
        try:
            await self.controllers[name].run()
        finally:
            self._running.discard(name)
