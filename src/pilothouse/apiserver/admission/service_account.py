"""ServiceAccount: every pod runs as an account, with a token mounted where clients look for it
(plugin/pkg/admission/serviceaccount)."""

from __future__ import annotations

from typing import ClassVar

from pilothouse.api.field import go_quote
from pilothouse.api.resources import SERVICE_ACCOUNTS
from pilothouse.api.types import Obj
from pilothouse.apiserver.admission.plugin import PODS, Attributes, Environment, Operation, Plugin, Target

MOUNT_PATH = "/var/run/secrets/kubernetes.io/serviceaccount"
TOKEN_EXPIRATION_S = 3607
"""An hour and seven seconds, upstream's mark for tokens that it may extend."""
_MIRROR = "kubernetes.io/config.mirror"
_MODE = 0o644


class ServiceAccount(Plugin):
    name: ClassVar[str] = "ServiceAccount"
    operations: ClassVar[frozenset[Operation]] = frozenset(("CREATE",))
    targets: ClassVar[frozenset[Target] | None] = frozenset((PODS,))

    def __init__(self, env: Environment) -> None:
        self._lister = env.lister
        self._world = env.world

    async def admit(self, a: Attributes) -> None:
        pod = a.obj
        assert pod is not None
        if _MIRROR in (pod["metadata"].get("annotations") or {}):
            return
        spec = pod["spec"]
        name = spec.get("serviceAccountName") or "default"
        spec["serviceAccountName"] = spec["serviceAccount"] = name
        account = self._lister.get(SERVICE_ACCOUNTS, name, a.namespace)
        if account is None:
            why = (
                f"error looking up service account {a.namespace}/{name}: "
                f"serviceaccount {go_quote(name)} not found"
            )
            raise a.forbidden(why)
        if _mounts_token(account, spec):
            self._mount(spec)
        if not spec.get("imagePullSecrets") and account.get("imagePullSecrets"):
            spec["imagePullSecrets"] = [dict(s) for s in account["imagePullSecrets"]]

    def _mount(self, spec: Obj) -> None:
        """The projected volume, and a mount in each container that has none there."""
        containers = [*(spec.get("initContainers") or ()), *(spec.get("containers") or ())]
        bare = [c for c in containers if not _has_mount(c)]
        if not bare:
            return
        volume = _present_volume(spec)
        if not volume:
            volume = f"kube-api-access-{self._world.suffix()}"
            spec["volumes"] = [*(spec.get("volumes") or ()), _volume(volume)]
        for container in bare:
            mount = {"name": volume, "readOnly": True, "mountPath": MOUNT_PATH}
            container["volumeMounts"] = [*(container.get("volumeMounts") or ()), mount]


def _mounts_token(account: Obj, spec: Obj) -> bool:
    """The pod's own wish goes before its account's; both unset means yes."""
    for said in (spec, account):
        if said.get("automountServiceAccountToken") is not None:
            return bool(said["automountServiceAccountToken"])
    return True


def _has_mount(container: Obj) -> bool:
    return any(m.get("mountPath") == MOUNT_PATH for m in container.get("volumeMounts") or ())


def _present_volume(spec: Obj) -> str:
    for volume in spec.get("volumes") or ():
        if volume["name"].startswith("kube-api-access-") and "projected" in volume:
            return str(volume["name"])
    return ""


def _volume(name: str) -> Obj:
    namespace = {"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}
    return {
        "name": name,
        "projected": {
            "sources": [
                {"serviceAccountToken": {"expirationSeconds": TOKEN_EXPIRATION_S, "path": "token"}},
                {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
                {"downwardAPI": {"items": [namespace]}},
            ],
            "defaultMode": _MODE,
        },
    }
