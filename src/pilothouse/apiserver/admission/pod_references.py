"""Which kinds of objects a pod refers to that a static pod may not (pkg/api/pod VisitPodSecretNames,
VisitPodConfigmapNames)."""

from __future__ import annotations

from collections.abc import Iterator

from pilothouse.api.types import Obj


def references(spec: Obj) -> Iterator[str]:
    """The kinds by their plural, each once."""
    containers = [
        c for key in ("initContainers", "containers", "ephemeralContainers") for c in spec.get(key) or ()
    ]
    sources = [
        s for v in spec.get("volumes") or () for s in ((v.get("projected") or {}).get("sources") or ())
    ]
    for what, variable, whole, volume in (
        ("secrets", "secretKeyRef", "secretRef", "secret"),
        ("configmaps", "configMapKeyRef", "configMapRef", "configMap"),
    ):
        used = any((e.get("valueFrom") or {}).get(variable) for c in containers for e in c.get("env") or ())
        used = used or any(e.get(whole) for c in containers for e in c.get("envFrom") or ())
        used = used or any(v.get(volume) is not None for v in (*(spec.get("volumes") or ()), *sources))
        if used or (what == "secrets" and spec.get("imagePullSecrets")):
            yield what
    if any(source.get("clusterTrustBundle") is not None for source in sources):
        yield "clustertrustbundles"
    if any(v.get("persistentVolumeClaim") is not None for v in spec.get("volumes") or ()):
        yield "persistentvolumeclaims"
