"""What the Go types say and no schema does: which fields tell "absent" from "zero".

In Go an optional field is a pointer (a zero that was given is kept), or a value with `omitempty` (a zero is
dropped), and a struct that is no pointer is always written, at least as {}. The published schemas mark only
required fields. The rules that hold for nearly all optional fields:

    string                value   (zero dropped)
    integer, boolean      pointer (zero kept)
    struct                pointer (absent stays absent)

The tables below are the exceptions, by definition (its last name parts) and field; what holds for a group's
v1 also holds for its other versions unless they have an entry of their own. Source: the types in k8s.io/api, k8s.io/apimachinery and k8s.io/kube-aggregator, Kubernetes 1.36.
"""

# ruff: noqa: E501  (a row a line)

from __future__ import annotations


def _table(text: str) -> dict[str, frozenset[str]]:
    out: dict[str, frozenset[str]] = {}
    for line in text.strip().splitlines():
        name, _, fields = line.partition(":")
        if fields:
            out[name.strip()] = frozenset(fields.split())
    return out


KEPT_EMPTY = _table("""
autoscaling.v2.HPAScalingRules: policies
""")
"""Lists and maps of which validation must tell an empty one from none; what is stored has neither."""

EMPTY_LABELS_KEPT = frozenset(("core.v1.PodTemplateSpec",))
"""Owners of a `metadata` whose `labels` are kept when empty: an error text shows them."""

VALUE_SCALARS = _table("""
meta.v1.ObjectMeta: generation
meta.v1.Condition: observedGeneration
meta.v1.StatusDetails: retryAfterSeconds
meta.v1.Status: code
meta.v1.APIResource: namespaced
core.v1.PodSpec: hostNetwork hostPID hostIPC
core.v1.PodStatus: observedGeneration
core.v1.PodCondition: observedGeneration
core.v1.Container: stdin stdinOnce tty
core.v1.EphemeralContainer: stdin stdinOnce tty
core.v1.ContainerPort: hostPort
core.v1.VolumeMount: readOnly
core.v1.Probe: initialDelaySeconds timeoutSeconds periodSeconds successThreshold failureThreshold
core.v1.ContainerStateTerminated: signal
core.v1.PersistentVolumeClaimVolumeSource: readOnly
core.v1.GCEPersistentDiskVolumeSource: partition readOnly
core.v1.AWSElasticBlockStoreVolumeSource: partition readOnly
core.v1.NFSVolumeSource: readOnly
core.v1.ISCSIVolumeSource: readOnly discoveryCHAPAuth chapAuthDiscovery chapAuthSession
core.v1.ISCSIPersistentVolumeSource: readOnly chapAuthDiscovery chapAuthSession
core.v1.GlusterfsVolumeSource: readOnly
core.v1.GlusterfsPersistentVolumeSource: readOnly
core.v1.RBDVolumeSource: readOnly
core.v1.RBDPersistentVolumeSource: readOnly
core.v1.FlexVolumeSource: readOnly
core.v1.FlexPersistentVolumeSource: readOnly
core.v1.CinderVolumeSource: readOnly
core.v1.CinderPersistentVolumeSource: readOnly
core.v1.CephFSVolumeSource: readOnly
core.v1.CephFSPersistentVolumeSource: readOnly
core.v1.FCVolumeSource: readOnly
core.v1.AzureFileVolumeSource: readOnly
core.v1.AzureFilePersistentVolumeSource: readOnly
core.v1.QuobyteVolumeSource: readOnly
core.v1.PortworxVolumeSource: readOnly
core.v1.ScaleIOVolumeSource: sslEnabled readOnly
core.v1.ScaleIOPersistentVolumeSource: sslEnabled readOnly
core.v1.StorageOSVolumeSource: readOnly
core.v1.StorageOSPersistentVolumeSource: readOnly
core.v1.CSIPersistentVolumeSource: readOnly
core.v1.ServicePort: nodePort
core.v1.ServiceSpec: publishNotReadyAddresses healthCheckNodePort
core.v1.NodeSpec: unschedulable
core.v1.ReplicationControllerSpec: minReadySeconds
core.v1.ReplicationControllerStatus: fullyLabeledReplicas readyReplicas availableReplicas observedGeneration
core.v1.Event: count
core.v1.EventSeries: count
apps.v1.DeploymentSpec: minReadySeconds paused
apps.v1.DeploymentStatus: observedGeneration replicas updatedReplicas readyReplicas availableReplicas unavailableReplicas
apps.v1.ReplicaSetSpec: minReadySeconds
apps.v1.ReplicaSetStatus: fullyLabeledReplicas readyReplicas availableReplicas observedGeneration
apps.v1.DaemonSetSpec: minReadySeconds
apps.v1.DaemonSetStatus: observedGeneration updatedNumberScheduled numberAvailable numberUnavailable
apps.v1.StatefulSetSpec: minReadySeconds
apps.v1.StatefulSetStatus: observedGeneration readyReplicas currentReplicas updatedReplicas availableReplicas
apps.v1.StatefulSetOrdinals: start
batch.v1.JobStatus: active succeeded failed
autoscaling.v1.ScaleSpec: replicas
autoscaling.v2.HorizontalPodAutoscalerStatus: currentReplicas
policy.v1.PodDisruptionBudgetStatus: observedGeneration currentHealthy desiredHealthy disruptionsAllowed expectedPods
events.v1.Event: deprecatedCount
networking.v1.ServiceBackendPort: number
scheduling.v1.PriorityClass: globalDefault value
admissionregistration.v1.ValidatingAdmissionPolicyStatus: observedGeneration
apiregistration.v1.APIServiceSpec: insecureSkipTLSVerify
apiextensions.v1.CustomResourceDefinitionStatus: observedGeneration
apiextensions.v1.CustomResourceDefinitionCondition: observedGeneration
apiextensions.v1.CustomResourceDefinitionSpec: preserveUnknownFields
apiextensions.v1.CustomResourceDefinitionVersion: deprecated
apiextensions.v1.CustomResourceColumnDefinition: priority
apiextensions.v1.JSONSchemaProps: exclusiveMaximum exclusiveMinimum uniqueItems nullable x-kubernetes-embedded-resource x-kubernetes-int-or-string
flowcontrol.v1.QueuingConfiguration: queues handSize queueLengthLimit
flowcontrol.v1.ResourcePolicyRule: clusterScope
authentication.v1.TokenReviewStatus: authenticated
authorization.v1.SubjectAccessReviewStatus: denied
resource.v1.ExactDeviceRequest: count
resource.v1.DeviceSubRequest: count
resource.v1beta1.DeviceRequest: count
resource.v1beta1.DeviceSubRequest: count
resource.v1beta2.ExactDeviceRequest: count
resource.v1beta2.DeviceSubRequest: count
core.v1.ContainerImage: sizeBytes
core.v1.VolumeMountStatus: readOnly
flowcontrol.v1.FlowSchemaSpec: matchingPrecedence
""")
"""Optional integers and booleans that are values: 0 and false are dropped."""

POINTER_STRINGS = _table("""
core.v1.PersistentVolumeClaimSpec: storageClassName volumeMode volumeAttributesClassName
core.v1.PersistentVolumeClaimStatus: currentVolumeAttributesClassName
core.v1.PersistentVolumeSpec: volumeMode volumeAttributesClassName
core.v1.TypedLocalObjectReference: apiGroup
core.v1.TypedObjectReference: apiGroup namespace
core.v1.PodSpec: runtimeClassName setHostnameAsFQDN preemptionPolicy hostnameOverride
core.v1.PodSecurityContext: fsGroupChangePolicy supplementalGroupsPolicy seLinuxChangePolicy
core.v1.SecurityContext: procMount
core.v1.Container: restartPolicy
core.v1.EphemeralContainer: restartPolicy
core.v1.VolumeMount: mountPropagation recursiveReadOnly
core.v1.VolumeMountStatus: recursiveReadOnly
core.v1.ServicePort: appProtocol
core.v1.EndpointPort: appProtocol
core.v1.EndpointAddress: nodeName
core.v1.ServiceSpec: ipFamilyPolicy loadBalancerClass internalTrafficPolicy trafficDistribution
core.v1.LoadBalancerIngress: ipMode
core.v1.PortStatus: error
core.v1.SeccompProfile: localhostProfile
core.v1.AppArmorProfile: localhostProfile
core.v1.WindowsSecurityContextOptions: gmsaCredentialSpecName gmsaCredentialSpec runAsUserName
core.v1.HostPathVolumeSource: type
core.v1.AzureDiskVolumeSource: cachingMode fsType kind
core.v1.AzureFilePersistentVolumeSource: secretNamespace
core.v1.CSIVolumeSource: fsType
core.v1.ISCSIVolumeSource: initiatorName
core.v1.ISCSIPersistentVolumeSource: initiatorName
core.v1.LocalVolumeSource: fsType
core.v1.TopologySpreadConstraint: nodeAffinityPolicy nodeTaintsPolicy
core.v1.GRPCAction: service
core.v1.PodDNSConfigOption: value
core.v1.ClusterTrustBundleProjection: name signerName
core.v1.PodResourceClaim: resourceClaimName resourceClaimTemplateName
core.v1.PodResourceClaimStatus: resourceClaimName
core.v1.Lifecycle: stopSignal
core.v1.ContainerStatus: stopSignal
batch.v1.JobSpec: completionMode podReplacementPolicy managedBy
batch.v1.JobStatus: completedIndexes failedIndexes
batch.v1.CronJobSpec: timeZone
batch.v1.PodFailurePolicyOnExitCodesRequirement: containerName
batch.v1.SuccessPolicyRule: succeededIndexes
autoscaling.v2.HPAScalingRules: selectPolicy
policy.v1.PodDisruptionBudgetSpec: unhealthyPodEvictionPolicy
coordination.v1.LeaseSpec: holderIdentity strategy preferredHolder
discovery.v1.Endpoint: hostname nodeName zone
discovery.v1.EndpointPort: name protocol appProtocol
networking.v1.IngressSpec: ingressClassName
networking.v1.HTTPIngressPath: pathType
networking.v1.IngressClassParametersReference: apiGroup scope namespace
networking.v1.NetworkPolicyPort: protocol
networking.v1.IngressPortStatus: error
storage.v1.StorageClass: reclaimPolicy volumeBindingMode
storage.v1.CSIDriverSpec: fsGroupPolicy
storage.v1.VolumeAttachmentSource: persistentVolumeName
scheduling.v1.PriorityClass: preemptionPolicy
admissionregistration.v1.MutatingWebhook: failurePolicy matchPolicy sideEffects reinvocationPolicy
admissionregistration.v1.ValidatingWebhook: failurePolicy matchPolicy sideEffects
admissionregistration.v1.WebhookClientConfig: url
admissionregistration.v1.ServiceReference: path
admissionregistration.v1.RuleWithOperations: scope
admissionregistration.v1.NamedRuleWithOperations: scope
admissionregistration.v1.ValidatingAdmissionPolicySpec: failurePolicy
admissionregistration.v1.MutatingAdmissionPolicySpec: failurePolicy
admissionregistration.v1.MatchResources: matchPolicy
admissionregistration.v1.Validation: reason
admissionregistration.v1.ParamRef: parameterNotFoundAction
apiextensions.v1.WebhookClientConfig: url
apiextensions.v1.ServiceReference: path
apiextensions.v1.CustomResourceDefinitionVersion: deprecationWarning
apiextensions.v1.CustomResourceSubresourceScale: labelSelectorPath
apiextensions.v1.JSONSchemaProps: $ref x-kubernetes-list-type x-kubernetes-map-type
apiextensions.v1.ValidationRule: reason optionalOldSelf
resource.v1.DeviceAttribute: string version
resource.v1.DeviceConstraint: matchAttribute distinctAttribute
resource.v1.ResourceSliceSpec: nodeName
resource.v1.Device: nodeName
resource.v1.DeviceClassSpec: extendedResourceName
core.v1.PodSchedulingGroup: podGroupName
meta.v1.DeleteOptions: propagationPolicy
meta.v1.Preconditions: uid resourceVersion
resource.v1.AllocatedDeviceStatus: shareID
resource.v1.DeviceRequestAllocationResult: shareID
""")
"""Optional strings that are pointers: "" is kept."""

VALUE_STRUCTS = _table("""
core.v1.Container: resources
core.v1.EphemeralContainer: resources
core.v1.ContainerStatus: state lastState
core.v1.PersistentVolumeClaimSpec: resources
core.v1.ServiceStatus: loadBalancer
core.v1.NodeStatus: daemonEndpoints nodeInfo
core.v1.NodeDaemonEndpoints: kubeletEndpoint
core.v1.Event: involvedObject source metadata
core.v1.PodTemplate: template
core.v1.Binding: target
core.v1.PersistentVolumeClaimTemplate: spec
apps.v1.DeploymentSpec: strategy template
apps.v1.DaemonSetSpec: updateStrategy template
apps.v1.StatefulSetSpec: updateStrategy template
apps.v1.ReplicaSetSpec: template
batch.v1.JobSpec: template
batch.v1.CronJobSpec: jobTemplate
batch.v1.JobTemplateSpec: spec
autoscaling.v1.HorizontalPodAutoscalerSpec: scaleTargetRef
autoscaling.v2.HorizontalPodAutoscalerSpec: scaleTargetRef
discovery.v1.Endpoint: conditions
events.v1.Event: regarding deprecatedSource
networking.v1.IngressStatus: loadBalancer
networking.v1.NetworkPolicySpec: podSelector
rbac.v1.RoleBinding: roleRef
rbac.v1.ClusterRoleBinding: roleRef
storage.v1.VolumeAttachmentSpec: source
admissionregistration.v1.MutatingWebhook: clientConfig
admissionregistration.v1.ValidatingWebhook: clientConfig
authentication.v1.TokenReviewStatus: user
authentication.v1.SelfSubjectReviewStatus: userInfo
apiextensions.v1.CustomResourceDefinitionSpec: names
apiextensions.v1.CustomResourceDefinitionStatus: acceptedNames
flowcontrol.v1.FlowSchemaSpec: priorityLevelConfiguration
flowcontrol.v1.LimitedPriorityLevelConfiguration: limitResponse
resource.v1.ResourceClaimSpec: devices
resource.v1.ResourceClaimTemplateSpec: spec
resource.v1.AllocationResult: devices
resource.v1.ResourceSliceSpec: pool
autoscaling.v2.ContainerResourceMetricSource: target
autoscaling.v2.ContainerResourceMetricStatus: current
autoscaling.v2.ExternalMetricSource: metric target
autoscaling.v2.ExternalMetricStatus: metric current
autoscaling.v2.ObjectMetricSource: describedObject metric target
autoscaling.v2.ObjectMetricStatus: describedObject metric current
autoscaling.v2.PodsMetricSource: metric target
autoscaling.v2.PodsMetricStatus: metric current
autoscaling.v2.ResourceMetricSource: target
autoscaling.v2.ResourceMetricStatus: current
core.v1.PreferredSchedulingTerm: preference
core.v1.WeightedPodAffinityTerm: podAffinityTerm
networking.v1.HTTPIngressPath: backend
networking.v1.IngressServiceBackend: port
""")
"""Struct fields that are no pointers, beyond metadata, spec and status: always written, at least as {}."""

POINTER_STRUCTS: dict[str, frozenset[str]] = _table("""
apiextensions.v1.CustomResourceSubresources: status
""")
"""metadata, spec and status fields that are pointers."""

ALWAYS = _table("""
apiextensions.v1.CustomResourceDefinitionStatus: conditions storedVersions
discovery.v1.EndpointSlice: endpoints ports
core.v1.Event: eventTime firstTimestamp lastTimestamp reportingComponent reportingInstance
events.v1.Event: deprecatedFirstTimestamp deprecatedLastTimestamp eventTime
autoscaling.v2.HorizontalPodAutoscalerStatus: currentMetrics
core.v1.TypedLocalObjectReference: apiGroup
core.v1.TypedObjectReference: apiGroup
core.v1.PodCondition: lastProbeTime lastTransitionTime
resource.v1.DeviceClaim: requests
apps.v1.StatefulSetSpec: serviceName
apps.v1.StatefulSetStatus: availableReplicas
authentication.v1.TokenRequestSpec: boundObjectRef audiences expirationSeconds
rbac.v1.Role: rules
rbac.v1.ClusterRole: rules
rbac.v1.RoleRef: apiGroup
policy.v1.PodDisruptionBudgetStatus: currentHealthy desiredHealthy disruptionsAllowed expectedPods
scheduling.v1.PriorityClass: value
flowcontrol.v1.FlowSchemaSpec: matchingPrecedence
flowcontrol.v1.QueuingConfiguration: queues handSize queueLengthLimit
storage.v1.CSINodeDriver: topologyKeys
storage.v1.VolumeError: time
authentication.v1.TokenRequestStatus: token expirationTimestamp
apps.v1.ControllerRevision: data
core.v1.ResourceFieldSelector: divisor
core.v1.EventSeries: lastObservedTime
core.v1.NodeCondition: lastHeartbeatTime lastTransitionTime
core.v1.NamespaceCondition: lastTransitionTime
core.v1.ReplicationControllerCondition: lastTransitionTime
core.v1.PersistentVolumeClaimCondition: lastProbeTime lastTransitionTime
core.v1.ContainerStateRunning: startedAt
core.v1.ContainerStateTerminated: startedAt finishedAt
apps.v1.DeploymentCondition: lastUpdateTime lastTransitionTime
apps.v1.ReplicaSetCondition: lastTransitionTime
apps.v1.StatefulSetCondition: lastTransitionTime
apps.v1.DaemonSetCondition: lastTransitionTime
batch.v1.JobCondition: lastProbeTime lastTransitionTime
autoscaling.v2.HorizontalPodAutoscalerCondition: lastTransitionTime
certificates.v1.CertificateSigningRequestCondition: lastUpdateTime lastTransitionTime
flowcontrol.v1.FlowSchemaCondition: lastTransitionTime
flowcontrol.v1.PriorityLevelConfigurationCondition: lastTransitionTime
apiregistration.v1.APIServiceCondition: lastTransitionTime
apiextensions.v1.CustomResourceDefinitionCondition: lastTransitionTime
""")
"""Optional in the schema, yet written even when zero (no omitempty): null for pointers and nil lists."""

OMITTED = _table("""
networking.v1.IPAddressSpec: parentRef
admissionregistration.v1.ValidatingAdmissionPolicyBindingSpec: policyName validationActions
authentication.v1.TokenReviewSpec: token
""")
"""Required in the schema, yet dropped when zero (omitempty)."""
