"""The secrets and config maps that a pod's spec names (pkg/api/v1/pod VisitPodSecretNames, VisitPodConfigmapNames).

What they name in turn (a pod's claim, its volume, the volume's secrets) is not followed.
"""

from __future__ import annotations

from collections.abc import Iterator

from pilothouse.api.types import Obj

_SECRET_REFS = {
    "cephfs": "secretRef",
    "cinder": "secretRef",
    "csi": "nodePublishSecretRef",
    "flexVolume": "secretRef",
    "iscsi": "secretRef",
    "rbd": "secretRef",
    "scaleIO": "secretRef",
    "storageos": "secretRef",
}
"""Volume sources that name a secret in a reference."""
_CONTAINERS = ("initContainers", "containers", "ephemeralContainers")


def secret_names(pod: Obj) -> set[str]:
    spec = pod["spec"]
    found = {ref.get("name") for ref in spec.get("imagePullSecrets") or ()}
    found.update(_of_containers(spec, "secretRef", "secretKeyRef"))
    for volume in spec.get("volumes") or ():
        found.update(_secrets_of(volume))
    return {name for name in found if name}


def config_map_names(pod: Obj) -> set[str]:
    spec = pod["spec"]
    found = set(_of_containers(spec, "configMapRef", "configMapKeyRef"))
    for volume in spec.get("volumes") or ():
        if "configMap" in volume:
            found.add((volume["configMap"] or {}).get("name"))
        elif "projected" in volume:
            found.update(_projected(volume, "configMap"))
    return {name for name in found if name}


def _secrets_of(volume: Obj) -> Iterator[str | None]:
    for source, value in volume.items():
        if source in ("secret", "azureFile"):
            yield (value or {}).get("secretName")
        elif source == "projected":
            yield from _projected(volume, "secret")
        elif source in _SECRET_REFS:
            yield ((value or {}).get(_SECRET_REFS[source]) or {}).get("name")


def _projected(volume: Obj, kind: str) -> Iterator[str | None]:
    for source in (volume["projected"] or {}).get("sources") or ():
        if kind in source:
            yield (source[kind] or {}).get("name")


def _of_containers(spec: Obj, whole: str, key: str) -> Iterator[str | None]:
    """Names in envFrom (`whole`) and in single variables (`key`)."""
    for part in _CONTAINERS:
        for container in spec.get(part) or ():
            for source in container.get("envFrom") or ():
                yield (source.get(whole) or {}).get("name")
            for variable in container.get("env") or ():
                yield ((variable.get("valueFrom") or {}).get(key) or {}).get("name")
