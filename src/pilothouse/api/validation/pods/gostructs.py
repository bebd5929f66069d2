"""Upstream's internal pod types by Go's field names, for error texts that print them (core/types.go).

The internal PodSpec keeps the host's namespaces inside its security context; `pod_spec` moves them there.
"""

from __future__ import annotations

from typing import Any

from pilothouse.api import field as f
from pilothouse.api.types import Obj
from pilothouse.api.validation.gotext import Maybe, plain, struct

_LOCAL = struct(Name="")
_KEY_TO_PATH = struct(Key="", Path="", Mode=None)
_FIELD_REF = struct(APIVersion="", FieldPath="")
_RESOURCE_REF = struct(ContainerName="", Resource="", Divisor="0")
_TYPED_REF = struct(APIGroup=None, Kind="", Name="")
_SECCOMP = struct(Type="", LocalhostProfile=None)
_SELINUX = struct(User="", Role="", Type="", Level="")
_WINDOWS = struct(
    json={"GMSACredentialSpecName": "gmsaCredentialSpecName", "GMSACredentialSpec": "gmsaCredentialSpec"},
    GMSACredentialSpecName=None,
    GMSACredentialSpec=None,
    RunAsUserName=None,
    HostProcess=None,
)
_DOWNWARD_FILE = struct(Path="", FieldRef=Maybe(_FIELD_REF), ResourceFieldRef=Maybe(_RESOURCE_REF), Mode=None)
_SE = {"SELinuxOptions": "seLinuxOptions", "SELinuxChangePolicy": "seLinuxChangePolicy", "FSGroup": "fsGroup"}

SECURITY_CONTEXT = struct(
    json={"SELinuxOptions": "seLinuxOptions"},
    Capabilities=Maybe(struct(Add=None, Drop=None)),
    Privileged=None,
    SELinuxOptions=Maybe(_SELINUX),
    WindowsOptions=Maybe(_WINDOWS),
    RunAsUser=None,
    RunAsGroup=None,
    RunAsNonRoot=None,
    ReadOnlyRootFilesystem=None,
    AllowPrivilegeEscalation=None,
    ProcMount=None,
    SeccompProfile=Maybe(_SECCOMP),
    AppArmorProfile=Maybe(_SECCOMP),
)
_POD_SECURITY_CONTEXT = struct(
    json={**_SE, "FSGroupChangePolicy": "fsGroupChangePolicy"},
    HostNetwork=False,
    HostPID=False,
    HostIPC=False,
    ShareProcessNamespace=None,
    HostUsers=None,
    SELinuxOptions=Maybe(_SELINUX),
    WindowsOptions=Maybe(_WINDOWS),
    RunAsUser=None,
    RunAsGroup=None,
    RunAsNonRoot=None,
    SupplementalGroups=None,
    SupplementalGroupsPolicy=None,
    FSGroup=None,
    FSGroupChangePolicy=None,
    Sysctls=Maybe(struct(Name="", Value="")),
    SeccompProfile=Maybe(_SECCOMP),
    AppArmorProfile=Maybe(_SECCOMP),
    SELinuxChangePolicy=None,
)

# Volumes

_PROJECTION = struct(
    json={"DownwardAPI": "downwardAPI"},
    Secret=Maybe(struct(Name="", Items=Maybe(_KEY_TO_PATH), Optional=None)),
    DownwardAPI=Maybe(struct(Items=Maybe(_DOWNWARD_FILE))),
    ConfigMap=Maybe(struct(Name="", Items=Maybe(_KEY_TO_PATH), Optional=None)),
    ServiceAccountToken=Maybe(struct(Audience="", ExpirationSeconds=0, Path="")),
    ClusterTrustBundle=Maybe(struct(Name=None, SignerName=None, LabelSelector=None, Optional=None, Path="")),
    PodCertificate=Maybe(
        struct(
            SignerName="",
            KeyType="",
            MaxExpirationSeconds=None,
            CredentialBundlePath="",
            KeyPath="",
            CertificateChainPath="",
            UserAnnotations=None,
        )
    ),
)
RESOURCES = struct(Limits=None, Requests=None)
_CLAIM_SPEC = struct(
    AccessModes=None,
    Selector=None,
    Resources=RESOURCES,
    VolumeName="",
    StorageClassName=None,
    VolumeMode=None,
    DataSource=Maybe(_TYPED_REF),
    DataSourceRef=Maybe(struct(APIGroup=None, Kind="", Name="", Namespace=None)),
    VolumeAttributesClassName=None,
)
_VOLUME = struct(
    json={
        "GCEPersistentDisk": "gcePersistentDisk",
        "AWSElasticBlockStore": "awsElasticBlockStore",
        "CephFS": "cephfs",
        "StorageOS": "storageos",
    },
    Name="",
    HostPath=Maybe(struct(Path="", Type=None)),
    EmptyDir=Maybe(struct(Medium="", SizeLimit=None)),
    GCEPersistentDisk=Maybe(
        struct(
            json={"PDName": "pdName", "FSType": "fsType"}, PDName="", FSType="", Partition=0, ReadOnly=False
        )
    ),
    AWSElasticBlockStore=Maybe(
        struct(json={"FSType": "fsType"}, VolumeID="", FSType="", Partition=0, ReadOnly=False)
    ),
    GitRepo=Maybe(struct(Repository="", Revision="", Directory="")),
    Secret=Maybe(struct(SecretName="", Items=Maybe(_KEY_TO_PATH), DefaultMode=None, Optional=None)),
    NFS=Maybe(struct(Server="", Path="", ReadOnly=False)),
    ISCSI=Maybe(
        struct(
            json={
                "ISCSIInterface": "iscsiInterface",
                "FSType": "fsType",
                "DiscoveryCHAPAuth": "chapAuthDiscovery",
                "SessionCHAPAuth": "chapAuthSession",
            },
            TargetPortal="",
            IQN="",
            Lun=0,
            ISCSIInterface="",
            FSType="",
            ReadOnly=False,
            Portals=None,
            DiscoveryCHAPAuth=False,
            SessionCHAPAuth=False,
            SecretRef=Maybe(_LOCAL),
            InitiatorName=None,
        )
    ),
    Glusterfs=Maybe(struct(json={"EndpointsName": "endpoints"}, EndpointsName="", Path="", ReadOnly=False)),
    PersistentVolumeClaim=Maybe(struct(ClaimName="", ReadOnly=False)),
    RBD=Maybe(
        struct(
            json={
                "CephMonitors": "monitors",
                "RBDImage": "image",
                "RBDPool": "pool",
                "RadosUser": "user",
                "FSType": "fsType",
            },
            CephMonitors=None,
            RBDImage="",
            FSType="",
            RBDPool="",
            RadosUser="",
            Keyring="",
            SecretRef=Maybe(_LOCAL),
            ReadOnly=False,
        )
    ),
    Quobyte=Maybe(struct(Registry="", Volume="", ReadOnly=False, User="", Group="", Tenant="")),
    FlexVolume=Maybe(
        struct(
            json={"FSType": "fsType"},
            Driver="",
            FSType="",
            SecretRef=Maybe(_LOCAL),
            ReadOnly=False,
            Options=None,
        )
    ),
    Cinder=Maybe(
        struct(json={"FSType": "fsType"}, VolumeID="", FSType="", ReadOnly=False, SecretRef=Maybe(_LOCAL))
    ),
    CephFS=Maybe(
        struct(Monitors=None, Path="", User="", SecretFile="", SecretRef=Maybe(_LOCAL), ReadOnly=False)
    ),
    Flocker=Maybe(struct(DatasetName="", DatasetUUID="")),
    DownwardAPI=Maybe(struct(Items=Maybe(_DOWNWARD_FILE), DefaultMode=None)),
    FC=Maybe(
        struct(
            json={"TargetWWNs": "targetWWNs", "WWIDs": "wwids", "FSType": "fsType"},
            TargetWWNs=None,
            Lun=None,
            FSType="",
            ReadOnly=False,
            WWIDs=None,
        )
    ),
    AzureFile=Maybe(struct(SecretName="", ShareName="", ReadOnly=False)),
    ConfigMap=Maybe(struct(Name="", Items=Maybe(_KEY_TO_PATH), DefaultMode=None, Optional=None)),
    VsphereVolume=Maybe(
        struct(json={"FSType": "fsType"}, VolumePath="", FSType="", StoragePolicyName="", StoragePolicyID="")
    ),
    AzureDisk=Maybe(
        struct(
            json={"DataDiskURI": "diskURI", "FSType": "fsType"},
            DiskName="",
            DataDiskURI="",
            CachingMode=None,
            FSType=None,
            ReadOnly=None,
            Kind=None,
        )
    ),
    PhotonPersistentDisk=Maybe(struct(json={"PdID": "pdID", "FSType": "fsType"}, PdID="", FSType="")),
    Projected=Maybe(struct(Sources=Maybe(_PROJECTION), DefaultMode=None)),
    PortworxVolume=Maybe(struct(json={"FSType": "fsType"}, VolumeID="", FSType="", ReadOnly=False)),
    ScaleIO=Maybe(
        struct(
            json={"SSLEnabled": "sslEnabled", "FSType": "fsType"},
            Gateway="",
            System="",
            SecretRef=Maybe(_LOCAL),
            SSLEnabled=False,
            ProtectionDomain="",
            StoragePool="",
            StorageMode="",
            VolumeName="",
            FSType="",
            ReadOnly=False,
        )
    ),
    StorageOS=Maybe(
        struct(
            json={"FSType": "fsType"},
            VolumeName="",
            VolumeNamespace="",
            FSType="",
            ReadOnly=False,
            SecretRef=Maybe(_LOCAL),
        )
    ),
    CSI=Maybe(
        struct(
            json={"FSType": "fsType"},
            Driver="",
            ReadOnly=None,
            FSType=None,
            VolumeAttributes=None,
            NodePublishSecretRef=Maybe(_LOCAL),
        )
    ),
    Ephemeral=Maybe(struct(VolumeClaimTemplate=Maybe(struct(Spec=_CLAIM_SPEC)))),
    Image=Maybe(struct(Reference="", PullPolicy="")),
)

# Containers

_HTTP_GET = struct(Path="", Port=0, Host="", Scheme="", HTTPHeaders=Maybe(struct(Name="", Value="")))
_HANDLER: dict[str, Any] = {
    "Exec": Maybe(struct(Command=None)),
    "HTTPGet": Maybe(_HTTP_GET),
    "TCPSocket": Maybe(struct(Port=0, Host="")),
}
_HANDLER_JSON = {"HTTPGet": "httpGet", "TCPSocket": "tcpSocket", "GRPC": "grpc"}
_PROBE = struct(
    json=_HANDLER_JSON,
    **_HANDLER,
    GRPC=Maybe(struct(Port=0, Service=None)),
    InitialDelaySeconds=0,
    TimeoutSeconds=0,
    PeriodSeconds=0,
    SuccessThreshold=0,
    FailureThreshold=0,
    TerminationGracePeriodSeconds=None,
)
_HOOK = struct(json=_HANDLER_JSON, **_HANDLER, Sleep=Maybe(struct(Seconds=0)))
_ENV = struct(
    Name="",
    Value="",
    ValueFrom=Maybe(
        struct(
            FieldRef=Maybe(_FIELD_REF),
            ResourceFieldRef=Maybe(_RESOURCE_REF),
            ConfigMapKeyRef=Maybe(struct(Name="", Key="", Optional=None)),
            SecretKeyRef=Maybe(struct(Name="", Key="", Optional=None)),
            FileKeyRef=Maybe(struct(VolumeName="", Path="", Key="", Optional=None)),
        )
    ),
)
_RESOURCES = struct(Limits=None, Requests=None, Claims=Maybe(struct(Name="", Request="")))
_RESIZE = struct(ResourceName="", RestartPolicy="")
_CONTAINER_FIELDS: dict[str, Any] = {
    "Name": "",
    "Image": "",
    "Command": None,
    "Args": None,
    "WorkingDir": "",
    "Ports": Maybe(struct(Name="", HostPort=0, ContainerPort=0, Protocol="", HostIP="")),
    "EnvFrom": Maybe(
        struct(
            Prefix="",
            ConfigMapRef=Maybe(struct(Name="", Optional=None)),
            SecretRef=Maybe(struct(Name="", Optional=None)),
        )
    ),
    "Env": Maybe(_ENV),
    "Resources": _RESOURCES,
    "ResizePolicy": Maybe(_RESIZE),
    "RestartPolicy": None,
    "RestartPolicyRules": Maybe(struct(Action="", ExitCodes=Maybe(struct(Operator="", Values=None)))),
    "VolumeMounts": Maybe(
        struct(
            Name="",
            ReadOnly=False,
            RecursiveReadOnly=None,
            MountPath="",
            SubPath="",
            MountPropagation=None,
            SubPathExpr="",
        )
    ),
    "VolumeDevices": Maybe(struct(Name="", DevicePath="")),
    "LivenessProbe": Maybe(_PROBE),
    "ReadinessProbe": Maybe(_PROBE),
    "StartupProbe": Maybe(_PROBE),
    "Lifecycle": Maybe(struct(PostStart=Maybe(_HOOK), PreStop=Maybe(_HOOK), StopSignal=None)),
    "TerminationMessagePath": "",
    "TerminationMessagePolicy": "",
    "ImagePullPolicy": "",
    "SecurityContext": Maybe(SECURITY_CONTEXT),
    "Stdin": False,
    "StdinOnce": False,
    "TTY": False,
}
_CONTAINER = struct(**_CONTAINER_FIELDS)
_EPHEMERAL = struct(**_CONTAINER_FIELDS, TargetContainerName="")

# Scheduling

_NODE_REQUIREMENT = struct(Key="", Operator="", Values=None)
_NODE_TERM = struct(MatchExpressions=Maybe(_NODE_REQUIREMENT), MatchFields=Maybe(_NODE_REQUIREMENT))
_POD_TERM = struct(
    LabelSelector=None,
    Namespaces=None,
    TopologyKey="",
    NamespaceSelector=None,
    MatchLabelKeys=None,
    MismatchLabelKeys=None,
)
_POD_AFFINITY = struct(
    RequiredDuringSchedulingIgnoredDuringExecution=Maybe(_POD_TERM),
    PreferredDuringSchedulingIgnoredDuringExecution=Maybe(struct(Weight=0, PodAffinityTerm=_POD_TERM)),
)
_AFFINITY = struct(
    NodeAffinity=Maybe(
        struct(
            RequiredDuringSchedulingIgnoredDuringExecution=Maybe(struct(NodeSelectorTerms=Maybe(_NODE_TERM))),
            PreferredDuringSchedulingIgnoredDuringExecution=Maybe(struct(Weight=0, Preference=_NODE_TERM)),
        )
    ),
    PodAffinity=Maybe(_POD_AFFINITY),
    PodAntiAffinity=Maybe(_POD_AFFINITY),
)

_POD_SPEC = struct(
    json={"SetHostnameAsFQDN": "setHostnameAsFQDN"},
    Volumes=Maybe(_VOLUME),
    InitContainers=Maybe(_CONTAINER),
    Containers=Maybe(_CONTAINER),
    EphemeralContainers=Maybe(_EPHEMERAL),
    RestartPolicy="",
    TerminationGracePeriodSeconds=None,
    ActiveDeadlineSeconds=None,
    DNSPolicy="",
    NodeSelector=None,
    ServiceAccountName="",
    AutomountServiceAccountToken=None,
    NodeName="",
    SecurityContext=Maybe(_POD_SECURITY_CONTEXT),
    ImagePullSecrets=Maybe(_LOCAL),
    Hostname="",
    Subdomain="",
    SetHostnameAsFQDN=None,
    Affinity=Maybe(_AFFINITY),
    SchedulerName="",
    Tolerations=Maybe(struct(Key="", Operator="", Value="", Effect="", TolerationSeconds=None)),
    HostAliases=Maybe(struct(json={"IP": "ip"}, IP="", Hostnames=None)),
    PriorityClassName="",
    Priority=None,
    PreemptionPolicy=None,
    DNSConfig=Maybe(struct(Nameservers=None, Searches=None, Options=Maybe(struct(Name="", Value=None)))),
    ReadinessGates=Maybe(struct(ConditionType="")),
    RuntimeClassName=None,
    Overhead=None,
    EnableServiceLinks=None,
    TopologySpreadConstraints=Maybe(
        struct(
            MaxSkew=0,
            TopologyKey="",
            WhenUnsatisfiable="",
            LabelSelector=None,
            MinDomains=None,
            NodeAffinityPolicy=None,
            NodeTaintsPolicy=None,
            MatchLabelKeys=None,
        )
    ),
    OS=Maybe(struct(Name="")),
    SchedulingGates=Maybe(struct(Name="")),
    ResourceClaims=Maybe(struct(Name="", ResourceClaimName=None, ResourceClaimTemplateName=None)),
    Resources=Maybe(_RESOURCES),
    HostnameOverride=None,
    SchedulingGroup=Maybe(struct(PodGroupName=None)),
)
_IN_SECURITY_CONTEXT = ("hostNetwork", "hostPID", "hostIPC", "shareProcessNamespace", "hostUsers")


def pod_spec(spec: Obj) -> Obj:
    """A pod spec (v1 JSON) as the internal struct's plain value, ready to encode. `enableServiceLinks` is not
    in a template's default, so absent stays null."""
    moved = {key: spec[key] for key in _IN_SECURITY_CONTEXT if key in spec}
    if "securityContext" in spec or moved:
        spec = {**spec, "securityContext": {**(spec.get("securityContext") or {}), **moved}}
    made: Obj = plain(spec, _POD_SPEC)
    return made


def resize_policy(policy: Obj) -> Obj:
    made: Obj = plain(policy, _RESIZE)
    return made


def ephemeral(container: Obj) -> Obj:
    made: Obj = plain(container, _EPHEMERAL)
    return made


def node_terms(value: Any) -> Any:
    """A node selector term, or a list of them."""
    return plain(value, _NODE_TERM)


def shown_pod_spec(spec: Obj) -> f.GoText:
    """A pod spec as a bad value."""
    return f.GoText(f.go_json(pod_spec(spec)))
