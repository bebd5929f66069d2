"""kube-controller-manager's configuration as /configz shows it: upstream's internal KubeControllerManagerConfiguration
(k8s.io/kubernetes/pkg/controller/apis/config), fields in Go's names, filled from the flags."""

from __future__ import annotations

from collections.abc import Mapping

from pilothouse.api.types import Obj
from pilothouse.cli.component_flags import spoken
from pilothouse.cli.flags import Command, Values
from pilothouse.cli.kinds import DURATION, FILE, PATH

NAME = "kubecontrollermanager.config.k8s.io"

_FIELDS: Mapping[str, Mapping[str, str]] = {
    "Generic.ClientConnection": {
        "Kubeconfig": "kubeconfig",
        "ContentType": "kube-api-content-type",
        "QPS": "kube-api-qps",
        "Burst": "kube-api-burst",
    },
    "Generic": {
        "MinResyncPeriod": "min-resync-period",
        "ControllerStartInterval": "controller-start-interval",
        "Controllers": "controllers",
        "LeaderMigrationEnabled": "enable-leader-migration",
    },
    "Generic.LeaderElection": {
        "LeaderElect": "leader-elect",
        "LeaseDuration": "leader-elect-lease-duration",
        "RenewDeadline": "leader-elect-renew-deadline",
        "RetryPeriod": "leader-elect-retry-period",
        "ResourceLock": "leader-elect-resource-lock",
        "ResourceName": "leader-elect-resource-name",
        "ResourceNamespace": "leader-elect-resource-namespace",
    },
    "Generic.Debugging": {
        "EnableProfiling": "profiling",
        "EnableContentionProfiling": "contention-profiling",
    },
    "KubeCloudShared.CloudProvider": {"Name": "cloud-provider", "CloudConfigFile": "cloud-config"},
    "KubeCloudShared": {
        "ExternalCloudVolumePlugin": "external-cloud-volume-plugin",
        "UseServiceAccountCredentials": "use-service-account-credentials",
        "RouteReconciliationPeriod": "route-reconciliation-period",
        "NodeMonitorPeriod": "node-monitor-period",
        "ClusterName": "cluster-name",
        "ClusterCIDR": "cluster-cidr",
        "AllocateNodeCIDRs": "allocate-node-cidrs",
        "CIDRAllocatorType": "cidr-allocator-type",
        "ConfigureCloudRoutes": "configure-cloud-routes",
    },
    "AttachDetachController": {
        "DisableAttachDetachReconcilerSync": "disable-attach-detach-reconcile-sync",
        "ReconcilerSyncLoopPeriod": "attach-detach-reconcile-sync-period",
        "DisableForceDetachOnTimeout": "disable-force-detach-on-timeout",
    },
    "CSRSigningController": {
        "ClusterSigningCertFile": "cluster-signing-cert-file",
        "ClusterSigningKeyFile": "cluster-signing-key-file",
        "ClusterSigningDuration": "cluster-signing-duration",
    },
    "DaemonSetController": {"ConcurrentDaemonSetSyncs": "concurrent-daemonset-syncs"},
    "DeploymentController": {"ConcurrentDeploymentSyncs": "concurrent-deployment-syncs"},
    "StatefulSetController": {"ConcurrentStatefulSetSyncs": "concurrent-statefulset-syncs"},
    "EndpointController": {
        "ConcurrentEndpointSyncs": "concurrent-endpoint-syncs",
        "EndpointUpdatesBatchPeriod": "endpoint-updates-batch-period",
    },
    "EndpointSliceController": {
        "ConcurrentServiceEndpointSyncs": "concurrent-service-endpoint-syncs",
        "MaxEndpointsPerSlice": "max-endpoints-per-slice",
        "EndpointUpdatesBatchPeriod": "endpointslice-updates-batch-period",
    },
    "EndpointSliceMirroringController": {
        "MirroringConcurrentServiceEndpointSyncs": "mirroring-concurrent-service-endpoint-syncs",
        "MirroringMaxEndpointsPerSubset": "mirroring-max-endpoints-per-subset",
        "MirroringEndpointUpdatesBatchPeriod": "mirroring-endpointslice-updates-batch-period",
    },
    "EphemeralVolumeController": {"ConcurrentEphemeralVolumeSyncs": "concurrent-ephemeralvolume-syncs"},
    "GarbageCollectorController": {
        "EnableGarbageCollector": "enable-garbage-collector",
        "ConcurrentGCSyncs": "concurrent-gc-syncs",
    },
    "HPAController": {
        "ConcurrentHorizontalPodAutoscalerSyncs": "concurrent-horizontal-pod-autoscaler-syncs",
        "HorizontalPodAutoscalerSyncPeriod": "horizontal-pod-autoscaler-sync-period",
        "HorizontalPodAutoscalerDownscaleStabilizationWindow": "horizontal-pod-autoscaler-downscale-stabilization",
        "HorizontalPodAutoscalerTolerance": "horizontal-pod-autoscaler-tolerance",
        "HorizontalPodAutoscalerCPUInitializationPeriod": "horizontal-pod-autoscaler-cpu-initialization-period",
        "HorizontalPodAutoscalerInitialReadinessDelay": "horizontal-pod-autoscaler-initial-readiness-delay",
    },
    "JobController": {"ConcurrentJobSyncs": "concurrent-job-syncs"},
    "CronJobController": {"ConcurrentCronJobSyncs": "concurrent-cron-job-syncs"},
    "LegacySATokenCleaner": {"CleanUpPeriod": "legacy-service-account-token-clean-up-period"},
    "NamespaceController": {
        "NamespaceSyncPeriod": "namespace-sync-period",
        "ConcurrentNamespaceSyncs": "concurrent-namespace-syncs",
    },
    "NodeIPAMController": {
        "ServiceCIDR": "service-cluster-ip-range",
        "NodeCIDRMaskSize": "node-cidr-mask-size",
        "NodeCIDRMaskSizeIPv4": "node-cidr-mask-size-ipv4",
        "NodeCIDRMaskSizeIPv6": "node-cidr-mask-size-ipv6",
    },
    "NodeLifecycleController": {
        "NodeEvictionRate": "node-eviction-rate",
        "SecondaryNodeEvictionRate": "secondary-node-eviction-rate",
        "NodeStartupGracePeriod": "node-startup-grace-period",
        "NodeMonitorGracePeriod": "node-monitor-grace-period",
        "LargeClusterSizeThreshold": "large-cluster-size-threshold",
        "UnhealthyZoneThreshold": "unhealthy-zone-threshold",
    },
    "PersistentVolumeBinderController": {"PVClaimBinderSyncPeriod": "pvclaimbinder-sync-period"},
    "PersistentVolumeBinderController.VolumeConfiguration": {
        "EnableHostPathProvisioning": "enable-hostpath-provisioner",
        "EnableDynamicProvisioning": "enable-dynamic-provisioning",
        "FlexVolumePluginDir": "flex-volume-plugin-dir",
    },
    "PodGCController": {"TerminatedPodGCThreshold": "terminated-pod-gc-threshold"},
    "ReplicaSetController": {"ConcurrentRSSyncs": "concurrent-replicaset-syncs"},
    "ReplicationController": {"ConcurrentRCSyncs": "concurrent-rc-syncs"},
    "ResourceQuotaController": {
        "ResourceQuotaSyncPeriod": "resource-quota-sync-period",
        "ConcurrentResourceQuotaSyncs": "concurrent-resource-quota-syncs",
    },
    "SAController": {
        "ServiceAccountKeyFile": "service-account-private-key-file",
        "ConcurrentSATokenSyncs": "concurrent-serviceaccount-token-syncs",
        "RootCAFile": "root-ca-file",
    },
    "ServiceController": {"ConcurrentServiceSyncs": "concurrent-service-syncs"},
    "TTLAfterFinishedController": {"ConcurrentTTLSyncs": "concurrent-ttl-after-finished-syncs"},
    "ValidatingAdmissionPolicyStatusController": {
        "ConcurrentPolicySyncs": "concurrent-validating-admission-policy-status-syncs"
    },
}


def configuration(values: Values, command: Command) -> Obj:
    """{"kubecontrollermanager.config.k8s.io": {...}}, the document of /configz. Flags that `command` has not are left
    out."""
    found: Obj = {}
    for path, fields in _FIELDS.items():
        section = found
        for part in path.split("."):
            section = section.setdefault(part, {})
        for name, flag in fields.items():
            if flag in command.index:
                section[name] = _value(values, command, flag)
    return {NAME: found}


def _value(values: Values, command: Command, flag: str) -> object:
    value = values[flag]
    if command.index[flag].kind in (DURATION, FILE, PATH) or value is None:
        return spoken(command.index[flag].kind, value)
    return list(value) if isinstance(value, tuple) else value
