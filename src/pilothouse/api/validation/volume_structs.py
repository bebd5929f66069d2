"""The internal Go structs of persistent volumes and claims, for texts that print them."""

from __future__ import annotations

from pilothouse.api.validation.gotext import Maybe, struct

_SECRET = Maybe(struct(Name="", Namespace=""))
_LOCAL = Maybe(struct(Name=""))
_REQUIREMENT = struct(Key="", Operator="", Values=None)
_TERM = struct(MatchExpressions=Maybe(_REQUIREMENT), MatchFields=Maybe(_REQUIREMENT))
NODE_AFFINITY = struct(Required=Maybe(struct(NodeSelectorTerms=Maybe(_TERM))))

PERSISTENT_SOURCE = struct(
    json={"CephFS": "cephfs", "StorageOS": "storageos"},
    GCEPersistentDisk=Maybe(struct(PDName="", FSType="", Partition=0, ReadOnly=False)),
    AWSElasticBlockStore=Maybe(struct(VolumeID="", FSType="", Partition=0, ReadOnly=False)),
    HostPath=Maybe(struct(Path="", Type=None)),
    Glusterfs=Maybe(
        struct(
            json={"EndpointsName": "endpoints"},
            EndpointsName="",
            Path="",
            ReadOnly=False,
            EndpointsNamespace=None,
        )
    ),
    NFS=Maybe(struct(Server="", Path="", ReadOnly=False)),
    RBD=Maybe(
        struct(
            json={
                "CephMonitors": "monitors",
                "RBDImage": "image",
                "RBDPool": "pool",
                "RadosUser": "user",
            },
            CephMonitors=None,
            RBDImage="",
            FSType="",
            RBDPool="",
            RadosUser="",
            Keyring="",
            SecretRef=_SECRET,
            ReadOnly=False,
        )
    ),
    Quobyte=Maybe(struct(Registry="", Volume="", ReadOnly=False, User="", Group="", Tenant="")),
    ISCSI=Maybe(
        struct(
            json={
                "DiscoveryCHAPAuth": "chapAuthDiscovery",
                "SessionCHAPAuth": "chapAuthSession",
                "ISCSIInterface": "iscsiInterface",
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
            SecretRef=_SECRET,
            InitiatorName=None,
        )
    ),
    FlexVolume=Maybe(struct(Driver="", FSType="", SecretRef=_SECRET, ReadOnly=False, Options=None)),
    Cinder=Maybe(struct(VolumeID="", FSType="", ReadOnly=False, SecretRef=_SECRET)),
    CephFS=Maybe(struct(Monitors=None, Path="", User="", SecretFile="", SecretRef=_SECRET, ReadOnly=False)),
    FC=Maybe(
        struct(
            json={"TargetWWNs": "targetWWNs", "WWIDs": "wwids"},
            TargetWWNs=None,
            Lun=None,
            FSType="",
            ReadOnly=False,
            WWIDs=None,
        )
    ),
    Flocker=Maybe(struct(DatasetName="", DatasetUUID="")),
    AzureFile=Maybe(struct(SecretName="", ShareName="", ReadOnly=False, SecretNamespace=None)),
    VsphereVolume=Maybe(struct(VolumePath="", FSType="", StoragePolicyName="", StoragePolicyID="")),
    AzureDisk=Maybe(
        struct(
            json={"DataDiskURI": "diskURI"},
            DiskName="",
            DataDiskURI="",
            CachingMode=None,
            FSType=None,
            ReadOnly=None,
            Kind=None,
        )
    ),
    PhotonPersistentDisk=Maybe(struct(PdID="", FSType="")),
    PortworxVolume=Maybe(struct(VolumeID="", FSType="", ReadOnly=False)),
    ScaleIO=Maybe(
        struct(
            json={"SSLEnabled": "sslEnabled"},
            Gateway="",
            System="",
            SecretRef=_SECRET,
            SSLEnabled=False,
            ProtectionDomain="",
            StoragePool="",
            StorageMode="",
            VolumeName="",
            FSType="",
            ReadOnly=False,
        )
    ),
    Local=Maybe(struct(Path="", FSType=None)),
    StorageOS=Maybe(struct(VolumeName="", VolumeNamespace="", FSType="", ReadOnly=False, SecretRef=_SECRET)),
    CSI=Maybe(
        struct(
            Driver="",
            VolumeHandle="",
            ReadOnly=False,
            FSType="",
            VolumeAttributes=None,
            ControllerPublishSecretRef=_SECRET,
            NodeStageSecretRef=_SECRET,
            NodePublishSecretRef=_SECRET,
            ControllerExpandSecretRef=_SECRET,
            NodeExpandSecretRef=_SECRET,
        )
    ),
)

CLAIM_SPEC = struct(
    AccessModes=None,
    Selector=None,
    Resources=struct(Limits=None, Requests=None),
    VolumeName="",
    StorageClassName=None,
    VolumeMode=None,
    DataSource=Maybe(struct(APIGroup=None, Kind="", Name="")),
    DataSourceRef=Maybe(struct(APIGroup=None, Kind="", Name="", Namespace=None)),
    VolumeAttributesClassName=None,
)
