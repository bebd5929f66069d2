"""What the published definitions leave out: the values of enumerated strings, defaults that upstream's types
mark with +default, and the descriptions of two types that the package's schemas replace.

Keys are a definition's last name parts and a field. Source: the +enum and +default markers in k8s.io/api.
"""

from __future__ import annotations


def _enums(text: str) -> dict[tuple[str, str], tuple[str, ...]]:
    """Lines of `values = TYPE.field TYPE.field …`; `''` is the empty string."""
    out: dict[tuple[str, str], tuple[str, ...]] = {}
    for line in text.strip().splitlines():
        values, _, fields = line.partition(" = ")
        found = tuple("" if v == "''" else v for v in values.split())
        for name in fields.split():
            owner, _, key = name.rpartition(".")
            out[(owner, key)] = found
    return out


_SIGNALS = (
    "SIGABRT SIGALRM SIGBUS SIGCHLD SIGCLD SIGCONT SIGFPE SIGHUP SIGILL SIGINT SIGIO SIGIOT SIGKILL SIGPIPE "
    "SIGPOLL SIGPROF SIGPWR SIGQUIT SIGRTMAX "
    + " ".join(f"SIGRTMAX-{n}" for n in sorted(range(1, 15), key=str))
    + " SIGRTMIN "
    + " ".join(f"SIGRTMIN+{n}" for n in sorted(range(1, 16), key=str))
    + " SIGSEGV SIGSTKFLT SIGSTOP SIGSYS SIGTERM SIGTRAP SIGTSTP SIGTTIN SIGTTOU SIGURG SIGUSR1 SIGUSR2 "
    "SIGVTALRM SIGWINCH SIGXCPU SIGXFSZ"
)
_SCOPES = (
    "BestEffort CrossNamespacePodAffinity NotBestEffort NotTerminating PriorityClass Terminating "
    "VolumeAttributesClass"
)

ENUMS = _enums(f"""
Always IfNotPresent Never = core.v1.Container.imagePullPolicy core.v1.EphemeralContainer.imagePullPolicy core.v1.ImageVolumeSource.pullPolicy
FallbackToLogsOnError File = core.v1.Container.terminationMessagePolicy core.v1.EphemeralContainer.terminationMessagePolicy
SCTP TCP UDP = core.v1.ContainerPort.protocol core.v1.ServicePort.protocol core.v1.EndpointPort.protocol core.v1.PortStatus.protocol discovery.v1.EndpointPort.protocol networking.v1.NetworkPolicyPort.protocol networking.v1.IngressPortStatus.protocol
{_SIGNALS} = core.v1.Lifecycle.stopSignal core.v1.ContainerStatus.stopSignal
Always Never OnFailure = core.v1.PodSpec.restartPolicy
ClusterFirst ClusterFirstWithHostNet Default None = core.v1.PodSpec.dnsPolicy
Never PreemptLowerPriority = core.v1.PodSpec.preemptionPolicy scheduling.v1.PriorityClass.preemptionPolicy
Always OnRootMismatch = core.v1.PodSecurityContext.fsGroupChangePolicy
Merge Strict = core.v1.PodSecurityContext.supplementalGroupsPolicy
Default Unmasked = core.v1.SecurityContext.procMount
Localhost RuntimeDefault Unconfined = core.v1.SeccompProfile.type core.v1.AppArmorProfile.type
HTTP HTTPS = core.v1.HTTPGetAction.scheme
'' BlockDevice CharDevice Directory DirectoryOrCreate File FileOrCreate Socket = core.v1.HostPathVolumeSource.type
None ReadOnly ReadWrite = core.v1.AzureDiskVolumeSource.cachingMode
Dedicated Managed Shared = core.v1.AzureDiskVolumeSource.kind
Bidirectional HostToContainer None = core.v1.VolumeMount.mountPropagation
DoesNotExist Exists Gt In Lt NotIn = core.v1.NodeSelectorRequirement.operator
NoExecute NoSchedule PreferNoSchedule = core.v1.Toleration.effect core.v1.Taint.effect
Equal Exists Gt Lt = core.v1.Toleration.operator
DoNotSchedule ScheduleAnyway = core.v1.TopologySpreadConstraint.whenUnsatisfiable
Honor Ignore = core.v1.TopologySpreadConstraint.nodeAffinityPolicy core.v1.TopologySpreadConstraint.nodeTaintsPolicy
Block Filesystem = core.v1.PersistentVolumeClaimSpec.volumeMode core.v1.PersistentVolumeSpec.volumeMode
Delete Recycle Retain = core.v1.PersistentVolumeSpec.persistentVolumeReclaimPolicy storage.v1.StorageClass.reclaimPolicy
ReadOnlyMany ReadWriteMany ReadWriteOnce ReadWriteOncePod = core.v1.PersistentVolumeClaimSpec.accessModes core.v1.PersistentVolumeClaimStatus.accessModes core.v1.PersistentVolumeSpec.accessModes
Bound Lost Pending = core.v1.PersistentVolumeClaimStatus.phase
Available Bound Failed Pending Released = core.v1.PersistentVolumeStatus.phase
Failed Pending Running Succeeded Unknown = core.v1.PodStatus.phase
BestEffort Burstable Guaranteed = core.v1.PodStatus.qosClass
Active Terminating = core.v1.NamespaceStatus.phase
Pending Running Terminated = core.v1.NodeStatus.phase
Cluster Local = core.v1.ServiceSpec.externalTrafficPolicy core.v1.ServiceSpec.internalTrafficPolicy
PreferDualStack RequireDualStack SingleStack = core.v1.ServiceSpec.ipFamilyPolicy
ClientIP None = core.v1.ServiceSpec.sessionAffinity
ClusterIP ExternalName LoadBalancer NodePort = core.v1.ServiceSpec.type
'' IPv4 IPv6 = core.v1.ServiceSpec.ipFamilies
{_SCOPES} = core.v1.ResourceQuotaSpec.scopes core.v1.ScopedResourceSelectorRequirement.scopeName
DoesNotExist Exists In NotIn = core.v1.ScopedResourceSelectorRequirement.operator
Recreate RollingUpdate = apps.v1.DeploymentStrategy.type
OnDelete RollingUpdate = apps.v1.DaemonSetUpdateStrategy.type apps.v1.StatefulSetUpdateStrategy.type
OrderedReady Parallel = apps.v1.StatefulSetSpec.podManagementPolicy
Allow Forbid Replace = batch.v1.CronJobSpec.concurrencyPolicy
Indexed NonIndexed = batch.v1.JobSpec.completionMode
Failed TerminatingOrFailed = batch.v1.JobSpec.podReplacementPolicy
Count FailIndex FailJob Ignore = batch.v1.PodFailurePolicyRule.action
In NotIn = batch.v1.PodFailurePolicyOnExitCodesRequirement.operator
AlwaysAllow IfHealthyBudget = policy.v1.PodDisruptionBudgetSpec.unhealthyPodEvictionPolicy
Exact ImplementationSpecific Prefix = networking.v1.HTTPIngressPath.pathType
Egress Ingress = networking.v1.NetworkPolicySpec.policyTypes
FQDN IPv4 IPv6 = discovery.v1.EndpointSlice.addressType
Immediate WaitForFirstConsumer = storage.v1.StorageClass.volumeBindingMode
Fail Ignore = admissionregistration.v1.MutatingWebhook.failurePolicy admissionregistration.v1.ValidatingWebhook.failurePolicy admissionregistration.v1.ValidatingAdmissionPolicySpec.failurePolicy admissionregistration.v1.MutatingAdmissionPolicySpec.failurePolicy
Equivalent Exact = admissionregistration.v1.MutatingWebhook.matchPolicy admissionregistration.v1.ValidatingWebhook.matchPolicy admissionregistration.v1.MatchResources.matchPolicy
None NoneOnDryRun Some Unknown = admissionregistration.v1.MutatingWebhook.sideEffects admissionregistration.v1.ValidatingWebhook.sideEffects
IfNeeded Never = admissionregistration.v1.MutatingWebhook.reinvocationPolicy
* CONNECT CREATE DELETE UPDATE = admissionregistration.v1.RuleWithOperations.operations admissionregistration.v1.NamedRuleWithOperations.operations
* Cluster Namespaced = admissionregistration.v1.RuleWithOperations.scope admissionregistration.v1.NamedRuleWithOperations.scope
""")  # noqa: E501
"""Values of a string field, or of the elements of a list of strings."""

_PREEMPTION = {
    "Never": "means that pod never preempts other pods with lower priority.",
    "PreemptLowerPriority": "means that pod can preempt other pods with lower priority.",
}

ENUM_NOTES: dict[tuple[str, str], dict[str, str]] = {
    ("apps.v1.DeploymentStrategy", "type"): {
        "Recreate": "Kill all existing pods before creating new ones.",
        "RollingUpdate": (
            "Replace the old ReplicaSets by new one using rolling update i.e gradually scale down the old "
            "ReplicaSets and scale up the new one."
        ),
    },
    ("core.v1.PodSpec", "preemptionPolicy"): _PREEMPTION,
    ("scheduling.v1.PriorityClass", "preemptionPolicy"): _PREEMPTION,
}
"""What a value means, where upstream's documents say it."""

DEFAULTS: dict[tuple[str, str], object] = {
    ("core.v1.ContainerPort", "protocol"): "TCP",
    ("core.v1.ServicePort", "protocol"): "TCP",
    ("core.v1.LocalObjectReference", "name"): "",
    ("core.v1.ConfigMapKeySelector", "name"): "",
    ("core.v1.SecretKeySelector", "name"): "",
    ("core.v1.ConfigMapEnvSource", "name"): "",
    ("core.v1.SecretEnvSource", "name"): "",
    ("core.v1.ConfigMapProjection", "name"): "",
    ("core.v1.SecretProjection", "name"): "",
    ("core.v1.ConfigMapVolumeSource", "name"): "",
    ("core.v1.GRPCAction", "service"): "",
    ("core.v1.AzureDiskVolumeSource", "cachingMode"): "ReadWrite",
    ("core.v1.AzureDiskVolumeSource", "fsType"): "ext4",
    ("core.v1.AzureDiskVolumeSource", "kind"): "Shared",
    ("core.v1.AzureDiskVolumeSource", "readOnly"): False,
    ("core.v1.ISCSIVolumeSource", "iscsiInterface"): "default",
    ("core.v1.ISCSIPersistentVolumeSource", "iscsiInterface"): "default",
    ("core.v1.RBDVolumeSource", "keyring"): "/etc/ceph/keyring",
    ("core.v1.RBDVolumeSource", "pool"): "rbd",
    ("core.v1.RBDVolumeSource", "user"): "admin",
    ("core.v1.RBDPersistentVolumeSource", "keyring"): "/etc/ceph/keyring",
    ("core.v1.RBDPersistentVolumeSource", "pool"): "rbd",
    ("core.v1.RBDPersistentVolumeSource", "user"): "admin",
    ("core.v1.ScaleIOVolumeSource", "fsType"): "xfs",
    ("core.v1.ScaleIOVolumeSource", "storageMode"): "ThinProvisioned",
    ("core.v1.ScaleIOPersistentVolumeSource", "fsType"): "xfs",
    ("core.v1.ScaleIOPersistentVolumeSource", "storageMode"): "ThinProvisioned",
}
"""Defaults of optional fields."""

QUANTITY = "io.k8s.apimachinery.pkg.api.resource.Quantity"
INT_OR_STRING = "io.k8s.apimachinery.pkg.util.intstr.IntOrString"

DESCRIPTIONS = {
    QUANTITY: (
        "Quantity is a fixed-point representation of a number, written as a decimal number with a suffix: "
        "binary (Ki, Mi, Gi, Ti, Pi, Ei), decimal (n, u, m, k, M, G, T, P, E) or an exponent (e3)."
    ),
    INT_OR_STRING: "IntOrString is a type that can hold an int32 or a string.",
}
